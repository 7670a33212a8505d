//! How many failed logins an address and a user may have.
//!
//! Buckets fill with failures and empty with time: one per user and address, a larger one per address, behind which there
//! may be many people, and one per user. Whoever has logged in from an address of late is limited by the first alone: what
//! others fail behind the same proxy, or elsewhere with the same name, locks nobody out who is known. (`governor` has such
//! buckets, but cannot be asked without counting; here only failures count, since scripts log in with every request.)

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
    failures: 300.0,
    one_per: Duration::from_millis(500),
};
const OF_USER_FROM_ADDRESS: Size = Size {
    failures: 10.0,
    one_per: Duration::from_secs(6),
};
const OF_USER: Size = Size {
    failures: 200.0,
    one_per: Duration::from_secs(1),
};

/// How long somebody is known who has logged in from an address.
const KNOWN: Duration = Duration::from_secs(7 * 86_400);

/// The failed logins of late.
#[derive(Debug, Default)]
pub struct Attempts {
    late: Mutex<Late>,
    /// Mixed into what buckets are named by, so that nobody can choose names that fall together.
    key: std::hash::RandomState,
}

#[derive(Debug, Default)]
struct Late {
    buckets: HashMap<u64, Bucket>,
    /// When users have logged in from addresses, by the name of their bucket.
    known: HashMap<u64, Instant>,
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
        let late = self.lock();
        let names = self.names(address, user);
        let is_known = names.of_both.is_some_and(|(name, _)| {
            let at = late.known.get(&name);
            at.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN)
        });
        let others = [names.of_address, Some(names.of_user)];
        let others = others.into_iter().flatten().filter(|_| !is_known);
        let waits = names
            .of_both
            .into_iter()
            .chain(others)
            .filter_map(|(name, size)| {
                let over = late.buckets.get(&name)?.level(now) - (size.failures - 1.0);
                (over > 0.0).then(|| size.one_per.mul_f64(over))
            });
        waits.max()
    }

    /// Counts a failure.
    pub fn failed(&self, address: Option<IpAddr>, user: &str, now: Instant) {
        let buckets = &mut self.lock().buckets;
        let names = self.names(address, user);
        let all = [names.of_address, names.of_both, Some(names.of_user)];
        for (name, size) in all.into_iter().flatten() {
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

    /// Remembers who has logged in from where.
    pub fn succeeded(&self, address: Option<IpAddr>, user: &str, now: Instant) {
        let Some((name, _)) = self.names(address, user).of_both else {
            return;
        };
        let known = &mut self.lock().known;
        known.insert(name, now);
        if known.len() > MOST {
            let mut times: Vec<Instant> = known.values().copied().collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            known.retain(|_, at| *at > middle);
        }
    }

    fn names(&self, address: Option<IpAddr>, user: &str) -> Names {
        let name = |kind: u8, address: Option<IpAddr>, user: &str| {
            self.key.hash_one((kind, address, user))
        };
        let address = address.map(network_of);
        Names {
            of_address: address.map(|address| (name(0, Some(address), ""), OF_ADDRESS)),
            of_both: address.map(|address| (name(1, Some(address), user), OF_USER_FROM_ADDRESS)),
            of_user: (name(2, None, user), OF_USER),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Late> {
        // Counts are whole whoever panicked.
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the buckets of a login are named by, and their sizes.
struct Names {
    of_address: Option<(u64, Size)>,
    of_both: Option<(u64, Size)>,
    of_user: (u64, Size),
}

/// What counts as one address: of IPv6 the /64, which is one customer's.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
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
        for user in 0..300 {
            assert!(attempts.wait(address(1), "new", now).is_none());
            attempts.failed(address(1), &user.to_string(), now);
        }
        assert!(attempts.wait(address(1), "new", now).is_some());
        for last in 0..200 {
            attempts.failed(address(100 + last), "fred", now);
        }
        assert!(attempts.wait(address(9), "fred", now).is_some());
    }

    #[test]
    fn whoever_is_known_at_an_address_is_not_locked_out_by_others() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        attempts.succeeded(address(1), "ann", now);
        for failure in 0..400 {
            attempts.failed(address(1), &failure.to_string(), now);
            attempts.failed(address(1000 + failure), "ann", now);
        }
        let wait = |from, user| attempts.wait(address(from), user, now).is_some();
        assert!(wait(1, "new") && wait(2, "ann"), "others wait");
        assert!(!wait(1, "ann"));
        assert!(
            attempts.wait(address(1), "ann", now + KNOWN).is_none(),
            "long over"
        );
        // Who guesses at the same address is limited by user and address.
        for _ in 0..10 {
            attempts.failed(address(1), "ann", now);
        }
        assert!(wait(1, "ann"));
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for last in 0..30_000 {
            attempts.failed(address(last), &last.to_string(), now);
            let later = now + Duration::from_secs(last.into());
            attempts.succeeded(address(last), &last.to_string(), later);
        }
        let late = attempts.lock();
        assert!(late.buckets.len() <= MOST && late.known.len() <= MOST);
    }
}
