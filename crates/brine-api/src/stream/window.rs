//! A range of a stream as it was rendered: the bytes that all readers of the same form and filter are sent, and which
//! event is where in them.
//!
//! Offsets count from the beginning of the stream, so that a reader's position is one number that stays valid while
//! the front of the window is dropped. This file knows nothing of readers and sockets.

use std::collections::VecDeque;

use brine_log::Seq;

/// How records are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// As they are.
    Bare,
    /// Each as a chunk of HTTP/1.1's transfer coding, so that any run of whole records is a piece of
    /// a valid body for every reader.
    Chunks,
}

/// What ends a body in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Rendered records.
#[derive(Debug)]
pub(super) struct Window {
    wire: Wire,
    bytes: Vec<u8>,
    /// Where `bytes` begins.
    base: u64,
    records: VecDeque<Record>,
    /// The event a reader at the window's beginning reads next.
    first: Seq,
    /// The first event that was not looked at.
    next: Seq,
    /// Events ever pushed.
    pushed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// The first byte behind it.
    end: u64,
    /// The event, or the one that a reader behind the record reads next.
    seq: Seq,
    /// How many events were pushed up to this one.
    pushed: u64,
    is_event: bool,
}

/// Where a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// Between two records: this event is next.
    Between(Seq),
    /// Inside this event's record, after this many bytes of it.
    Inside(Seq, usize),
    /// Inside a record without an event, with this many bytes of it left; then this event is next.
    InsideOther(Seq, usize),
}

impl Spot {
    /// The event that a reader here has not wholly read.
    pub(super) const fn next(self) -> Seq {
        match self {
            Self::Between(next) | Self::Inside(next, _) | Self::InsideOther(next, _) => next,
        }
    }
}

impl Window {
    /// An empty window for readers whose next event is `next`.
    pub(super) const fn new(wire: Wire, next: Seq) -> Self {
        Self {
            wire,
            bytes: Vec::new(),
            base: 0,
            records: VecDeque::new(),
            first: next,
            next,
            pushed: 0,
        }
    }

    /// Appends the record of an event.
    pub(super) fn push_event(&mut self, seq: Seq, record: &[u8]) {
        self.frame(record);
        self.pushed += 1;
        self.next = Seq(seq.0 + 1);
        self.note(seq, true);
    }

    /// Appends a record without an event.
    pub(super) fn push_other(&mut self, record: &[u8]) {
        self.frame(record);
        self.note(self.next, false);
    }

    /// Notes that all events before `next` were looked at.
    pub(super) fn looked_at(&mut self, next: Seq) {
        self.next = next;
    }

    fn frame(&mut self, record: &[u8]) {
        push_framed(self.wire, record, &mut self.bytes);
    }

    fn note(&mut self, seq: Seq, is_event: bool) {
        self.records.push_back(Record {
            end: self.end(),
            seq,
            pushed: self.pushed,
            is_event,
        });
    }

    /// Where the window begins.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Where it ends.
    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first event that was not looked at.
    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    /// The bytes from a place of the window on.
    pub(super) fn from(&self, at: u64) -> &[u8] {
        let offset = usize::try_from(at.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// Where a reader is whose next event is `seq`; `None` if that is before the window or behind it.
    pub(super) fn find(&self, seq: Seq) -> Option<u64> {
        if seq < self.first || seq > self.next {
            return None;
        }
        // Records without an event belong to the event after them: a reader of that event gets them first.
        let before = self
            .records
            .partition_point(|record| record.seq < seq || (record.seq == seq && !record.is_event));
        Some(match before.checked_sub(1) {
            Some(last) => self.records[last].end,
            None => self.base,
        })
    }

    /// What is at a place of the window.
    pub(super) fn spot(&self, at: u64) -> Spot {
        let nth = self.records.partition_point(|record| record.end <= at);
        let begin = match nth.checked_sub(1) {
            Some(last) => self.records[last].end,
            None => self.base,
        };
        let Some(record) = self.records.get(nth) else {
            return Spot::Between(self.next);
        };
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        match record.is_event {
            _ if at <= begin => Spot::Between(record.seq),
            true => Spot::Inside(record.seq, bytes(at - begin)),
            false => Spot::InsideOther(record.seq, bytes(record.end - at)),
        }
    }

    /// How many events end before a place; only differences mean something.
    pub(super) fn events_before(&self, at: u64) -> u64 {
        if at >= self.end() {
            return self.pushed; // by far the most frequent question
        }
        let nth = self.records.partition_point(|record| record.end <= at);
        match nth.checked_sub(1) {
            Some(last) => self.records[last].pushed,
            None => self.records.front().map_or(self.pushed, |record| {
                record.pushed - u64::from(record.is_event)
            }),
        }
    }

    /// Drops whole records from the front: those that end at or before `until`.
    pub(super) fn drop_before(&mut self, until: u64) {
        let count = self.records.partition_point(|record| record.end <= until);
        let Some(last) = count.checked_sub(1).map(|last| self.records[last]) else {
            return;
        };
        let dropped = usize::try_from(last.end - self.base).unwrap_or(usize::MAX);
        self.bytes.drain(..dropped.min(self.bytes.len()));
        self.records.drain(..count);
        self.base = last.end;
        self.first = if last.is_event {
            Seq(last.seq.0 + 1)
        } else {
            last.seq
        };
    }

    /// Gives back memory after a burst.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to(2 * self.bytes.len());
        self.records.shrink_to(2 * self.records.len());
    }
}

/// Appends a record as it goes on the wire.
pub(super) fn push_framed(wire: Wire, record: &[u8], out: &mut Vec<u8>) {
    match wire {
        Wire::Bare => out.extend_from_slice(record),
        Wire::Chunks if record.is_empty() => {} // an empty chunk would end the body
        Wire::Chunks => {
            push_hexadecimal(record.len(), out);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(record);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn push_hexadecimal(number: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (4 * place) & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events 10, 12 and 13; a record of none between the last two; 11 and 14 do not pass.
    fn window(wire: Wire) -> Window {
        let mut window = Window::new(wire, Seq(10));
        window.push_event(Seq(10), b"ten");
        window.looked_at(Seq(12));
        window.push_event(Seq(12), b"twelve");
        window.push_other(b"--");
        window.push_event(Seq(13), b"thirteen");
        window.looked_at(Seq(15));
        window
    }

    #[test]
    fn a_reader_is_found_by_its_next_event() {
        let window = window(Wire::Bare);
        for (seq, place) in [
            (9, None),
            (10, Some(0)),
            (11, Some(3)),
            (12, Some(3)),
            (13, Some(11)),
            (14, Some(19)),
            (15, Some(19)),
            (16, None),
        ] {
            assert_eq!(window.find(Seq(seq)), place, "{seq}");
        }
        assert_eq!(window.from(3), b"twelve--thirteen");
        assert_eq!(window.from(19), b"");
    }

    #[test]
    fn a_place_says_which_event_is_next() {
        let window = window(Wire::Bare);
        for (at, spot) in [
            (0, Spot::Between(Seq(10))),
            (1, Spot::Inside(Seq(10), 1)),
            (3, Spot::Between(Seq(12))),
            (8, Spot::Inside(Seq(12), 5)),
            (9, Spot::Between(Seq(13))),
            (10, Spot::InsideOther(Seq(13), 1)),
            (11, Spot::Between(Seq(13))),
            (19, Spot::Between(Seq(15))),
        ] {
            assert_eq!(window.spot(at), spot, "{at}");
        }
        let counts = [0, 3, 9, 11, 19].map(|at| window.events_before(at));
        assert_eq!(counts, [0, 1, 2, 2, 3]);
    }

    #[test]
    fn the_front_is_dropped_in_whole_records() {
        let mut window = window(Wire::Bare);
        window.drop_before(10);
        assert_eq!((window.base(), window.from(9)), (9, &b"--thirteen"[..]));
        assert_eq!(
            (window.find(Seq(12)), window.find(Seq(13))),
            (None, Some(11))
        );
        assert_eq!(window.events_before(19) - window.events_before(9), 1);
        window.drop_before(19);
        assert_eq!((window.len(), window.find(Seq(14))), (0, Some(19)));
        assert_eq!(window.find(Seq(13)), None);
    }

    #[test]
    fn records_are_chunks_of_their_own() {
        let window = window(Wire::Chunks);
        assert_eq!(
            window.from(0),
            b"3\r\nten\r\n6\r\ntwelve\r\n2\r\n--\r\n8\r\nthirteen\r\n"
        );
        let mut out = Vec::new();
        push_framed(Wire::Chunks, &[b'x'; 0x1f3], &mut out);
        assert!(out.starts_with(b"1f3\r\nxxx"));
        out.clear();
        push_framed(Wire::Chunks, b"", &mut out);
        assert!(out.is_empty());
    }
}
