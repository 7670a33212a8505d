//! The bus as a log: events in segments of memory, numbered, and cursors that read them.
//!
//! A writer [`Log::append`]s batches; each event gets the next [`Seq`] and lies in memory as
//! subscribers read it. Every listener is a cursor: a [`FrameCursor`] hands out runs of whole
//! frames for a socket, an [`EventCursor`] walks event by event for readers that filter. A cursor
//! that the log has moved past is told the [`Gap`]. Memory is bounded by [`LogConfig`], however
//! many cursors there are and wherever they stand.
//!
//! This crate knows no sockets and no clock; of tokio it takes the wake-up alone.
//!
//! ```
//! use brine_log::{Incoming, Log, LogConfig, Millis, Next, Seq};
//! use brine_wire::frame::Framing;
//!
//! let log = Log::new(LogConfig::default());
//! let mut cursor = log.tail(Framing::Bare);
//! let event = b"my/tag\n\n\x80";
//! log.append([Incoming { event, tag_bytes: 6 }], Millis(0));
//! let Next::Chunk(chunk) = cursor.next() else { panic!("an event waits") };
//! assert!(chunk.bytes().ends_with(event));
//! let written = chunk.bytes().len();
//! cursor.advance(&chunk, written);
//! assert!(matches!(cursor.next(), Next::Tail));
//! assert_eq!(log.stats().next, Seq(2));
//! ```

mod buffer;
mod cursor;
mod log;
mod segment;

pub use cursor::{Chunk, EventCursor, FrameCursor, Gap, Next, NextEvent};
pub use log::{Incoming, Log, LogConfig, Stats};
pub use segment::{Framings, StoredEvent};

/// An event's number in the log, from 1, without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Milliseconds since the UNIX epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl std::fmt::Display for Seq {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}
