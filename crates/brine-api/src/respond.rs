//! From a request to its answer, over any transport.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, HeaderValue};
use hyper::{Method, Request, Response};

use crate::body::ResponseBody;
use crate::error::ApiError;
use crate::events::{fire, read};
use crate::state::ApiState;
use crate::subject::Subject;
use crate::{consumers, incoming, metrics, run, status};

/// Answers a request of `subject`.
pub async fn respond(
    state: &Arc<ApiState>,
    subject: &Subject,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    // Where the body of such a request ends is unknown, so the connection cannot be used for another one.
    if let Err(error) = incoming::check_framing(request.headers()) {
        tracing::debug!(%subject, err = %error, "request refused");
        let mut response = error.to_response();
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        return response;
    }
    match route(state, subject, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%subject, err = %error, "request refused");
            error.to_response()
        }
    }
}

async fn route(
    state: &Arc<ApiState>,
    subject: &Subject,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, ApiError> {
    let (head, body) = request.into_parts();
    let access = state.acl.access(subject);
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/events") => read::get(state, subject, access, &head),
        (&Method::POST, "/events") => fire::post(state, subject, access, &head, body).await,
        (&Method::GET, "/status") => status::get(
            state,
            subject,
            &access,
            head.uri.query().unwrap_or_default(),
        ),
        (&Method::GET, "/metrics" | "/metrics/salt-exporter") => {
            status::admit(subject, &access)?;
            let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
            let accept = head
                .headers
                .get(ACCEPT)
                .and_then(|accept| accept.to_str().ok());
            let answer = metrics::answer(state, &path, accept).await;
            answer.ok_or(ApiError::NotFound)
        }
        (&Method::POST, "/run") => run::post(state, subject, &access, &head, body).await,
        (method, path) if path.starts_with(consumers::PATH) => {
            let name = path
                .strip_prefix("/consumers/")
                .and_then(|rest| rest.strip_suffix("/events"));
            if let (Some(name), &Method::GET) = (name, method) {
                let consumer = consumers::to_read(state, subject, &access, name)?;
                return read::get_of_consumer(state, subject, access, &head, &consumer);
            }
            let query = head.uri.query().unwrap_or_default();
            consumers::respond(state, subject, &access, method, path, query).await
        }
        (_, "/events") => Err(ApiError::MethodNotAllowed {
            allowed: "GET, POST",
        }),
        (_, "/status" | "/metrics" | "/metrics/salt-exporter") => {
            Err(ApiError::MethodNotAllowed { allowed: "GET" })
        }
        (_, "/run") => Err(ApiError::MethodNotAllowed { allowed: "POST" }),
        _ => Err(ApiError::NotFound),
    }
}
