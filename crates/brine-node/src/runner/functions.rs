//! The runner functions, their documentation, and how arguments are bound to their parameters.

use brine_config::Arguments;
use brine_wire::{Map, Value, python_text as python};

use super::cache::{CacheRequest, CacheWhat};
use super::jobs::{self, Filter, Question};
use super::manage::{Inquiry, Presence, What};
use super::reactor::ReactorQuestion;
use crate::minion_cache::Bank;

/// A runner function.
#[derive(Debug)]
pub struct Function {
    /// `module.function`
    pub name: &'static str,
    which: Which,
    parameters: &'static [Parameter],
    /// What it does, for people: indented, with an example.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    EventSend,
    StateEvent,
    /// It asks the job cache.
    Jobs(JobFunction),
    /// Which minions are connected, or which are not.
    Presence {
        is_connected: bool,
    },
    /// What the master has cached.
    Cached(Bank),
    ClearCached(&'static [Bank]),
    ClearMineFunction,
    /// It asks minions.
    Asks(What),
    /// It asks the reactor.
    Reactor(ReactorFunction),
    /// There is nothing to do here, and it says so with `True`.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobFunction {
    LookupJid,
    ListJob,
    PrintJob,
    ExitSuccess,
    ListJobs,
    LatestJobs,
    LastRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReactorFunction {
    List,
    Add,
    Delete,
    IsLeader,
    SetLeader,
    Status,
    Rerun,
}

#[derive(Debug)]
struct Parameter {
    name: &'static str,
    is_required: bool,
}

const fn required(name: &'static str) -> Parameter {
    Parameter {
        name,
        is_required: true,
    }
}

const fn optional(name: &'static str) -> Parameter {
    Parameter {
        name,
        is_required: false,
    }
}

/// The functions of a name and its opposite that ask which minions are connected: Salt has six names for it.
const fn presence(name: &'static str, is_connected: bool) -> Function {
    Function {
        name,
        which: Which::Presence { is_connected },
        parameters: PRESENCE,
        help: match is_connected {
            true => PRESENT,
            false => ABSENT,
        },
    }
}

const PRESENT: &str = "
    The minions that are connected, without asking them.

    subset
        a list of ids: only those of them
    show_ip: False
        with the address of each

    Example:

        salt-run manage.present
";

const ABSENT: &str = "
    The minions with accepted keys that are not connected.

    subset
        a list of ids: only those of them

    Example:

        salt-run manage.not_present
";

/// `cache.grains` and its like.
const fn cached(name: &'static str, bank: Bank, parameters: &'static [Parameter]) -> Function {
    Function {
        name,
        which: Which::Cached(bank),
        parameters,
        help: "
    What the master has cached of minions.

    tgt
        which minions; tgt_type says how to read it

    Example:

        salt-run cache.grains '*'
",
    }
}

/// `cache.clear_grains` and its like.
const fn clear_cached(name: &'static str, banks: &'static [Bank]) -> Function {
    Function {
        name,
        which: Which::ClearCached(banks),
        parameters: TARGET,
        help: "
    Forgets what the master has cached of minions; a running master of ours may still know their grains.

    tgt
        which minions; tgt_type says how to read it

    Example:

        salt-run cache.clear_all 'web*'
",
    }
}

/// All functions, by name.
pub const FUNCTIONS: &[Function] = &[
    clear_cached("cache.clear_all", &[Bank::Grains, Bank::Pillar, Bank::Mine]),
    clear_cached("cache.clear_grains", &[Bank::Grains]),
    clear_cached("cache.clear_mine", &[Bank::Mine]),
    Function {
        name: "cache.clear_mine_func",
        which: Which::ClearMineFunction,
        parameters: &[
            optional("tgt"),
            optional("tgt_type"),
            optional("clear_mine_func_flag"),
        ],
        help: "
    Forgets what one function of minions left in the mine.

    tgt
        which minions; tgt_type says how to read it
    clear_mine_func_flag
        the function's name in the mine

    Example:

        salt-run cache.clear_mine_func 'web*' clear_mine_func_flag=network.ip_addrs
",
    },
    clear_cached("cache.clear_pillar", &[Bank::Pillar]),
    cached("cache.grains", Bank::Grains, &[required("tgt"), optional("tgt_type")]),
    cached("cache.mine", Bank::Mine, TARGET),
    cached("cache.pillar", Bank::Pillar, TARGET),
    Function {
        name: "event.send",
        which: Which::EventSend,
        parameters: &[required("tag"), optional("data")],
        help: "
    Fires an event on the master's bus.

    tag
        the event's tag, used unchanged
    data
        a mapping

    Example:

        salt-run event.send myco/backup '{host: web1}'
",
    },
    Function {
        name: "fileserver.update",
        which: Which::Nothing,
        parameters: &[optional("back"), optional("backend")],
        help: "
    Does nothing: file_roots are read when a file is asked for. For reactions that call it.

    Example:

        salt-run fileserver.update
",
    },
    Function {
        name: "jobs.active",
        which: Which::Asks(What::Active),
        parameters: &[],
        help: "
    The jobs that are running on minions now.

    Example:

        salt-run jobs.active
",
    },
    Function {
        name: "jobs.exit_success",
        which: Which::Jobs(JobFunction::ExitSuccess),
        parameters: &[JID, optional("ext_source")],
        help: "
    Whether each minion of a job returned something true.

    jid
        the job's id

    Example:

        salt-run jobs.exit_success 20261124040116373859
",
    },
    Function {
        name: "jobs.last_run",
        which: Which::Jobs(JobFunction::LastRun),
        parameters: &[
            optional("ext_source"),
            optional("outputter"),
            optional("metadata"),
            optional("function"),
            optional("target"),
            optional("display_progress"),
        ],
        help: "
    The newest of the jobs that match, as jobs.print_job shows it; False without one.

    metadata, function, target
        which jobs; see jobs.list_jobs

    Example:

        salt-run jobs.last_run function='test.*'
",
    },
    Function {
        name: "jobs.list_job",
        which: Which::Jobs(JobFunction::ListJob),
        parameters: &[JID, optional("ext_source"), optional("display_progress")],
        help: "
    A job: what was published, and what minions returned.

    jid
        the job's id

    Example:

        salt-run jobs.list_job 20261124040116373859
",
    },
    Function {
        name: "jobs.list_jobs",
        which: Which::Jobs(JobFunction::ListJobs),
        parameters: &[
            optional("ext_source"),
            optional("outputter"),
            optional("search_metadata"),
            optional("search_function"),
            optional("search_target"),
            optional("start_time"),
            optional("end_time"),
            optional("display_progress"),
        ],
        help: "
    The jobs in the master's job cache.

    search_metadata
        a mapping: only jobs with one of these pairs in their metadata
    search_function
        globs for the function: a list, or separated by commas
    search_target
        globs for the target as it was given
    start_time, end_time
        only jobs that started at or between these times, such as '2026-11-29 08:00' or 'Nov 29 2026'
    outputter
        how to print them

    Example:

        salt-run jobs.list_jobs search_function='test.*' start_time='2026-11-29 08:00'
",
    },
    Function {
        name: "jobs.list_jobs_filter",
        which: Which::Jobs(JobFunction::LatestJobs),
        parameters: &[
            required("count"),
            optional("filter_find_job"),
            optional("ext_source"),
            optional("outputter"),
            optional("display_progress"),
        ],
        help: "
    The newest jobs in the master's job cache.

    count
        how many at most
    filter_find_job: True
        leave out the questions whether a job still runs

    Example:

        salt-run jobs.list_jobs_filter 50
",
    },
    Function {
        name: "jobs.lookup_jid",
        which: Which::Jobs(JobFunction::LookupJid),
        parameters: &[
            JID,
            optional("ext_source"),
            optional("returned"),
            optional("missing"),
            optional("display_progress"),
        ],
        help: "
    What minions returned for a job.

    jid
        the job's id
    returned: True
        list minions that returned
    missing: False
        also list minions that did not return

    Example:

        salt-run jobs.lookup_jid 20261124040116373859 missing=True
",
    },
    Function {
        name: "jobs.print_job",
        which: Which::Jobs(JobFunction::PrintJob),
        parameters: &[JID, optional("ext_source")],
        help: "
    A job, under its id: what was published, and what minions returned.

    jid
        the job's id

    Example:

        salt-run jobs.print_job 20261124040116373859
",
    },
    presence("manage.alived", true),
    presence("manage.allowed", true),
    Function {
        name: "manage.down",
        which: Which::Asks(What::Down),
        parameters: ASKS,
        help: "
    The minions that do not answer.

    tgt: '*'
        which minions to ask; tgt_type says how to read it
    timeout, gather_job_timeout
        seconds, instead of the configured ones

    Example:

        salt-run manage.down timeout=5
",
    },
    presence("manage.joined", true),
    presence("manage.list_not_state", false),
    presence("manage.list_state", true),
    presence("manage.not_alived", false),
    presence("manage.not_allowed", false),
    presence("manage.not_joined", false),
    presence("manage.not_present", false),
    presence("manage.not_reaped", false),
    presence("manage.present", true),
    presence("manage.reaped", true),
    Function {
        name: "manage.status",
        which: Which::Asks(What::Status),
        parameters: ASKS,
        help: "
    The minions that answer and those that do not; see manage.down.

    Example:

        salt-run manage.status
",
    },
    Function {
        name: "manage.up",
        which: Which::Asks(What::Up),
        parameters: ASKS,
        help: "
    The minions that answer; see manage.down.

    Example:

        salt-run manage.up
",
    },
    Function {
        name: "manage.versions",
        which: Which::Asks(What::Versions),
        parameters: &[],
        help: "
    The minions' releases, beside the master's.

    Example:

        salt-run manage.versions
",
    },
    Function {
        name: "reactor.add",
        which: Which::Reactor(ReactorFunction::Add),
        parameters: &[required("event"), required("reactors"), optional("saltenv"), optional("test")],
        help: "
    Adds a rule to the running reactor, until the master ends.

    event
        a shell pattern for tags
    reactors
        a reaction file, or a list of them

    Example:

        salt-run reactor.add 'salt/beacon/*' /srv/reactor/beacon.sls
",
    },
    Function {
        name: "reactor.delete",
        which: Which::Reactor(ReactorFunction::Delete),
        parameters: &[required("event"), optional("saltenv"), optional("test")],
        help: "
    Removes the rule of a pattern from the running reactor, until the master ends.

    Example:

        salt-run reactor.delete 'salt/beacon/*'
",
    },
    Function {
        name: "reactor.is_leader",
        which: Which::Reactor(ReactorFunction::IsLeader),
        parameters: &[],
        help: "
    Whether this master's reactor reacts.

    Example:

        salt-run reactor.is_leader
",
    },
    Function {
        name: "reactor.list",
        which: Which::Reactor(ReactorFunction::List),
        parameters: &[optional("saltenv"), optional("test")],
        help: "
    The rules of the running reactor.

    Example:

        salt-run reactor.list
",
    },
    Function {
        name: "reactor.rerun",
        which: Which::Reactor(ReactorFunction::Rerun),
        parameters: &[required("number")],
        help: "
    Runs a reaction of the record again (Brine's own; brine reactor history has the numbers).

    Example:

        salt-run reactor.rerun 17
",
    },
    Function {
        name: "reactor.set_leader",
        which: Which::Reactor(ReactorFunction::SetLeader),
        parameters: &[optional("value")],
        help: "
    Has this master's reactor react, or pass all events over.

    Example:

        salt-run reactor.set_leader False
",
    },
    Function {
        name: "reactor.status",
        which: Which::Reactor(ReactorFunction::Status),
        parameters: &[],
        help: "
    What each rule of the running reactor has done (Brine's own).

    Example:

        salt-run reactor.status
",
    },
    Function {
        name: "state.event",
        which: Which::StateEvent,
        parameters: &[
            optional("tagmatch"),
            optional("count"),
            optional("quiet"),
            optional("sock_dir"),
            optional("pretty"),
            optional("node"),
        ],
        help: "
    Prints the events of a bus as they come: tag, TAB, data as JSON.

    tagmatch: '*'
        shell pattern for the tag, or regular expression for the whole tag
    count: -1
        stop after so many events; -1: never
    quiet: False
        print nothing, only wait
    sock_dir
        directory of the bus's sockets
    pretty: False
        print data over several lines, sorted
    node: master
        whose bus to read: master or minion

    Example:

        salt-run state.event 'salt/job/*' pretty=True
",
    },
];

const JID: Parameter = required("jid");
const PRESENCE: &[Parameter] = &[optional("subset"), optional("show_ip")];
const TARGET: &[Parameter] = &[optional("tgt"), optional("tgt_type")];
const ASKS: &[Parameter] = &[
    optional("tgt"),
    optional("tgt_type"),
    optional("timeout"),
    optional("gather_job_timeout"),
];

/// The seconds of an argument, if it is a positive number.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = value
        .as_int()
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0)
}

/// The text of an argument that is given.
fn text(value: Option<Value>) -> Option<String> {
    let value = value.filter(Value::is_true)?;
    Some(python::str(&value))
}

fn metadata(value: Option<Value>) -> Option<Map> {
    match value {
        Some(Value::Map(metadata)) => Some(metadata),
        _ => None,
    }
}

/// The function of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// `event.send`
    EventSend {
        /// The event's tag.
        tag: Value,
        /// Its data.
        data: Value,
    },
    /// `state.event`
    StateEvent(Watched),
    /// A question to the job cache.
    Jobs(Question),
    /// A question to minions.
    Minions(Inquiry),
    /// Which minions are connected.
    Presence(Presence),
    /// What the master has cached.
    Cache(CacheRequest),
    /// A question to the reactor.
    Reactor(ReactorQuestion),
    /// Nothing to do.
    Nothing,
}

/// The arguments of `state.event`.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// A shell pattern for the tag, or regular expression for the whole tag.
    pub tagmatch: String,
    /// How many events to print; negative for no end.
    pub count: i128,
    /// Print nothing.
    pub quiet: bool,
    /// The directory of the bus's sockets, instead of the configured one.
    pub sock_dir: Option<String>,
    /// Print data over several lines.
    pub pretty: bool,
    /// `master` or `minion`: whose bus.
    pub node: String,
}

/// Why arguments do not fit a function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Keyword arguments the function does not have, as `name=value`: the function is not called.
    #[error("The following keyword arguments are not valid: {0}")]
    Unknown(String),
    /// Too many, too few, or one twice, in Python's words.
    #[error("{0}")]
    Invalid(String),
}

impl Function {
    /// Binds arguments to the parameters.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(&self, arguments: &Arguments) -> Result<Bound, BindError> {
        self.check_keywords(&arguments.keyword)?;
        let mut values = self.bind_values(arguments)?;
        let mut take = |name: &str| {
            let at = self.parameters.iter().position(|own| own.name == name);
            at.and_then(|at| values[at].take())
        };
        Ok(match self.which {
            Which::Jobs(which) => Bound::Jobs(job_question(which, &mut take)?),
            Which::Presence { is_connected } => Bound::Presence(Presence {
                is_connected,
                subset: match take("subset") {
                    Some(Value::Array(ids)) => Some(ids.iter().map(python::str).collect()),
                    subset => text(subset).map(|id| vec![id]),
                },
                show_ip: take("show_ip").is_some_and(|value| value.is_true()),
            }),
            Which::Cached(_) | Which::ClearCached(_) | Which::ClearMineFunction => {
                Bound::Cache(CacheRequest {
                    what: match self.which {
                        Which::Cached(bank) => CacheWhat::Show(bank),
                        Which::ClearCached(banks) => CacheWhat::Clear(banks),
                        _ => CacheWhat::ClearMineFunction(text(take("clear_mine_func_flag"))),
                    },
                    tgt: take("tgt").filter(|tgt| *tgt != Value::Nil),
                    tgt_type: text(take("tgt_type")).unwrap_or_else(|| "glob".to_owned()),
                })
            }
            Which::Asks(what) => Bound::Minions(Inquiry {
                what,
                tgt: take("tgt").unwrap_or_else(|| "*".into()),
                tgt_type: take("tgt_type")
                    .map_or_else(|| "glob".to_owned(), |value| python::str(&value)),
                timeout: take("timeout").as_ref().and_then(seconds),
                gather_job_timeout: take("gather_job_timeout").as_ref().and_then(seconds),
            }),
            Which::Nothing => Bound::Nothing,
            Which::Reactor(which) => Bound::Reactor(reactor_question(which, &mut take)?),
            Which::EventSend => Bound::EventSend {
                tag: take("tag").unwrap_or(Value::Nil),
                data: take("data").unwrap_or(Value::Nil),
            },
            Which::StateEvent => Bound::StateEvent(watched(&mut take)?),
        })
    }

    /// Whether it has a parameter of this name.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.parameters.iter().any(|own| own.name == name)
    }

    fn check_keywords(&self, keywords: &Map) -> Result<(), BindError> {
        let unknown = keywords.iter().filter(|(name, _)| {
            let name = name.as_str().unwrap_or_default();
            !self.parameters.iter().any(|own| own.name == name)
        });
        let unknown: Vec<_> = unknown
            .map(|(name, value)| format!("{}={}", python::str(name), python::str(value)))
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(BindError::Unknown(unknown.join(", ")))
        }
    }

    /// A value or none for each parameter.
    fn bind_values(&self, arguments: &Arguments) -> Result<Vec<Option<Value>>, BindError> {
        let own_name = self.name.rsplit('.').next().unwrap_or(self.name);
        let invalid = |text: String| Err(BindError::Invalid(format!("{own_name}() {text}")));
        let most = self.parameters.len();
        let least = self.parameters.iter().filter(|own| own.is_required).count();
        let given = arguments.positional.len();
        if given > most {
            return invalid(format!(
                "takes from {least} to {most} positional arguments but {given} were given"
            ));
        }
        let mut values: Vec<Option<Value>> =
            arguments.positional.iter().cloned().map(Some).collect();
        values.resize(most, None);
        for (slot, own) in values.iter_mut().zip(self.parameters) {
            let keyword = arguments.keyword.get(own.name);
            match (slot.is_some(), keyword) {
                (true, Some(_)) => {
                    return invalid(format!("got multiple values for argument '{}'", own.name));
                }
                (false, Some(value)) => *slot = Some(value.clone()),
                (false, None) if own.is_required => {
                    let name = own.name;
                    return invalid(format!("missing 1 required positional argument: '{name}'"));
                }
                _ => {}
            }
        }
        Ok(values)
    }
}

/// Takes the argument of a name, once.
type Take<'a> = &'a mut dyn FnMut(&str) -> Option<Value>;

fn job_question(which: JobFunction, take: Take<'_>) -> Result<Question, BindError> {
    let mut jid = || take("jid").map_or_else(String::new, |value| python::str(&value));
    Ok(match which {
        JobFunction::ListJob => Question::ListJob(jid()),
        JobFunction::PrintJob => Question::PrintJob(jid()),
        JobFunction::ExitSuccess => Question::ExitSuccess(jid()),
        JobFunction::LookupJid => Question::LookupJid {
            jid: jid(),
            returned: take("returned").is_none_or(|value| value.is_true()),
            missing: take("missing").is_some_and(|value| value.is_true()),
        },
        JobFunction::ListJobs => Question::ListJobs {
            filter: Filter {
                metadata: metadata(take("search_metadata")),
                functions: jobs::split(take("search_function").as_ref()),
                targets: jobs::split(take("search_target").as_ref()),
                start_time: text(take("start_time")),
                end_time: text(take("end_time")),
            },
            outputter: text(take("outputter")),
        },
        JobFunction::LatestJobs => Question::LatestJobs {
            count: match take("count") {
                Some(Value::Int(count)) => usize::try_from(count).unwrap_or(0),
                other => {
                    let found = other.unwrap_or(Value::Nil);
                    return Err(not_a_number("list_jobs_filter", "count", &found));
                }
            },
            without_find_job: take("filter_find_job").is_none_or(|value| value.is_true()),
            outputter: text(take("outputter")),
        },
        JobFunction::LastRun => Question::LastRun(Filter {
            metadata: metadata(take("metadata")),
            functions: jobs::split(take("function").as_ref()),
            targets: jobs::split(take("target").as_ref()),
            ..Filter::default()
        }),
    })
}

fn watched(take: Take<'_>) -> Result<Watched, BindError> {
    Ok(Watched {
        tagmatch: take("tagmatch").map_or_else(|| "*".to_owned(), |value| python::str(&value)),
        count: match take("count") {
            None => -1,
            Some(Value::Int(count)) => count,
            Some(other) => return Err(not_a_number("event", "count", &other)),
        },
        quiet: take("quiet").is_some_and(|value| value.is_true()),
        sock_dir: text(take("sock_dir")),
        pretty: take("pretty").is_some_and(|value| value.is_true()),
        node: take("node").map_or_else(|| "master".to_owned(), |value| python::str(&value)),
    })
}

fn not_a_number(function: &str, argument: &str, found: &Value) -> BindError {
    let found = python::repr(found);
    BindError::Invalid(format!(
        "{function}() expected {argument} to be a number, found {found}"
    ))
}

fn reactor_question(which: ReactorFunction, take: Take<'_>) -> Result<ReactorQuestion, BindError> {
    let mut event = |name| take(name).map_or_else(String::new, |value| python::str(&value));
    Ok(match which {
        ReactorFunction::List => ReactorQuestion::List,
        ReactorFunction::IsLeader => ReactorQuestion::IsLeader,
        ReactorFunction::Status => ReactorQuestion::Status,
        ReactorFunction::Delete => ReactorQuestion::Delete {
            event: event("event"),
        },
        ReactorFunction::Add => ReactorQuestion::Add {
            event: event("event"),
            reactors: take("reactors").unwrap_or(Value::Nil),
        },
        ReactorFunction::SetLeader => {
            ReactorQuestion::SetLeader(take("value").is_none_or(|value| value.is_true()))
        }
        ReactorFunction::Rerun => {
            let number = take("number").unwrap_or(Value::Nil);
            let parsed = number
                .as_int()
                .and_then(|number| u64::try_from(number).ok());
            ReactorQuestion::Rerun(parsed.ok_or_else(|| not_a_number("rerun", "number", &number))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use brine_config::parse_arguments;

    use super::*;

    fn bind(words: &[&str]) -> Result<Bound, BindError> {
        let (name, words) = words.split_first().unwrap();
        named(name)
            .unwrap()
            .bind(&parse_arguments(words.iter().copied(), &[]))
    }

    #[test]
    fn arguments_are_bound_by_place_or_by_name() {
        let expected = Bound::StateEvent(Watched {
            tagmatch: "my/*".to_owned(),
            count: 2,
            quiet: true,
            sock_dir: None,
            pretty: false,
            node: "minion".to_owned(),
        });
        for words in [
            &[
                "state.event",
                "my/*",
                "2",
                "True",
                "None",
                "False",
                "minion",
            ][..],
            &[
                "state.event",
                "tagmatch=my/*",
                "node=minion",
                "count=2",
                "quiet=yes",
            ],
        ] {
            assert_eq!(bind(words).as_ref(), Ok(&expected), "{words:?}");
        }
    }

    /// The texts are Python's.
    #[test]
    fn arguments_that_do_not_fit_are_refused_in_pythons_words() {
        for (words, error) in [
            (
                &["event.send"][..],
                "send() missing 1 required positional argument: 'tag'",
            ),
            (
                &["event.send", "a", "b", "c", "d"],
                "send() takes from 1 to 2 positional arguments but 4 were given",
            ),
            (
                &["event.send", "a", "tag=b"],
                "send() got multiple values for argument 'tag'",
            ),
        ] {
            assert_eq!(bind(words), Err(BindError::Invalid(error.to_owned())));
        }
        assert_eq!(
            bind(&["event.send", "a", "x=1", "y=z"]),
            Err(BindError::Unknown("x=1, y=z".to_owned()))
        );
    }
}
