//! `/minions`: minions' grains, and jobs for them.

use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::commands;
use super::context::Context;
use super::error::RestError;

/// The grains of minions.
pub(super) async fn get(context: &Context, target: &str) -> Result<Answer, RestError> {
    let grains =
        commands::execute_own(context, "local", "grains.items", &[("tgt", target)]).await?;
    Ok(commands::returned(context, StatusCode::OK, vec![grains]))
}

/// Starts jobs; where their results will be.
pub(super) async fn post(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let token = context.session()?.token().to_owned();
    let mut chunks = commands::read(context, head, incoming).await?;
    for chunk in &mut chunks {
        chunk.insert("client", "local_async");
    }
    let jobs = commands::execute(context, chunks, Some(&token)).await?;
    let links = jobs.iter().filter_map(|job| {
        let jid = job.as_map()?.get("jid")?.as_str()?;
        let link: Map = [("href", format!("/jobs/{jid}"))].into_iter().collect();
        Some(Value::from(link))
    });
    let links: Map = [("jobs", links.collect::<Vec<_>>())].into_iter().collect();
    let mut answer = Map::new();
    answer.insert("return", jobs);
    answer.insert("_links", links);
    Ok(context.answer(StatusCode::ACCEPTED, &answer.into()))
}
