//! `/hook/…`: webhooks become events.

use brine_wire::{Map, Value};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderName};
use hyper::http::request::Parts;

use super::answer::Answer;
use super::body;
use super::context::Context;
use super::error::RestError;
use super::secrets::{Finder, REDACTED};
use crate::state::Noticed;

/// Headers that come first in Salt's data, in its order.
const FIRST: [&str; 1] = ["host"];

/// Headers whose values are secrets: every listener would read them. Salt publishes them.
const SECRETS: [&str; 4] = [
    "x-auth-token",
    "cookie",
    "authorization",
    "proxy-authorization",
];

/// Fires `salt/netapi/hook/…` with body and headers.
pub(super) async fn post(
    context: &Context,
    path: &[&str],
    head: &Parts,
    incoming: Incoming,
) -> Result<Answer, RestError> {
    let mut tokens = Finder::new(&context.state);
    let tag = tag(path)?;
    if *tokens.without_tokens(&tag).await != *tag {
        return Err(RestError::BadRequest("The path holds a token".into()));
    }
    if let Ok(session) = context.session() {
        let api = context.state.api();
        let access = api.acl.access(session.subject());
        if !access.fire.contains(&tag) {
            let refused = Noticed::IsRefused { tag: Some(&tag) };
            api.note(session.subject(), refused);
            return Err(RestError::Forbidden(
                format!("\"{tag}\" is not among the tags you may fire (brine: {{acl: …}})").into(),
            ));
        }
    }
    let parsed = body::read(context, head, incoming).await?;
    context.check_accept()?;
    let post = parsed.value.filter(Value::is_true);
    let mut data = Map::new();
    data.insert("body", parsed.raw);
    data.insert("post", post.unwrap_or_else(|| Map::new().into()));
    data.insert("headers", headers(context, head, tokens).await);
    let was_fired = context.state.operator.fire(&tag, data).await;
    context.state.counters.webhook();
    let answer: Map = [("success", was_fired)].into_iter().collect();
    Ok(context.answer(StatusCode::OK, &answer.into()))
}

/// The tag of a webhook. What would look like another tag, or is no text for one, is refused.
fn tag(path: &[&str]) -> Result<String, RestError> {
    let mut tag = "salt/netapi/hook".to_owned();
    for part in path {
        if part.chars().any(char::is_control) {
            return Err(RestError::BadRequest(
                "The path holds control characters".into(),
            ));
        }
        tag.push('/');
        tag.push_str(part);
    }
    if tag.len() > 1024 {
        return Err(RestError::BadRequest(
            "The path is too long for a tag".into(),
        ));
    }
    Ok(tag)
}

/// The headers as Salt shows them: title-cased, `Remote-Addr` first. A page whose address has a token sends it as
/// `Referer`.
async fn headers(context: &Context, head: &Parts, mut tokens: Finder<'_>) -> Map {
    let mut shown = Map::new();
    shown.insert(
        "Remote-Addr",
        context.peer().ip().to_canonical().to_string(),
    );
    // HTTP/2 has it in the address.
    if !head.headers.contains_key(HOST)
        && let Some(host) = head.uri.authority()
    {
        shown.insert("Host", host.as_str());
    }
    let is_first = |name: &HeaderName| FIRST.contains(&name.as_str());
    let first = head.headers.iter().filter(|(name, _)| is_first(name));
    let others = head.headers.iter().filter(|(name, _)| !is_first(name));
    for (name, value) in first.chain(others) {
        let value = match SECRETS.contains(&name.as_str()) {
            true => REDACTED.into(),
            false => {
                let value = String::from_utf8_lossy(value.as_bytes());
                tokens.without_tokens(&value).await.into_owned()
            }
        };
        shown.insert(title_case(name.as_str()), value);
    }
    shown
}

fn title_case(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}
