//! Cursors over frames, for readers that write them to a socket.
//!
//! They read from memory and the overflow, where events are as they were fired. They never read the history, which
//! redacts fields and deliberately leaves out some events.

use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use super::{Further, Location, Next, gap_at, wait_for};
use crate::gap::Gap;
use crate::memory::Look;
use crate::position::{Millis, Seq, Start};
use crate::segment::{Segment, nth};
use crate::shared::Shared;

/// The most that a [`Chunk`] holds, in bytes, so that a reader far behind cannot delay others.
const CHUNK_BYTES: usize = 256 << 10;

/// A reader that writes frames to a socket. Its position is a byte: a write may end inside a frame.
pub struct FrameCursor {
    shared: Arc<Shared>,
    location: Location,
    framing: Framing,
    /// The byte offset in the segment; `None`, the start of `seq`'s frame, until the segment has been looked up.
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
        let (seq, gap) = memory.find(start, memory.oldest());
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

impl Drop for FrameCursor {
    fn drop(&mut self) {
        self.shared.lock().depart(self.location.segment);
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

    /// When one of its events was received.
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
