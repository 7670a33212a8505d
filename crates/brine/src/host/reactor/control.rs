//! Requests to a running reactor: from runner functions (`reactor.list`), and over the local socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use brine_api::{Command, CommandClient, RunCommand, RunError, Subject};
use brine_config::Arguments;
use brine_node::runner::functions::{self, Bound};
use brine_node::runner::{AskReactor, ReactorQuestion};
use brine_reactor::ReactorHandle;
use brine_wire::network::field;
use brine_wire::{Map, Value};

/// The reactor of this process, for runner functions.
pub(crate) struct OwnReactor(pub(crate) ReactorHandle);

impl AskReactor for OwnReactor {
    fn ask(&self, question: &ReactorQuestion) -> Result<Value, String> {
        let reactor = &self.0;
        let answer = |status: bool, comment: &str| {
            let mut answer = Map::new();
            answer.insert("status", status);
            answer.insert("comment", comment);
            Value::from(answer)
        };
        Ok(match question {
            ReactorQuestion::List => reactor.list().into(),
            ReactorQuestion::Add { event, reactors } => {
                match reactor
                    .add(event, reactors)
                    .map_err(|error| error.to_string())?
                {
                    true => answer(true, "Reactor added."),
                    false => answer(false, "Reactor already exists."),
                }
            }
            ReactorQuestion::Delete { event } => match reactor.delete(event) {
                true => answer(true, "Reactor deleted."),
                false => answer(false, "Reactor does not exists."),
            },
            ReactorQuestion::IsLeader => reactor.is_leader().into(),
            ReactorQuestion::SetLeader(value) => {
                reactor.set_leader(*value);
                reactor.is_leader().into()
            }
            ReactorQuestion::Status => {
                let status = reactor.status().into_iter().map(Value::from);
                status.collect::<Vec<_>>().into()
            }
            ReactorQuestion::Rerun(number) => {
                let new = reactor.rerun(*number).map_err(|error| error.to_string())?;
                Value::Int(new.into())
            }
        })
    }
}

/// A request of ours, which is answered at once and without events: asking what would happen must not make anything
/// happen.
const STATUS: &str = "reactor.status";

/// The commands of a master, with the question of `brine explain` and `brine reactor ls`.
pub(crate) struct WithStatus {
    pub(crate) inner: Arc<dyn RunCommand>,
    pub(crate) reactor: Option<Arc<OwnReactor>>,
}

impl RunCommand for WithStatus {
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>> {
        let is_status = command.client == CommandClient::Runner
            && field::text(&command.load, "fun") == Some(STATUS);
        if !is_status {
            return self.inner.run(command, by);
        }
        let answer = match &self.reactor {
            Some(reactor) => reactor.ask(&ReactorQuestion::Status),
            None => Err("no reactor runs: the configuration has no rules".to_owned()),
        };
        let answer = answer.map_err(|message| RunError::Failed {
            name: "CommandExecutionError".to_owned(),
            message,
        });
        Box::pin(std::future::ready(answer))
    }
}

/// The commands of a node that runs no runner functions, with those of its reactor.
pub(crate) struct WithReactor {
    pub(crate) inner: Option<Arc<dyn RunCommand>>,
    pub(crate) reactor: Arc<OwnReactor>,
    /// What the node is, for errors.
    pub(crate) node: &'static str,
}

impl RunCommand for WithReactor {
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>> {
        Box::pin(async move {
            let fun = field::text(&command.load, "fun").unwrap_or_default();
            if command.client == CommandClient::Runner && fun.starts_with("reactor.") {
                return self.ask(fun, &command.load);
            }
            match &self.inner {
                Some(inner) => inner.run(command, by).await,
                None => Err(RunError::NotHere {
                    client: command.client,
                    node: self.node,
                }),
            }
        })
    }
}

impl WithReactor {
    fn ask(&self, fun: &str, load: &Map) -> Result<Value, RunError> {
        let failed = |message: String| RunError::Failed {
            name: "SaltInvocationError".to_owned(),
            message,
        };
        let function =
            functions::named(fun).ok_or_else(|| failed(format!("'{fun}' is not available.")))?;
        let arguments = Arguments {
            positional: load
                .get("arg")
                .and_then(Value::as_array)
                .unwrap_or_default()
                .to_vec(),
            keyword: load
                .get("kwarg")
                .and_then(Value::as_map)
                .cloned()
                .unwrap_or_default(),
        };
        match function
            .bind(&arguments)
            .map_err(|error| failed(error.to_string()))?
        {
            Bound::Reactor(question) => self.reactor.ask(&question).map_err(failed),
            _ => Err(failed(format!("'{fun}' is not available."))),
        }
    }
}
