//! What a log and its cursors share: the memory behind one lock, and the wake-ups.
//!
//! It stands between `log` and `cursor`, so that neither needs the other. It knows nothing of what
//! is done under the lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::memory::Memory;

pub(crate) struct Shared {
    /// A plain mutex: held for copying a batch or looking up a segment, never across an await or
    /// any input or output.
    memory: Mutex<Memory>,
    /// Woken by each append.
    pub(crate) appended: Notify,
    /// Woken when a segment went that a cursor was still in.
    pub(crate) overrun: Notify,
}

impl Shared {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            memory: Mutex::new(memory),
            appended: Notify::new(),
            overrun: Notify::new(),
        }
    }

    /// The memory. A panic elsewhere cannot leave it half changed in a way readers would notice, so
    /// a poisoned lock is taken over: one connection's bug must not end the bus.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
