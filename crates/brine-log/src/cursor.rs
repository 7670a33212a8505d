//! Cursors: where readers are in the log.
//!
//! A cursor keeps its location by number and holds no memory: between two calls of `next` the log
//! may drop what it points at, and then says so. What `next` hands out keeps its segment alive
//! until it is dropped. Cursors know nothing of who reads with them.

use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use crate::memory::{Gap, Memory};
use crate::position::{Position, Seq, Start};
use crate::segment::{Segment, StoredEvent, nth};
use crate::shared::Shared;

/// What is at a cursor.
#[derive(Debug)]
pub enum Next<T> {
    /// Events to read.
    Ready(T),
    /// Nothing yet: the cursor has caught up.
    Tail,
    /// Events that are not in memory: `load` fetches them.
    Stored,
    /// Events are missing: `skip` goes on behind them.
    Gap(Gap),
}

/// The most a [`Chunk`] holds, in bytes, so that a reader far behind cannot hold up others.
const CHUNK_BYTES: usize = 256 << 10;

/// A reader that writes frames to a socket. It stands at a byte: a write may end inside a frame.
pub struct FrameCursor {
    shared: Arc<Shared>,
    location: Location,
    framing: Framing,
    /// Inside the segment.
    offset: usize,
    seq: Seq,
    gap: Option<Gap>,
}

/// A run of frames in one piece, beginning where the cursor is.
pub struct Chunk {
    segment: Arc<Segment>,
    framing: Framing,
    range: Range<usize>,
}

impl FrameCursor {
    pub(crate) fn new(shared: &Arc<Shared>, framing: Framing, start: Start) -> Self {
        let mut memory = shared.lock();
        let (seq, gap) = memory.find(start);
        let location = Location::enter(&mut memory, seq);
        let segment = location.segment(&memory);
        let offset = segment.map_or(0, |segment| segment.offset_of(framing, seq));
        drop(memory);
        Self {
            shared: Arc::clone(shared),
            location,
            framing,
            offset,
            seq,
            gap,
        }
    }

    #[allow(clippy::should_implement_trait)] // a cursor at the tail goes on later; an iterator ends
    /// What is at the cursor. Does not move it: [`FrameCursor::advance`] and [`FrameCursor::skip`]
    /// do.
    pub fn next(&mut self) -> Next<Chunk> {
        if let Some(gap) = self.gap {
            return Next::Gap(gap);
        }
        let mut memory = self.shared.lock();
        loop {
            let Some(segment) = self.location.segment(&memory) else {
                if let Some(gap) = gap_at(&memory, self.seq) {
                    return Next::Gap(gap);
                }
                // It had read all of the segment that went: nothing is missing.
                self.location.move_to(&mut memory, self.seq);
                self.offset = 0;
                continue;
            };
            let end = segment.frames(self.framing).len();
            if self.offset < end {
                let range = self.offset..end.min(self.offset + CHUNK_BYTES);
                return Next::Ready(Chunk {
                    segment: Arc::clone(segment),
                    framing: self.framing,
                    range,
                });
            }
            if !self.location.step(&mut memory) {
                return Next::Tail;
            }
            self.offset = 0;
        }
    }

    /// Moves past the first `bytes` bytes of a chunk that [`FrameCursor::next`] gave.
    pub fn advance(&mut self, chunk: &Chunk, bytes: usize) {
        self.offset = chunk.range.start + bytes;
        self.seq = chunk.segment.seq_at(self.framing, self.offset);
    }

    /// Moves past a gap that [`FrameCursor::next`] gave, to the beginning of a frame. If the cursor
    /// was inside a frame, the rest of that is gone.
    pub fn skip(&mut self, gap: Gap) {
        let mut memory = self.shared.lock();
        // The log may have moved on since.
        self.gap = gap_at(&memory, gap.to.seq);
        self.seq = self.gap.unwrap_or(gap).to.seq;
        self.location.move_to(&mut memory, self.seq);
        let segment = self.location.segment(&memory);
        self.offset = segment.map_or(0, |segment| segment.offset_of(self.framing, self.seq));
    }

    /// The first event not wholly read.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Fetches what [`Next::Stored`] is about. Dropping the future loses nothing.
    #[allow(clippy::unused_async)] // nothing is stored yet
    pub async fn load(&mut self) {}

    /// Waits until something is at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&mut self) {
        let shared = Arc::clone(&self.shared);
        wait_for(&shared.appended, || !matches!(self.next(), Next::Tail)).await;
    }

    /// Waits until the log has moved past the cursor: for a reader that waits for something else
    /// meanwhile. Dropping the future loses nothing.
    pub async fn overrun(&self) {
        let is_gone = || self.location.segment(&self.shared.lock()).is_none();
        wait_for(&self.shared.overrun, is_gone).await;
    }
}

impl Chunk {
    /// The frames.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.segment.frames(self.framing)[self.range.clone()]
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chunk")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// A reader that goes event by event and looks at tags before anything else.
pub struct EventCursor {
    shared: Arc<Shared>,
    location: Location,
    seq: Seq,
    gap: Option<Gap>,
}

/// A run of events of one segment, beginning where the cursor is.
pub struct Events {
    segment: Arc<Segment>,
    range: Range<usize>,
    /// Whether the segment gets no more events.
    #[cfg_attr(not(feature = "history"), allow(dead_code))]
    sealed: bool,
}

impl EventCursor {
    pub(crate) fn new(shared: &Arc<Shared>, start: Start) -> Self {
        let mut memory = shared.lock();
        let (seq, gap) = memory.find(start);
        let location = Location::enter(&mut memory, seq);
        drop(memory);
        Self {
            shared: Arc::clone(shared),
            location,
            seq,
            gap,
        }
    }

    #[allow(clippy::should_implement_trait)] // as above
    /// What is at the cursor. Does not move it: [`EventCursor::advance`] and [`EventCursor::skip`]
    /// do.
    pub fn next(&mut self) -> Next<Events> {
        if let Some(gap) = self.gap {
            return Next::Gap(gap);
        }
        let mut memory = self.shared.lock();
        loop {
            let Some(segment) = self.location.segment(&memory) else {
                if let Some(gap) = gap_at(&memory, self.seq) {
                    return Next::Gap(gap);
                }
                // It had read all of the segment that went: nothing is missing.
                self.location.move_to(&mut memory, self.seq);
                continue;
            };
            let range = nth(segment.first, self.seq)..segment.events();
            if !range.is_empty() {
                return Next::Ready(Events {
                    segment: Arc::clone(segment),
                    range,
                    sealed: self.location.segment != memory.newest(),
                });
            }
            if !self.location.step(&mut memory) {
                return Next::Tail;
            }
        }
    }

    /// Moves past the first `count` events of a run that [`EventCursor::next`] gave.
    pub fn advance(&mut self, events: &Events, count: usize) {
        let count = count.min(events.len());
        self.seq = Seq(events.segment.first.0 + (events.range.start + count) as u64);
    }

    /// Moves past a gap that [`EventCursor::next`] gave.
    pub fn skip(&mut self, gap: Gap) {
        let mut memory = self.shared.lock();
        // The log may have moved on since.
        self.gap = gap_at(&memory, gap.to.seq);
        self.seq = self.gap.unwrap_or(gap).to.seq;
        self.location.move_to(&mut memory, self.seq);
    }

    /// The next event it will hand out.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Where the reader is: past every event before [`EventCursor::seq`].
    #[must_use]
    pub fn position(&self) -> Position {
        let read = Seq(self.seq.0.saturating_sub(1));
        self.shared.lock().position(read)
    }

    /// Fetches what [`Next::Stored`] is about. Dropping the future loses nothing.
    #[allow(clippy::unused_async)] // nothing is stored yet
    pub async fn load(&mut self) {}

    /// Waits until something is at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&mut self) {
        let shared = Arc::clone(&self.shared);
        wait_for(&shared.appended, || !matches!(self.next(), Next::Tail)).await;
    }

    /// Waits for events, wherever they are. Does not move the cursor. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// The gap, where events are missing: [`EventCursor::skip`] goes on behind it.
    pub async fn ready(&mut self) -> Result<Events, Gap> {
        loop {
            match self.next() {
                Next::Ready(events) => return Ok(events),
                Next::Gap(gap) => return Err(gap),
                Next::Stored => self.load().await,
                Next::Tail => self.readable().await,
            }
        }
    }
}

impl Events {
    /// The events, in order. In a segment from the store there may be numbers without an event:
    /// those that are never stored, or that retention has removed.
    pub fn iter(&self) -> impl Iterator<Item = StoredEvent<'_>> {
        let events = self.range.clone().filter_map(|nth| self.segment.event(nth));
        events.filter(|event| !event.event.is_empty())
    }

    /// How many numbers they take; never none.
    #[allow(clippy::len_without_is_empty)] // a run is never empty
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }
}

#[cfg(feature = "history")]
impl Events {
    /// The events of a stored segment from one on, which it holds.
    pub(crate) fn of_stored(segment: Arc<Segment>, from: Seq) -> Self {
        let range = nth(segment.first, from)..segment.events();
        Self {
            segment,
            range,
            sealed: true,
        }
    }

    /// The events of a stored segment before one, of which it holds some.
    pub(crate) fn before(segment: Arc<Segment>, end: Seq) -> Self {
        let range = 0..nth(segment.first, end).min(segment.events());
        Self {
            segment,
            range,
            sealed: true,
        }
    }

    pub(crate) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Which of the segment's events these are.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    pub(crate) const fn is_sealed(&self) -> bool {
        self.sealed
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Events")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

/// The segment a cursor is in, counted there so that the log can tell who lags.
struct Location {
    segment: u64,
}

impl Location {
    /// In the segment that holds an event, or will.
    fn enter(memory: &mut Memory, seq: Seq) -> Self {
        let segment = memory.segment_of(seq);
        memory.enter(segment);
        Self { segment }
    }

    fn segment<'a>(&self, memory: &'a Memory) -> Option<&'a Arc<Segment>> {
        memory.segment(self.segment)
    }

    /// Goes on to the next segment; `false` if this is the newest.
    fn step(&mut self, memory: &mut Memory) -> bool {
        let newest = self.segment == memory.newest();
        if !newest {
            self.change(memory, self.segment + 1);
        }
        !newest
    }

    /// Goes to the segment that holds an event.
    fn move_to(&mut self, memory: &mut Memory, seq: Seq) {
        let segment = memory.segment_of(seq);
        self.change(memory, segment);
    }

    fn change(&mut self, memory: &mut Memory, segment: u64) {
        // In before out: leaving may drop every segment no cursor is in.
        memory.enter(segment);
        memory.leave(self.segment);
        self.segment = segment;
    }
}

impl Drop for FrameCursor {
    fn drop(&mut self) {
        self.shared.lock().depart(self.location.segment);
    }
}

impl Drop for EventCursor {
    fn drop(&mut self) {
        self.shared.lock().depart(self.location.segment);
    }
}

/// What is missing for a cursor at `seq` whose segment is gone.
fn gap_at(memory: &Memory, seq: Seq) -> Option<Gap> {
    (seq < memory.oldest()).then(|| Gap {
        from: memory.position(seq),
        to: memory.position(memory.oldest()),
    })
}

/// Waits for a condition that a wake-up announces.
async fn wait_for(wake_up: &tokio::sync::Notify, mut is_there: impl FnMut() -> bool) {
    loop {
        let notified = wake_up.notified();
        let mut notified = std::pin::pin!(notified);
        // Registered before the look, so that an append between the two is not slept through.
        notified.as_mut().enable();
        if is_there() {
            return;
        }
        notified.await;
    }
}
