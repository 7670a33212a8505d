//! `/stats`: what the API has counted. SaltGUI takes it for a sign of life.

use brine_wire::{Map, Value};
use hyper::StatusCode;

use super::answer::Answer;
use super::context::Context;
use super::error::RestError;

/// The counts.
pub(super) fn get(context: &Context) -> Result<Answer, RestError> {
    let counts = context.state.counters.now();
    let number = |number: u64| Value::Int(number.into());
    let mut api = Map::new();
    api.insert("Logins", number(counts.logins));
    api.insert("Failed Logins", number(counts.failed_logins));
    api.insert("Commands", number(counts.commands));
    api.insert("Webhooks", number(counts.webhooks));
    for (class, answers) in (1..).zip(counts.answers) {
        api.insert(format!("Answers {class}xx"), number(answers));
    }
    let answer: Map = [("Brine API", api)].into_iter().collect();
    Ok(context.answer(StatusCode::OK, &answer.into()))
}
