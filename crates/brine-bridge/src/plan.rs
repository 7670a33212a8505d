//! What to try next with a batch: all of it, a half, one event; again after a pause, or never again.
//!
//! Pure: it is told what happened and says what to do. A batch that is refused contains at least one event at fault.
//! Halving finds that event, so that the others are stored around it in the order of the log. An event that fails
//! without a given reason is treated the same way once it has failed as often as one event may: it is at fault if the
//! other side accepts another event between two of its failures; otherwise the other side is down.

use std::ops::Range;
use std::time::Duration;

use crate::sink::SinkError;

/// When a batch is delivered: when it has this many events or bytes, or when its first event has waited this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most events of one batch.
    pub max_events: usize,
    /// The most bytes, unless one event alone has more.
    pub max_bytes: usize,
    /// How long a batch that is not full waits for more. While one is under way the next gathers by itself, so
    /// that nothing is gained by waiting where a delivery costs little.
    pub wait: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_events: 1000,
            max_bytes: 4 << 20,
            wait: Duration::ZERO,
        }
    }
}

/// Pauses that double, up to a limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(30);

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        pause.min(Self::LONGEST)
    }

    /// Something succeeded.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The way through one batch.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The first event that is not dealt with.
    at: usize,
    len: usize,
    /// The end of a part that was refused, or is doubted: one of the events before it is at fault.
    refused: Option<usize>,
    /// How often several events failed without a known reason.
    doubts: u32,
    /// How often the event at `at` was refused, or failed, alone.
    attempts: u32,
    /// The other side has taken another event since the one at `at` failed.
    is_there: bool,
    /// How often another event was asked for.
    probes: usize,
    max_attempts: u32,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Try what comes next at once.
    GoOn,
    /// Wait, then try again.
    Wait,
    /// Find out whether the other side accepts another event: if so call [`Plan::is_there`] and continue, else wait.
    Probe,
    /// This event is never taken: keep it among the dead letters, then call [`Plan::set_aside`].
    SetAside(usize),
}

impl Plan {
    /// For this many events; one that is refused this often by itself is set aside.
    pub(crate) const fn new(len: usize, max_attempts: u32) -> Self {
        Self {
            at: 0,
            len,
            refused: None,
            doubts: 0,
            attempts: 0,
            is_there: false,
            probes: 0,
            max_attempts,
        }
    }

    /// The events to try next; `None` when all are dealt with.
    pub(crate) fn next(&self) -> Option<Range<usize>> {
        let end = match self.refused {
            // The first half of what was refused, at least one.
            Some(end) => self.at + (end - self.at).div_ceil(2).max(1),
            None => self.len,
        };
        (self.at < self.len).then_some(self.at..end)
    }

    /// The other side has this many of them.
    pub(crate) fn delivered(&mut self, count: usize) {
        self.at = (self.at + count).min(self.len);
        (self.attempts, self.is_there) = (0, false);
        self.refused = self.refused.filter(|end| self.at < *end);
        if self.refused.is_none() {
            self.doubts = 0;
        }
    }

    /// It has none of them.
    pub(crate) fn failed(&mut self, error: &SinkError) -> Reaction {
        let Some(tried) = self.next() else {
            return Reaction::GoOn;
        };
        match error {
            SinkError::Unavailable { .. } => {
                self.is_there = false;
                Reaction::Wait
            }
            SinkError::Refused { .. } if tried.len() > 1 => {
                self.refused = Some(tried.end);
                Reaction::GoOn
            }
            SinkError::Uncertain { .. } if tried.len() > 1 => {
                self.doubts += 1;
                if self.doubts < self.max_attempts {
                    return Reaction::Wait;
                }
                self.refused = Some(tried.end);
                Reaction::GoOn
            }
            SinkError::Uncertain { .. } => {
                self.attempts += 1;
                match (self.attempts < self.max_attempts, self.is_there) {
                    (true, _) => Reaction::Wait,
                    (false, true) => Reaction::SetAside(tried.start),
                    (false, false) => Reaction::Probe,
                }
            }
            SinkError::Refused { .. } => {
                self.attempts += 1;
                match self.attempts < self.max_attempts {
                    true => Reaction::Wait,
                    false => Reaction::SetAside(tried.start),
                }
            }
        }
    }

    /// The other side takes another event, so that it is the next failure of this one that counts.
    pub(crate) const fn is_there(&mut self) {
        self.is_there = true;
    }

    /// Another event of the batch than the one that fails, to probe with: each time the one behind; `None` if there is
    /// none.
    pub(crate) const fn another(&mut self) -> Option<usize> {
        let first = self.at + 1;
        if first >= self.len {
            return None;
        }
        let nth = self.probes % (self.len - first);
        self.probes += 1;
        Some(first + nth)
    }

    /// The event at fault is kept elsewhere.
    pub(crate) fn set_aside(&mut self) {
        self.refused = None;
        self.delivered(1);
    }

    /// How often the event that comes next was refused alone.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How many events are dealt with.
    pub(crate) const fn dealt_with(&self) -> usize {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Carries a plan out against a side that refuses some events: what it takes, what is set aside, how many calls.
    fn carry_out(len: usize, poison: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let mut plan = Plan::new(len, 3);
        let (mut taken, mut aside, mut calls) = (Vec::new(), Vec::new(), 0);
        while let Some(range) = plan.next() {
            calls += 1;
            assert!(calls < 10_000 && !range.is_empty());
            if !range.clone().any(|event| poison.contains(&event)) {
                taken.extend(range.clone());
                plan.delivered(range.len());
            } else if let Reaction::SetAside(event) = plan.failed(&SinkError::refused("no")) {
                aside.push(event);
                plan.set_aside();
            }
        }
        (taken, aside, calls)
    }

    #[test]
    fn one_event_at_fault_is_found_in_few_calls() {
        let (taken, aside, calls) = carry_out(1000, &[700]);
        assert_eq!((taken.len(), aside), (999, vec![700]));
        assert!(calls < 30, "{calls}");
    }

    #[test]
    fn a_side_that_is_away_costs_no_event() {
        let mut plan = Plan::new(3, 1);
        for _ in 0..100 {
            assert_eq!(plan.failed(&SinkError::unavailable("away")), Reaction::Wait);
            assert_eq!(plan.next(), Some(0..3));
        }
        plan.delivered(2);
        assert_eq!((plan.next(), plan.dealt_with()), (Some(2..3), 2));
        plan.delivered(1);
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn a_single_event_is_tried_so_often() {
        let mut plan = Plan::new(1, 3);
        let refused = SinkError::refused("no");
        assert_eq!(plan.failed(&refused), Reaction::Wait);
        assert_eq!(plan.failed(&refused), Reaction::Wait);
        assert_eq!(plan.failed(&refused), Reaction::SetAside(0));
        assert_eq!(plan.attempts(), 3);
    }

    /// The same against a side that does not say why it fails: while it is away, and for some events always.
    fn carry_out_in_doubt(len: usize, poison: &[usize], away: usize) -> (Vec<usize>, Vec<usize>) {
        let mut plan = Plan::new(len, 3);
        let (mut taken, mut aside, mut calls) = (Vec::new(), Vec::new(), 0);
        while let Some(range) = plan.next() {
            calls += 1;
            assert!(calls < 10_000, "{taken:?} {aside:?}");
            let takes = |events: Range<usize>, calls: usize| {
                calls > away && !events.into_iter().any(|event| poison.contains(&event))
            };
            if takes(range.clone(), calls) {
                taken.extend(range.clone());
                plan.delivered(range.len());
                continue;
            }
            match plan.failed(&SinkError::uncertain("500")) {
                Reaction::GoOn | Reaction::Wait => {}
                Reaction::Probe => {
                    // What it took before, or one of those that come.
                    let other = taken.last().copied().or_else(|| plan.another());
                    if other.is_some_and(|other| takes(other..other + 1, calls)) {
                        plan.is_there();
                    }
                }
                Reaction::SetAside(event) => {
                    aside.push(event);
                    plan.set_aside();
                }
            }
            if away == usize::MAX && calls == 1000 {
                break;
            }
        }
        (taken, aside)
    }

    #[test]
    fn an_event_that_fails_while_others_are_taken_is_set_aside() {
        for poison in [vec![0], vec![7], vec![0, 1, 2], vec![3, 4, 9]] {
            let (taken, aside) = carry_out_in_doubt(10, &poison, 0);
            assert_eq!((taken.len(), aside), (10 - poison.len(), poison));
        }
    }

    #[test]
    fn a_side_that_fails_for_every_event_costs_none() {
        for away in [1, 5, 50, 500] {
            let (taken, aside) = carry_out_in_doubt(10, &[], away);
            assert_eq!((taken, aside), ((0..10).collect(), Vec::new()));
        }
        assert_eq!(carry_out_in_doubt(10, &[], usize::MAX), (vec![], vec![]));
        // Of one event alone nobody can tell.
        let mut plan = Plan::new(1, 1);
        let uncertain = SinkError::uncertain("500");
        assert_eq!(plan.failed(&uncertain), Reaction::Probe);
        assert_eq!(plan.another(), None);
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert_eq!(pauses[..2], [250, 500].map(Duration::from_millis));
        assert_eq!(pauses[19], Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(), pauses[0]);
    }

    proptest! {
        #[test]
        fn every_event_is_taken_or_set_aside_in_order_in_doubt_too(
            len in 2usize..60, poison in proptest::collection::btree_set(0usize..60, 0..5), away in 0usize..40,
        ) {
            let poison: Vec<_> = poison.into_iter().filter(|event| *event < len).collect();
            // Where one event fails and nobody takes another, nothing can be said of it.
            prop_assume!(poison.len() < len);
            let (taken, aside) = carry_out_in_doubt(len, &poison, away);
            prop_assert_eq!(&aside, &poison);
            let others: Vec<_> = (0..len).filter(|event| !poison.contains(event)).collect();
            prop_assert_eq!(taken, others);
        }

        #[test]
        fn every_event_is_taken_or_set_aside_in_order(
            len in 1usize..200, poison in proptest::collection::btree_set(0usize..200, 0..8),
        ) {
            let poison: Vec<_> = poison.into_iter().filter(|event| *event < len).collect();
            let (taken, aside, _) = carry_out(len, &poison);
            prop_assert_eq!(&aside, &poison);
            let others: Vec<_> = (0..len).filter(|event| !poison.contains(event)).collect();
            prop_assert_eq!(taken, others);
        }
    }
}
