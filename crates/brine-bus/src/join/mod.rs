//! A bus that joins another: it reads all events of a bus that somebody else runs, such as an unmodified Salt
//! master's, into its own log.
//!
//! This file handles the bytes of that connection, without sockets and without a clock: which events go into the log,
//! and when one of them must report that others are missing. `run` connects, reads and writes; `relay` carries events
//! the other way, to the joined bus.
//!
//! **Gaps.** Salt does not tell subscribers what they missed, so the log records the time during which events may
//! have been missed, as an event `brine/gap` with `from`, `to` and `reason`. A gap begins with the last event read
//! before it, and ends with the first one read after it: Salt accepts a connection before it subscribes it, so only a
//! delivered event proves that the connection is subscribed.

mod run;

use std::ops::Range;
use std::time::Duration;

use brine_log::Incoming;
use brine_wire::Map;
use brine_wire::compat::StampStyle;
use brine_wire::envelope::Envelope;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::frame::{FrameError, Framing};
use brine_wire::msgpack;
use brine_wire::stamp;
use brine_wire::time::{Bound, Clock, parse_time};

use crate::client::SubscriberConfig;
use crate::client::session::Session;

pub use run::{Join, JoinConfig, JoinHandle, JoinStatus, Place};

/// The tag of an event that says when others may be missing.
pub const GAP: &str = "brine/gap";

/// A stream that was silent for so long had nothing on its way when it ended.
const SILENCE: Duration = Duration::from_secs(2);

/// The bytes of the bus that was joined, and what becomes of them.
#[derive(Debug)]
pub struct Joining {
    session: Session,
    stamp_style: StampStyle,
    link: Link,
    last: Option<LastEvent>,
    batch: Batch,
    counters: Counters,
}

/// Whether events may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// Nothing was read yet, now or by an earlier process: nothing can be missing.
    New,
    /// Events since then may be missing, until one is read.
    Away { from: Duration, reason: String },
    /// Every event is read.
    Joined,
}

/// The last event read, to know later since when others may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// When it was read, since the epoch.
    pub read: Duration,
    /// The whole event.
    pub event: Vec<u8>,
}

impl LastEvent {
    /// When it was fired, if it says so and that was before it was read: a publisher that lags
    /// takes to its end what was fired since.
    fn fired(&self) -> Duration {
        let stamp = stamp_of(&self.event).unwrap_or(self.read);
        stamp.min(self.read)
    }
}

/// What was read, counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Events put into the log.
    pub events: u64,
    /// Events left out because listeners fail on them.
    pub malformed: u64,
    /// Gaps recorded.
    pub gaps: u64,
}

/// Events for the log, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    events: Vec<(Range<usize>, usize)>,
}

/// Memory kept for the next batch, in bytes.
const KEPT_BYTES: usize = 1 << 20;

impl Batch {
    /// The events, ready to be appended.
    pub fn events(&self) -> impl Iterator<Item = Incoming<'_>> {
        self.events.iter().map(|(range, tag_bytes)| Incoming {
            event: &self.bytes[range.clone()],
            tag_bytes: *tag_bytes,
        })
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn push(&mut self, event: &[u8], tag_bytes: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        self.events.push((start..self.bytes.len(), tag_bytes));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.events.clear();
        self.events
            .shrink_to(KEPT_BYTES / size_of::<(Range<usize>, usize)>());
    }
}

impl Joining {
    /// Nothing read yet. `last` is the last event an earlier process has put into the same log: what came
    /// since may be missing.
    #[must_use]
    pub fn new(max_frame_bytes: usize, stamp_style: StampStyle, last: Option<LastEvent>) -> Self {
        let config = SubscriberConfig {
            max_frame_bytes,
            ..SubscriberConfig::default()
        };
        Self {
            session: Session::new(&config),
            stamp_style,
            link: last.map_or(Link::New, |last| Link::Away {
                from: last.fired(),
                reason: "nothing was attached to the bus".to_owned(),
            }),
            last: None,
            batch: Batch::default(),
            counters: Counters::default(),
        }
    }

    /// A new connection begins.
    pub fn handle_connected(&mut self) {
        self.session.connected();
    }

    /// Where to read the connection's bytes to; never empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.session.room()
    }

    /// Takes this many bytes, read into [`Joining::room`] at this moment since the epoch. The events that it returns
    /// go into the log; a gap precedes the event that ends it.
    ///
    /// # Errors
    /// [`FrameError`]: the bytes are not events, and the connection is of no more use. Earlier events are in
    /// [`Joining::batch`].
    pub fn handle_read(&mut self, bytes: usize, now: Duration) -> Result<&Batch, FrameError> {
        self.batch.clear();
        self.session.filled(bytes);
        let read = self.take_in(now);
        if let Some((range, _)) = self.batch.events.last() {
            let last = self.last.get_or_insert_with(|| LastEvent {
                read: now,
                event: Vec::new(),
            });
            last.read = now;
            last.event.clear();
            last.event
                .extend_from_slice(&self.batch.bytes[range.clone()]);
            last.event.shrink_to(KEPT_BYTES);
        }
        read.map(|()| &self.batch)
    }

    fn take_in(&mut self, now: Duration) -> Result<(), FrameError> {
        while self.session.advance()? {
            let Some(event) = self.session.current().map(|event| event.as_bytes()) else {
                break;
            };
            // Real buses pass on what makes listeners fail; ours does not.
            let Ok(envelope) = Envelope::parse(event) else {
                self.counters.malformed += 1;
                continue;
            };
            if let Link::Away { from, reason } = &self.link {
                let gap = gap(*from, now, reason, self.stamp_style);
                self.batch.push(&gap, GAP.len());
                self.counters.gaps += 1;
            }
            self.link = Link::Joined;
            self.counters.events += 1;
            self.batch.push(event, envelope.tag().len());
        }
        Ok(())
    }

    /// What the last read gave.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The connection is over.
    pub fn handle_lost(&mut self, reason: &str, now: Duration) {
        self.session.disconnected();
        if self.link != Link::Joined {
            return;
        }
        let quiet = now.saturating_sub(SILENCE);
        let from = match &self.last {
            Some(last) if last.read >= quiet => last.fired(),
            // It had delivered everything, or would have since.
            _ => quiet,
        };
        self.link = Link::Away {
            from,
            reason: reason.to_owned(),
        };
    }

    /// Whether this connection has delivered an event, so that nothing after it is missing.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.link == Link::Joined
    }

    /// The framing of the connection, once a byte of it was read.
    #[must_use]
    pub const fn framing(&self) -> Option<Framing> {
        self.session.framing()
    }

    /// What was read so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            malformed: self.counters.malformed + self.session.counters().malformed,
            ..self.counters
        }
    }
}

/// The event that says that others may be missing.
fn gap(from: Duration, to: Duration, reason: &str, style: StampStyle) -> Vec<u8> {
    let mut data = Map::new();
    data.insert("from", stamp::format(from, style));
    data.insert("to", stamp::format(to, style));
    data.insert("reason", reason);
    encode_event(GAP, &mut data, &stamp::format(to, style), MAX_EVENT_SIZE)
        .expect("the tag is a constant that can be sent")
}

/// When an event says it was fired.
fn stamp_of(event: &[u8]) -> Option<Duration> {
    let envelope = Envelope::parse(event).ok()?;
    let data = msgpack::decode(envelope.data()).ok()?;
    let text = data.as_map()?.get("_stamp")?.as_str()?;
    let clock = Clock {
        now: Duration::ZERO,
        zone: &|_| 0,
    };
    parse_time(text, Bound::Since, clock).ok()
}

#[cfg(test)]
mod tests {
    use brine_wire::frame::encode_frame;

    use super::*;

    const STYLE: StampStyle = StampStyle::Naive;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn event(tag: &str, fired: Duration) -> Vec<u8> {
        encode_event(tag, &mut Map::new(), &stamp::format(fired, STYLE), 1 << 20).unwrap()
    }

    fn joining(last: Option<LastEvent>) -> Joining {
        Joining::new(1 << 20, STYLE, last)
    }

    /// Reads events as one piece; the texts of what goes into the log.
    fn read(
        joining: &mut Joining,
        framing: Framing,
        events: &[Vec<u8>],
        now: Duration,
    ) -> Vec<String> {
        let mut bytes = Vec::new();
        for event in events {
            encode_frame(framing, event, &mut bytes);
        }
        let mut log = Vec::new();
        for piece in bytes.chunks(1000) {
            joining.room()[..piece.len()].copy_from_slice(piece);
            let batch = joining.handle_read(piece.len(), now).unwrap();
            log.extend(batch.events().map(text));
        }
        log
    }

    fn text(event: Incoming<'_>) -> String {
        let envelope = Envelope::parse(event.event).unwrap();
        assert_eq!(envelope.tag().len(), event.tag_bytes);
        let data = msgpack::decode(envelope.data()).unwrap();
        let field = |name| {
            let value = data.as_map().unwrap().get(name);
            value.and_then(|value| value.as_str()).unwrap_or("")
        };
        match envelope.tag() {
            GAP => format!("{}..{} {}", field("from"), field("to"), field("reason")),
            tag => tag.to_owned(),
        }
    }

    #[test]
    fn a_first_connection_misses_nothing() {
        for framing in [Framing::Bare, Framing::Prefixed] {
            let mut joining = joining(None);
            joining.handle_connected();
            assert!(!joining.is_joined());
            let events = [event("a", seconds(1)), event("b", seconds(1))];
            assert_eq!(read(&mut joining, framing, &events, seconds(2)), ["a", "b"]);
            assert!(joining.is_joined());
            assert_eq!(joining.framing(), Some(framing));
        }
    }

    #[test]
    fn an_end_under_load_is_a_gap_from_when_the_last_event_was_fired() {
        let mut joining = joining(None);
        joining.handle_connected();
        read(
            &mut joining,
            Framing::Bare,
            &[event("a", seconds(7))],
            seconds(10),
        );
        joining.handle_lost("it ended", seconds(11));
        // Attempts that come to nothing do not change it.
        joining.handle_connected();
        joining.handle_lost("it ended again", seconds(15));
        joining.handle_connected();
        let events = [event("b", seconds(19)), event("c", seconds(19))];
        let log = read(&mut joining, Framing::Prefixed, &events, seconds(20));
        assert_eq!(
            log,
            [
                "1970-01-01T00:00:07..1970-01-01T00:00:20 it ended",
                "b",
                "c"
            ]
        );
        assert_eq!(joining.counters().gaps, 1);
    }

    #[test]
    fn a_silent_connection_had_nothing_on_its_way() {
        let mut joining = joining(None);
        joining.handle_connected();
        read(
            &mut joining,
            Framing::Bare,
            &[event("a", seconds(7))],
            seconds(7),
        );
        joining.handle_lost("it ended", seconds(100));
        joining.handle_connected();
        let log = read(
            &mut joining,
            Framing::Bare,
            &[event("b", seconds(101))],
            seconds(101),
        );
        assert_eq!(log[0], "1970-01-01T00:01:38..1970-01-01T00:01:41 it ended");
    }

    #[test]
    fn a_new_process_misses_what_came_after_the_last_event_of_the_log() {
        for (stamp, from) in [(7, "00:00:07"), (30, "00:00:09")] {
            let mut joining = joining(Some(LastEvent {
                read: seconds(9),
                event: event("a", seconds(stamp)),
            }));
            joining.handle_connected();
            let log = read(
                &mut joining,
                Framing::Bare,
                &[event("b", seconds(60))],
                seconds(60),
            );
            let gap =
                format!("1970-01-01T{from}..1970-01-01T00:01:00 nothing was attached to the bus");
            assert_eq!(log, [gap, "b".to_owned()]);
        }
    }

    #[test]
    fn what_listeners_fail_on_is_left_out_and_counted() {
        let mut joining = joining(None);
        joining.handle_connected();
        let events = [
            event("a", seconds(1)),
            b"no end of the tag".to_vec(),
            b"t/list\n\n\x91\x01".to_vec(),
            b"t/cut\n\n\x81\xa1n".to_vec(),
            event("b", seconds(1)),
        ];
        let log = read(&mut joining, Framing::Bare, &events, seconds(2));
        assert_eq!(log, ["a", "b"]);
        let counters = joining.counters();
        assert_eq!((counters.events, counters.malformed), (2, 3));
    }

    #[test]
    fn what_came_before_bytes_that_are_no_frame_is_kept() {
        let mut joining = joining(None);
        joining.handle_connected();
        let mut bytes = Vec::new();
        encode_frame(Framing::Bare, &event("a", seconds(1)), &mut bytes);
        bytes.push(0xff);
        joining.room()[..bytes.len()].copy_from_slice(&bytes);
        assert!(joining.handle_read(bytes.len(), seconds(1)).is_err());
        assert_eq!(
            joining.batch().events().map(text).collect::<Vec<_>>(),
            ["a"]
        );
    }
}
