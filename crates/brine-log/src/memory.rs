//! The segments of a log, and which of them stay.
//!
//! It counts how many cursors are in each segment and knows nothing else of them. Retention follows
//! from that: the newest segments stay, as many as hold [`LogConfig::keep_bytes`] of events; an
//! older one goes as soon as no cursor is in it or before it. One that a lagging cursor still needs
//! goes to the overflow when half of the memory is full. Without overflow, or beyond the overflow's
//! limit, the oldest segment goes whether or not a cursor is in it.
//!
//! The overflow's threads do all I/O; this module only tracks where each segment is.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use tokio::sync::oneshot;

use crate::gap::{Gap, GapReason};
use crate::overflow::{OnDisk, OverflowConfig, Threads, Written};
use crate::position::{LogId, Millis, Position, Seq, Start};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, SOURCE_BYTES, Segment, SegmentWriter};
use crate::source::Source;
use crate::unused::Unused;

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
    /// Where segments go that lagging cursors need when memory is full.
    pub overflow: Option<OverflowConfig>,
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
            overflow: None,
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
    /// How many events these are.
    pub events: u64,
    /// The memory of all segments, in bytes.
    pub bytes: usize,
    /// Segments in the overflow, or on their way to it, in bytes.
    pub overflow_bytes: u64,
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

/// Why a segment was dropped while a cursor was still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrunCause {
    /// There is no overflow, or its disk has failed.
    #[error("the log in memory was full (log_bytes)")]
    MemoryFull,
    /// The overflow has reached its limit.
    #[error("the overflow on disk was full (overflow_bytes, or half of the free space)")]
    OverflowFull,
    /// The overflow's disk takes segments more slowly than they come.
    #[error("the disk of the overflow was too slow")]
    DiskTooSlow,
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

/// Segments read back from the overflow that stay for other readers at the same place, in bytes.
const LOADED_BYTES: usize = 4 << 20;
/// How long a failed overflow is not tried again, in milliseconds.
const RETRY_AFTER: u64 = 60_000;

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

/// What is known of the overflow.
struct Overflow {
    threads: Threads,
    max_bytes: u64,
    /// The present limit: `max_bytes`, or half of the free space.
    limit: u64,
    /// Segments on disk and on their way to it, in bytes.
    bytes: u64,
    /// The memory of segments on their way to disk.
    waiting_bytes: usize,
    /// Set when it has failed: when it may be tried again.
    retry_at: Option<Millis>,
    /// Segments read back, the latest last.
    loaded: Vec<(u64, Arc<Segment>)>,
    /// Segments being read back, and who waits for them.
    loading: HashMap<u64, Vec<oneshot::Sender<Arc<Segment>>>>,
}

/// Where a segment is. In order of age: on disk, waiting, in memory.
enum Home {
    Memory(Arc<Segment>),
    /// In memory until it is written.
    Waiting(Arc<Segment>),
    Disk(OnDisk),
    /// It could not be read back.
    Lost,
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
    /// The latest time an event in it was taken in. The clock may have been set back, so that is
    /// not always the time of the last one.
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

    /// How many events these numbers stand for at most.
    pub(crate) fn count(&self, seqs: Range<Seq>) -> u64 {
        self.unused.count(seqs)
    }

    /// The number so many events before this one.
    pub(crate) fn before(&self, seq: Seq, events: u64) -> Seq {
        self.unused.before(seq, events)
    }

    /// The number so many events after this one.
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

    /// The first event taken in at `time` or later; the beginning of its segment if that is on disk.
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

impl Memory {
    /// From now on segments go to disk when half of the memory is full.
    pub(crate) fn set_overflow(&mut self, threads: Threads, max_bytes: u64) {
        self.overflow = Some(Overflow {
            threads,
            max_bytes,
            limit: max_bytes,
            bytes: 0,
            waiting_bytes: 0,
            retry_at: None,
            loaded: Vec::new(),
            loading: HashMap::new(),
        });
    }

    /// Why a cursor was overrun last.
    pub(crate) const fn overrun_cause(&self) -> OverrunCause {
        self.overrun_cause
    }

    /// Whether writers to the log should wait for the disk: a quarter of the memory waits for it.
    #[inline]
    pub(crate) fn is_backed_up(&self) -> bool {
        self.waiting_bytes() > self.config.max_bytes / 4
    }

    #[inline]
    fn waiting_bytes(&self) -> usize {
        self.overflow
            .as_ref()
            .map_or(0, |overflow| overflow.waiting_bytes)
    }

    /// Queues old segments that cursors still need for writing, until with `bytes` more at most half of the memory
    /// holds segments that are not queued. Tells whether the overflow's limit overran a cursor.
    fn spill(&mut self, bytes: usize) -> bool {
        let mut overrun = false;
        // Cursors that do not lag are in one of the newest two, however little memory there is.
        let half = (self.config.max_bytes / 2).max(2 * self.ordinary_bytes);
        while self.overflow_is_usable()
            && self.bytes - self.waiting_bytes() + bytes > half
            && let Some(oldest) = self.segments.front()
        {
            if oldest.cursors == 0 {
                self.drop_oldest();
                continue;
            }
            let written = |kept: &Kept| !matches!(kept.home, Home::Memory(_));
            let at = self.segments.partition_point(written);
            let (Some(kept), Some(overflow)) = (self.segments.get_mut(at), &mut self.overflow)
            else {
                break;
            };
            let Home::Memory(segment) = &kept.home else {
                break;
            };
            let segment = Arc::clone(segment);
            let stored = segment.sizes().stored_bytes() as u64;
            if overflow.bytes + stored <= overflow.limit {
                overflow.bytes += stored;
                overflow.waiting_bytes += segment.capacity_bytes();
                kept.home = Home::Waiting(Arc::clone(&segment));
                overflow
                    .threads
                    .write(self.first_segment + at as u64, segment);
            } else if at > 0 {
                self.overrun_cause = OverrunCause::OverflowFull;
                overrun |= self.drop_oldest();
            } else {
                break; // it alone is over the limit
            }
        }
        overrun
    }

    fn overflow_is_usable(&mut self) -> bool {
        let now = self.now;
        self.overflow.as_mut().is_some_and(|overflow| {
            overflow.retry_at = overflow.retry_at.filter(|retry_at| now < *retry_at);
            overflow.retry_at.is_none()
        })
    }

    /// Takes note that a segment is on disk. Gives it back if nobody needs it any more.
    pub(crate) fn written(&mut self, number: u64, written: Written) -> Option<OnDisk> {
        let at = number.checked_sub(self.first_segment);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let kept = at.and_then(|at| self.segments.get_mut(at));
        let (Some(kept), Some(overflow)) = (kept, &mut self.overflow) else {
            return Some(written.on_disk);
        };
        if let Some(free) = written.free_bytes {
            let used = overflow.bytes;
            overflow.limit = overflow.max_bytes.min((used + free) / 2);
        }
        // One that the log took back when the overflow failed stays in memory.
        let Home::Waiting(segment) = &kept.home else {
            return Some(written.on_disk);
        };
        let segment = Arc::clone(segment);
        kept.home = Home::Disk(written.on_disk);
        overflow.waiting_bytes -= segment.capacity_bytes();
        self.leave_memory(segment);
        None
    }

    /// Takes back what waits for a disk that has failed, and does not use it for a while. `false`
    /// if that was so already.
    pub(crate) fn fail_overflow(&mut self) -> bool {
        let Some(overflow) = &mut self.overflow else {
            return false;
        };
        for kept in &mut self.segments {
            if let Home::Waiting(segment) = &kept.home {
                overflow.bytes -= segment.sizes().stored_bytes() as u64;
                kept.home = Home::Memory(Arc::clone(segment));
            }
        }
        overflow.waiting_bytes = 0;
        let retry_at = Millis(self.now.0.saturating_add(RETRY_AFTER));
        overflow.retry_at.replace(retry_at).is_none()
    }

    /// Asks for a segment that is on disk; `None` if it is not there any more.
    pub(crate) fn request(&mut self, number: u64) -> Option<oneshot::Receiver<Arc<Segment>>> {
        let at = usize::try_from(number.checked_sub(self.first_segment)?).ok()?;
        let Home::Disk(on_disk) = &self.segments.get(at)?.home else {
            return None;
        };
        let overflow = self.overflow.as_mut()?;
        let (sender, receiver) = oneshot::channel();
        let waiting = overflow.loading.entry(number).or_default();
        if waiting.is_empty() {
            overflow.threads.read(number, on_disk.clone());
        }
        waiting.push(sender);
        Some(receiver)
    }

    /// Hands a segment to all who wait for it. One that cannot be read is lost.
    pub(crate) fn loaded(&mut self, number: u64, result: io::Result<Segment>) {
        let Some(overflow) = &mut self.overflow else {
            return;
        };
        let waiting = overflow.loading.remove(&number).unwrap_or_default();
        if let Ok(segment) = result {
            let segment = Arc::new(segment);
            for sender in waiting {
                let _ = sender.send(Arc::clone(&segment)); // whoever has gone needs none
            }
            overflow.keep_loaded(number, segment);
        } else if let Some(at) = number.checked_sub(self.first_segment)
            && let Some(kept) = usize::try_from(at)
                .ok()
                .and_then(|at| self.segments.get_mut(at))
        {
            overflow.drop_segment(&kept.home, 0);
            kept.home = Home::Lost;
        }
    }

    fn loaded_segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let loaded = &self.overflow.as_ref()?.loaded;
        let found = loaded.iter().find(|(found, _)| *found == number);
        found.map(|(_, segment)| segment)
    }
}

impl Overflow {
    /// Forgets a segment that the log drops; those before `oldest` are gone.
    fn drop_segment(&mut self, home: &Home, oldest: u64) {
        match home {
            Home::Memory(_) | Home::Lost => {}
            Home::Waiting(segment) => {
                self.bytes -= segment.sizes().stored_bytes() as u64;
                self.waiting_bytes -= segment.capacity_bytes();
            }
            Home::Disk(on_disk) => {
                self.bytes -= on_disk.stored_bytes();
                self.threads.free(on_disk.clone());
            }
        }
        self.loaded.retain(|(number, _)| *number >= oldest);
    }

    /// Keeps a segment for readers at the same place, and others only as far as they fit beside it.
    fn keep_loaded(&mut self, number: u64, segment: Arc<Segment>) {
        self.loaded.retain(|(found, _)| *found != number);
        self.loaded.push((number, segment));
        let bytes = |loaded: &Vec<(u64, Arc<Segment>)>| -> usize {
            loaded
                .iter()
                .map(|(_, segment)| segment.capacity_bytes())
                .sum()
        };
        while self.loaded.len() > 1 && bytes(&self.loaded) > LOADED_BYTES {
            self.loaded.remove(0);
        }
    }
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
