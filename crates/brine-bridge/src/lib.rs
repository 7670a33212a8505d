//! Sinks: consumers that pass every event to another system, and advance their saved position only when that system
//! has it.
//!
//! A [`Sink`] is the other side: it takes a [`Batch`] and says how much of it is safe there. [`Pump`] is everything
//! that all sinks share. It reads the log from the consumer's saved position and gathers batches by count, bytes and
//! time. While the other side is down it tries again, with growing pauses. It halves a batch that is refused until it
//! finds the one event that the other side cannot store, and keeps that among the [`DeadLetters`]. Then it saves the
//! position. The order is that of the log. Delivery is at least once; exactly once where the other side keeps the
//! position together with the events and returns it from [`Sink::begin`].
//!
//! `plan` decides what to try when, without I/O. Each kind of other side is a feature and a module. Nothing here
//! knows configuration files.

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
