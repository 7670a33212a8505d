//! What a handler answers with: a response, or the connection.

use brine_wire::{Value, json};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::network::TakeOver;

/// An answer.
pub(crate) enum Answer {
    /// A response.
    Response(Response<ResponseBody>),
    /// The handler writes to the connection itself, the head of the response included. Only where
    /// [`Context::can_take_over`](super::Context::can_take_over).
    TakeOver(TakeOver),
}

impl Answer {
    /// A value as JSON, as Salt writes it.
    pub(crate) fn json(status: StatusCode, value: &Value) -> Self {
        let mut text = String::new();
        json::to_line(value, &mut text);
        let mut response = Response::new(ResponseBody::full(text));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        Self::Response(response)
    }
}

/// The head of a response in HTTP/1.1, for handlers that write to their connection.
pub(crate) fn head_bytes(response: &Response<()>) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
