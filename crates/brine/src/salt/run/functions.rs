//! The runner functions there are, and how arguments come to their parameters.

use brine_config::Arguments;
use brine_wire::{Map, Value};

use super::jobs::{self, Filter, Question};
use super::manage::{Asked, What};
use crate::salt::python;

/// A runner function.
#[derive(Debug)]
pub(super) struct Function {
    /// `module.function`
    pub(super) name: &'static str,
    which: Which,
    parameters: &'static [Parameter],
    /// What it does, for people.
    pub(super) help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    EventSend,
    StateEvent,
    LookupJid,
    ListJob,
    PrintJob,
    ExitSuccess,
    ListJobs,
    /// What minions are asked.
    Asks(What),
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

/// All functions, by name.
pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "event.send",
        which: Which::EventSend,
        parameters: &[required("tag"), optional("data")],
        help: "
    Fires an event on the master's bus.

    tag
        the event's tag, used as it is
    data
        a mapping

    Example:

        salt-run event.send myco/backup '{host: web1}'
",
    },
    Function {
        name: "jobs.active",
        which: Which::Asks(What::Active),
        parameters: &[],
        help: "
    The jobs that minions say they run now.

    Example:

        salt-run jobs.active
",
    },
    Function {
        name: "jobs.exit_success",
        which: Which::ExitSuccess,
        parameters: &[JID, optional("ext_source")],
        help: "
    Which of a job's minions returned something true.

    jid
        the job's id

    Example:

        salt-run jobs.exit_success 20261124040116373859
",
    },
    Function {
        name: "jobs.list_job",
        which: Which::ListJob,
        parameters: &[JID, optional("ext_source"), optional("display_progress")],
        help: "
    All there is to know of a job: what was published, and the returns.

    jid
        the job's id

    Example:

        salt-run jobs.list_job 20261124040116373859
",
    },
    Function {
        name: "jobs.list_jobs",
        which: Which::ListJobs,
        parameters: &[
            optional("ext_source"),
            optional("outputter"),
            optional("search_metadata"),
            optional("search_function"),
            optional("search_target"),
        ],
        help: "
    The jobs that the master remembers.

    search_metadata
        a mapping; jobs that have one of its pairs
    search_function
        globs for the function, a list or with commas
    search_target
        globs for the target as it was given

    Example:

        salt-run jobs.list_jobs search_function='test.*'
",
    },
    Function {
        name: "jobs.lookup_jid",
        which: Which::LookupJid,
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
        minions that returned
    missing: False
        minions that did not return, too

    Example:

        salt-run jobs.lookup_jid 20261124040116373859 missing=True
",
    },
    Function {
        name: "jobs.print_job",
        which: Which::PrintJob,
        parameters: &[JID, optional("ext_source")],
        help: "
    All there is to know of a job, under its id.

    jid
        the job's id

    Example:

        salt-run jobs.print_job 20261124040116373859
",
    },
    Function {
        name: "manage.down",
        which: Which::Asks(What::Down),
        parameters: ASKS,
        help: "
    The minions that do not answer.

    tgt: '*'
        which are asked, as tgt_type says
    timeout, gather_job_timeout
        seconds, instead of the configured ones

    Example:

        salt-run manage.down timeout=5
",
    },
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
        shell pattern for the tag, or a regular expression for all of it
    count: -1
        ends after so many events; -1 never ends
    quiet: False
        prints nothing, only waits
    sock_dir
        directory of the bus's sockets
    pretty: False
        data over several lines, sorted
    node: master
        whose bus: master or minion

    Example:

        salt-run state.event 'salt/job/*' pretty=True
",
    },
];

const JID: Parameter = required("jid");
const ASKS: &[Parameter] = &[
    optional("tgt"),
    optional("tgt_type"),
    optional("timeout"),
    optional("gather_job_timeout"),
];

/// Seconds of an argument, if it says any.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = value
        .as_int()
        .and_then(|seconds| u64::try_from(seconds).ok());
    seconds.filter(|seconds| *seconds > 0)
}

/// The function of a name.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// A call, its arguments in place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    EventSend { tag: Value, data: Value },
    StateEvent(Watched),
    Jobs(Question),
    Minions(Asked),
}

/// The arguments of `state.event`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    pub(super) tagmatch: String,
    pub(super) count: i128,
    pub(super) quiet: bool,
    pub(super) sock_dir: Option<String>,
    pub(super) pretty: bool,
    pub(super) node: String,
}

/// Why arguments do not fit a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    /// Keyword arguments the function does not have, as `name=value`: the function is not called.
    Unknown(String),
    /// Too many, too few, or one twice, in Python's words.
    Invalid(String),
}

impl Function {
    /// Puts arguments to parameters.
    pub(super) fn bind(&self, arguments: &Arguments) -> Result<Call, Misfit> {
        self.check_keywords(&arguments.keyword)?;
        let mut values = self.place(arguments)?;
        let mut take = |name: &str| {
            let at = self.parameters.iter().position(|own| own.name == name);
            at.and_then(|at| values[at].take())
        };
        let jid =
            |value: Option<Value>| value.map_or_else(String::new, |value| python::str(&value));
        Ok(match self.which {
            Which::LookupJid => Call::Jobs(Question::LookupJid {
                jid: jid(take("jid")),
                returned: take("returned").is_none_or(|value| value.is_true()),
                missing: take("missing").is_some_and(|value| value.is_true()),
            }),
            Which::ListJob => Call::Jobs(Question::ListJob(jid(take("jid")))),
            Which::PrintJob => Call::Jobs(Question::PrintJob(jid(take("jid")))),
            Which::ExitSuccess => Call::Jobs(Question::ExitSuccess(jid(take("jid")))),
            Which::ListJobs => Call::Jobs(Question::ListJobs(Filter {
                metadata: match take("search_metadata") {
                    Some(Value::Map(metadata)) => Some(metadata),
                    _ => None,
                },
                functions: jobs::split(take("search_function").as_ref()),
                targets: jobs::split(take("search_target").as_ref()),
            })),
            Which::Asks(what) => Call::Minions(Asked {
                what,
                tgt: take("tgt").unwrap_or_else(|| "*".into()),
                tgt_type: take("tgt_type")
                    .map_or_else(|| "glob".to_owned(), |value| python::str(&value)),
                timeout: take("timeout").as_ref().and_then(seconds),
                gather_job_timeout: take("gather_job_timeout").as_ref().and_then(seconds),
            }),
            Which::EventSend => Call::EventSend {
                tag: take("tag").unwrap_or(Value::Nil),
                data: take("data").unwrap_or(Value::Nil),
            },
            Which::StateEvent => Call::StateEvent(Watched {
                tagmatch: take("tagmatch")
                    .map_or_else(|| "*".to_owned(), |value| python::str(&value)),
                count: match take("count") {
                    None => -1,
                    Some(Value::Int(count)) => count,
                    Some(other) => {
                        let found = python::repr(&other);
                        return Err(Misfit::Invalid(format!(
                            "event() expected count to be a number, found {found}"
                        )));
                    }
                },
                quiet: take("quiet").is_some_and(|value| value.is_true()),
                sock_dir: take("sock_dir")
                    .filter(Value::is_true)
                    .map(|value| python::str(&value)),
                pretty: take("pretty").is_some_and(|value| value.is_true()),
                node: take("node").map_or_else(|| "master".to_owned(), |value| python::str(&value)),
            }),
        })
    }

    fn check_keywords(&self, keywords: &Map) -> Result<(), Misfit> {
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
            Err(Misfit::Unknown(unknown.join(", ")))
        }
    }

    /// A value or none for each parameter.
    fn place(&self, arguments: &Arguments) -> Result<Vec<Option<Value>>, Misfit> {
        let own_name = self.name.rsplit('.').next().unwrap_or(self.name);
        let invalid = |text: String| Err(Misfit::Invalid(format!("{own_name}() {text}")));
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
        for (place, own) in values.iter_mut().zip(self.parameters) {
            let keyword = arguments.keyword.get(own.name);
            match (place.is_some(), keyword) {
                (true, Some(_)) => {
                    return invalid(format!("got multiple values for argument '{}'", own.name));
                }
                (false, Some(value)) => *place = Some(value.clone()),
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

#[cfg(test)]
mod tests {
    use brine_config::parse_arguments;

    use super::*;

    fn bind(words: &[&str]) -> Result<Call, Misfit> {
        let (name, words) = words.split_first().unwrap();
        named(name)
            .unwrap()
            .bind(&parse_arguments(words.iter().copied(), &[]))
    }

    #[test]
    fn arguments_come_by_place_or_by_name() {
        let expected = Call::StateEvent(Watched {
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
    fn misfits_are_told_as_python_does() {
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
            assert_eq!(bind(words), Err(Misfit::Invalid(error.to_owned())));
        }
        assert_eq!(
            bind(&["event.send", "a", "x=1", "y=z"]),
            Err(Misfit::Unknown("x=1, y=z".to_owned()))
        );
    }
}
