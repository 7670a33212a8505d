//! `/metrics`: the bus for Prometheus; `/metrics/salt-exporter`: salt-exporter's metrics, by its names.
//!
//! Names and their sources are in `own` and `salt_exporter`. Described in `docs/metrics.md`.

mod own;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};

use crate::body::ResponseBody;
use crate::exposition::{Exposition, Format};
pub use crate::figures::{HistoryFigures, MasterFigures, ReactorFigures, Sources};
use crate::rest::{Answer, Context, RestError};
use crate::state::ApiState;
use crate::status;

/// Answers on the network. `path` begins with `metrics`.
pub(crate) async fn respond(
    context: &Context,
    path: &[&str],
    _request: Request<Incoming>,
) -> Result<Answer, RestError> {
    // It names minions and what they run; the other path holds numbers alone.
    if path.len() > 1 && !context.state.options.open_exporter {
        let subject = context.session()?.subject();
        status::admit(subject, &context.state.api().acl.access(subject))?;
    }
    let response = answer(&context.state.api(), path, context.accept()).await;
    response
        .map(Answer::Response)
        .ok_or_else(|| RestError::NotFound {
            path: context.path().to_owned(),
        })
}

/// The metrics at a path; `None` if there are none.
pub(crate) async fn answer(
    state: &Arc<ApiState>,
    path: &[&str],
    accept: Option<&str>,
) -> Option<Response<ResponseBody>> {
    let format = Format::accepted(accept);
    let mut out = Exposition::new(format);
    match path {
        // Figures of others may need the disk, or the kernel's tables.
        ["metrics"] => {
            let state = Arc::clone(state);
            let write = move || {
                own::write(&state, &mut out);
                out
            };
            out = tokio::task::spawn_blocking(write).await.ok()?;
        }
        ["metrics", "salt-exporter"] => state.exporter.write(&state.log, &mut out),
        _ => return None,
    }
    let mut response = Response::new(ResponseBody::full(out.finish()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    Some(response)
}
