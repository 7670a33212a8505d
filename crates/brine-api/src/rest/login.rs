//! `/login`: a token for a user and a password.

use brine_wire::{Map, Value};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::answer::Answer;
use super::context::Context;
use super::error::RestError;

/// Says that one must log in.
pub(super) fn get(_context: &Context) -> Result<Answer, RestError> {
    let answer: Map = [("status", Value::Nil), ("return", "Please log in".into())]
        .into_iter()
        .collect();
    Ok(Answer::json(StatusCode::OK, &answer.into()))
}

/// Logs in.
#[expect(clippy::unused_async, reason = "back ends wait")]
pub(super) async fn post(
    _context: &Context,
    _request: Request<Incoming>,
) -> Result<Answer, RestError> {
    Err(RestError::LoginFailed)
}
