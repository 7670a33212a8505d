//! What a master counts while it runs: requests and sign-ins by outcome, jobs, returns and events.
//!
//! Only adds; readers take a snapshot ([`MasterStats`]) through [`MasterHandle::stats`](super::MasterHandle::stats).
//! What requests cost by command is `master_stats`, in [`stats`](super::stats).

use std::sync::atomic::{AtomicU64, Ordering};

use brine_net::master::Refused;

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// An accepted minion sent it, and it was acted on.
    Answered,
    /// A local client sent it in clear text, and it was acted on or refused by name.
    Clear,
    /// It is not a request at all.
    Malformed,
    /// A protocol version that is too old.
    Version,
    /// The minion has no accepted key.
    UnknownMinion,
    /// It is not sealed with the minion's session key.
    Seal,
    /// A field of the load is missing, malformed or too old.
    Load,
    /// The token is not the accepted key's.
    Token,
    /// The master's own files could not be read.
    Store,
}

/// The outcome of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInOutcome {
    /// The minion is accepted and received the session key.
    Accepted,
    /// The key waits to be accepted.
    Pending,
    /// The key was rejected, or differs from the accepted one.
    Rejected,
    /// There are as many minions as `max_minions` allows.
    Full,
    /// The request or its key cannot be read.
    Malformed,
    /// The queue was full: the minion tries again.
    Overloaded,
    /// The master's own files could not be read or written.
    Store,
}

impl RequestOutcome {
    /// All of them, in the order of [`MasterStats::requests`].
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Clear,
        Self::Malformed,
        Self::Version,
        Self::UnknownMinion,
        Self::Seal,
        Self::Load,
        Self::Token,
        Self::Store,
    ];

    /// The name, as metrics and `GET /status` show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Clear => "clear",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::UnknownMinion => "unknown_minion",
            Self::Seal => "seal",
            Self::Load => "load",
            Self::Token => "token",
            Self::Store => "store",
        }
    }
}

impl From<&Refused> for RequestOutcome {
    fn from(refused: &Refused) -> Self {
        match refused {
            Refused::Version => Self::Version,
            Refused::Unknown { .. } => Self::UnknownMinion,
            Refused::Seal { .. } => Self::Seal,
            Refused::Token { .. } => Self::Token,
            Refused::Store(_) => Self::Store,
            _ => Self::Load,
        }
    }
}

impl SignInOutcome {
    /// All of them, in the order of [`MasterStats::sign_ins`].
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Pending,
        Self::Rejected,
        Self::Full,
        Self::Malformed,
        Self::Overloaded,
        Self::Store,
    ];

    /// The name, as metrics and `GET /status` show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Full => "full",
            Self::Malformed => "malformed",
            Self::Overloaded => "overloaded",
            Self::Store => "store",
        }
    }
}

/// The counters. Every field only grows.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: [AtomicU64; RequestOutcome::ALL.len()],
    sign_ins: [AtomicU64; SignInOutcome::ALL.len()],
    pub(super) jobs_published: AtomicU64,
    pub(super) returns: AtomicU64,
    pub(super) minion_events: AtomicU64,
    pub(super) minion_events_refused: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self, outcome: RequestOutcome) {
        add(&self.requests[outcome as usize], 1);
    }

    pub(super) fn sign_in(&self, outcome: SignInOutcome) {
        add(&self.sign_ins[outcome as usize], 1);
    }

    pub(super) fn snapshot(&self) -> MasterStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MasterStats {
            requests: RequestOutcome::ALL
                .map(|which| (which, read(&self.requests[which as usize]))),
            sign_ins: SignInOutcome::ALL.map(|which| (which, read(&self.sign_ins[which as usize]))),
            jobs_published: read(&self.jobs_published),
            returns: read(&self.returns),
            minion_events: read(&self.minion_events),
            minion_events_refused: read(&self.minion_events_refused),
        }
    }
}

/// Adds to a counter. The counters are independent of each other and of other memory, so relaxed order is enough.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// What a master has counted since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterStats {
    /// Requests by outcome.
    pub requests: [(RequestOutcome, u64); RequestOutcome::ALL.len()],
    /// Sign-ins by outcome.
    pub sign_ins: [(SignInOutcome, u64); SignInOutcome::ALL.len()],
    /// Jobs sent to minions.
    pub jobs_published: u64,
    /// Job returns received from minions and put on the bus.
    pub returns: u64,
    /// Events received from minions and put on the bus.
    pub minion_events: u64,
    /// Events of minions that the tag policy refused.
    pub minion_events_refused: u64,
}

impl MasterStats {
    /// How many requests had this outcome.
    #[must_use]
    pub const fn requests(&self, outcome: RequestOutcome) -> u64 {
        self.requests[outcome as usize].1
    }

    /// How many sign-ins had this outcome.
    #[must_use]
    pub const fn sign_ins(&self, outcome: SignInOutcome) -> u64 {
        self.sign_ins[outcome as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        let counters = Counters::default();
        for (at, outcome) in RequestOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
            for _ in 0..=at {
                counters.request(outcome);
            }
        }
        for (at, outcome) in SignInOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
            for _ in 0..=at {
                counters.sign_in(outcome);
            }
        }
        let stats = counters.snapshot();
        assert_eq!(stats.requests(RequestOutcome::Malformed), 3);
        assert_eq!(stats.sign_ins(SignInOutcome::Store), 7);
    }
}
