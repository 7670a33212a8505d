//! Latencies counted in buckets of about 1.6 %, from 1 ns to hours.
//!
//! Pure counting; the sixty-four buckets per power of two make recording a shift and an add.

/// Counts of durations in nanoseconds.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

/// The figures people compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Half took at most this, in nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took at most this.
    pub p99_ns: u64,
    /// 999 of 1000 took at most this.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Log2 of the buckets per power of two.
const FINE: u32 = 6;

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counts: vec![0; ((64 - FINE as usize) + 1) << FINE],
            total: 0,
            max_ns: 0,
        }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *own += theirs;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The figures people compare; all zero if nothing was recorded.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.total,
            p50_ns: self.quantile(0.5),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: self.max_ns,
        }
    }

    fn quantile(&self, share: f64) -> u64 {
        let rank = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(at).min(self.max_ns);
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Small values one by one; above that the leading bit and the six bits after it.
#[inline]
fn bucket(ns: u64) -> usize {
    let shift = (64 - ns.leading_zeros()).saturating_sub(FINE + 1);
    ((shift as usize) << FINE) + (ns >> shift) as usize
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1) as u32;
    let base = bucket - ((shift as usize) << FINE);
    (((base as u128 + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_two_percent() {
        for ns in (0..200).chain([1_000, 35_001, 999_999, 1 << 40, u64::MAX]) {
            let edge = upper_edge(bucket(ns));
            assert!(
                edge >= ns && (edge - ns) as f64 <= ns as f64 * 0.016,
                "{ns} {edge}"
            );
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for at in 0..2_000 {
            assert_eq!(bucket(upper_edge(at)), at);
            assert_eq!(bucket(upper_edge(at) + 1), at + 1);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|ns| histogram.record(ns * 1000));
        let found = histogram.percentiles();
        let near = |found: u64, right: u64| found >= right && found <= right + right / 50;
        assert!(near(found.p50_ns, 500_000), "{found:?}");
        assert!(near(found.p99_ns, 990_000), "{found:?}");
        assert!(near(found.p999_ns, 999_000), "{found:?}");
        assert_eq!((found.count, found.max_ns), (1000, 1_000_000));
    }

    #[test]
    fn merging_equals_recording_into_one() {
        let (mut left, mut right, mut both) =
            (Histogram::new(), Histogram::new(), Histogram::new());
        for ns in 0..10_000 {
            if ns % 3 == 0 {
                left.record(ns)
            } else {
                right.record(ns)
            }
            both.record(ns);
        }
        left.merge(&right);
        assert_eq!(left.percentiles(), both.percentiles());
        assert_eq!(Histogram::new().percentiles(), Percentiles::default());
    }
}
