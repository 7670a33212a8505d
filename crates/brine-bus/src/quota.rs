//! How much memory all publishers of a bus may use together.
//!
//! The frame limit already limits each of them; this keeps many of them from using that much at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that unfinished frames of all publishers may take.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    used: AtomicUsize,
}

/// One publisher's part of it, returned when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    quota: Arc<Quota>,
    bytes: usize,
}

/// All publishers together hold too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unfinished frames of all publishers would take more than {limit} bytes")]
pub(crate) struct OverQuota {
    limit: usize,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            quota: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Share {
    /// Sets the part to `bytes`.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), OverQuota> {
        if bytes == self.bytes {
            return Ok(());
        }
        let before = self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes;
        self.quota.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = bytes;
        if before.saturating_add(bytes) > self.quota.limit {
            return Err(OverQuota {
                limit: self.quota.limit,
            });
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.quota.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_over_the_limit_is_refused_and_gives_back_its_part() {
        let quota = Quota::new(100);
        let (mut first, mut second) = (quota.share(), quota.share());
        assert!(first.charge(60).is_ok());
        assert_eq!(second.charge(41), Err(OverQuota { limit: 100 }));
        drop(second);
        let mut third = quota.share();
        assert!(third.charge(40).is_ok());
        assert!(first.charge(10).is_ok());
        assert!(third.charge(90).is_ok());
    }
}
