//! The segments of a log, and which of them stay.
//!
//! It counts how many cursors are in each segment and knows nothing else about them. Retention follows from that: the
//! newest segments stay, as many as hold [`LogConfig::keep_bytes`] of events; an older one is dropped as soon as no
//! cursor is in it or before it. A segment that a lagging cursor still needs goes to the overflow when half of the
//! memory is full ([`overflow`]). Without overflow, or beyond the overflow's limit, the oldest segment is dropped
//! even if a cursor is in it.

mod overflow;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use self::overflow::{Home, Overflow};
use crate::config::{Lag, LogConfig, OverrunCause, ReadsFrom, Stats};
use crate::gap::{Gap, GapReason};
use crate::position::{Millis, Position, Seq, Start};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, SOURCE_BYTES, Segment, SegmentWriter};
use crate::source::Source;
use crate::unused::Unused;

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
    /// Numbers that were skipped.
    skipped: u64,
    /// Numbers without an event, in this log and in its history.
    unused: Unused,
    /// The memory of all segments that are in memory.
    bytes: usize,
    overflow: Option<Overflow>,
    overrun_cause: OverrunCause,
    /// The time of the latest append.
    now: Millis,
    /// The events in all segments but the newest, in bytes.
    sealed_bytes: usize,
    /// The events ever appended to segments before the newest, in bytes.
    appended_bytes: u64,
    spare: Vec<Segment>,
    /// The memory of a segment of the usual size; larger ones hold one large event each.
    ordinary_bytes: usize,
}

/// What a cursor finds where it is.
pub(crate) enum Look<'a> {
    Here(&'a Arc<Segment>),
    /// On disk.
    Stored,
    /// It cannot be read; this event is the next that may be there.
    Lost(Seq),
    /// The log has moved past it.
    Gone,
}

struct Kept {
    first: Seq,
    /// Why numbers are missing between the segment before and this one, if any are.
    skipped_for: Option<GapReason>,
    home: Home,
    /// How many cursors are in it.
    cursors: usize,
    /// Its events in bytes, once it is sealed.
    event_bytes: usize,
    /// The frames before it since the log was made, in bytes of the bare framing.
    frames_before: u64,
    /// The latest time at which an event in it was received. The clock may have been set back, so that is not always
    /// the time of the last one.
    latest: Millis,
}

impl Memory {
    /// One empty segment.
    pub(crate) fn new(config: LogConfig, unused: Unused) -> Self {
        let (writer, segment) = ordinary(config.first, config.framings);
        let bytes = segment.capacity_bytes();
        Self {
            next: config.first,
            config,
            segments: VecDeque::from([Kept::new(segment, 0)]),
            first_segment: 0,
            writer,
            skipped: 0,
            unused,
            bytes,
            overflow: None,
            overrun_cause: OverrunCause::MemoryFull,
            now: Millis(0),
            sealed_bytes: 0,
            appended_bytes: 0,
            spare: Vec::new(),
            ordinary_bytes: bytes,
        }
    }

    /// Appends one event; readers see it after [`Memory::publish`]. Tells whether memory was full
    /// and a segment went that a cursor was in.
    #[inline]
    pub(crate) fn append(
        &mut self,
        event: &[u8],
        tag_bytes: usize,
        at: Millis,
        source: &Source<'_>,
    ) -> bool {
        let mut overrun = false;
        if !self.writer.fits(event.len(), source) {
            self.note_time(at);
            overrun = self.roll(event.len());
        }
        self.writer.append(event, tag_bytes, at, source);
        self.next.0 += 1;
        overrun
    }

    /// Continues at a later number, in a new segment. Returns, as `append` does, whether a cursor was overrun.
    pub(crate) fn skip_to(&mut self, next: Seq, reason: Option<GapReason>) -> bool {
        self.skipped += next.0 - self.next.0;
        if reason == Some(GapReason::UncleanShutdown) {
            self.unused.push(self.next..next);
        }
        self.next = next;
        let overrun = self.roll(0);
        if let Some(newest) = self.segments.back_mut() {
            newest.skipped_for = reason;
        }
        overrun
    }

    /// The gap before this segment for a reader whose next event is `seq`; usually `None`.
    pub(crate) fn gap_before(&self, number: u64, seq: Seq) -> Option<Gap> {
        let at = usize::try_from(number.checked_sub(self.first_segment)?).ok()?;
        let kept = self.segments.get(at).filter(|kept| seq < kept.first)?;
        Some(self.gap(seq, kept.first, kept.skipped_for))
    }

    /// What a reader of this log cannot have: the events from one number to another.
    pub(crate) fn gap(&self, from: Seq, to: Seq, reason: Option<GapReason>) -> Gap {
        self.gap_from(self.position(from), to, reason)
    }

    fn gap_from(&self, from: Position, to: Seq, reason: Option<GapReason>) -> Gap {
        let is_same_log = from.log == self.config.id;
        let numbers = to.0.saturating_sub(from.seq.0);
        let unused = match is_same_log {
            true => numbers - self.count(from.seq..to),
            false => 0,
        };
        // Where no event is missing, something else is the reason.
        let is_only_unused = unused > 0 && unused == numbers;
        Gap {
            from,
            to: self.position(to),
            reason: reason.or(is_only_unused.then_some(GapReason::UncleanShutdown)),
            unused,
        }
    }

    /// The most events that these numbers can have.
    pub(crate) fn count(&self, seqs: Range<Seq>) -> u64 {
        self.unused.count(seqs)
    }

    /// The number this many events before this one.
    pub(crate) fn before(&self, seq: Seq, events: u64) -> Seq {
        self.unused.before(seq, events)
    }

    /// The number this many events after this one.
    pub(crate) fn after_events(&self, seq: Seq, events: u64) -> Seq {
        self.unused.after(seq, events)
    }

    /// Shows readers what was appended, all of it at this time.
    #[inline]
    pub(crate) fn publish(&mut self, at: Millis) {
        self.writer.publish();
        self.note_time(at);
    }

    fn note_time(&mut self, at: Millis) {
        self.now = at;
        if let Some(newest) = self.segments.back_mut() {
            newest.latest = newest.latest.max(at);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            oldest: self.oldest(),
            next: self.next,
            events: self.count(self.oldest()..self.next),
            bytes: self.bytes,
            overflow_bytes: self.overflow.as_ref().map_or(0, |overflow| overflow.bytes),
            appended_events: self.next.0 - self.config.first.0 - self.skipped,
            appended_bytes: self.appended_bytes + self.writer.event_bytes() as u64,
        }
    }

    /// How far a reader is behind whose next event is `seq`.
    pub(crate) fn lag(&self, seq: Seq) -> Lag {
        let in_there = seq.clamp(self.oldest(), self.next);
        let kept = |number: u64| {
            let at = usize::try_from(number - self.first_segment).ok()?;
            self.segments.get(at)
        };
        let frames_to = |seq| {
            kept(self.segment_of(seq)).map_or(0, |kept| {
                // The offset inside a segment on disk is unknown, so count from its start.
                let inside = kept
                    .in_memory()
                    .map_or(0, |segment| segment.offset_of(Framing::Bare, seq));
                kept.frames_before + inside as u64
            })
        };
        let home = kept(self.segment_of(in_there)).and_then(Kept::in_memory);
        Lag {
            events: self.count(seq..self.next),
            bytes: frames_to(self.next) - frames_to(in_there),
            reads_from: match home {
                Some(_) => ReadsFrom::Memory,
                None => ReadsFrom::Disk,
            },
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
        self.segments.front().map_or(self.next, |kept| kept.first)
    }

    /// The first event of a cursor that starts so, and the gap before it, where `oldest` is the
    /// oldest event it can have. A time is looked for in memory alone.
    pub(crate) fn find(&self, start: Start, oldest: Seq) -> (Seq, Option<Gap>) {
        match start {
            Start::Tail => (self.next, None),
            Start::Oldest => (oldest, None),
            Start::Since(time) => (self.since(time), None),
            Start::After(position) => self.after(position, oldest),
        }
    }

    fn after(&self, position: Position, oldest: Seq) -> (Seq, Option<Gap>) {
        let wanted = Position {
            log: position.log,
            seq: Seq(position.seq.0.saturating_add(1)),
        };
        // If the position is from another log, everything here is new. If it is past this log's tail, everything
        // here has been read.
        let seq = match wanted.log == self.config.id {
            true => wanted.seq.clamp(oldest, self.next),
            false => oldest,
        };
        let gap = (self.position(seq) != wanted).then(|| self.gap_from(wanted, seq, None));
        (seq, gap)
    }

    /// The first event received at `time` or later; the beginning of its segment if that is on disk.
    pub(crate) fn since(&self, time: Millis) -> Seq {
        let recent = self.segments.iter().filter(|kept| kept.latest >= time);
        let mut found = recent.filter_map(|kept| match kept.in_memory() {
            Some(segment) => segment.since(time),
            None => Some(kept.first),
        });
        found.next().unwrap_or(self.next)
    }

    pub(crate) const fn position(&self, seq: Seq) -> Position {
        Position {
            log: self.config.id,
            seq,
        }
    }

    /// A segment by number.
    pub(crate) fn look(&self, number: u64) -> Look<'_> {
        let at = number.checked_sub(self.first_segment);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let Some((at, kept)) = at.and_then(|at| Some((at, self.segments.get(at)?))) else {
            return Look::Gone;
        };
        match &kept.home {
            Home::Memory(segment) | Home::Waiting(segment) => Look::Here(segment),
            Home::Disk(_) => self.loaded_segment(number).map_or(Look::Stored, Look::Here),
            Home::Lost => Look::Lost(self.segments.get(at + 1).map_or(self.next, |k| k.first)),
        }
    }

    /// Whether an event comes after a segment.
    pub(crate) fn is_past(&self, number: u64, seq: Seq) -> bool {
        self.segment_of(seq) > number
    }

    /// The number of the segment that holds an event, or will; the oldest for what is gone.
    pub(crate) fn segment_of(&self, seq: Seq) -> u64 {
        let after = self.segments.partition_point(|kept| kept.first <= seq);
        self.first_segment + (after as u64).saturating_sub(1)
    }

    /// Counts a cursor into a segment.
    pub(crate) fn enter(&mut self, number: u64) {
        if let Some(kept) = self.kept(number) {
            kept.cursors += 1;
        }
    }

    /// Removes a cursor from a segment's count, and drops segments that nobody needs any more.
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
            segment::channel(first, self.config.framings, needed, 1, SOURCE_BYTES)
        } else {
            self.spare
                .pop()
                .and_then(|spare| spare.recycle(first))
                .unwrap_or_else(|| ordinary(first, self.config.framings))
        };
        self.writer = writer;
        let overrun = self.make_room(segment.capacity_bytes());
        self.bytes += segment.capacity_bytes();
        self.segments.push_back(Kept::new(segment, frames_before));
        overrun
    }

    /// Moves or drops old segments until `bytes` more fit the limit; tells whether a cursor was in
    /// one that was dropped.
    fn make_room(&mut self, bytes: usize) -> bool {
        self.release_unused();
        let mut overrun = self.spill(bytes);
        while self.bytes + bytes > self.config.max_bytes && !self.segments.is_empty() {
            self.overrun_cause = match self.waiting_bytes() {
                0 => OverrunCause::MemoryFull,
                _ => OverrunCause::DiskTooSlow,
            };
            overrun |= self.drop_oldest();
        }
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
        self.sealed_bytes -= oldest.event_bytes;
        if let Some(overflow) = &mut self.overflow {
            overflow.drop_segment(&oldest.home, self.first_segment);
        }
        match oldest.home {
            Home::Memory(segment) | Home::Waiting(segment) => self.leave_memory(segment),
            Home::Disk(_) | Home::Lost => {}
        }
        oldest.cursors > 0
    }

    /// Takes the memory of a segment back.
    fn leave_memory(&mut self, segment: Arc<Segment>) {
        let bytes = segment.capacity_bytes();
        self.bytes -= bytes;
        let spares = SPARE_SEGMENTS.max(self.bytes / self.ordinary_bytes);
        // A reader may still be copying out of it; then its memory goes when that reader is done.
        if let Some(segment) = Arc::into_inner(segment)
            && bytes == self.ordinary_bytes
        {
            self.spare.push(segment);
        }
        self.spare.truncate(spares);
    }
}

/// A segment of the size that most have.
fn ordinary(first: Seq, framings: Framings) -> (SegmentWriter, Segment) {
    segment::channel(first, framings, SEGMENT_BYTES, SEGMENT_EVENTS, SOURCE_BYTES)
}

impl Kept {
    fn in_memory(&self) -> Option<&Arc<Segment>> {
        match &self.home {
            Home::Memory(segment) | Home::Waiting(segment) => Some(segment),
            Home::Disk(_) | Home::Lost => None,
        }
    }

    fn new(segment: Segment, frames_before: u64) -> Self {
        Self {
            first: segment.first,
            skipped_for: None,
            home: Home::Memory(Arc::new(segment)),
            cursors: 0,
            event_bytes: 0,
            frames_before,
            latest: Millis(0),
        }
    }
}
