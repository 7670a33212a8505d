//! Sinks: consumers that hand every event to another system, and move their saved position only when that has it.
//!
//! A [`Sink`] is the other side: it takes a [`Batch`] and says how much of it is safe there. [`Pump`] is everything
//! that all sinks share: it reads the log from the consumer's saved position, gathers batches by count, bytes and
//! time, tries again with growing pauses while the other side is away, halves a batch that is refused until the one
//! event is found that nobody can store, keeps that among the [`DeadLetters`], and saves the position. The order is
//! that of the log. Delivery is at least once; exactly once where the other side keeps the position together with the
//! events and tells it in [`Sink::begin`].
//!
//! What is tried when is decided in `plan`, without I/O. Each other side is a feature and a module. Nothing here knows
//! configuration files.

mod batch;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod brine_sink;
mod dead;
mod figures;
#[cfg(feature = "file")]
pub mod file;
mod filter;
mod handle;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod jobs;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod local_cache;
mod moved;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "otlp")]
pub mod otlp;
mod plan;
#[cfg(feature = "postgres")]
pub mod postgres;
mod pump;
mod reader;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub mod rows;
mod secret;
mod sink;
pub mod text;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "http"))]
pub mod tls;
#[cfg(feature = "webhook")]
pub mod webhook;

pub use batch::{Batch, Event};
pub use dead::{Chosen, DeadError, DeadLetter, DeadLetters, Discard};
pub use figures::{Figures, LastError};
pub use filter::{BadFilter, Filter};
pub use handle::{RequestError, Resent, SinkHandle};
pub use plan::Batching;
pub use pump::Pump;
pub use reader::SinkConfig;
pub use secret::Secret;
pub use sink::{Sink, SinkError};
