//! Why a request to the local socket failed.

use std::io;

use brine_wire::event::FireError;
use brine_wire::record::RecordError;
use brine_wire::{Map, Value, json};

use super::http::HttpError;
use crate::address::Endpoint;
use crate::client::error::{ConnectError, LinkError};

/// Why a request to the local socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Nobody answers there, or this user may not connect.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The status of HTTP; 200 where the stream had begun.
        status: u16,
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// The answer is not the server's.
    #[error("{endpoint} is not a local socket of Brine: {source}")]
    Http {
        /// The socket.
        endpoint: Endpoint,
        /// What is wrong with its bytes.
        source: HttpError,
    },
    /// The stream is not the server's.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The answer is not what was asked for.
    #[error("invalid answer from the local socket: expected {expected}")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
    },
    /// The time was over before the answer was there.
    #[error(
        "the bus at {endpoint} did not answer in time: it is stopped, hung or overloaded; brine doctor says which"
    )]
    TimedOut {
        /// The socket.
        endpoint: Endpoint,
    },
    /// The connection ended before the answer was there.
    #[error(
        "the bus at {endpoint} closed the connection before it answered; it may have done what was asked"
    )]
    Closed {
        /// The socket.
        endpoint: Endpoint,
    },
    /// The caller's own check ended the call.
    #[error("interrupted")]
    Interrupted,
    /// The system failed.
    #[error("connection to the bus at {endpoint}: {source}")]
    System {
        /// The socket.
        endpoint: Endpoint,
        /// The system's error.
        source: io::Error,
    },
    /// The event itself cannot be fired.
    #[error(transparent)]
    Event(#[from] FireError),
}

impl LocalError {
    /// Whether there is no local socket that this user may use, so that a caller may try another way.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(_))
    }

    pub(super) fn from_link(endpoint: &Endpoint, error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted,
            LinkError::System(source) => Self::System {
                endpoint: endpoint.clone(),
                source,
            },
        }
    }

    /// What an answer with an error says.
    pub(super) fn refused(status: u16, body: &[u8]) -> Self {
        let value = json::parse(body).unwrap_or(Value::Nil);
        let error = value.as_map().and_then(|outer| outer.get("error"));
        let error = error.and_then(Value::as_map);
        let text = |key| {
            let text = error.and_then(|error: &Map| error.get(key));
            text.and_then(Value::as_str).map(str::to_owned)
        };
        Self::Refused {
            status,
            code: text("code").unwrap_or_default(),
            message: text("message")
                .unwrap_or_else(|| format!("the local socket answered {status}")),
        }
    }
}
