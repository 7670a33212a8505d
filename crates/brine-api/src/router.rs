//! Requests over the network: who asks, which endpoint answers, and the headers that every answer has.
//!
//! Salt's endpoints are in [`rest`]; streams of events, metrics and the web page are in Brine's own modules.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::rest::{self, Answer, Context, Endpoint, RestError, RestState, Transport};
use crate::stream::{self, StreamKind};
use crate::{incoming, metrics, page};

/// How much of an unforeseen error is logged, in characters: it may quote the master's answer.
const LOGGED: usize = 500;

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
    let checked = incoming::check_head(&request);
    // What follows such a request cannot be told from its body.
    let closes = checked.is_err();
    let answer = match checked {
        Ok(()) => route(&context, request).await,
        Err(error) => Err(error.into()),
    };
    match answer {
        Ok(Answer::Response(mut response)) => {
            context.decorate(response.headers_mut());
            state.counters.answered(response.status());
            Answer::Response(response)
        }
        // A handler that takes over the connection writes the same headers: `Context::decorate`.
        Ok(take_over) => {
            state.counters.answered(StatusCode::OK);
            take_over
        }
        Err(error) => {
            // It may quote what was sent.
            let text = error.to_string();
            let text = rest::blanked(&text);
            match error {
                // The answer does not say why.
                RestError::Unforeseen(_) => {
                    let text: String = text.chars().take(LOGGED).collect();
                    tracing::warn!(peer = %context.peer(), path = ?rest::blanked(context.path()), err = ?text, "request failed");
                }
                _ => {
                    tracing::debug!(peer = %context.peer(), path = context.path(), err = ?text, "request refused");
                }
            }
            let mut response = context.refuse(&error);
            context.decorate(response.headers_mut());
            if closes {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            state.counters.answered(response.status());
            Answer::Response(response)
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Answer, RestError> {
    check_address(context)?;
    let path = context.segments();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(answer) = rest::files(context, &path, &request).await? {
        return Ok(answer);
    }
    check_endpoint(context)?;
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
        _ => rest::respond(context, &path, request).await,
    }
}

/// Whether the client may ask at all.
fn check_address(context: &Context) -> Result<(), RestError> {
    let ips = &context.state.options.authorized_ips;
    let address = context.peer().ip().to_canonical().to_string();
    if !ips.is_empty() && !ips.contains(&address) {
        if context.state.foreign_addresses.may_be_told() {
            tracing::warn!(%address, "refused: authorized_ips does not list this address");
        }
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
            // Nobody knows when one of them ends.
            let wait = Duration::from_secs(1);
            return Err(RestError::TooMany { wait });
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
    const GET: Option<&str> = Some("GET");
    let options = &state.options;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (allow, needs_session, is_stream) = match path.as_slice() {
        ["login" | "logout" | "minions" | "jobs", ..] if !options.enable_sessions => {
            (None, false, false)
        }
        [] => (BOTH, method == Method::POST, false),
        ["login" | "keys" | "run" | "token"] => (BOTH, false, false),
        ["keys", _] => (READ, false, false),
        ["logout"] => (WRITE, true, false),
        ["minions"] => (BOTH, true, false),
        ["minions", _] | ["jobs"] | ["jobs", _] => (READ, true, false),
        ["stats"] => (READ, !options.stats_disable_auth, false),
        ["events"] => (READ, false, true),
        ["ws"] | ["ws" | "all_events" | "formatted_events", _] => (GET, false, true),
        ["metrics", ..] | ["brine", ..] | ["healthz" | "readyz" | "openapi.json"] => {
            (READ, false, false)
        }
        ["status"] => (READ, true, false),
        [first, ..] if *first == options.webhook_url => {
            (WRITE, !options.webhook_disable_auth, false)
        }
        path if rest::is_of_files(options, path) => (READ, false, false),
        _ => (None, false, false),
    };
    Endpoint {
        allow,
        needs_session,
        is_stream,
    }
}
