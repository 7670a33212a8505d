//! `POST /run`: a command for the node, from a user who is authenticated.
//!
//! It replaces requests that local programs wrote to the bus as events, where nobody could tell who had written them.
//! The node knows what a command does; this file parses it, checks permissions and answers.

use brine_wire::{Map, Value, json, msgpack};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;

use crate::acl::Access;
use crate::body::{JSON, ResponseBody};
use crate::command::{Command, CommandClient, RunError};
use crate::error::ApiError;
use crate::fired_by;
use crate::hang_up::HangUp;
use crate::incoming;
use crate::state::ApiState;
use crate::subject::Subject;

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
    let body = incoming::whole(incoming, MAX_COMMAND).await?;
    let value = if is_msgpack {
        msgpack::decode(&body).map_err(|error| ApiError::BadRequest(error.to_string()))?
    } else {
        json::parse(&body).map_err(|error| ApiError::BadRequest(error.to_string()))?
    };
    let command = read(value)?;
    permit(&command, subject, access)?;
    tracing::info!(user = %subject.user, pid = subject.pid(), client = %command.client, "command over the local socket");
    let mut hang_up = HangUp::of(&head.extensions);
    let result = tokio::select! {
        result = runner.run(command, subject) => result.map_err(failed)?,
        // As with any client that is interrupted: nobody waits for the result.
        () = hang_up.is_complete() => return Err(ApiError::ClientGone),
    };
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
    let client = CommandClient::named(name).ok_or_else(|| {
        let names = CommandClient::ALL.map(|(name, _)| name).join(", ");
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
        if let CommandClient::Runner | CommandClient::RunnerAsync = command.client {
            let called = fired_by::check(&access.fire, fun, &command.arguments());
            called.map_err(|why| ApiError::Forbidden(why.to_string()))?;
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
