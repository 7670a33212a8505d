//! The bus as a log: events in segments of memory, numbered, and cursors that read them.
//!
//! A writer [`Log::append`]s batches; each event gets the next [`Seq`] and is stored as
//! subscribers read it. Every listener is a cursor: a [`FrameCursor`] returns runs of whole
//! frames for a socket, an [`EventCursor`] goes event by event for readers that filter. Both look
//! with `next` and move with `advance`. A cursor starts where [`Start`] says; one that the log has
//! moved past receives a [`Gap`]. [`LogConfig`] limits memory, however many cursors there are and
//! wherever they are.
//!
//! Without its feature `history`, this crate knows no sockets, no clock and no randomness; it uses
//! tokio only for wake-ups.
//!
//! ```
//! use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Next, Seq, Start};
//! use brine_wire::frame::Framing;
//!
//! let log = Log::new(LogConfig::new(LogId(0x7f3a))); // the caller draws a random number
//! let mut cursor = log.frames(Framing::Bare, Start::Tail);
//! let event = b"my/tag\n\n\x80";
//! let appended = log.append([Incoming { event, tag_bytes: 6 }], Millis(0));
//! assert_eq!(appended, Seq(1)..Seq(2));
//! let Next::Ready(chunk) = cursor.next() else { panic!("expected an event") };
//! assert!(chunk.bytes().ends_with(event));
//! let written = chunk.bytes().len();
//! cursor.advance(&chunk, written);
//! assert!(matches!(cursor.next(), Next::Tail));
//! assert_eq!(log.position().to_string(), "7f3a-1");
//! ```

mod buffer;
mod config;
mod cursor;
mod gap;
#[cfg(feature = "history")]
pub mod history;
mod log;
mod memory;
mod overflow;
mod position;
mod removed;
mod segment;
mod shared;
mod source;
#[cfg_attr(
    not(feature = "history"),
    expect(dead_code, reason = "nothing is stored without a history")
)]
mod stored;
#[cfg_attr(
    not(feature = "history"),
    expect(dead_code, reason = "nothing is stored without a history")
)]
mod tags;
mod unused;
mod withheld;

pub use config::{Lag, LogConfig, OverrunCause, ReadsFrom, Stats};
pub use cursor::{Chunk, EventCursor, Events, FrameCursor, Next};
pub use gap::{Gap, GapReason};
pub use log::{Incoming, Log};
pub use overflow::OverflowConfig;
pub use position::{LogId, Millis, ParsePositionError, Position, Seq, Start};
pub use removed::Expected;
pub use segment::{Framings, StoredEvent};
pub use source::{Origin, Source};
pub use tags::TagQuery;
pub use withheld::is_withheld;
