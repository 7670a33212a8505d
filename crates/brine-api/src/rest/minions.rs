//! `/minions`: minions' grains, and jobs for them.

use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::answer::Answer;
use super::commands;
use super::context::Context;
use super::error::RestError;
use super::operator::{Client, Credential, Low};
use super::session::Session;
use super::state::RestState;

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

/// Starts the job with which a stream of formatted events begins, as far as the session's user may: the minions'
/// grains come as its events.
pub(crate) async fn ask_for_grains(state: &RestState, session: &Session) {
    let enabled = &state.options.enabled_clients;
    if !enabled.iter().any(|client| client == "local") {
        return;
    }
    let Ok(_permit) = state.commands.acquire().await else {
        return; // never closed
    };
    let low = Low {
        client: Client::LocalAsync,
        fields: [("tgt", "*"), ("fun", "grains.items")]
            .into_iter()
            .collect(),
    };
    let by = Credential::Token(session.token().to_owned());
    if let Err(error) = state.operator.run(low, by).await {
        tracing::debug!(err = %error, "cannot read grains for formatted events");
    }
}
