//! How many failed logins an address and a user may have.
//!
//! Buckets fill with failures and empty with time: one per address, one per user and address, and one per user. The
//! last one is large, so that nobody can keep somebody else from logging in for long. (`governor` has such buckets,
//! but cannot be asked without counting; here only failures count, since scripts log in with every request.)

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many buckets are kept. When there are more, those that are emptiest are dropped.
const MOST: usize = 16_384;

/// How many failures a bucket takes, and how fast it empties.
#[derive(Debug, Clone, Copy)]
struct Size {
    failures: f64,
    one_per: Duration,
}

const OF_ADDRESS: Size = Size {
    failures: 60.0,
    one_per: Duration::from_secs(1),
};
const OF_USER_FROM_ADDRESS: Size = Size {
    failures: 10.0,
    one_per: Duration::from_secs(6),
};
const OF_USER: Size = Size {
    failures: 200.0,
    one_per: Duration::from_secs(1),
};

/// The failed logins of late.
#[derive(Debug, Default)]
pub struct Attempts {
    buckets: Mutex<HashMap<u64, Bucket>>,
    /// Mixed into what buckets are named by, so that nobody can choose names that fall together.
    key: std::hash::RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    failures: f64,
    at: Instant,
    one_per: Duration,
}

impl Bucket {
    fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.failures - passed / self.one_per.as_secs_f64()).max(0.0)
    }
}

impl Attempts {
    /// How long a user must wait before trying from an address; `None` if now is fine.
    #[must_use]
    pub fn wait(&self, address: Option<IpAddr>, user: &str, now: Instant) -> Option<Duration> {
        let buckets = self.lock();
        let names = self.names(address, user);
        let waits = names.iter().flatten().filter_map(|(name, size)| {
            let over = buckets.get(name)?.level(now) - (size.failures - 1.0);
            (over > 0.0).then(|| size.one_per.mul_f64(over))
        });
        waits.max()
    }

    /// Counts a failure.
    pub fn failed(&self, address: Option<IpAddr>, user: &str, now: Instant) {
        let mut buckets = self.lock();
        for (name, size) in self.names(address, user).into_iter().flatten() {
            let bucket = buckets.entry(name).or_insert(Bucket {
                failures: 0.0,
                at: now,
                one_per: size.one_per,
            });
            bucket.failures = bucket.level(now) + 1.0;
            bucket.at = now;
        }
        if buckets.len() > MOST {
            buckets.retain(|_, bucket| bucket.level(now) > 1.0);
            // All of them are in use: a flood. Those of the least guilty go.
            if buckets.len() > MOST {
                let mut levels: Vec<f64> =
                    buckets.values().map(|bucket| bucket.level(now)).collect();
                levels.sort_by(f64::total_cmp);
                let least = levels[levels.len() / 2];
                buckets.retain(|_, bucket| bucket.level(now) > least);
            }
        }
    }

    fn names(&self, address: Option<IpAddr>, user: &str) -> [Option<(u64, Size)>; 3] {
        let name = |kind: u8, address: Option<IpAddr>, user: &str| {
            self.key.hash_one((kind, address, user))
        };
        let address = address.map(network_of);
        [
            address.map(|address| (name(0, Some(address), ""), OF_ADDRESS)),
            address.map(|address| (name(1, Some(address), user), OF_USER_FROM_ADDRESS)),
            Some((name(2, None, user), OF_USER)),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Bucket>> {
        // Counts are whole whoever panicked.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of IPv6 the /64, which is one customer's.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(last.into()))
    }

    #[test]
    fn failures_of_one_user_do_not_lock_out_others() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..10 {
            assert!(attempts.wait(address(1), "fred", now).is_none());
            attempts.failed(address(1), "fred", now);
        }
        assert!(attempts.wait(address(1), "fred", now).is_some());
        assert!(attempts.wait(address(1), "ann", now).is_none());
        assert!(attempts.wait(address(2), "fred", now).is_none());
        let later = now + Duration::from_secs(2);
        let wait = |at| attempts.wait(address(1), "fred", at);
        assert_eq!(wait(now).map(|wait| wait.as_secs_f64().round()), Some(6.0));
        assert_eq!(
            wait(later).map(|wait| wait.as_secs_f64().round()),
            Some(4.0)
        );
        let later = now + Duration::from_secs(6);
        assert_eq!(wait(later), None);
        attempts.failed(address(1), "fred", later);
        assert!(wait(later).is_some());
    }

    #[test]
    fn many_users_of_one_address_and_many_addresses_of_one_user_are_limited() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for user in 0..60 {
            attempts.failed(address(1), &user.to_string(), now);
        }
        assert!(attempts.wait(address(1), "new", now).is_some());
        for last in 0..200 {
            attempts.failed(address(100 + last), "fred", now);
        }
        assert!(attempts.wait(address(9), "fred", now).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for last in 0..30_000 {
            attempts.failed(address(last), &last.to_string(), now);
        }
        assert!(attempts.lock().len() <= MOST);
    }
}
