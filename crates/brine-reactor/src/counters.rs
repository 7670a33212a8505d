//! The counters of a running rule.

use std::sync::atomic::{AtomicU64, Ordering};

use brine_log::Seq;

use crate::journal::Counts;

/// What happened to a rule's events, and how many of its reactions are running; how the others ended is in the record.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) running: AtomicU64,
    /// The newest event that is counted.
    through: AtomicU64,
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
            through: counts.through.into(),
        }
    }

    /// Counts an event, unless an earlier process has: where a rule is says how far it has started reactions, and what
    /// it waits for, or had just begun, it reads again.
    pub(crate) fn count(&self, seq: Seq, counters: &[&AtomicU64]) {
        if self.through.fetch_max(seq.0, Ordering::Relaxed) < seq.0 {
            for counter in counters {
                one_more(counter);
            }
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
            through: now(&self.through),
            ..recorded
        }
    }
}

pub(crate) fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
