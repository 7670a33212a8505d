//! Cursors: where readers stand in the log.
//!
//! A cursor holds its place by number and no memory: between two calls of `next` the log may drop
//! what it points at, and then says so. What `next` hands out keeps its segment alive until it is
//! dropped. Cursors know nothing of who reads with them.

use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use crate::Seq;
use crate::log::{Log, State};
use crate::segment::{Segment, StoredEvent};

/// Events a cursor can no longer have: the log moved past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first event that was missed.
    pub from: Seq,
    /// The first event that is still there.
    pub to: Seq,
}

/// The most a [`Chunk`] holds, in bytes, so that a reader far behind cannot hold up others.
const CHUNK_BYTES: usize = 256 << 10;

/// A reader that writes frames to a socket. Its place is a byte: a write may end inside a frame.
pub struct FrameCursor {
    log: Arc<Log>,
    place: Place,
    framing: Framing,
    offset: usize,
    seq: Seq,
}

/// What stands at a [`FrameCursor`].
pub enum Next {
    /// Frames to write.
    Chunk(Chunk),
    /// Nothing yet: the cursor has caught up.
    Tail,
    /// The log moved past the cursor. Where it stood inside a frame, the rest of that is gone too.
    Gap(Gap),
}

/// A run of frames in one piece, beginning where the cursor stands.
pub struct Chunk {
    segment: Arc<Segment>,
    framing: Framing,
    range: Range<usize>,
}

impl FrameCursor {
    pub(crate) fn at_tail(log: &Arc<Log>, framing: Framing) -> Self {
        let mut state = log.state();
        let newest = state.newest();
        let place = Place::enter(&mut state, newest);
        let offset = place
            .segment(&state)
            .map_or(0, |segment| segment.frames(framing).len());
        let seq = state.next();
        drop(state);
        Self {
            log: Arc::clone(log),
            place,
            framing,
            offset,
            seq,
        }
    }

    #[allow(clippy::should_implement_trait)] // a cursor at the tail goes on later; an iterator ends
    /// What stands at the cursor. Does not move it: [`FrameCursor::advance`] does.
    pub fn next(&mut self) -> Next {
        let mut state = self.log.state();
        loop {
            let Some(segment) = self.place.segment(&state) else {
                let oldest = state.oldest();
                if self.seq < oldest {
                    return Next::Gap(Gap {
                        from: self.seq,
                        to: oldest,
                    });
                }
                // It had read all of the segment that went: nothing is missed.
                self.place.find(&mut state, self.seq);
                self.offset = 0;
                continue;
            };
            let end = segment.frames(self.framing).len();
            if self.offset < end {
                let range = self.offset..end.min(self.offset + CHUNK_BYTES);
                return Next::Chunk(Chunk {
                    segment: Arc::clone(segment),
                    framing: self.framing,
                    range,
                });
            }
            if !self.place.step(&mut state) {
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

    /// The first event not wholly read.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Waits until something stands at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&mut self) {
        loop {
            let log = Arc::clone(&self.log);
            let appended = log.appended.notified();
            let mut appended = std::pin::pin!(appended);
            // Registered before the look, so that an append between the two is not slept through.
            appended.as_mut().enable();
            if !matches!(self.next(), Next::Tail) {
                return;
            }
            appended.await;
        }
    }

    /// Waits until the log has moved past the cursor: for a reader that waits for something else
    /// meanwhile. Dropping the future loses nothing.
    pub async fn overrun(&self) {
        loop {
            let overrun = self.log.overrun.notified();
            let mut overrun = std::pin::pin!(overrun);
            overrun.as_mut().enable();
            if self.place.segment(&self.log.state()).is_none() {
                return;
            }
            overrun.await;
        }
    }
}

impl Chunk {
    /// The frames.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.segment.frames(self.framing)[self.range.clone()]
    }
}

/// A reader that goes event by event and looks at tags before anything else.
pub struct EventCursor {
    log: Arc<Log>,
    place: Place,
    seq: Seq,
}

/// What stands at an [`EventCursor`].
pub enum NextEvent {
    /// Events in order; the cursor has moved past them.
    Events(Events),
    /// Nothing yet: the cursor has caught up.
    Tail,
    /// Events that are gone; the cursor has moved to the oldest that is there.
    Gap(Gap),
}

/// A run of events of one segment.
pub struct Events {
    segment: Arc<Segment>,
    range: Range<usize>,
}

impl EventCursor {
    pub(crate) fn at(log: &Arc<Log>, from: Seq) -> Self {
        let mut state = log.state();
        let seq = from.min(state.next());
        let segment = state.segment_of(seq);
        let place = Place::enter(&mut state, segment);
        drop(state);
        Self {
            log: Arc::clone(log),
            place,
            seq,
        }
    }

    #[allow(clippy::should_implement_trait)] // as above
    /// The events that stand at the cursor, and moves past them.
    pub fn next(&mut self) -> NextEvent {
        let mut state = self.log.state();
        loop {
            let oldest = state.oldest();
            if self.seq < oldest {
                let gap = Gap {
                    from: self.seq,
                    to: oldest,
                };
                self.seq = oldest;
                self.place.find(&mut state, oldest);
                return NextEvent::Gap(gap);
            }
            let Some(segment) = self.place.segment(&state) else {
                // It had read all of the segment that went: nothing is missed.
                self.place.find(&mut state, self.seq);
                continue;
            };
            let range = as_index(self.seq.0 - segment.first.0)..segment.events();
            if !range.is_empty() {
                self.seq = Seq(segment.first.0 + range.end as u64);
                return NextEvent::Events(Events {
                    segment: Arc::clone(segment),
                    range,
                });
            }
            if !self.place.step(&mut state) {
                return NextEvent::Tail;
            }
        }
    }

    /// The next event it will hand out.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Waits until something stands at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&self) {
        loop {
            let appended = self.log.appended.notified();
            let mut appended = std::pin::pin!(appended);
            appended.as_mut().enable();
            if self.log.state().next() > self.seq {
                return;
            }
            appended.await;
        }
    }
}

impl Events {
    /// The events, in order.
    pub fn iter(&self) -> impl Iterator<Item = StoredEvent<'_>> {
        self.range.clone().filter_map(|nth| self.segment.event(nth))
    }
}

/// A cursor's stand in one segment, counted there so that the log can tell who lags.
struct Place {
    segment: u64,
}

impl Place {
    fn enter(state: &mut State, segment: u64) -> Self {
        state.enter(segment);
        Self { segment }
    }

    fn segment<'a>(&self, state: &'a State) -> Option<&'a Arc<Segment>> {
        state.segment(self.segment)
    }

    /// Goes on to the next segment; `false` if this is the newest.
    fn step(&mut self, state: &mut State) -> bool {
        let newest = self.segment == state.newest();
        if !newest {
            self.jump(state, self.segment + 1);
        }
        !newest
    }

    /// Goes to the segment that holds an event.
    fn find(&mut self, state: &mut State, seq: Seq) {
        let segment = state.segment_of(seq);
        self.jump(state, segment);
    }

    fn jump(&mut self, state: &mut State, segment: u64) {
        // In before out: leaving may let go of every segment nobody stands in.
        state.enter(segment);
        state.leave(self.segment);
        self.segment = segment;
    }
}

impl Drop for FrameCursor {
    fn drop(&mut self) {
        self.log.state().depart(self.place.segment);
    }
}

impl Drop for EventCursor {
    fn drop(&mut self) {
        self.log.state().depart(self.place.segment);
    }
}

/// A distance inside one segment as an index into it.
fn as_index(distance: u64) -> usize {
    usize::try_from(distance).expect("a segment holds fewer events than an address can count")
}
