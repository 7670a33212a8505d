//! `/metrics`: the bus for Prometheus.

use hyper::Request;
use hyper::body::Incoming;

use crate::rest::{Answer, Context, RestError};

/// Answers with metrics. `path` begins with `metrics`.
#[expect(clippy::unused_async, reason = "figures may be asked of others")]
pub(crate) async fn respond(
    context: &Context,
    _path: &[&str],
    _request: Request<Incoming>,
) -> Result<Answer, RestError> {
    Err(RestError::NotFound {
        path: context.path().to_owned(),
    })
}
