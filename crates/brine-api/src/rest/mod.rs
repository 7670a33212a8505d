//! Salt's REST surface: what `salt-api` answers, on the network.
//!
//! `respond` finds out who asks, finds the endpoint, and gives every answer the headers that all of
//! Salt's have. Each endpoint is a file of its own; streams of events, metrics and the web page are
//! modules beside this one. Nothing here knows sockets, or how a master runs a command ([`Operator`]).
//! Facts: Salt 3008.3 and 3006.28 as they behave; `tests/it/captures`.

mod accept;
mod answer;
mod body;
mod commands;
mod context;
mod counters;
mod date;
mod error;
mod files;
mod hook;
mod jobs;
mod keys;
mod login;
mod minions;
mod operator;
mod options;
mod preflight;
mod session;
mod state;
mod stats;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

pub(crate) use self::answer::{Answer, head_bytes};
pub(crate) use self::body::fuzz as fuzz_bodies;
pub(crate) use self::context::fuzz as fuzz_heads;
pub(crate) use self::context::{Context, Endpoint, Transport};
pub use self::counters::{Counters, Counts};
pub(crate) use self::error::RestError;
pub(crate) use self::minions::ask_for_grains;
pub use self::operator::{Client, Credential, Low, Operator, OperatorError, Pending};
pub use self::options::{Limits, RestOptions};
pub use self::session::{Session, Sessions};
pub use self::state::RestState;
use crate::stream::StreamKind;
use crate::{metrics, page, stream};

/// Answers a request that came over the network.
pub(crate) async fn respond(
    state: &Arc<RestState>,
    transport: Transport,
    request: Request<Incoming>,
) -> Answer {
    let method = request.method().clone();
    let context = Context::new(state, transport, &request, |state, path| {
        endpoint(state, &method, path)
    });
    let context = context.await;
    match route(&context, request).await {
        Ok(Answer::Response(mut response)) => {
            context.decorate(response.headers_mut());
            state.counters.answered(response.status());
            Answer::Response(response)
        }
        // Whoever takes the connection over writes the same headers: `Context::decorate`.
        Ok(take_over) => {
            state.counters.answered(StatusCode::OK);
            take_over
        }
        Err(error) => {
            tracing::debug!(peer = %context.peer(), path = context.path(), err = %error, "request refused");
            let mut response = context.refuse(&error);
            context.decorate(response.headers_mut());
            state.counters.answered(response.status());
            Answer::Response(response)
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Answer, RestError> {
    check_address(context)?;
    let path = context.segments();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(answer) = files::respond(context, &path, &request).await? {
        return Ok(answer);
    }
    check_endpoint(context)?;
    let options = &context.state.options;
    let is_hook = path.first() == Some(&options.webhook_url.as_str());
    match (path.as_slice(), request.method()) {
        ([], &Method::GET | &Method::HEAD) if context.prefers_html() => {
            page::respond(context, &path, request).await
        }
        (["events"], &Method::GET | &Method::HEAD) => {
            stream::respond(context, StreamKind::Events, request).await
        }
        (["ws"] | ["ws", _], &Method::GET) => {
            stream::respond(context, StreamKind::Websocket, request).await
        }
        (["all_events", _], &Method::GET) => {
            stream::respond(context, StreamKind::AllEvents, request).await
        }
        (["formatted_events", _], &Method::GET) => {
            stream::respond(context, StreamKind::FormattedEvents, request).await
        }
        (["metrics", ..], &Method::GET | &Method::HEAD) => {
            metrics::respond(context, &path, request).await
        }
        (
            ["brine", ..] | ["healthz" | "readyz" | "openapi.json" | "status"],
            &Method::GET | &Method::HEAD,
        ) => page::respond(context, &path, request).await,
        _ => {
            let (head, incoming) = request.into_parts();
            if !is_hook {
                context.check_accept()?;
            }
            match (path.as_slice(), &head.method) {
                ([] | ["run" | "token"], &Method::GET | &Method::HEAD) => {
                    Ok(commands::welcome(context))
                }
                ([], &Method::POST) => commands::post(context, &head, incoming).await,
                (["run"], &Method::POST) => commands::run(context, &head, incoming).await,
                (["login"], &Method::GET | &Method::HEAD) => login::get(context),
                (["login"], &Method::POST) => login::post(context, &head, incoming).await,
                (["logout"], &Method::POST) => login::logout(context).await,
                (["token"], &Method::POST) => login::token(context, &head, incoming).await,
                (["minions"], &Method::POST) => minions::post(context, &head, incoming).await,
                (["minions"], &Method::GET | &Method::HEAD) => minions::get(context, "*").await,
                (["minions", id], &Method::GET | &Method::HEAD) => minions::get(context, id).await,
                (["jobs"], &Method::GET | &Method::HEAD) => jobs::list(context).await,
                (["jobs", jid], &Method::GET | &Method::HEAD) => jobs::get(context, jid).await,
                (["keys"], &Method::GET | &Method::HEAD) => keys::list(context).await,
                (["keys", id], &Method::GET | &Method::HEAD) => keys::get(context, id).await,
                (["keys"], &Method::POST) => keys::post(context, &head, incoming).await,
                (["stats"], &Method::GET | &Method::HEAD) => stats::get(context),
                (_, &Method::POST) if is_hook => {
                    hook::post(context, &path[1..], &head, incoming).await
                }
                _ => Err(RestError::MethodNotAllowed {
                    allow: context.endpoint().allow.unwrap_or_default(),
                }),
            }
        }
    }
}

/// Whether the client may ask at all.
fn check_address(context: &Context) -> Result<(), RestError> {
    let ips = &context.state.options.authorized_ips;
    let address = context.peer().ip().to_canonical().to_string();
    if !ips.is_empty() && !ips.contains(&address) {
        tracing::warn!(%address, "authorized_ips does not name this address");
        return Err(RestError::Forbidden("Bad IP".into()));
    }
    Ok(())
}

/// What is checked before any endpoint is asked.
fn check_endpoint(context: &Context) -> Result<(), RestError> {
    let endpoint = context.endpoint();
    if endpoint.allow.is_none() {
        return Err(RestError::NotFound {
            path: context.path().to_owned(),
        });
    }
    if endpoint.is_stream && context.has_forbidden_token() {
        return Err(RestError::BadRequest(NO_QUERY_TOKENS.into()));
    }
    if endpoint.needs_session {
        context.session()?;
    }
    if endpoint.is_stream {
        let state = &context.state;
        let user = &context.session()?.subject().user;
        if state.sessions.streams_of(user) >= state.options.limits.streams_per_user {
            return Err(RestError::TooMany);
        }
    }
    Ok(())
}

/// Salt's text for a token in the query.
const NO_QUERY_TOKENS: &str = "The /events endpoint takes no query parameters; in particular, tokens must not be \
    passed via the query string -- they end up in access logs and the Referer header. Use the \
    'X-Auth-Token' header (for non-browser clients) or the session cookie set by /login (for browser \
    EventSource clients) instead.";

/// What is known of an endpoint by its path.
fn endpoint(state: &RestState, method: &Method, path: &[String]) -> Endpoint {
    const READ: Option<&str> = Some("GET, HEAD");
    const BOTH: Option<&str> = Some("GET, HEAD, POST");
    const WRITE: Option<&str> = Some("POST");
    let options = &state.options;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (allow, needs_session, is_stream) = match path.as_slice() {
        ["login" | "logout" | "minions" | "jobs", ..] if !options.enable_sessions => {
            (None, false, false)
        }
        [] => (BOTH, method == Method::POST, false),
        ["login"] | ["keys"] | ["keys", _] => (BOTH, false, false),
        ["run" | "token"] => (BOTH, false, false),
        ["logout"] => (BOTH, true, false),
        ["minions" | "jobs"] | ["minions" | "jobs", _] => (BOTH, true, false),
        ["stats"] => (READ, !options.stats_disable_auth, false),
        ["events" | "ws"] | ["ws" | "all_events" | "formatted_events", _] => (READ, false, true),
        ["metrics", ..] | ["brine", ..] | ["healthz" | "readyz" | "openapi.json"] => {
            (READ, false, false)
        }
        ["status"] => (READ, true, false),
        [first, ..] if *first == options.webhook_url => {
            (WRITE, !options.webhook_disable_auth, false)
        }
        _ => (None, false, false),
    };
    Endpoint {
        allow,
        needs_session,
        is_stream,
    }
}
