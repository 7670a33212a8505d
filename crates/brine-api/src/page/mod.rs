//! The web page, health and the description of the API.

use hyper::Request;
use hyper::body::Incoming;

use crate::rest::{Answer, Context, RestError};

/// Answers below `/brine`, at `/` for browsers, and `/healthz`, `/readyz`, `/openapi.json`.
#[expect(clippy::unused_async, reason = "readiness may be asked of others")]
pub(crate) async fn respond(
    context: &Context,
    _path: &[&str],
    _request: Request<Incoming>,
) -> Result<Answer, RestError> {
    Err(RestError::NotFound {
        path: context.path().to_owned(),
    })
}
