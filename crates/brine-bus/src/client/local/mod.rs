//! The client of Brine's own socket, `brine.sock`: events from any start with filters, fired with
//! acknowledgement; status and commands.
//!
//! It speaks HTTP/1.1 over the socket, in exact records ([`brine_wire::record`]), so that no part of an
//! event is lost. `docs/local-socket.md` describes the requests and answers, with examples.
//!
//! As with Salt's sockets, the logic of a client is pure: `exchange` (a request with one complete
//! answer), `events` (a stream that resumes where it was cut; missing events are a
//! [`Delivery::Gap`], never silently skipped) and `fires` (events fired without waiting for each). The
//! shells [`blocking`] and [`tokio`] carry out their steps.
//!
//! ```no_run
//! use std::time::Duration;
//! use brine_bus::client::local::{Acknowledge, Delivery, EventQuery, LocalAddress, blocking};
//! use brine_bus::client::{PublisherConfig, Wait};
//! use brine_wire::Map;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = LocalAddress::Socket("/var/run/salt/master/brine.sock".into());
//! let mut bus = blocking::LocalClient::new(socket, PublisherConfig::default());
//! let fired = bus.fire([("myco/backup".into(), Map::new())], Acknowledge::Durable, None)?;
//! println!("on disk: {fired:?}");
//!
//! let query = EventQuery { tags: vec!["myco/*".into()], since: "10m".into(), ..EventQuery::default() };
//! let mut events = bus.events(&query, Some(Duration::from_secs(1)))?;
//! while let Some(delivery) = events.next(Wait::For(Duration::from_secs(5)))? {
//!     match delivery {
//!         Delivery::Event(event) => println!("{} {}", event.position, event.event.tag()),
//!         Delivery::Gap { missed, .. } => println!("{missed:?} events are missing"),
//!         Delivery::End => break,
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod address;
pub mod blocking;
mod error;
mod events;
mod exchange;
mod fires;
mod http;
mod link;
mod query;
pub mod tokio;

use std::time::Duration;

use brine_log::{Millis, Position};

use super::event::Event;

pub use self::address::LocalAddress;
pub use self::error::LocalError;
pub use self::http::{HttpError, fuzz_answer};
pub use self::query::{EventQuery, target};

/// The longest record that is read, in bytes: an event of the bus's largest frame.
const MAX_RECORD: usize = 128 << 20;

/// How long a server may take to begin a stream: it may look through a long history for the last
/// events that match.
pub const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What a request without a body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Has something done.
    Post,
    /// Makes something.
    Put,
    /// Removes something.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// When a fire is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once the event is on disk; refused by a bus without history.
    Durable,
    /// Once subscribers can read it.
    Appended,
}

/// What became of an event that was fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// It has this position.
    At(Position),
    /// It was not taken.
    Refused {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
}

/// What a stream gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(Stored),
    /// Events that cannot be had any more, or were never there for this reader.
    Gap {
        /// The last event before it.
        from: Position,
        /// The last event that is missing.
        to: Position,
        /// How many are missing, if that can be known.
        missed: Option<u64>,
        /// Why, in a few words, if that is known.
        reason: Option<String>,
    },
    /// The stream is complete: its limit, its end or what was there is reached.
    End,
}

/// An event and where it is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place: a stream that starts after it begins with the next one. The event's sequence
    /// number is part of it.
    pub position: Position,
    /// When it arrived on the bus.
    pub at: Millis,
    /// The event.
    pub event: Event,
    /// The minion whose key it came with; `None` of programs of the bus's machine.
    pub sender: Option<Box<str>>,
}
