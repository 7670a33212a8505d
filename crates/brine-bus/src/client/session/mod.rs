//! What a listener does with the bytes of a publish socket, without the socket.
//!
//! A [`Session`] takes bytes and returns events. It cuts frames in whichever framing the stream has, matches tags
//! before it decodes data, skips and counts malformed events, and keeps events that only a subscription wants for
//! later calls. It knows no sockets and no time; [`super::blocking`] and [`super::tokio`] do. Facts:
//! `docs/protocol/ipc.md` §1, §8.

mod inbox;
mod pending;

use std::ops::Range;

use brine_wire::frame::{FrameError, Framing};
use brine_wire::matching::TagMatch;

use self::inbox::Inbox;
use self::pending::Pending;
use super::SubscriberConfig;
use super::event::{Event, EventRef};

/// One listener's state between two calls.
///
/// **Pending events.** As in Salt, an event that a call passes over is kept if a subscription matches it, else lost. A
/// later call looks there first, in order of arrival, and drops events that neither it nor any subscription wants.
/// Salt keeps pending events without limit, so a program that subscribes and never asks grows until it is killed. Here
/// they use at most [`SubscriberConfig::max_pending_bytes`]: an event that does not fit is lost, and the call fails
/// with [`SessionError::PendingFull`] (further calls continue). Dropping an event silently would leave the subscriber
/// waiting for it.
#[derive(Debug)]
pub struct Session {
    inbox: Inbox,
    current: Option<Found>,
    subscriptions: Vec<TagMatch>,
    pending: Pending,
    counters: Counters,
}

/// What a session has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Well-formed frames read.
    pub received: u64,
    /// Events skipped: no tag end, a tag that is not UTF-8, or (where they would have been handed
    /// out) data that are not one msgpack value.
    pub malformed: u64,
    /// Events neither a call nor a subscription wanted.
    pub passed_over: u64,
    /// Events a subscription wanted and [`SubscriberConfig::max_pending_bytes`] refused.
    pub pending_refused: u64,
    /// Connections begun.
    pub connections: u64,
}

/// Why a session cannot return an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The bytes are not frames; the connection is over.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An event a subscription wants was lost.
    #[error(transparent)]
    PendingFull(#[from] PendingFull),
}

/// An event a subscription wants was lost, since the pending ones take all the room there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "pending events exceed {limit} bytes; dropped one with tag {tag:?}: read the events that were subscribed to, or unsubscribe"
)]
pub struct PendingFull {
    /// The lost event's tag.
    pub tag: String,
    /// The bound, in bytes.
    pub limit: usize,
}

/// What taking one event from the stream came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The requested event.
    Event(Event),
    /// Another event, now pending or lost.
    Other,
    /// No whole event has arrived.
    Nothing,
}

impl Session {
    /// A session that has read nothing.
    #[must_use]
    pub fn new(config: &SubscriberConfig) -> Self {
        Self {
            inbox: Inbox::new(config.max_frame_bytes),
            current: None,
            subscriptions: Vec::new(),
            pending: Pending::new(config.max_pending_bytes),
            counters: Counters::default(),
        }
    }

    /// A new connection begins: what is left of the last one's bytes is dropped, subscriptions and
    /// pending events stay.
    pub fn connected(&mut self) {
        self.disconnected();
        self.counters.connections += 1;
    }

    /// The connection is over: its unread bytes are dropped, and the memory they were in.
    pub fn disconnected(&mut self) {
        self.inbox = Inbox::new(self.inbox.max_frame_bytes);
        self.current = None;
    }

    /// Where to read the next bytes of the connection to; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.current = None;
        self.inbox.room()
    }

    /// Says how many bytes were read into [`Session::room`].
    ///
    /// # Panics
    /// When that is more than there was room for.
    pub fn filled(&mut self, bytes: usize) {
        self.inbox.filled(bytes);
    }

    /// Moves to the next event of the stream, whatever its tag; `false` if none has arrived.
    /// [`Session::current`] is then the event.
    ///
    /// # Errors
    /// [`FrameError`]: the connection is over.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, FrameError> {
        loop {
            self.current = None;
            let Some(range) = self.inbox.cut()? else {
                return Ok(false);
            };
            self.counters.received += 1;
            match EventRef::parse(self.inbox.event(&range)) {
                Some(event) => {
                    let tag_bytes = event.tag().len();
                    self.current = Some(Found { range, tag_bytes });
                    return Ok(true);
                }
                None => self.counters.malformed += 1,
            }
        }
    }

    /// The event [`Session::advance`] moved to, its data unchecked.
    #[must_use]
    #[inline]
    pub fn current(&self) -> Option<EventRef<'_>> {
        let Found { range, tag_bytes } = self.current.as_ref()?;
        EventRef::with_tag(self.inbox.event(range), *tag_bytes)
    }

    /// Searches the pending events, dropping those that neither `wanted` nor a subscription
    /// matches.
    pub fn take_pending(&mut self, wanted: &TagMatch) -> Option<Event> {
        let found = self
            .pending
            .remove_first(|event| wanted.matches(event.tag()));
        let subscriptions = &self.subscriptions;
        self.pending
            .retain(|event| wanted.matches(event.tag()) || is_covered(subscriptions, event.tag()));
        found
    }

    /// Takes events from the stream until one matches; `None` if none of those that have arrived
    /// does.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn take(&mut self, wanted: &TagMatch) -> Result<Option<Event>, SessionError> {
        loop {
            match self.take_one(wanted)? {
                Taken::Event(event) => return Ok(Some(event)),
                Taken::Other => {}
                Taken::Nothing => return Ok(None),
            }
        }
    }

    /// Takes one event from the stream. One whose data are not msgpack is never returned.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn take_one(&mut self, wanted: &TagMatch) -> Result<Taken, SessionError> {
        if !self.advance()? {
            return Ok(Taken::Nothing);
        }
        let Some(event) = self.current() else {
            return Ok(Taken::Nothing);
        };
        let is_wanted = wanted.matches(event.tag());
        if !is_wanted && !is_covered(&self.subscriptions, event.tag()) {
            self.counters.passed_over += 1;
            return Ok(Taken::Other);
        }
        if !event.has_one_value() {
            self.counters.malformed += 1;
            return Ok(Taken::Other);
        }
        let event = event.to_event();
        if is_wanted {
            return Ok(Taken::Event(event));
        }
        if let Err(full) = self.pending.push(event) {
            self.counters.pending_refused += 1;
            return Err(full.into());
        }
        Ok(Taken::Other)
    }

    /// From now on keeps events that match for later calls. Subscribing twice counts twice.
    pub fn subscribe(&mut self, wanted: TagMatch) {
        self.subscriptions.push(wanted);
    }

    /// Takes back one such subscription, if there is one, and drops pending events that no
    /// subscription covers any more.
    pub fn unsubscribe(&mut self, wanted: &TagMatch) {
        if let Some(at) = self.subscriptions.iter().position(|own| own == wanted) {
            self.subscriptions.remove(at);
        }
        let subscriptions = &self.subscriptions;
        self.pending
            .retain(|event| is_covered(subscriptions, event.tag()));
    }

    /// Drops all pending events, as Salt's clients do when they close their connection.
    pub fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// The pending events, oldest first, which stay.
    pub fn pending_events(&self) -> impl Iterator<Item = &Event> {
        self.pending.iter()
    }

    /// How many events are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The framing of this connection, once a byte of it was read.
    #[must_use]
    pub const fn framing(&self) -> Option<Framing> {
        self.inbox.framing()
    }

    /// What has been seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

#[derive(Debug)]
struct Found {
    range: Range<usize>,
    tag_bytes: usize,
}

fn is_covered(subscriptions: &[TagMatch], tag: &str) -> bool {
    subscriptions.iter().any(|own| own.matches(tag))
}

#[cfg(test)]
mod tests;
