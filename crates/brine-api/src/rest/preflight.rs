//! `OPTIONS`: whether a browser may let a page of another site ask.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use hyper::{Response, StatusCode};

use super::answer::Answer;
use crate::body::ResponseBody;

/// The methods that pages may use.
const METHODS: [&str; 2] = ["GET", "POST"];

/// Answers a preflight; `None` for other requests. Salt means to answer so and fails (500).
pub(super) fn respond(method: &Method, headers: &HeaderMap) -> Option<Answer> {
    if method != Method::OPTIONS {
        return None;
    }
    let mut response = Response::new(ResponseBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    let answer = response.headers_mut();
    answer.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html;charset=utf-8"),
    );
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    if wanted.is_some_and(|wanted| METHODS.iter().any(|method| wanted == method)) {
        answer.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        );
        answer.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Content-Type, X-Auth-Token, X-Requested-With"),
        );
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1400"));
    }
    Some(Answer::Response(response))
}
