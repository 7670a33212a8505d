//! How arguments are bound to a runner function's parameters.

use brine_config::Arguments;
use brine_wire::{Map, Value, python_text as python};

use super::{Documented, Function, JobFunction, ReactorFunction, Which};
use crate::runner::cache::{CacheRequest, CacheWhat};
use crate::runner::jobs::{self, Filter, Question};
use crate::runner::manage::{Inquiry, Presence};
use crate::runner::reactor::ReactorQuestion;

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
    /// What functions do.
    Documentation(Documented),
    /// Its own arguments.
    Echo(Arguments),
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
        if self.which == Which::Echo {
            return Ok(Bound::Echo(arguments.clone()));
        }
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
            Which::Nothing | Which::Echo => Bound::Nothing,
            Which::Documents(what) => Bound::Documentation(what),
            Which::Reactor(which) => Bound::Reactor(reactor_question(which, &mut take)?),
            Which::EventSend => Bound::EventSend {
                tag: take("tag").unwrap_or(Value::Nil),
                data: take("data").unwrap_or(Value::Nil),
            },
            Which::StateEvent => Bound::StateEvent(watched(&mut take)?),
        })
    }

    /// Whether it takes an argument of this name.
    #[must_use]
    pub fn has_parameter(&self, name: &str) -> bool {
        self.which == Which::Echo || self.parameters.iter().any(|own| own.name == name)
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

#[cfg(test)]
mod tests {
    use brine_config::parse_arguments;

    use super::super::named;
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
