//! Salt's options for how often and how long a minion retries: signing in, pings, returns.
//!
//! Salt's minion never exits because no master answers: where its options say "give up", it starts over, and so does
//! Brine's. Facts: Salt 3006.28 and 3008.3, by running them.

use std::num::NonZeroU32;
use std::time::Duration;

use brine_net::crypto;

use super::masters::MasterType;
use crate::options::{OptionsError, Reader};

/// Retry limits and intervals, from Salt's options of the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOptions {
    /// The longest wait, taken at random, before the first sign-in.
    pub random_startup_delay: Duration,
    /// The longest wait, taken at random, before the sign-in that a new shared key asks for. Zero if the option
    /// is Salt's default: Salt's minions sign in at once whatever it says, its documentation promises a wait.
    pub random_reauth_delay: Duration,
    /// Sign-in attempts per master before the next one is tried; one with `failover`, as in Salt.
    pub auth_tries: NonZeroU32,
    /// Whether an unanswered ping makes the minion sign in again.
    pub auth_safemode: bool,
    /// After this many rounds through the masters an error is logged; `None` for never.
    pub master_tries: Option<NonZeroU32>,
    /// The wait before a host name that does not resolve is looked up again; zero: the usual wait.
    pub retry_dns: Duration,
    /// Lookups at start before that master is given up; `None` for no limit.
    pub retry_dns_count: Option<u32>,
    /// How often a minion connected to a later master checks the first; `None` for never.
    pub failback_every: Option<Duration>,
    /// How often `minion_ping` is sent; `None` for never.
    pub ping_every: Option<Duration>,
    /// How long the answer to a return may take.
    pub returns: ReturnRetry,
}

/// How long the answer to a return may take before it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnRetry {
    /// The shortest wait (`return_retry_timer`).
    pub timer: Duration,
    /// The longest wait (`return_retry_timer_max`).
    pub timer_max: Duration,
    /// Tries with these waits (`return_retry_tries`); after them each try waits as long as any request, so that a
    /// master that is merely slow is not sent the same return for ever.
    pub tries: u32,
}

impl ReturnRetry {
    /// How long the try after `failed` others waits, of a request that may otherwise take `longest`.
    pub(super) fn wait(self, failed: u32, longest: Duration) -> Duration {
        if failed >= self.tries {
            return longest;
        }
        self.timer + random_up_to(self.timer_max.saturating_sub(self.timer))
    }
}

/// How often masters are checked if no option says so.
pub(super) const ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Salt's default.
const RANDOM_REAUTH_DELAY: f64 = 10.0;

impl RetryOptions {
    pub(super) fn read(read: &Reader<'_>, master_type: MasterType) -> Result<Self, OptionsError> {
        let has_one_way = master_type == MasterType::Failover;
        let auth_tries = match has_one_way {
            true => 1,
            false => times(read, "auth_tries", 7)?,
        };
        let ping_every = time(read, "ping_interval", 0.0)? * 60;
        let reauth_delay = time(read, "random_reauth_delay", RANDOM_REAUTH_DELAY)?;
        Ok(Self {
            random_startup_delay: time(read, "random_startup_delay", 0.0)?,
            random_reauth_delay: match reauth_delay.as_secs_f64() == RANDOM_REAUTH_DELAY {
                true => Duration::ZERO,
                false => reauth_delay,
            },
            auth_tries: NonZeroU32::new(auth_tries).unwrap_or(NonZeroU32::MIN),
            auth_safemode: read.flag("auth_safemode", false)?,
            master_tries: NonZeroU32::new(times(read, "master_tries", -1)?),
            // With failover the next master is asked meanwhile.
            retry_dns: match has_one_way {
                true => Duration::ZERO,
                false => time(read, "retry_dns", 30.0)?,
            },
            retry_dns_count: u32::try_from(read.int("retry_dns_count", -1)?).ok(),
            failback_every: match has_one_way && read.flag("master_failback", false)? {
                true => Some(failback_every(read)?),
                false => None,
            },
            ping_every: (!ping_every.is_zero()).then_some(ping_every),
            returns: return_retry(read)?,
        })
    }
}

/// Salt falls back to `master_alive_interval`, and without that never checks.
fn failback_every(read: &Reader<'_>) -> Result<Duration, OptionsError> {
    for name in ["master_failback_interval", "master_alive_interval"] {
        let every = time(read, name, 0.0)?;
        if !every.is_zero() {
            return Ok(every);
        }
    }
    Ok(ALIVE_INTERVAL)
}

/// A longest time of 0 means exactly the shortest; one below it means Salt's default.
fn return_retry(read: &Reader<'_>) -> Result<ReturnRetry, OptionsError> {
    const TIMER: Duration = Duration::from_secs(5);
    // A time of nothing would be a request without a chance of an answer.
    let timer = time(read, "return_retry_timer", 5.0)?.max(Duration::from_secs(1));
    let (timer, timer_max) = match read.int("return_retry_timer_max", 10)? {
        0 => (timer, timer),
        most => match u64::try_from(most).map(Duration::from_secs) {
            Ok(most) if most >= timer => (timer, most),
            _ => (TIMER, TIMER),
        },
    };
    Ok(ReturnRetry {
        timer,
        timer_max,
        tries: times(read, "return_retry_tries", 3)?,
    })
}

/// Seconds; nothing if they are negative, as in Salt.
fn time(read: &Reader<'_>, name: &str, default: f64) -> Result<Duration, OptionsError> {
    let number = match read.is_set(name) {
        true => read.0.number(name)?,
        false => default,
    };
    Ok(Duration::try_from_secs_f64(number).unwrap_or_default())
}

/// A number of times; none if it is negative, as in Salt.
fn times(read: &Reader<'_>, name: &str, default: i64) -> Result<u32, OptionsError> {
    Ok(u32::try_from(read.int(name, default)?.max(0)).unwrap_or(u32::MAX))
}

/// A random time, so that a fleet does not do the same at the same moment.
pub(super) fn random_up_to(most: Duration) -> Duration {
    let random = crypto::random::<4>().map_or(0, u32::from_le_bytes);
    most.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_config::Opts;

    fn tries(master_type: MasterType, set: &[(&str, i64)]) -> RetryOptions {
        let mut opts = Opts::default();
        for (name, number) in set {
            opts.set(name, *number);
        }
        RetryOptions::read(&Reader(&opts), master_type).unwrap()
    }

    #[test]
    fn defaults_are_salts() {
        let tries = tries(MasterType::All, &[]);
        assert_eq!(tries.auth_tries.get(), 7);
        assert_eq!((tries.master_tries, tries.retry_dns_count), (None, None));
        assert_eq!(tries.retry_dns, Duration::from_secs(30));
        assert_eq!((tries.failback_every, tries.ping_every), (None, None));
        assert_eq!(tries.random_reauth_delay, Duration::ZERO);
    }

    #[test]
    fn with_failover_one_master_is_not_waited_for() {
        let set = [("auth_tries", 9), ("retry_dns", 9)];
        let tries = tries(MasterType::Failover, &set);
        assert_eq!(
            (tries.auth_tries.get(), tries.retry_dns),
            (1, Duration::ZERO)
        );
    }

    #[test]
    fn failback_checks_as_often_as_configured() {
        let every = |master_type, set: &[(&str, i64)]| {
            let set = [&[("master_failback", 1)], set].concat();
            tries(master_type, &set)
                .failback_every
                .map(|every| every.as_secs())
        };
        let (alive, own) = (
            ("master_alive_interval", 8),
            ("master_failback_interval", 9),
        );
        assert_eq!(every(MasterType::Failover, &[alive, own]), Some(9));
        assert_eq!(every(MasterType::Failover, &[alive]), Some(8));
        assert_eq!(every(MasterType::Failover, &[]), Some(30));
        assert_eq!(every(MasterType::All, &[own]), None);
    }

    #[test]
    fn pings_are_minutes_apart() {
        let ping = tries(MasterType::All, &[("ping_interval", 2)]).ping_every;
        assert_eq!(ping, Some(Duration::from_secs(120)));
    }

    #[test]
    fn a_negative_number_means_none_as_in_salt() {
        let set = [
            "random_startup_delay",
            "random_reauth_delay",
            "ping_interval",
            "auth_tries",
            "master_tries",
            "retry_dns_count",
        ];
        let tries = tries(MasterType::All, &set.map(|name| (name, -1)));
        assert_eq!(tries.random_startup_delay, Duration::ZERO);
        assert_eq!(tries.random_reauth_delay, Duration::ZERO);
        assert_eq!((tries.ping_every, tries.auth_tries.get()), (None, 1));
        assert_eq!((tries.master_tries, tries.retry_dns_count), (None, None));
    }

    #[test]
    fn an_answer_to_a_return_has_a_time_between_the_timers_then_that_of_any_request() {
        let longest = Duration::from_secs(60);
        let wait = |set: &[(&str, i64)], failed| {
            let returns = tries(MasterType::All, set).returns;
            returns.wait(failed, longest).as_secs_f64()
        };
        assert!((5.0..=10.0).contains(&wait(&[], 0)));
        assert!((5.0..=10.0).contains(&wait(&[], 2)));
        assert_eq!(wait(&[], 3), 60.0);
        let (timer, most) = ("return_retry_timer", "return_retry_timer_max");
        assert_eq!(wait(&[(timer, 7), (most, 0)], 0), 7.0);
        assert_eq!(wait(&[(timer, 7), (most, 6)], 0), 5.0);
        assert_eq!(wait(&[(timer, 7), (most, -1)], 0), 5.0);
        assert_eq!(wait(&[("return_retry_tries", 0)], 0), 60.0);
    }

    #[test]
    fn random_times_stay_below_the_longest() {
        let most = Duration::from_secs(3);
        assert!((0..100).all(|_| random_up_to(most) <= most));
        assert_eq!(random_up_to(Duration::ZERO), Duration::ZERO);
    }
}
