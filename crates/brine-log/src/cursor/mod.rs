//! Cursors: the positions of readers in the log.
//!
//! A cursor stores its position as a number and holds no memory. Between two calls of `next` the log may drop the
//! events at that position; the next call then returns a gap. What `next` returns keeps its segment alive until it is
//! dropped. Cursors do not know who reads with them.

mod events;
mod frames;

use std::sync::Arc;

pub use events::{EventCursor, Events};
pub use frames::{Chunk, FrameCursor};

use crate::gap::Gap;
use crate::memory::{Look, Memory};
use crate::position::Seq;
use crate::segment::Segment;
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
    /// Events are missing: `skip` continues after them.
    Gap(Gap),
}

/// The segment of the log a cursor is in, counted there so that the log can tell who lags.
struct Location {
    segment: u64,
    /// The segment read back from the overflow, held until `next` takes it.
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
            Look::Lost(next) => (Some(memory.gap(seq, next, None)), None),
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

    /// Reads the segment back, if it is on disk. Only the caller holds it; between two calls of `next` a cursor holds
    /// none.
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
        // Enter before leaving: `leave` may drop any segment without a cursor.
        memory.enter(segment);
        memory.leave(self.segment);
        self.segment = segment;
        self.loaded = None;
    }
}

/// What is missing for a cursor at `seq` whose segment is gone.
fn gap_at(memory: &Memory, seq: Seq) -> Option<Gap> {
    (seq < memory.oldest()).then(|| memory.gap(seq, memory.oldest(), None))
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
