//! How long events wait in the bus, as a histogram: from when a batch is received to when a write passes its oldest
//! event to a subscriber.
//!
//! It samples a subscriber's first writes, and one of [`SAMPLED`] after that. Looking at every write would cost the
//! event path as much as some of its steps.

use std::sync::atomic::{AtomicU64, Ordering};

use brine_log::Millis;

/// The upper bounds of the histogram's buckets, in milliseconds. The log's clock has no finer ones.
pub const DELAY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000];

/// This many writes of a subscriber are all looked at.
const FIRST: u32 = 64;
/// After those, one write in this many is sampled.
const SAMPLED: u32 = 16;

/// How long events waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryDelay {
    /// How many of the writes looked at had a delay of at most each of [`DELAY_BOUNDS_MS`].
    pub at_most: [u64; DELAY_BOUNDS_MS.len()],
    /// How many writes were looked at.
    pub count: u64,
    /// The sum of their delays, in milliseconds.
    pub sum_ms: u64,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    /// The last is for what is above all bounds.
    buckets: [AtomicU64; DELAY_BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

/// Whether a subscriber's write of this number is looked at.
#[inline]
pub(crate) const fn is_sampled(write: u32) -> bool {
    write < FIRST || write.is_multiple_of(SAMPLED)
}

impl Delays {
    /// Counts a write whose oldest event was received at `taken`.
    pub(crate) fn note(&self, taken: Millis, now: Millis) {
        // A clock that was set back makes no delay of centuries.
        let delay = now.0.saturating_sub(taken.0);
        let bucket = DELAY_BOUNDS_MS.partition_point(|bound| *bound < delay);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(delay, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> DeliveryDelay {
        let mut delay = DeliveryDelay::default();
        for (at, bucket) in self.buckets.iter().enumerate() {
            delay.count += bucket.load(Ordering::Relaxed);
            if let Some(at_most) = delay.at_most.get_mut(at) {
                *at_most = delay.count;
            }
        }
        delay.sum_ms = self.sum_ms.load(Ordering::Relaxed);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_them() {
        let delays = Delays::default();
        for delay in [0, 1, 2, 3, 30_000, 30_001] {
            delays.note(Millis(100), Millis(100 + delay));
        }
        delays.note(Millis(100), Millis(50));
        let found = delays.snapshot();
        assert_eq!(found.at_most, [3, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6]);
        assert_eq!((found.count, found.sum_ms), (7, 60_007));
    }
}
