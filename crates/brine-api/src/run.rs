//! `POST /run`: a command for the node, from somebody whose identity is known.
//!
//! This replaces requests that local programs wrote to the bus as events, where nobody could tell who had
//! written them. What a command does is the node's business; here it is read, permitted and answered.

use std::future::Future;
use std::pin::Pin;

use brine_wire::{Map, Value, json, msgpack};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;

use crate::acl::Access;
use crate::body::{self, JSON, ResponseBody};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::subject::Subject;

/// Runs a node's commands. A master and a minion each have one.
pub trait RunCommand: Send + Sync {
    /// Runs a command that `by` is permitted. Dropping the future does not stop it.
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>>;
}

/// Why a command was not run, or what came of it instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// This node does not run such commands.
    #[error("{client}: this {node} does not run such commands")]
    NotHere {
        /// What was asked for.
        client: Client,
        /// What this node is.
        node: &'static str,
    },
    /// The command is not understood.
    #[error("{0}")]
    BadCommand(String),
    /// The command failed, or its target or permission was refused by the node.
    #[error("{message}")]
    Failed {
        /// The name of Salt's exception.
        name: String,
        /// What happened.
        message: String,
    },
}

/// Which of Salt's clients a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Publishes a job and answers with its id and its minions.
    LocalAsync,
    /// Runs a runner function and answers with its result.
    Runner,
    /// Starts a runner function and answers with its tag and job id.
    RunnerAsync,
    /// Runs a wheel function and answers with its result.
    Wheel,
    /// Runs a wheel function and answers with the tag and job id of its events.
    WheelAsync,
    /// Runs an execution function in the minion.
    Caller,
}

impl Client {
    const ALL: [(&'static str, Self); 6] = [
        ("local_async", Self::LocalAsync),
        ("runner", Self::Runner),
        ("runner_async", Self::RunnerAsync),
        ("wheel", Self::Wheel),
        ("wheel_async", Self::WheelAsync),
        ("caller", Self::Caller),
    ];

    fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(own, client)| (own == name).then_some(client))
    }

    /// The name of a function in a list of permissions.
    fn permission(self, fun: &str) -> String {
        match self {
            Self::LocalAsync | Self::Caller => fun.to_owned(),
            Self::Runner | Self::RunnerAsync => format!("@runner/{fun}"),
            Self::Wheel | Self::WheelAsync => format!("@wheel/{fun}"),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.iter().find(|(_, client)| client == self);
        name.map_or("", |(name, _)| name).fmt(out)
    }
}

/// A command, as far as every node reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// For which client.
    pub client: Client,
    /// All of what was sent but `client`: `fun`, `arg`, `kwarg`, `tgt`, `tgt_type` and the like.
    pub load: Map,
}

/// The largest command, in bytes.
const MAX_COMMAND: usize = 16 << 20;

/// Runs the command of a body. The answer has the body's form.
pub(crate) async fn post(
    state: &ApiState,
    subject: &Subject,
    access: &Access,
    head: &Parts,
    incoming: Incoming,
) -> Result<Response<ResponseBody>, ApiError> {
    if access.run.is_nothing() {
        return Err(ApiError::Forbidden(format!(
            "{subject} may run no commands; brine: {{acl: …}} has no run for it"
        )));
    }
    let runner = state.runner.as_ref().ok_or_else(|| {
        ApiError::NotHere("this is a bus alone; commands are run by a master or a minion".into())
    })?;
    let form = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|form| form.to_str().ok());
    let is_msgpack = matches!(form, Some("application/x-msgpack" | "application/msgpack"));
    let body = body::whole(incoming, MAX_COMMAND).await?;
    let value = if is_msgpack {
        msgpack::decode(&body).map_err(|error| ApiError::BadRequest(error.to_string()))?
    } else {
        json::parse(&body).map_err(|error| ApiError::BadRequest(error.to_string()))?
    };
    let command = read(value)?;
    permit(&command, subject, access)?;
    tracing::info!(user = %subject.user, pid = subject.pid(), client = %command.client, "command over the local socket");
    let result = runner.run(command, subject).await.map_err(failed)?;
    let outer: Map = [("return", result)].into_iter().collect();
    let (bytes, content_type) = if is_msgpack {
        let mut bytes = Vec::new();
        msgpack::encode(&outer.into(), &mut bytes);
        (bytes, HeaderValue::from_static("application/x-msgpack"))
    } else {
        let mut text = String::new();
        json::to_exact_line(&outer.into(), &mut text);
        text.push('\n');
        (text.into_bytes(), JSON)
    };
    let mut response = Response::new(ResponseBody::full(bytes));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

fn read(value: Value) -> Result<Command, ApiError> {
    let bad = |message: String| ApiError::BadRequest(message);
    let Value::Map(mut load) = value else {
        return Err(bad("expected one object {\"client\": …, \"fun\": …}".into()));
    };
    let client = load.remove("client");
    let name = client.as_ref().and_then(Value::as_str).unwrap_or_default();
    let client = Client::named(name).ok_or_else(|| {
        let names = Client::ALL.map(|(name, _)| name).join(", ");
        bad(format!("client: expected one of {names}, found {name:?}"))
    })?;
    Ok(Command { client, load })
}

/// Whether every function of a command is permitted.
fn permit(command: &Command, subject: &Subject, access: &Access) -> Result<(), ApiError> {
    let functions = match command.load.get("fun") {
        Some(Value::Str(fun)) => vec![fun.as_str()],
        Some(Value::Array(funs)) if !funs.is_empty() => {
            let texts: Option<Vec<&str>> = funs.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| ApiError::BadRequest("fun: expected texts".into()))?
        }
        _ => {
            return Err(ApiError::BadRequest(
                "fun: expected a function's name".into(),
            ));
        }
    };
    for fun in functions {
        if !access.run.contains(&command.client.permission(fun)) {
            return Err(ApiError::Forbidden(format!(
                "{subject} may not run {fun:?} (brine: {{acl: …}})"
            )));
        }
    }
    Ok(())
}

fn failed(error: RunError) -> ApiError {
    match error {
        RunError::NotHere { .. } => ApiError::NotHere(error.to_string()),
        RunError::BadCommand(message) => ApiError::BadRequest(message),
        RunError::Failed { name, message } => ApiError::Failed {
            code: name,
            message,
        },
    }
}
