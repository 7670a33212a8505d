//! When to try again: how the retry options turn the result of a round through the masters into a wait.
//!
//! Pure but for random numbers; knows no network. Facts: Salt 3006.28 and 3008.3, by running them.

use std::sync::Arc;
use std::time::Duration;

use brine_net::backoff::Backoff;

use super::options::MinionOptions;

/// The first wait before masters that do not answer are tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// After a connection that lasted this long, the waits start again from the shortest.
const SETTLED: Duration = Duration::from_secs(10);

/// How a master answered, as far as the next try depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The key waits to be accepted.
    Pending,
    Rejected,
    UnknownHost,
    /// No answer, or another fault.
    Otherwise,
}

/// Counts of a round through the masters in which none accepted the minion.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Round {
    masters: usize,
    rejected: usize,
    pending: usize,
    unresolved: usize,
}

impl Round {
    pub(super) const fn note(&mut self, refused: Refused) {
        self.masters += 1;
        match refused {
            Refused::Pending => self.pending += 1,
            Refused::Rejected => self.rejected += 1,
            Refused::UnknownHost => self.unresolved += 1,
            Refused::Otherwise => {}
        }
    }
}

/// What to do after such a round.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Duration),
    Rejected,
    GiveUp,
}

/// The waits between rounds of one uplink.
pub(super) struct RetryTimer {
    options: Arc<MinionOptions>,
    retry: Backoff,
    /// The next wait while the key is pending.
    pending: Duration,
    rounds: u32,
    /// Failed lookups left before giving up; `None` once the minion was connected, since a name server that fails
    /// later must not cost a minion its master.
    lookups: Option<u32>,
}

impl RetryTimer {
    pub(super) fn new(options: Arc<MinionOptions>) -> Self {
        Self {
            retry: Backoff::new(RETRY.0, RETRY.1),
            pending: options.acceptance_wait_time,
            rounds: 0,
            lookups: options.retry.retry_dns_count,
            options,
        }
    }

    pub(super) fn connected(&mut self) {
        self.rounds = 0;
        self.lookups = None;
    }

    pub(super) fn after_loss(&mut self, held: Duration) -> Duration {
        if held > SETTLED {
            self.retry.reset();
            self.pending = self.options.acceptance_wait_time;
        }
        self.retry.wait()
    }

    pub(super) fn after(&mut self, round: &Round) -> Next {
        if round.rejected == round.masters && !self.options.rejected_retry {
            return Next::Rejected;
        }
        let wait = if round.unresolved == round.masters && !self.options.retry.retry_dns.is_zero() {
            match self.lookups {
                Some(0) => return Next::GiveUp,
                Some(left) => self.lookups = Some(left - 1),
                None => {}
            }
            self.options.retry.retry_dns
        } else if round.pending > 0 {
            let longer = self.pending * 2;
            let longer = longer.min(self.options.acceptance_wait_time_max);
            std::mem::replace(&mut self.pending, longer)
        } else {
            self.retry.wait()
        };
        Next::Wait(wait.max(self.after_tries()))
    }

    /// The extra wait of `master_tries`: Salt's daemon logs an error and starts over, after the wait for a pending key.
    fn after_tries(&mut self) -> Duration {
        self.rounds += 1;
        let Some(tries) = self.options.retry.master_tries else {
            return Duration::ZERO;
        };
        if self.rounds < tries.get() {
            return Duration::ZERO;
        }
        self.rounds = 0;
        tracing::error!(%tries, "no master accepted this minion in master_tries rounds; still trying");
        self.options.acceptance_wait_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_config::{Brine, Opts};
    use brine_wire::Value;

    fn waits(set: &[(&str, Value)]) -> RetryTimer {
        let mut opts = Opts::default();
        for (name, text) in [
            ("id", "m1"),
            ("master", "salt"),
            ("transport", "tcp"),
            ("pki_dir", "/"),
            ("cachedir", "/"),
        ] {
            opts.set(name, text);
        }
        for (name, value) in set {
            opts.set(name, value.clone());
        }
        let options = MinionOptions::from_opts(&opts, &Brine::default()).unwrap();
        RetryTimer::new(Arc::new(options))
    }

    fn seconds(next: &Next) -> f64 {
        match next {
            Next::Wait(wait) => wait.as_secs_f64(),
            ended => panic!("expected a wait, found {ended:?}"),
        }
    }

    const SILENT: Round = Round {
        masters: 1,
        rejected: 0,
        pending: 0,
        unresolved: 0,
    };
    const PENDING: Round = Round {
        pending: 1,
        ..SILENT
    };
    const REJECTED: Round = Round {
        rejected: 1,
        ..SILENT
    };
    const UNRESOLVED: Round = Round {
        unresolved: 1,
        ..SILENT
    };

    #[test]
    fn a_pending_key_is_shown_again_after_waits_that_grow() {
        let set = [
            ("acceptance_wait_time", 3.into()),
            ("acceptance_wait_time_max", 10.into()),
        ];
        let mut waits = waits(&set);
        for wait in [3.0, 6.0, 10.0, 10.0] {
            assert_eq!(seconds(&waits.after(&PENDING)), wait);
        }
    }

    #[test]
    fn silent_masters_are_asked_after_waits_that_grow_to_ten_seconds() {
        let mut waits = waits(&[]);
        let all: Vec<_> = (0..20).map(|_| seconds(&waits.after(&SILENT))).collect();
        assert!(
            all[0] <= 0.2 && all.iter().all(|wait| *wait <= 10.0),
            "{all:?}"
        );
        assert!(all[19] >= 5.0, "{all:?}");
        assert!(waits.after_loss(Duration::from_secs(11)) <= RETRY.0);
    }

    #[test]
    fn rejection_ends_it_if_all_reject_and_the_options_allow() {
        assert_eq!(waits(&[]).after(&REJECTED), Next::Rejected);
        let set = [("rejected_retry", true.into())];
        assert!(seconds(&waits(&set).after(&REJECTED)) < 1.0);
        let another_is_silent = Round {
            masters: 2,
            ..REJECTED
        };
        assert!(seconds(&waits(&[]).after(&another_is_silent)) < 1.0);
    }

    #[test]
    fn lookups_are_limited_until_the_minion_was_connected() {
        let set = [("retry_dns", 7.into()), ("retry_dns_count", 2.into())];
        let mut first = waits(&set);
        assert_eq!(seconds(&first.after(&UNRESOLVED)), 7.0);
        assert_eq!(seconds(&first.after(&UNRESOLVED)), 7.0);
        assert_eq!(first.after(&UNRESOLVED), Next::GiveUp);
        let mut later = waits(&set);
        later.connected();
        assert!((0..9).all(|_| seconds(&later.after(&UNRESOLVED)) == 7.0));
    }

    #[test]
    fn without_retry_dns_an_unknown_name_is_like_a_silent_master() {
        let set = [("retry_dns", 0.into()), ("retry_dns_count", 0.into())];
        assert!(seconds(&waits(&set).after(&UNRESOLVED)) <= 0.2);
    }

    #[test]
    fn with_failover_an_unknown_name_holds_nobody_up() {
        let set = [
            ("master_type", "failover".into()),
            ("retry_dns", 30.into()),
            ("retry_dns_count", 0.into()),
        ];
        assert!(seconds(&waits(&set).after(&UNRESOLVED)) <= 0.2);
    }

    #[test]
    fn master_tries_is_a_longer_wait_and_never_the_end() {
        let set = [
            ("master_tries", 3.into()),
            ("acceptance_wait_time", 60.into()),
        ];
        let mut waits = waits(&set);
        let all: Vec<_> = (0..6).map(|_| seconds(&waits.after(&SILENT))).collect();
        let longer: Vec<_> = all.iter().map(|wait| *wait >= 60.0).collect();
        assert_eq!(longer, [false, false, true, false, false, true], "{all:?}");
    }
}
