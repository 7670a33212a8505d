//! Events on their way to the other side: copied out of the log, so that a slow sink delays nobody.
//!
//! A batch can be cut into pieces without copying. It does not know why it is cut.

use std::borrow::Cow;
use std::ops::Range;

use brine_log::{LogId, Millis, Origin, Position, Seq, StoredEvent};
use brine_wire::envelope::TAG_END;

/// Events that are delivered together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
    log: LogId,
    through: Position,
    is_resent: bool,
}

/// One event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its log and number: no other event has the same.
    pub position: Position,
    /// When the log took it in.
    pub at: Millis,
    /// Its tag, which is UTF-8 unless somebody fires odd events.
    pub tag: &'a [u8],
    /// Its data: one msgpack map.
    pub data: &'a [u8],
    /// Who fired it, as authenticated: the id of a minion. `None` for programs of this machine.
    pub sender: Option<&'a str>,
    /// Of an event of another master's bus: which master, and its position there.
    pub origin: Option<Origin<'a>>,
}

/// Where one event is among the bytes.
#[derive(Debug, Clone)]
struct Entry {
    seq: Seq,
    at: Millis,
    tag: Range<usize>,
    data: Range<usize>,
    sender: Range<usize>,
    origin: Option<(Range<usize>, Position)>,
}

/// Events gathered from the log, in their order.
#[derive(Debug)]
pub(crate) struct Gathered {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The last event looked at, whether or not it passed the filter.
    pub(crate) through: Position,
    is_resent: bool,
}

impl<'a> Batch<'a> {
    /// The events, in the order of the log.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'a>> + use<'a> {
        let (bytes, log) = (self.bytes, self.log);
        let part = move |range: &Range<usize>| &bytes[range.clone()];
        self.entries.iter().map(move |entry| Event {
            position: Position {
                log,
                seq: entry.seq,
            },
            at: entry.at,
            tag: part(&entry.tag),
            data: part(&entry.data),
            sender: std::str::from_utf8(part(&entry.sender))
                .ok()
                .filter(|sender| !sender.is_empty()),
            origin: entry.origin.as_ref().and_then(|(master, position)| {
                Origin::new(std::str::from_utf8(part(master)).ok()?, *position)
            }),
        })
    }

    /// How many events it has; never none.
    #[allow(clippy::len_without_is_empty)] // it never is
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where the consumer is once the other side has all of it.
    #[must_use]
    pub const fn through(&self) -> Position {
        self.through
    }

    /// Whether this is one event for itself, a dead letter on its way once more: then no position moves with it.
    #[must_use]
    pub const fn is_resent(&self) -> bool {
        self.is_resent
    }
}

impl<'a> Event<'a> {
    /// The tag as text; invalid UTF-8 in it is replaced.
    #[must_use]
    pub fn tag_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.tag)
    }
}

impl Gathered {
    /// None yet, of a consumer that is here.
    pub(crate) const fn at(position: Position) -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
            through: position,
            is_resent: false,
        }
    }

    /// A single event outside the order: no position moves with it.
    pub(crate) fn one(event: &Event<'_>) -> Self {
        let mut one = Self {
            is_resent: true,
            ..Self::at(event.position)
        };
        let bytes = [event.tag, TAG_END, event.data].concat();
        let stored = StoredEvent {
            seq: event.position.seq,
            at: event.at,
            event: &bytes,
            tag_bytes: event.tag.len(),
            sender: event.sender,
            origin: event.origin,
        };
        one.push(&stored, &bytes);
        one
    }

    /// Adds an event; `event` is what is to be delivered of it: tag, tag end and data.
    pub(crate) fn push(&mut self, stored: &StoredEvent<'_>, event: &[u8]) {
        let tag_bytes = stored.tag_bytes.min(event.len());
        let data = (tag_bytes + TAG_END.len()).min(event.len());
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        let end = self.bytes.len();
        self.bytes
            .extend_from_slice(stored.sender.unwrap_or_default().as_bytes());
        let sender = end..self.bytes.len();
        let origin = stored.origin.map(|origin| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(origin.master().as_bytes());
            (start..self.bytes.len(), origin.position())
        });
        self.entries.push(Entry {
            seq: stored.seq,
            at: stored.at,
            tag: start..start + tag_bytes,
            data: start + data..end,
            sender,
            origin,
        });
        self.through.seq = stored.seq;
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Some of the events; `None` for none.
    pub(crate) fn piece(&self, range: Range<usize>) -> Option<Batch<'_>> {
        let is_last = range.end == self.entries.len();
        let entries = self.entries.get(range)?;
        let seq = entries.last()?.seq;
        Some(Batch {
            bytes: &self.bytes,
            entries,
            log: self.through.log,
            // What was looked at behind the last event is dealt with too.
            through: Position {
                seq: if is_last { self.through.seq } else { seq },
                ..self.through
            },
            is_resent: self.is_resent,
        })
    }

    /// Makes room for the next ones.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn gathered(count: u64) -> Gathered {
        let log = LogId(7);
        let mut gathered = Gathered::at(Position { log, seq: Seq(0) });
        for seq in 1..=count {
            let event = b"my/tag\n\n\x81\xa1n\x01";
            let stored = StoredEvent {
                seq: Seq(seq * 2),
                at: Millis(seq),
                event,
                tag_bytes: 6,
                sender: (seq == 1).then_some("web1"),
                origin: None,
            };
            gathered.push(&stored, event);
        }
        gathered
    }

    #[test]
    fn a_piece_ends_with_its_last_event_and_the_last_piece_with_what_was_looked_at() {
        let mut gathered = gathered(3);
        gathered.through.seq = Seq(10);
        let first = gathered.piece(0..2).unwrap();
        assert_eq!((first.len(), first.through().seq), (2, Seq(4)));
        assert_eq!(gathered.piece(2..3).unwrap().through().seq, Seq(10));
        assert!(gathered.piece(3..3).is_none() && gathered.piece(2..4).is_none());
    }

    #[test]
    fn an_event_has_its_parts() {
        let gathered = gathered(2);
        let events: Vec<_> = gathered.piece(0..2).unwrap().events().collect();
        assert_eq!(events[0].tag_text(), "my/tag");
        assert_eq!(events[0].data, b"\x81\xa1n\x01");
        assert_eq!((events[0].sender, events[1].sender), (Some("web1"), None));
        assert_eq!(events[1].position.to_string(), "7-4");
        let one = Gathered::one(&events[0]);
        assert_eq!(one.piece(0..1).unwrap().events().next(), Some(events[0]));
    }
}
