//! Salt's REST surface: what `salt-api` answers, on the network.
//!
//! [`respond`] finds out who asks, finds the endpoint, and gives every answer the headers that all of
//! Salt's have. Each endpoint is a file of its own; streams of events, metrics and the web page are
//! modules beside this one. Nothing here knows sockets, or how a master runs a command ([`Operator`]).
//! Facts: Salt 3008.3 and 3006.28 as they behave; `tests/it/captures`.

mod answer;
mod context;
mod error;
mod login;
mod logout;
mod operator;
mod options;
mod session;
mod state;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

pub(crate) use self::answer::{Answer, head_bytes};
pub(crate) use self::context::{Context, Transport};
pub(crate) use self::error::RestError;
pub use self::operator::{Low, Operator, OperatorError};
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
    let (context, request) = Context::new(state, transport, request).await;
    match route(&context, request).await {
        Ok(Answer::Response(mut response)) => {
            context.decorate(response.headers_mut());
            Answer::Response(response)
        }
        // Whoever takes the connection over writes the same headers: `Context::decorate`.
        Ok(take_over) => take_over,
        Err(error) => {
            tracing::debug!(peer = %context.peer(), path = context.path(), err = %error, "request refused");
            let mut response = error.to_response(&context);
            context.decorate(response.headers_mut());
            Answer::Response(response)
        }
    }
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Answer, RestError> {
    let path = context.segments();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let method = request.method();
    match (path.as_slice(), method) {
        ([], &Method::GET | &Method::HEAD) if context.prefers_html() => {
            page::respond(context, &path, request).await
        }
        (["login"], &Method::GET | &Method::HEAD) => login::get(context),
        (["login"], &Method::POST) => login::post(context, request).await,
        (["logout"], &Method::POST) => logout::post(context),
        (["events"], &Method::GET | &Method::HEAD) => {
            stream::respond(context, StreamKind::Events, request).await
        }
        (["ws"], &Method::GET) => stream::respond(context, StreamKind::Websocket, request).await,
        (["ws", _token], &Method::GET) => {
            stream::respond(context, StreamKind::Websocket, request).await
        }
        (["all_events", _token], &Method::GET) => {
            stream::respond(context, StreamKind::AllEvents, request).await
        }
        (["formatted_events", _token], &Method::GET) => {
            stream::respond(context, StreamKind::FormattedEvents, request).await
        }
        (["metrics", ..], &Method::GET | &Method::HEAD) => {
            metrics::respond(context, &path, request).await
        }
        (["brine", ..] | ["healthz" | "readyz" | "openapi.json"], &Method::GET | &Method::HEAD) => {
            page::respond(context, &path, request).await
        }
        (known, _) => match methods(known) {
            Some(allow) => Err(RestError::MethodNotAllowed { allow }),
            None => Err(RestError::NotFound {
                path: context.path().to_owned(),
            }),
        },
    }
}

/// The methods of an endpoint, as `Allow` names them.
fn methods(path: &[&str]) -> Option<&'static str> {
    match path {
        [] | ["login" | "logout"] => Some("GET, HEAD, POST"),
        ["events" | "metrics" | "healthz" | "readyz" | "openapi.json"]
        | ["ws" | "all_events" | "formatted_events" | "brine", ..] => Some("GET, HEAD"),
        _ => None,
    }
}
