//! Streams of events over the network: `/events`, `/ws`, `/all_events`, `/formatted_events`.

use hyper::Request;
use hyper::body::Incoming;

use crate::rest::{Answer, Context, RestError};

/// Which of Salt's streams is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// `/events`: server-sent events or JSON lines.
    Events,
    /// `/ws`, `/ws/<token>`.
    Websocket,
    /// `/all_events/<token>`, of `rest_tornado`.
    AllEvents,
    /// `/formatted_events/<token>`, of `rest_tornado`.
    FormattedEvents,
}

/// Answers with a stream.
#[expect(clippy::unused_async, reason = "a stream may wait for its beginning")]
pub(crate) async fn respond(
    context: &Context,
    _kind: StreamKind,
    _request: Request<Incoming>,
) -> Result<Answer, RestError> {
    context.session()?;
    Err(RestError::NotFound {
        path: context.path().to_owned(),
    })
}
