//! The segments of a log in memory, and which of them stay.
//!
//! It counts how many cursors are in each segment and knows nothing else of them. Retention follows
//! from that: the newest segments stay, as many as hold [`LogConfig::keep_bytes`] of events; an
//! older one goes as soon as no cursor is in it or before it; one with a lagging cursor stays until
//! the memory is full, and then goes all the same.

use std::collections::VecDeque;
use std::sync::Arc;

use brine_wire::frame::Framing;

use crate::position::{LogId, Millis, Position, Seq, Start};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, Segment, SegmentWriter};

/// Which log this is, and how it uses memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The log's identity: a number drawn at random for each new log.
    pub id: LogId,
    /// The most memory its segments take, in bytes, whatever cursors lag. The newest event is kept
    /// even where it alone is larger.
    pub max_bytes: usize,
    /// The newest events, in bytes, that stay when no cursor lags: for readers that start earlier
    /// than now. Up to a segment more is kept; never more than `max_bytes` of memory.
    pub keep_bytes: usize,
    /// The framings events are kept in.
    pub framings: Framings,
    /// The number of the first event.
    pub first: Seq,
}

impl LogConfig {
    /// The defaults, for a log of this identity.
    #[must_use]
    pub const fn new(id: LogId) -> Self {
        Self {
            id,
            max_bytes: 64 << 20,
            keep_bytes: 1 << 20,
            framings: Framings::Bare,
            first: Seq(1),
        }
    }
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The oldest event still there; equal to `next` when there is none.
    pub oldest: Seq,
    /// The number the next event will get.
    pub next: Seq,
    /// The memory of all segments, in bytes.
    pub bytes: usize,
    /// Events appended since the log was made.
    pub appended_events: u64,
    /// Their bytes, without frames.
    pub appended_bytes: u64,
}

/// How far a reader is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events it has not read; those that are gone count, too.
    pub events: u64,
    /// Their bytes with their frames, as far as they are still there.
    pub bytes: u64,
    /// Where the next event it reads is.
    pub reads_from: ReadsFrom,
}

/// Where a reader's next event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadsFrom {
    /// In memory.
    Memory,
    /// On disk.
    Disk,
}

/// Events a cursor cannot have: they are gone, or their position is not of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first event that is missing.
    pub from: Position,
    /// The event the cursor goes on with.
    pub to: Position,
}

impl Gap {
    /// How many events are missing; `None` if nobody can know: the reader was at a position of
    /// another log, or beyond the tail.
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        let same = self.from.log == self.to.log;
        self.to.seq.0.checked_sub(self.from.seq.0).filter(|_| same)
    }
}

/// Frames of one segment, in bytes. A quarter of a megabyte is what one write moves at most, and
/// a few of these stay in a processor's cache.
const SEGMENT_BYTES: usize = 256 << 10;
/// Events of one segment: its bytes at 128 bytes an event, smaller ones fill the index first.
const SEGMENT_EVENTS: usize = SEGMENT_BYTES / 128;
/// Empty segments kept for use again, so that a steady stream never asks the system for memory.
/// While cursors lag there may be as many as there are segments in use, since they catch up in
/// leaps.
const SPARE_SEGMENTS: usize = 4;

/// All segments, and the writer of the newest.
pub(crate) struct Memory {
    config: LogConfig,
    /// Oldest first; never empty. Numbered without holes from `first_segment`.
    segments: VecDeque<Kept>,
    first_segment: u64,
    /// Writes into the newest segment.
    writer: SegmentWriter,
    next: Seq,
    /// The memory of all segments.
    bytes: usize,
    /// The events in all segments but the newest, in bytes.
    sealed_bytes: usize,
    /// The events ever appended to segments before the newest, in bytes.
    appended_bytes: u64,
    spare: Vec<Segment>,
    /// The memory of a segment of the usual size; larger ones hold one large event each.
    ordinary_bytes: usize,
}

struct Kept {
    segment: Arc<Segment>,
    /// How many cursors are in it.
    cursors: usize,
    /// Its events in bytes, once it is sealed.
    event_bytes: usize,
    /// The frames before it since the log was made, in bytes of the bare framing.
    frames_before: u64,
    /// The latest time an event in it was taken in. The clock may have been set back, so that is
    /// not always the time of the last one.
    latest: Millis,
}

impl Memory {
    /// One empty segment.
    pub(crate) fn new(config: LogConfig) -> Self {
        let (writer, segment) =
            segment::channel(config.first, config.framings, SEGMENT_BYTES, SEGMENT_EVENTS);
        let bytes = segment.capacity_bytes();
        Self {
            next: config.first,
            config,
            segments: VecDeque::from([Kept::new(segment, 0)]),
            first_segment: 0,
            writer,
            bytes,
            sealed_bytes: 0,
            appended_bytes: 0,
            spare: Vec::new(),
            ordinary_bytes: bytes,
        }
    }

    /// Appends one event; readers see it after [`Memory::publish`]. Tells whether memory was full
    /// and a segment went that a cursor was in.
    #[inline]
    pub(crate) fn append(&mut self, event: &[u8], tag_bytes: usize, at: Millis) -> bool {
        let mut overrun = false;
        if !self.writer.fits(event.len()) {
            self.note_time(at);
            overrun = self.roll(event.len());
        }
        self.writer.append(event, tag_bytes, at);
        self.next.0 += 1;
        overrun
    }

    /// Shows readers what was appended, all of it at this time.
    #[inline]
    pub(crate) fn publish(&mut self, at: Millis) {
        self.writer.publish();
        self.note_time(at);
    }

    fn note_time(&mut self, at: Millis) {
        if let Some(newest) = self.segments.back_mut() {
            newest.latest = newest.latest.max(at);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            oldest: self.oldest(),
            next: self.next,
            bytes: self.bytes,
            appended_events: self.next.0 - self.config.first.0,
            appended_bytes: self.appended_bytes + self.writer.event_bytes() as u64,
        }
    }

    /// How far a reader is behind whose next event is `seq`.
    pub(crate) fn lag(&self, seq: Seq) -> Lag {
        let in_memory = seq.clamp(self.oldest(), self.next);
        let kept = |number: u64| {
            let at = usize::try_from(number - self.first_segment).ok()?;
            self.segments.get(at)
        };
        let frames_to = |seq| {
            kept(self.segment_of(seq)).map_or(0, |kept| {
                let inside = kept.segment.offset_of(Framing::Bare, seq) as u64;
                kept.frames_before + inside
            })
        };
        Lag {
            events: self.next.0.saturating_sub(seq.0),
            bytes: frames_to(self.next) - frames_to(in_memory),
            reads_from: ReadsFrom::Memory,
        }
    }

    /// The number of the newest segment.
    pub(crate) fn newest(&self) -> u64 {
        self.first_segment + self.segments.len() as u64 - 1
    }

    /// The number the next event will get.
    pub(crate) const fn next(&self) -> Seq {
        self.next
    }

    /// The oldest event there is.
    pub(crate) fn oldest(&self) -> Seq {
        self.segments
            .front()
            .map_or(self.next, |kept| kept.segment.first)
    }

    /// The first event of a cursor that starts so, and the gap before it.
    pub(crate) fn find(&self, start: Start) -> (Seq, Option<Gap>) {
        match start {
            Start::Tail => (self.next, None),
            Start::Oldest => (self.oldest(), None),
            Start::Since(time) => (self.since(time), None),
            Start::After(position) => self.after(position),
        }
    }

    fn after(&self, position: Position) -> (Seq, Option<Gap>) {
        let wanted = Position {
            log: position.log,
            seq: Seq(position.seq.0.saturating_add(1)),
        };
        // All of another log is new to the reader. Of this one, beyond the tail, it has read
        // everything that is here.
        let seq = match wanted.log == self.config.id {
            true => wanted.seq.clamp(self.oldest(), self.next),
            false => self.oldest(),
        };
        let to = self.position(seq);
        let gap = (to != wanted).then_some(Gap { from: wanted, to });
        (seq, gap)
    }

    /// The first event taken in at `time` or later.
    fn since(&self, time: Millis) -> Seq {
        let recent = self.segments.iter().filter(|kept| kept.latest >= time);
        let mut found = recent.filter_map(|kept| kept.segment.since(time));
        found.next().unwrap_or(self.next)
    }

    pub(crate) const fn position(&self, seq: Seq) -> Position {
        Position {
            log: self.config.id,
            seq,
        }
    }

    /// A segment by number; `None` when the log has moved past it.
    pub(crate) fn segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let at = usize::try_from(number.checked_sub(self.first_segment)?).ok()?;
        self.segments.get(at).map(|kept| &kept.segment)
    }

    /// The number of the segment that holds an event, or will; the oldest for what is gone.
    pub(crate) fn segment_of(&self, seq: Seq) -> u64 {
        let after = self
            .segments
            .partition_point(|kept| kept.segment.first <= seq);
        self.first_segment + (after as u64).saturating_sub(1)
    }

    /// Counts a cursor into a segment.
    pub(crate) fn enter(&mut self, number: u64) {
        if let Some(kept) = self.kept(number) {
            kept.cursors += 1;
        }
    }

    /// Counts a cursor out of a segment, and drops what nobody needs any more.
    pub(crate) fn leave(&mut self, number: u64) {
        if let Some(kept) = self.kept(number) {
            kept.cursors -= 1;
            if kept.cursors == 0 && number == self.first_segment {
                self.release_unused();
            }
        }
    }

    /// Counts out a cursor that is gone for good. What was kept ready for it goes too.
    pub(crate) fn depart(&mut self, number: u64) {
        self.leave(number);
        self.spare.truncate(1);
    }

    fn kept(&mut self, number: u64) -> Option<&mut Kept> {
        let at = usize::try_from(number.checked_sub(self.first_segment)?).ok()?;
        self.segments.get_mut(at)
    }

    /// Begins a segment that takes an event of `event_bytes`; tells whether a cursor was overrun.
    fn roll(&mut self, event_bytes: usize) -> bool {
        self.writer.publish();
        let mut frames_before = 0;
        if let Some(sealed) = self.segments.back_mut() {
            sealed.event_bytes = self.writer.event_bytes();
            self.sealed_bytes += sealed.event_bytes;
            self.appended_bytes += sealed.event_bytes as u64;
            frames_before = sealed.frames_before + self.writer.frame_bytes() as u64;
        }
        let first = self.next;
        let needed = event_bytes + FRAME_OVERHEAD_BYTES;
        let (writer, segment) = if needed > SEGMENT_BYTES {
            segment::channel(first, self.config.framings, needed, 1)
        } else {
            self.spare
                .pop()
                .and_then(|spare| spare.recycle(first))
                .unwrap_or_else(|| self.ordinary_segment())
        };
        self.writer = writer;
        let overrun = self.make_room(segment.capacity_bytes());
        self.bytes += segment.capacity_bytes();
        self.segments.push_back(Kept::new(segment, frames_before));
        overrun
    }

    fn ordinary_segment(&self) -> (SegmentWriter, Segment) {
        segment::channel(
            self.next,
            self.config.framings,
            SEGMENT_BYTES,
            SEGMENT_EVENTS,
        )
    }

    /// Drops old segments until `bytes` more fit the limit; tells whether a cursor was in one.
    fn make_room(&mut self, bytes: usize) -> bool {
        let mut overrun = false;
        while self.bytes + bytes > self.config.max_bytes && !self.segments.is_empty() {
            overrun |= self.drop_oldest();
        }
        self.release_unused();
        overrun
    }

    /// Drops the oldest segments that no cursor is in, as long as enough events are left.
    fn release_unused(&mut self) {
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
            && oldest.cursors == 0
            && self.sealed_bytes + self.writer.event_bytes()
                >= oldest.event_bytes + self.config.keep_bytes
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.segments.pop_front() else {
            return false;
        };
        self.first_segment += 1;
        let bytes = oldest.segment.capacity_bytes();
        self.bytes -= bytes;
        self.sealed_bytes -= oldest.event_bytes;
        // A reader may still be copying out of it; then its memory goes when that reader is done.
        let spares = SPARE_SEGMENTS.max(self.segments.len());
        if let Some(segment) = Arc::into_inner(oldest.segment)
            && bytes == self.ordinary_bytes
        {
            self.spare.push(segment);
        }
        self.spare.truncate(spares);
        oldest.cursors > 0
    }
}

impl Kept {
    fn new(segment: Segment, frames_before: u64) -> Self {
        Self {
            segment: Arc::new(segment),
            cursors: 0,
            event_bytes: 0,
            frames_before,
            latest: Millis(0),
        }
    }
}
