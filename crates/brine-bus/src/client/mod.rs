//! The client of a bus: listen with a `Subscriber`, fire with a `Publisher`.
//!
//! The logic of a client is pure: [`session`] (bytes in, events out, subscriptions and pending events
//! as Salt keeps them), [`outbox`] (events in, bytes out), and `driver`, which decides when to
//! connect, read, write, wait and give up. Around them are two shells that own sockets and clock:
//! [`blocking`], which needs no runtime, starts no thread and survives `fork`, and [`tokio`]. Both talk
//! to Brine's bus and to real Salt's of every release, and detect the framing of what they read.
//! Facts: `docs/protocol/ipc.md` §1, §2, §8, §10.
//!
//! ```no_run
//! use std::time::Duration;
//! use brine_bus::address::{Address, Node};
//! use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait, blocking};
//! use brine_wire::matching::{MatchType, TagMatch};
//! use brine_wire::Map;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Address::ipc("/var/run/salt/master", &Node::Master)?;
//! let mut listener = blocking::Subscriber::new(&bus, SubscriberConfig::default());
//! listener.connect(Duration::from_secs(1))?;
//!
//! let mut publisher = blocking::Publisher::new(&bus, PublisherConfig::default());
//! let mut data = Map::new();
//! data.insert("finished", true);
//! publisher.fire_event("myco/backup", &mut data, Some(Duration::from_secs(1)))?;
//!
//! let wanted = TagMatch::new(MatchType::StartsWith, "myco/")?;
//! if let Some(event) = listener.get_event(&wanted, Wait::For(Duration::from_secs(5)))? {
//!     println!("{} {:?}", event.tag(), event.decode()?);
//! }
//! # Ok(())
//! # }
//! ```

pub mod blocking;
mod driver;
mod error;
mod event;
pub mod local;
pub mod outbox;
pub mod session;
pub(crate) mod socket;
pub mod tokio;

use std::time::{Duration, Instant, SystemTime};

use brine_wire::compat::{Compat, StampStyle};
use brine_wire::event::{FireError, MAX_EVENT_SIZE, encode_event, encode_whole_event};
use brine_wire::frame::{Framing, MAX_FRAME_BYTES};
use brine_wire::{Map, stamp};

pub use error::{ConnectError, Denied, Owner, PublishError, ReceiveError};
pub use event::{Event, EventRef};

/// How long a call that reads events may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until an event is there (Salt's `wait=0`).
    Forever,
    /// This long in all, however many events are passed over. Zero looks once at what has arrived.
    For(Duration),
    /// As [`Wait::For`], counted to a moment: for callers that spend one budget on several calls.
    Until(Instant),
    /// At most one event is taken from the stream, matching or not, and waited for this long
    /// (Salt's `no_block`, see [`Wait::NO_BLOCK`]).
    Once(Duration),
}

impl Wait {
    /// Salt's `no_block=True`: one event per call, which 3008 gives 10 ms to arrive.
    pub const NO_BLOCK: Self = Self::Once(Duration::from_millis(10));

    /// A timeout as Salt's functions take it: `None` is for ever.
    fn from_timeout(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::Forever, Self::For)
    }

    /// The moment the budget of a call that begins now is over, `None` for never.
    fn deadline(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Forever => None,
            // A duration too long to be a moment is for ever.
            Self::For(time) | Self::Once(time) => now.checked_add(time),
            Self::Until(moment) => Some(moment),
        }
    }
}

/// What a subscriber does when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reconnect {
    /// Connects again within the time of the call, as 3008's clients do. Events between are lost.
    #[default]
    Always,
    /// Ends the call with [`ReceiveError::Closed`]; the next call connects.
    Never,
}

/// How a subscriber behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberConfig {
    /// A frame larger than this, in bytes, is refused by its header.
    pub max_frame_bytes: usize,
    /// Events kept for later calls because a subscription matches them take at most this many
    /// bytes together. See [`session::Session`] for what happens then.
    pub max_pending_bytes: usize,
    /// What happens when the connection ends.
    pub reconnect: Reconnect,
}

impl Default for SubscriberConfig {
    /// 100 MiB a frame as in Salt, 256 MiB pending, reconnecting.
    fn default() -> Self {
        Self {
            max_frame_bytes: MAX_FRAME_BYTES,
            max_pending_bytes: 256 * 1024 * 1024,
            reconnect: Reconnect::Always,
        }
    }
}

/// What happens to an event over `max_event_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oversize {
    /// It is not sent: [`PublishError::Event`] names the values that would be lost.
    #[default]
    Refuse,
    /// Its large values are replaced by `VALUE_TRIMMED`, as Salt's own programs do.
    Trim,
}

/// How a publisher behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherConfig {
    /// How frames are written. Brine's bus takes both, a real one only its own release's.
    pub framing: Framing,
    /// How `_stamp` is written.
    pub stamp_style: StampStyle,
    /// Salt's `max_event_size`, in bytes of the packed data.
    pub max_event_size: usize,
    /// What happens to larger data.
    pub oversize: Oversize,
}

impl PublisherConfig {
    /// Framing and stamp as programs of a release write them; unlike those, refuses to trim.
    #[must_use]
    pub fn for_compat(compat: Compat) -> Self {
        Self {
            framing: compat.pull_framing(),
            stamp_style: compat.stamp_style(),
            max_event_size: MAX_EVENT_SIZE,
            oversize: Oversize::Refuse,
        }
    }

    /// The bytes of an event fired now; `data` get their `_stamp`.
    fn encode(&self, tag: &str, data: &mut Map) -> Result<Vec<u8>, FireError> {
        // A clock before 1970 stamps as 1970.
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let stamp = stamp::format(now, self.stamp_style);
        match self.oversize {
            Oversize::Refuse => encode_whole_event(tag, data, &stamp, self.max_event_size),
            Oversize::Trim => encode_event(tag, data, &stamp, self.max_event_size),
        }
    }
}

impl Default for PublisherConfig {
    /// What programs of the newest release do.
    fn default() -> Self {
        Self::for_compat(Compat::NEWEST)
    }
}
