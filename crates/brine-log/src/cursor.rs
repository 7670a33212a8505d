//! Cursors: where readers are in the log.
//!
//! A cursor keeps its location by number and holds no memory: between two calls of `next` the log
//! may drop what it points at, and then says so. What `next` hands out keeps its segment alive
//! until it is dropped. Cursors know nothing of who reads with them.

use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use crate::memory::{Gap, Look, Memory};
use crate::position::{Millis, Position, Seq, Start};
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
    /// Inside the segment; until that has been seen, the beginning of `seq`'s frame.
    offset: Option<usize>,
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
        drop(memory);
        Self {
            shared: Arc::clone(shared),
            location,
            framing,
            offset: None,
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
            let (framing, offset, seq) = (self.framing, &mut self.offset, self.seq);
            let chunk = match memory.look(self.location.segment) {
                Look::Here(segment) => Chunk::at(segment, framing, offset, seq),
                _ => match self.location.look_further(&mut memory, seq) {
                    Further::Loaded(segment) => Chunk::at(&segment, framing, offset, seq),
                    Further::Stored => return Next::Stored,
                    Further::Gap(gap) => return Next::Gap(gap),
                    Further::Moved => {
                        self.offset = None;
                        continue;
                    }
                },
            };
            if let Some(chunk) = chunk {
                return Next::Ready(chunk);
            }
            if !self.location.step(&mut memory) {
                return Next::Tail;
            }
            self.offset = None;
        }
    }

    /// Moves past the first `bytes` bytes of a chunk that [`FrameCursor::next`] gave.
    pub fn advance(&mut self, chunk: &Chunk, bytes: usize) {
        let offset = chunk.range.start + bytes;
        self.offset = Some(offset);
        self.seq = chunk.segment.seq_at(self.framing, offset);
    }

    /// Moves past a gap that [`FrameCursor::next`] gave, to the beginning of a frame. If the cursor
    /// was inside a frame, the rest of that is gone.
    pub fn skip(&mut self, gap: Gap) {
        let mut memory = self.shared.lock();
        // The log may have moved on since.
        self.gap = gap_at(&memory, gap.to.seq);
        self.seq = self.gap.unwrap_or(gap).to.seq;
        self.location.move_to(&mut memory, self.seq);
        self.offset = None;
    }

    /// The first event not wholly read.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Fetches what [`Next::Stored`] is about. Dropping the future loses nothing.
    pub async fn load(&mut self) {
        self.location.load(&self.shared).await;
    }

    /// Waits until something is at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&mut self) {
        let shared = Arc::clone(&self.shared);
        wait_for(&shared.appended, || !matches!(self.next(), Next::Tail)).await;
    }

    /// Waits until the log has moved past the cursor: for a reader that waits for something else
    /// meanwhile. Dropping the future loses nothing.
    pub async fn overrun(&self) {
        let is_gone = || matches!(self.shared.lock().look(self.location.segment), Look::Gone);
        wait_for(&self.shared.overrun, is_gone).await;
    }
}

impl Chunk {
    /// What a segment has from an offset on, if anything.
    fn at(
        segment: &Arc<Segment>,
        framing: Framing,
        offset: &mut Option<usize>,
        seq: Seq,
    ) -> Option<Self> {
        let offset = *offset.get_or_insert_with(|| segment.offset_of(framing, seq));
        let end = segment.frames(framing).len();
        (offset < end).then(|| Self {
            segment: Arc::clone(segment),
            framing,
            range: offset..end.min(offset + CHUNK_BYTES),
        })
    }

    /// When an event of it was taken in.
    #[must_use]
    pub fn taken_in(&self, seq: Seq) -> Option<Millis> {
        let event = self.segment.event(nth(self.segment.first, seq));
        event.map(|event| event.at)
    }

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
            let sealed = self.location.segment != memory.newest();
            let events = match memory.look(self.location.segment) {
                Look::Here(segment) => Events::at(segment, self.seq, sealed),
                _ => match self.location.look_further(&mut memory, self.seq) {
                    Further::Loaded(segment) => Events::at(&segment, self.seq, sealed),
                    Further::Stored => return Next::Stored,
                    Further::Gap(gap) => return Next::Gap(gap),
                    Further::Moved => continue,
                },
            };
            if let Some(events) = events {
                return Next::Ready(events);
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
    pub async fn load(&mut self) {
        self.location.load(&self.shared).await;
    }

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
    /// What a segment has from one event on, if anything.
    fn at(segment: &Arc<Segment>, from: Seq, sealed: bool) -> Option<Self> {
        let range = nth(segment.first, from)..segment.events();
        (!range.is_empty()).then(|| Self {
            segment: Arc::clone(segment),
            range,
            sealed,
        })
    }

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
    /// The segment, read back from the overflow; until it is looked at.
    loaded: Option<Arc<Segment>>,
}

/// What a cursor finds when its segment is not in memory.
enum Further {
    Loaded(Arc<Segment>),
    Stored,
    Gap(Gap),
    /// It had read all of the segment, and is in another one now.
    Moved,
}

impl Location {
    /// In the segment that holds an event, or will.
    fn enter(memory: &mut Memory, seq: Seq) -> Self {
        let segment = memory.segment_of(seq);
        memory.enter(segment);
        Self {
            segment,
            loaded: None,
        }
    }

    fn look_further(&mut self, memory: &mut Memory, seq: Seq) -> Further {
        let (gap, loaded) = match memory.look(self.segment) {
            Look::Gone => (gap_at(memory, seq), None),
            _ if memory.is_past(self.segment, seq) => (None, None),
            Look::Here(segment) => (None, Some(Arc::clone(segment))),
            Look::Lost(next) => {
                let from = memory.position(seq);
                let to = memory.position(next);
                (Some(Gap { from, to }), None)
            }
            Look::Stored => match self.loaded.take() {
                Some(segment) => (None, Some(segment)),
                None => return Further::Stored,
            },
        };
        match (gap, loaded) {
            (Some(gap), _) => Further::Gap(gap),
            (None, Some(segment)) => Further::Loaded(segment),
            (None, None) => {
                self.move_to(memory, seq);
                Further::Moved
            }
        }
    }

    /// Reads the segment back, if it is on disk. Whoever reads it holds it; between two calls of
    /// `next` a cursor holds none.
    async fn load(&mut self, shared: &Shared) {
        let requested = shared.lock().request(self.segment);
        if let Some(requested) = requested {
            // Without an answer it cannot be read, and `next` says so.
            self.loaded = requested.await.ok();
        }
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
        self.loaded = None;
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
pub(crate) async fn wait_for(wake_up: &tokio::sync::Notify, mut is_there: impl FnMut() -> bool) {
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
