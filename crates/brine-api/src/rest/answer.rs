//! What a handler answers with: a response, or the connection.

use brine_wire::{Value, json};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Response, StatusCode};

use crate::body::ResponseBody;
use crate::connection::TakeOver;

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
        Self::whole(status, HeaderValue::from_static("application/json"), text)
    }

    /// A whole body of a type.
    pub(crate) fn whole(
        status: StatusCode,
        content_type: HeaderValue,
        body: impl Into<bytes::Bytes>,
    ) -> Self {
        let mut response = Response::new(ResponseBody::full(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Self::Response(response)
    }

    /// Adds a header to a response.
    pub(crate) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        if let Self::Response(response) = self {
            response.headers_mut().insert(name, value);
        }
    }

    /// Adds a cookie to a response.
    pub(crate) fn insert_cookie(&mut self, cookie: String) {
        // What is no header would be a token that is none.
        if let Ok(mut value) = HeaderValue::try_from(cookie) {
            value.set_sensitive(true);
            self.insert(SET_COOKIE, value);
        }
    }
}

/// The head of a response in HTTP/1.1, for handlers that write to their connection. Names are written as Salt
/// writes them.
pub(crate) fn head_bytes(response: &Response<()>) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        let mut is_start = true;
        head.extend(name.as_str().bytes().map(|byte| {
            let written = if is_start {
                byte.to_ascii_uppercase()
            } else {
                byte
            };
            is_start = byte == b'-';
            written
        }));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
