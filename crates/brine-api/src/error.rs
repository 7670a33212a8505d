//! Why a request was not served, and the one place that turns this into an answer.

use brine_wire::json;
use brine_wire::{Map, Value};
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::body::ResponseBody;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The subject may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// The listener knows nobody, and the request names nobody it knows.
    #[error("expected the token of this bus in Authorization: Bearer")]
    Unauthorized,
    /// No such path.
    #[error("no such path; there are /events, /consumers, /status, /metrics and /run")]
    NotFound,
    /// The path is served, but not by this method.
    #[error("expected {allowed}")]
    MethodNotAllowed {
        /// What the path takes.
        allowed: &'static str,
    },
    /// No consumer has this name.
    #[error("no consumer {name}; brine consumer ls lists them all")]
    NoConsumer {
        /// The name.
        name: String,
    },
    /// What was asked for does not go with what there is.
    #[error("{0}")]
    Conflict(String),
    /// The events asked for are gone, or never were.
    #[error("{0}")]
    Gone(String),
    /// The disk did not take a change.
    #[error("not saved: {0}")]
    NotSaved(String),
    /// Without history nothing is durable.
    #[error(
        "this bus keeps no history, so it cannot make events durable; ask with ?durable=false (brine send --ack=appended), or configure brine: {{history: …}}"
    )]
    NoHistory,
    /// The body is larger than is taken at once.
    #[error("expected a body of at most {limit} bytes; send it in chunks to stream it")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not come.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The client closed the connection before its command was done.
    #[error("the client has disconnected")]
    ClientGone,
    /// The body has a type that is not read.
    #[error("expected a body of application/x-ndjson or application/x-msgpack, found {found}")]
    UnsupportedType {
        /// What came.
        found: String,
    },
    /// The body is coded in a way that is not understood.
    #[error("transfer-encoding must be chunked, and nothing else")]
    UnsupportedCoding,
    /// What was asked for does not happen on this node.
    #[error("{0}")]
    NotHere(String),
    /// The command failed.
    #[error("{message}")]
    Failed {
        /// The name of Salt's exception, or another word for programs.
        code: String,
        /// What happened.
        message: String,
    },
    /// The disk did not take it; the event itself has been delivered.
    #[error("appended, but not durable: {0}")]
    NotDurable(String),
    /// Too many connections or streams.
    #[error("too many connections of this user; try again later")]
    TooMany,
}

impl ApiError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoConsumer { .. } => StatusCode::NOT_FOUND,
            Self::NoHistory | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout | Self::ClientGone => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotHere(_) | Self::UnsupportedCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Failed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotDurable(_) | Self::NotSaved(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::NoConsumer { .. } => "no_consumer",
            Self::Conflict(_) => "conflict",
            Self::Gone(_) => "gone",
            Self::NotSaved(_) => "not_saved",
            Self::NoHistory => "no_history",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::ClientGone => "client_gone",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::UnsupportedCoding => "unsupported_coding",
            Self::NotHere(_) => "not_here",
            Self::Failed { code, .. } => code,
            Self::NotDurable(_) => "not_durable",
            Self::TooMany => "too_many",
        }
    }

    /// `{"error": {"code": …, "message": …}}`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let error: Map = [
            ("code", self.code().to_owned()),
            ("message", self.to_string()),
        ]
        .into_iter()
        .collect();
        let outer: Map = [("error", error)].into_iter().collect();
        outer.into()
    }

    pub(crate) fn to_response(&self) -> Response<ResponseBody> {
        let mut text = String::new();
        json::to_line(&self.to_value(), &mut text);
        text.push('\n');
        let mut response = Response::new(ResponseBody::full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, crate::body::JSON);
        match self {
            Self::MethodNotAllowed { allowed } => {
                headers.insert(ALLOW, hyper::header::HeaderValue::from_static(allowed));
            }
            Self::TooMany => {
                headers.insert(RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
