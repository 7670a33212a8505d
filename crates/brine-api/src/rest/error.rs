//! Why a request is refused, and the one place that makes Salt's answer of it: a page in HTML, whatever
//! the client asked for.

use std::borrow::Cow;
use std::time::Duration;

use brine_auth::whole_seconds;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::operator::OperatorError;
use crate::body::ResponseBody;
use crate::error::ApiError;

/// Why a request is refused. The texts are Salt's where Salt has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestError {
    /// No valid token.
    #[error("No permission -- see authorization schemes")]
    NotLoggedIn,
    /// User, password or `eauth` are wrong.
    #[error("Could not authenticate using provided credentials")]
    LoginFailed,
    /// Not permitted.
    #[error("{0}")]
    Unauthorized(Cow<'static, str>),
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// Not from here, or not these tags.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// Something of the name is there already.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// No such path.
    #[error("The path '{path}' was not found.")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The path is served, but not by this method.
    #[error("Specified method is invalid for this resource")]
    MethodNotAllowed {
        /// What it takes.
        allow: &'static str,
    },
    /// A type of body that is not read, or an `Accept` that cannot be met.
    #[error("{0}")]
    NotAcceptable(Cow<'static, str>),
    /// The body did not come.
    #[error("The body did not arrive in time")]
    BodyTimeout,
    /// The body is too large.
    #[error("The body exceeds max_request_body_size, {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many attempts or streams.
    #[error("Too many attempts or streams; try again later")]
    TooMany {
        /// After how long it may be tried again.
        wait: Duration,
    },
    /// What nobody foresaw; the text is for the log alone.
    #[error("{0}")]
    Unforeseen(String),
    /// The master does not run.
    #[error("Salt Master is not available.")]
    NoMaster,
    /// The master, or a minion, did not answer in time.
    #[error("The request timed out")]
    Timeout,
}

impl RestError {
    /// The status of the answer.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn | Self::LoginFailed | Self::Unauthorized(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unforeseen(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoMaster => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The answer to browsers and to clients that read Salt's pages.
    pub(crate) fn to_response(&self) -> Response<ResponseBody> {
        let status = self.status();
        let mut response = Response::new(ResponseBody::full(page(status, &self.to_string())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html;charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::TooMany { wait } => {
                headers.insert(RETRY_AFTER, whole_seconds(*wait).into());
            }
            _ => {}
        }
        response
    }
}

impl From<OperatorError> for RestError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::NotAuthenticated(text) | OperatorError::NotPermitted(text) => {
                Self::Unauthorized(text.into())
            }
            OperatorError::TooMany { wait } => Self::TooMany { wait },
            OperatorError::Invalid(text) => Self::BadRequest(text.into()),
            OperatorError::NoMaster(text) => {
                tracing::warn!(err = %text, "the master does not answer");
                Self::NoMaster
            }
            OperatorError::Timeout => Self::Timeout,
            OperatorError::Failed(text) => Self::Unforeseen(text),
        }
    }
}

/// What both share fails in the words of the local socket.
impl From<ApiError> for RestError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::BodyTooLarge { limit } => Self::BodyTooLarge { limit },
            ApiError::BodyTimeout => Self::BodyTimeout,
            // It is not known when another body will have been read.
            ApiError::TooMany => Self::TooMany {
                wait: Duration::from_secs(1),
            },
            ApiError::Forbidden(text) => Self::Forbidden(text.into()),
            other => Self::BadRequest(other.to_string().into()),
        }
    }
}

/// Salt's page: clients read the text between the last `<p>` and `</p>`.
fn page(status: StatusCode, message: &str) -> String {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or_default();
    let message = escaped(message);
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n    <meta charset=\"utf-8\">\n    \
         <title>{code} {reason}</title>\n</head>\n    <body>\n        <h2>{code} {reason}</h2>\n        \
         <p>{message}</p>\n        <pre id=\"traceback\"></pre>\n    </body>\n</html>\n"
    )
}

/// Text as HTML, as Python's `html.escape` without quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_must_wait_is_told_how_long() {
        for (wait, seconds) in [(0, "1"), (1_000, "1"), (5_200, "6"), (60_000, "60")] {
            let wait = Duration::from_millis(wait);
            let response = RestError::from(OperatorError::TooMany { wait }).to_response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds, "{wait:?}");
        }
    }
}
