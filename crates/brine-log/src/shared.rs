//! What a log and its cursors share: the memory behind one lock, and the wake-ups.
//!
//! It is between `log` and `cursor`, so that neither needs the other. It does not know what is done under the lock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::memory::Memory;
use crate::overflow::Written;
use crate::position::Seq;
use crate::segment::Segment;
use crate::stored::StoredSegments;

pub(crate) struct Shared {
    /// A plain mutex: held for copying a batch or looking up a segment, never across an await or
    /// any input or output.
    memory: Mutex<Memory>,
    /// What the log also has on disk for good.
    pub(crate) stored: Option<Arc<StoredSegments>>,
    /// Woken by each append.
    pub(crate) appended: Notify,
    /// Woken when a segment went that a cursor was still in.
    pub(crate) overrun: Notify,
    /// Whether so much waits to be written to disk that writers to the log should wait.
    backed_up: AtomicBool,
    /// Segments written, or given up.
    progress: AtomicU64,
    /// Woken by each of them.
    pub(crate) progressed: Notify,
}

impl Shared {
    pub(crate) fn new(memory: Memory, stored: Option<Arc<StoredSegments>>) -> Self {
        Self {
            memory: Mutex::new(memory),
            stored,
            appended: Notify::new(),
            overrun: Notify::new(),
            backed_up: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            progressed: Notify::new(),
        }
    }

    /// The memory. A panic elsewhere cannot leave it half changed in a way readers would notice, so
    /// a poisoned lock is taken over: one connection's bug must not end the bus.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest event a reader can have, stored ones included.
    pub(crate) fn oldest(&self, memory: &Memory) -> Seq {
        let stored = self.stored.as_ref().and_then(|stored| stored.oldest());
        stored.map_or(memory.oldest(), |oldest| oldest.min(memory.oldest()))
    }

    /// Whether the store is the place to look for an event that is not in the log.
    pub(crate) fn is_stored(&self, seq: Seq) -> bool {
        let oldest = self.stored.as_ref().and_then(|stored| stored.oldest());
        oldest.is_some_and(|oldest| oldest <= seq)
    }

    /// What a log that repeats another one has, that one's history has too, or will in a moment.
    pub(crate) fn repeated(&self, memory: &Memory) {
        if let Some(stored) = &self.stored {
            stored.committed(Some(memory.oldest()), memory.next());
        }
    }

    /// Takes the result of a write of the overflow.
    pub(crate) fn written(&self, number: u64, result: io::Result<Written>) {
        match result {
            Ok(written) => {
                let mut memory = self.lock();
                let not_needed = memory.written(number, written);
                self.note_pressure(&memory);
                drop(memory);
                drop(not_needed); // may close a file: not under the lock
                self.note_progress();
            }
            Err(error) => self.fail_overflow(&error),
        }
    }

    /// Takes the result of a read of the overflow.
    pub(crate) fn loaded(&self, number: u64, result: io::Result<Segment>) {
        if let Err(error) = &result {
            tracing::error!(err = %error, "overflow: cannot read events back; subscribers that need them are closed");
        }
        self.lock().loaded(number, result);
    }

    /// Does without the disk for a while.
    pub(crate) fn fail_overflow(&self, error: &io::Error) {
        let mut memory = self.lock();
        let failed = memory.fail_overflow();
        self.note_pressure(&memory);
        drop(memory);
        if failed {
            tracing::error!(err = %error, "overflow: cannot write events to disk; subscribers that lag further than log_bytes are closed; trying again in a minute");
        }
        self.note_progress();
    }

    fn note_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.progressed.notify_waiters();
    }

    /// Keeps [`Shared::is_backed_up`] as the memory is.
    #[inline]
    pub(crate) fn note_pressure(&self, memory: &Memory) {
        let backed_up = memory.is_backed_up();
        if backed_up != self.is_backed_up() {
            self.backed_up.store(backed_up, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_backed_up(&self) -> bool {
        self.backed_up.load(Ordering::Relaxed)
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}
