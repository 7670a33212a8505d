//! HTTP to other systems: a client, and a poster of batches on top of it. Neither knows what an event is.

mod client;
#[cfg(any(feature = "otlp", feature = "webhook"))]
mod poster;

pub use client::{HttpAnswer, HttpClient, HttpRequest, USER_AGENT};
#[cfg(any(feature = "otlp", feature = "webhook"))]
pub(crate) use poster::Poster;
#[cfg(any(feature = "otlp", feature = "webhook"))]
pub use poster::{BadHttp, HttpOptions};
