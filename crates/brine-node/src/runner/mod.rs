//! Runner functions, as called by `salt-run`, the reactor and HTTP.
//!
//! [`run`] runs one to its end and fires its events. It works with an [`Operator`]: our own master in-process, or any
//! master beside this program ([`Beside`]). To add a function: an entry in [`functions`], an arm in [`run`]. `state.event` only
//! binds its arguments here; it prints, and so belongs to `salt-run`.
//! Facts: Salt 3008.3 and 3006.28 as they behave.

mod cache;
mod events;
pub mod functions;
mod jobs;
mod manage;
mod operator;
mod reactor;

use std::convert::Infallible;
use std::fmt::Display;

use brine_bus::client::PublishError;
use brine_config::{Arguments, ConfigError};
use brine_wire::event::FireError;
use brine_wire::{Map, Value, python_text};

pub use self::cache::{CacheRequest, CacheWhat};
pub use self::events::{RunnerCall, RunnerEvents};
use self::functions::{BindError, Bound, Documented, Function};
pub(crate) use self::jobs::fuzz_jobs;
pub use self::jobs::{Filter, Question};
pub use self::manage::{Inquiry, Presence, What};
pub use self::operator::{Beside, Minions, Operator};
pub(crate) use self::reactor::NOT_RUNNING;
pub use self::reactor::{AskReactor, ReactorQuestion};
use crate::client::ClientError;
use crate::wheel_help;

/// A runner function failed without a return value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The job for the minions could not be published.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Only the master's own user may call runner functions.
    #[error("only root and the master's own user may call runner functions")]
    NotPermitted,
    /// The master's configuration lacks what the function needs.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The master is shutting down.
    #[error("the master is shutting down")]
    ShuttingDown,
}

/// What a runner function returned.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerReturn {
    /// The value; a text if the function was not called or raised an exception.
    pub value: Value,
    /// 0, or 1 if the function raised an exception.
    pub retcode: u8,
}

impl RunnerReturn {
    const fn of(value: Value) -> Self {
        Self { value, retcode: 0 }
    }
}

/// Runs a function to its end and fires its events. A function that does not exist, or whose arguments do not fit,
/// returns a text that says so, as in Salt.
///
/// # Errors
/// [`RunnerError`]: there is no `ret` event then.
pub async fn run(
    operator: &mut impl Operator,
    call: RunnerCall,
) -> Result<RunnerReturn, RunnerError> {
    let function = functions::named(&call.fun);
    let (name, arguments) = (call.fun.clone(), call.arguments.clone());
    let mut events = RunnerEvents::new(operator, call);
    let Some(function) = function else {
        let why = format!("'{name}' is not available.");
        events.refused(&why).await;
        return Ok(RunnerReturn::of(why.into()));
    };
    let bound = match function.bind(&arguments) {
        Ok(bound) => bound,
        Err(error) => return Ok(misfit(&mut events, function, error).await),
    };
    let value = match bound {
        Bound::EventSend { tag, data } => {
            events.started().await;
            return Ok(event_send(&mut events, function, &tag, data).await);
        }
        Bound::StateEvent(_) => {
            let why = "'state.event' prints events: call it with salt-run.";
            events.refused(why).await;
            return Ok(RunnerReturn::of(why.into()));
        }
        Bound::Jobs(question) => {
            events.started().await;
            let jobs = events.operator().jobs().clone();
            off_thread(move || jobs::answer(&question, &jobs)).await?
        }
        Bound::Presence(asked) => {
            events.started().await;
            let minions = events.operator().minions();
            off_thread(move || Ok::<_, Infallible>(manage::present(&asked, &minions))).await?
        }
        Bound::Cache(request) => {
            events.started().await;
            let minions = events.operator().minions();
            off_thread(move || cache::answer(&request, &minions.cache)).await?
        }
        Bound::Minions(inquiry) => {
            events.started().await;
            Ok(manage::answer(&inquiry, events.operator()).await?)
        }
        Bound::Reactor(question) => {
            events.started().await;
            let reactor = events.operator().reactor();
            let asked = move || match reactor {
                Some(reactor) => reactor.ask(&question),
                None => Err(NOT_RUNNING.to_owned()),
            };
            off_thread(asked).await?
        }
        Bound::Documentation(what) => {
            events.started().await;
            Ok(match what {
                Documented::Runner => helps().collect::<Map>(),
                Documented::Wheel => wheel_help::documentation(),
            }
            .into())
        }
        Bound::Echo(arguments) => {
            events.started().await;
            Ok(echo(arguments))
        }
        Bound::Nothing => {
            events.started().await;
            Ok(true.into())
        }
    };
    Ok(match value {
        Ok(value) => {
            events.returned(value.clone(), true, None).await;
            RunnerReturn::of(value)
        }
        Err(why) => raised(&mut events, function, &why).await,
    })
}

/// Runs what waits for the disk on a thread for that; why it raised an exception.
async fn off_thread<E: Display>(
    work: impl FnOnce() -> Result<Value, E> + Send + 'static,
) -> Result<Result<Value, String>, RunnerError> {
    let work = move || work().map_err(|error| error.to_string());
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| RunnerError::ShuttingDown)
}

/// Arguments that do not fit the function.
async fn misfit(
    events: &mut RunnerEvents<'_, impl Operator>,
    function: &Function,
    error: BindError,
) -> RunnerReturn {
    let value = match error {
        BindError::Unknown(_) => {
            let why = error.to_string();
            events.refused(&why).await;
            tracing::error!("{why}");
            help_of(function).trim_end().into()
        }
        BindError::Invalid(error) => {
            let help = function.help;
            let text = format!("\nPassed invalid arguments: {error}\n\nUsage:\n{help}");
            let value = Value::from(text.trim_end());
            events.started().await;
            events.returned(value.clone(), true, None).await;
            value
        }
    };
    RunnerReturn::of(value)
}

/// `event.send`: fires on the master's bus.
async fn event_send(
    events: &mut RunnerEvents<'_, impl Operator>,
    function: &Function,
    tag: &Value,
    data: Value,
) -> RunnerReturn {
    let fired = match (tag, data) {
        (Value::Str(tag), Value::Map(mut data)) => fire(events, tag, &mut data).await,
        (Value::Str(tag), data) if !data.is_true() => fire(events, tag, &mut Map::new()).await,
        (Value::Str(_), data) => {
            let found = python_text::str(&data);
            Err(format!("ValueError: Dict object expected, not '{found}'."))
        }
        (tag, _) => {
            let found = python_text::repr(tag);
            Err(format!("TypeError: expected a tag, found {found}"))
        }
    };
    match fired {
        Ok(was_sent) => {
            events.returned(was_sent.into(), true, None).await;
            RunnerReturn::of(was_sent.into())
        }
        Err(why) => raised(events, function, &why).await,
    }
}

/// A function that raised an exception; `why` is its last line.
async fn raised(
    events: &mut RunnerEvents<'_, impl Operator>,
    function: &Function,
    why: &str,
) -> RunnerReturn {
    let text = format!("Exception occurred in runner {}: {why}", function.name);
    events.returned(text.as_str().into(), false, Some(1)).await;
    RunnerReturn {
        value: text.into(),
        retcode: 1,
    }
}

/// Fires; `false` without a bus, an error where Salt raises one.
async fn fire(
    events: &mut RunnerEvents<'_, impl Operator>,
    tag: &str,
    data: &mut Map,
) -> Result<bool, String> {
    match events.fire(tag, data).await {
        Ok(()) => Ok(true),
        Err(PublishError::Event(FireError::EmptyTag)) => Err("ValueError: Empty tag.".to_owned()),
        Err(PublishError::Event(error)) => Err(format!("ValueError: {error}")),
        Err(error) => {
            tracing::error!("{error}");
            Ok(false)
        }
    }
}

/// `test.arg`: without the keywords that are Salt's own.
fn echo(arguments: Arguments) -> Value {
    let is_own = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("__"));
    let keywords = arguments.keyword.into_iter();
    let keywords: Map = keywords.filter(|(name, _)| !is_own(name)).collect();
    let mut echoed = Map::new();
    echoed.insert("args", arguments.positional);
    echoed.insert("kwargs", keywords);
    echoed.into()
}

/// Each function's name and documentation.
fn helps() -> impl Iterator<Item = (&'static str, &'static str)> {
    let functions = functions::FUNCTIONS.iter();
    functions.map(|function| (function.name, function.help))
}

/// The documentation of the functions whose names begin with `beginning`; of all if it is `None`.
#[must_use]
pub fn documentation(beginning: Option<&str>) -> String {
    let beginning = beginning.unwrap_or_default();
    let functions = functions::FUNCTIONS.iter();
    functions
        .filter(|function| function.name.starts_with(beginning))
        .map(help_of)
        .collect()
}

fn help_of(function: &Function) -> String {
    format!("{}:\n{}\n", function.name, function.help)
}
