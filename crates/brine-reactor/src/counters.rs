//! What a rule counts while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal::Counts;

/// What has become of a rule's events, and how many of its reactions are running; what became of those that are not is
/// in the record.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) running: AtomicU64,
}

impl Counters {
    /// Going on where these are.
    pub(crate) fn of(counts: &Counts) -> Self {
        Self {
            events: counts.events.into(),
            throttled: counts.throttled.into(),
            too_old: counts.too_old.into(),
            missed: counts.missed.into(),
            running: AtomicU64::default(),
        }
    }

    /// Those of events, with what the record has of reactions.
    pub(crate) fn with(&self, recorded: Counts) -> Counts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            events: now(&self.events),
            throttled: now(&self.throttled),
            too_old: now(&self.too_old),
            missed: now(&self.missed),
            ..recorded
        }
    }
}

pub(crate) fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
