//! What `POST /run` does, as the user whom the local socket has identified: on a master it publishes jobs and calls
//! runner and wheel functions, on a minion it runs functions.

use std::future::Future;
use std::pin::Pin;

use brine_api::{Command, CommandClient, RunCommand, RunError, Subject};
use brine_node::JobRequest;
use brine_node::functions::Call;
use brine_node::master::{MasterHandle, WheelError};
use brine_node::minion::MinionHandle;
use brine_wire::network::field;
use brine_wire::{Map, Value};
use rustix::process::geteuid;

use super::http_api::own;

/// Commands for a master in this process.
pub(crate) struct MasterCommands(pub(crate) MasterHandle);

impl RunCommand for MasterCommands {
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>> {
        Box::pin(async move {
            match command.client {
                CommandClient::LocalAsync => self.publish(&command.load, by).await,
                CommandClient::Runner => self.runner(&command, by).await,
                CommandClient::RunnerAsync => self.start_runner(&command, by),
                CommandClient::Wheel => self.wheel(&command, by).await?.1.map_err(failed),
                CommandClient::WheelAsync => {
                    Ok(own::where_it_is(&self.wheel(&command, by).await?.0))
                }
                client => Err(RunError::NotHere {
                    client,
                    node: "master",
                }),
            }
        })
    }
}

/// Commands for a minion in this process.
pub(crate) struct MinionCommands(pub(crate) MinionHandle);

impl RunCommand for MinionCommands {
    fn run<'a>(
        &'a self,
        command: Command,
        _by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>> {
        Box::pin(async move {
            match command.client {
                CommandClient::Caller => {
                    let result = self.0.call(command.load).await;
                    result
                        .map(Value::from)
                        .ok_or_else(|| failed("the minion is ending"))
                }
                client => Err(RunError::NotHere {
                    client,
                    node: "minion",
                }),
            }
        })
    }
}

impl MasterCommands {
    async fn publish(&self, load: &Map, by: &Subject) -> Result<Value, RunError> {
        let request = JobRequest::from_load(load);
        let request = request
            .ok_or_else(|| RunError::BadCommand("local_async needs a tgt and a fun".to_owned()))?;
        let caller = self.0.permitted_caller(publisher(load, by));
        let published = self.0.publish(request, &caller).await;
        let published = published.map_err(|error| named("AuthorizationError", error))?;
        let ids = |ids: &[brine_wire::network::MinionId]| {
            let ids = ids.iter().map(|id| Value::from(id.as_str()));
            ids.collect::<Vec<_>>()
        };
        let mut answer = Map::new();
        let jid = published.jid.as_ref();
        answer.insert("jid", jid.map_or(Value::Nil, |jid| jid.as_str().into()));
        answer.insert("minions", ids(&published.minions));
        answer.insert("missing", ids(&published.missing));
        Ok(answer.into())
    }

    async fn runner(&self, command: &Command, by: &Subject) -> Result<Value, RunError> {
        let (fun, caller) = (fun(&command.load), self.0.permitted_caller(&by.user));
        let returned = self.0.runner(fun, command.arguments(), &caller).await;
        let returned = returned.map_err(failed)?;
        match returned.retcode {
            0 => Ok(returned.value),
            _ => Err(failed(match &returned.value {
                Value::Str(text) => text.to_string(),
                _ => format!("{fun}: the function failed"),
            })),
        }
    }

    /// Starts a runner function: the tag and the job id of its events.
    fn start_runner(&self, command: &Command, by: &Subject) -> Result<Value, RunError> {
        let caller = self.0.permitted_caller(&by.user);
        let fun = fun(&command.load);
        let started = self.0.start_runner(fun, command.arguments(), &caller);
        started.map_err(failed)
    }

    /// Runs a wheel function: the event of its result, and the result.
    async fn wheel(
        &self,
        command: &Command,
        by: &Subject,
    ) -> Result<(Value, Result<Value, WheelError>), RunError> {
        let arguments = command.arguments();
        let call = Call {
            fun: fun(&command.load).to_owned(),
            args: arguments.positional,
            kwargs: arguments.keyword,
            ..Call::default()
        };
        let caller = self.0.permitted_caller(&by.user);
        self.0.wheel_answer(call, &caller).await.map_err(failed)
    }
}

/// The name that the job shows. A user who may do anything may say for whom it is, such as `sudo_lars`.
fn publisher<'a>(load: &'a Map, by: &'a Subject) -> &'a str {
    let own = geteuid();
    let may_say = match by.uid() {
        Some(uid) => uid == 0 || uid == own.as_raw(),
        // The token is in a file that only the master's user can read.
        None => true,
    };
    let said = field::text(load, "user").filter(|user| !user.is_empty());
    said.filter(|_| may_say).unwrap_or(&by.user)
}

fn fun(load: &Map) -> &str {
    field::text(load, "fun").unwrap_or_default()
}

fn failed(error: impl std::fmt::Display) -> RunError {
    named("SaltInvocationError", error)
}

/// A failure, with the name of Salt's exception.
fn named(name: &str, error: impl std::fmt::Display) -> RunError {
    RunError::Failed {
        name: name.to_owned(),
        message: error.to_string(),
    }
}
