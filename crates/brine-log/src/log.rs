//! The log: appends batches, keeps segments within its limits, wakes cursors.
//!
//! It knows where each segment's readers are only by their number. Retention follows from that: a
//! segment nobody stands in goes as soon as it is old enough, one with a lagging cursor in it stays
//! until the log is full, and then goes all the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use brine_wire::frame::Framing;

use crate::cursor::{EventCursor, FrameCursor};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, Segment, SegmentWriter};
use crate::{Millis, Seq};

/// How a log uses memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The most memory its segments take, in bytes, whatever cursors lag. The newest event is kept
    /// even where it alone is larger.
    pub max_bytes: usize,
    /// The framings events are kept in.
    pub framings: Framings,
    /// The number of the first event.
    pub first: Seq,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            framings: Framings::Bare,
            first: Seq(1),
        }
    }
}

/// An event on its way into the log: checked, but not decoded.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Tag, tag end and data.
    pub event: &'a [u8],
    /// How many bytes of it the tag takes.
    pub tag_bytes: usize,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The oldest event still in memory; equal to `next` when there is none.
    pub oldest: Seq,
    /// The number the next event will get.
    pub next: Seq,
    /// The memory of all segments, in bytes.
    pub bytes: usize,
}

/// Frames of one segment, in bytes. A quarter of a megabyte is what one write moves at most, and
/// a few of these stay in a processor's cache.
const SEGMENT_BYTES: usize = 256 << 10;
/// Events of one segment: its bytes at 128 bytes an event, smaller ones fill the index first.
const SEGMENT_EVENTS: usize = SEGMENT_BYTES / 128;
/// Memory that stays when nobody lags, in bytes: few enough to stay in a processor's cache.
const KEPT_BYTES: usize = 2 * SEGMENT_BYTES;
/// Empty segments kept for use again, so that a steady stream never asks the system for memory.
/// While cursors lag there may be as many as there are segments in use, since they catch up in
/// leaps.
const SPARE_SEGMENTS: usize = 4;

/// A log in memory, shared by its writers and cursors.
pub struct Log {
    /// A plain mutex: held for copying a batch or looking up a segment, never across an await or
    /// any input or output.
    state: Mutex<State>,
    /// Woken by each append.
    pub(crate) appended: Notify,
    /// Woken when a segment went that a cursor still stood in.
    pub(crate) overrun: Notify,
}

pub(crate) struct State {
    config: LogConfig,
    /// Oldest first; never empty. Numbered without holes from `first_segment`.
    segments: VecDeque<Kept>,
    first_segment: u64,
    /// Writes into the newest segment.
    writer: SegmentWriter,
    next: Seq,
    bytes: usize,
    spare: Vec<Segment>,
    /// The memory of a segment of the usual size; larger ones hold one large event each.
    ordinary_bytes: usize,
}

struct Kept {
    segment: Arc<Segment>,
    /// How many cursors stand in it.
    cursors: usize,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(config: LogConfig) -> Arc<Self> {
        let first = config.first;
        let (writer, segment) =
            segment::channel(first, config.framings, SEGMENT_BYTES, SEGMENT_EVENTS);
        let bytes = segment.capacity_bytes();
        let kept = Kept {
            segment: Arc::new(segment),
            cursors: 0,
        };
        let state = State {
            config,
            segments: VecDeque::from([kept]),
            first_segment: 0,
            writer,
            next: first,
            bytes,
            spare: Vec::new(),
            ordinary_bytes: bytes,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            appended: Notify::new(),
            overrun: Notify::new(),
        })
    }

    /// Appends a batch under one lock and wakes every waiting cursor once.
    pub fn append<'a>(&self, events: impl IntoIterator<Item = Incoming<'a>>, at: Millis) {
        let mut overrun = false;
        {
            let mut state = self.state();
            for Incoming { event, tag_bytes } in events {
                if !state.writer.fits(event.len()) {
                    overrun |= state.roll(event.len());
                }
                state.writer.append(event, tag_bytes, at);
                state.next.0 += 1;
            }
            state.writer.publish();
        }
        self.appended.notify_waiters();
        if overrun {
            self.overrun.notify_waiters();
        }
    }

    /// A cursor over frames that begins after the newest event.
    #[must_use]
    pub fn tail(self: &Arc<Self>, framing: Framing) -> FrameCursor {
        FrameCursor::at_tail(self, framing)
    }

    /// A cursor over events that begins at `from`, or after the newest event if that has not come
    /// yet. An event older than memory is a gap, which its first [`EventCursor::next`] tells.
    #[must_use]
    pub fn events(self: &Arc<Self>, from: Seq) -> EventCursor {
        EventCursor::at(self, from)
    }

    /// What the log holds now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.state();
        Stats {
            oldest: state.oldest(),
            next: state.next,
            bytes: state.bytes,
        }
    }

    /// The state. A panic elsewhere cannot leave it half changed in a way readers would notice, so
    /// a poisoned lock is taken over: one connection's bug must not end the bus.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of the newest segment.
    pub(crate) fn newest(&self) -> u64 {
        self.first_segment + self.segments.len() as u64 - 1
    }

    /// The number the next event will get.
    pub(crate) const fn next(&self) -> Seq {
        self.next
    }

    /// The oldest event in memory.
    pub(crate) fn oldest(&self) -> Seq {
        self.segments
            .front()
            .map_or(self.next, |kept| kept.segment.first)
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

    /// Counts a cursor out of a segment, and lets go of what nobody stands in any more.
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
        let first = self.next;
        let needed = event_bytes + FRAME_OVERHEAD_BYTES;
        self.writer.publish();
        let (writer, segment) = if needed > SEGMENT_BYTES {
            segment::channel(first, self.config.framings, needed, 1)
        } else {
            self.spare
                .pop()
                .and_then(|spare| spare.recycle(first))
                .unwrap_or_else(|| self.ordinary_segment())
        };
        let overrun = self.make_room(segment.capacity_bytes());
        self.bytes += segment.capacity_bytes();
        self.segments.push_back(Kept {
            segment: Arc::new(segment),
            cursors: 0,
        });
        self.writer = writer;
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

    /// Drops old segments until `bytes` more fit the limit; tells whether a cursor stood in one.
    fn make_room(&mut self, bytes: usize) -> bool {
        let mut overrun = false;
        while self.bytes + bytes > self.config.max_bytes && !self.segments.is_empty() {
            overrun |= self.drop_oldest();
        }
        self.release_unused();
        overrun
    }

    /// Drops the oldest segments that nobody stands in, but for the few that are kept.
    fn release_unused(&mut self) {
        while self.bytes > KEPT_BYTES
            && self.segments.len() > 1
            && self
                .segments
                .front()
                .is_some_and(|oldest| oldest.cursors == 0)
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
