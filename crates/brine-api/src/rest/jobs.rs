//! `/jobs`: past and present jobs, and what they returned.

use brine_wire::{Map, Value};
use hyper::StatusCode;

use super::answer::Answer;
use super::commands;
use super::context::Context;
use super::error::RestError;

/// All jobs.
pub(super) async fn list(context: &Context) -> Result<Answer, RestError> {
    let jobs = commands::execute_own(context, "runner", "jobs.list_jobs", &[]).await?;
    Ok(commands::returned(context, StatusCode::OK, vec![jobs]))
}

/// One job, and under `return` what each minion returned.
pub(super) async fn get(context: &Context, jid: &str) -> Result<Answer, RestError> {
    let job = commands::execute_own(context, "runner", "jobs.list_job", &[("jid", jid)]).await?;
    let Some(about) = job.as_map() else {
        // The text of an exception.
        return Err(RestError::Unforeseen(format!("jobs.list_job: {job:?}")));
    };
    let results = about.get("Result").and_then(Value::as_map);
    let results = results.cloned().unwrap_or_default();
    let returns = results.iter().map(|(id, result)| {
        let value = result.as_map().and_then(|result| result.get("return"));
        (id.clone(), value.cloned().unwrap_or(Value::Nil))
    });
    let returns = Map::from_pairs(returns.collect());
    let mut answer = Map::new();
    answer.insert("info", vec![job]);
    answer.insert("return", vec![Value::from(returns)]);
    Ok(context.answer(StatusCode::OK, &answer.into()))
}
