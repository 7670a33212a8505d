//! How much may be kept in an hour of jobs that nobody published: without a limit, who makes them would fill the disk.

use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// The most in an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) jobs: u32,
    /// Of memory, which is more than the files take.
    pub(super) bytes: usize,
}

/// What was kept since an hour began.
#[derive(Debug)]
pub(super) struct Hour {
    since: Instant,
    jobs: u32,
    bytes: usize,
    is_exceeded: bool,
}

impl Hour {
    pub(super) const fn begun(since: Instant) -> Self {
        Self {
            since,
            jobs: 0,
            bytes: 0,
            is_exceeded: false,
        }
    }

    /// Counts one more; whether it is kept. Calls `warn` for the first in an hour that is not.
    pub(super) fn allows(
        &mut self,
        limit: Limit,
        bytes: usize,
        now: Instant,
        warn: impl FnOnce(),
    ) -> bool {
        if now.duration_since(self.since) > HOUR {
            *self = Self::begun(now);
        }
        if self.jobs < limit.jobs && self.bytes.saturating_add(bytes) <= limit.bytes {
            self.jobs += 1;
            self.bytes += bytes;
            return true;
        }
        if !std::mem::replace(&mut self.is_exceeded, true) {
            warn();
        }
        false
    }
}
