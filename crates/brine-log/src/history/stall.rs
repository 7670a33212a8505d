//! Whether the disk hangs. The writing thread is then stuck in a call that does not return, and cannot report it:
//! those who wait for it or look at it have to notice.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;
use super::store::StoreError;

/// What is known of a wait for the disk.
pub(super) struct Stall {
    /// How long a wait without any progress is nothing unusual.
    after: Duration,
    seen: Mutex<Seen>,
}

/// The writer's progress when it was looked at.
struct Seen {
    next: u64,
    since: Instant,
    is_reported: bool,
}

/// What looking came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// All is well, or no problem has been reported yet.
    Fine,
    /// The disk hangs. `is_new` the first time that this is said.
    Hangs { error: StoreError, is_new: bool },
    /// It did, that was said, and is over.
    Over,
}

impl Stall {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            seen: Mutex::new(Seen {
                next: 0,
                since: Instant::now(),
                is_reported: false,
            }),
        }
    }

    /// Somebody begins to wait while the writer is at `next`.
    pub(super) fn begin(&self, next: u64) {
        let mut seen = lock(&self.seen);
        if seen.next != next {
            (seen.next, seen.since) = (next, Instant::now());
        }
    }

    /// Looks at a writer that is at `next` while everything below `wanted` is waited for.
    pub(super) fn look(&self, next: u64, wanted: u64) -> Look {
        self.begin(next);
        let mut seen = lock(&self.seen);
        let waited = seen.since.elapsed();
        if wanted <= next || waited < self.after {
            // After a hang only progress is the end of it.
            let was_reported = std::mem::take(&mut seen.is_reported);
            return if was_reported { Look::Over } else { Look::Fine };
        }
        Look::Hangs {
            error: StoreError::Failing {
                reason: format!("the disk has not answered for {} seconds", waited.as_secs()),
            },
            is_new: !std::mem::replace(&mut seen.is_reported, true),
        }
    }
}
