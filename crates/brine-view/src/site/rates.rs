//! Events by second, for a plot.

use std::collections::VecDeque;

/// How far back seconds are kept.
const MAX_SECONDS: usize = 4 * 3600;

/// One second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Second {
    /// Events.
    pub events: u32,
    /// Those of them that report a failure.
    pub failures: u32,
    /// Whether events of this second are missing.
    pub has_gap: bool,
}

/// Events by second.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    seconds: VecDeque<Second>,
    /// The second of the last entry, since 1970.
    newest: u64,
}

impl Rates {
    pub(super) fn count(&mut self, at: u64, is_failure: bool) {
        if let Some(second) = self.at(at / 1000) {
            second.events = second.events.saturating_add(1);
            second.failures = second.failures.saturating_add(u32::from(is_failure));
        }
    }

    pub(super) fn mark_gap(&mut self, at: u64) {
        if let Some(second) = self.at(at / 1000) {
            second.has_gap = true;
        }
    }

    /// The entry of a second; `None` for one too long ago. A clock that jumps ahead makes all entries old.
    fn at(&mut self, second: u64) -> Option<&mut Second> {
        if self.seconds.is_empty() {
            self.newest = second;
            self.seconds.push_back(Second::default());
        }
        let ahead = usize::try_from(second.saturating_sub(self.newest)).unwrap_or(usize::MAX);
        for _ in 0..ahead.min(MAX_SECONDS) {
            self.seconds.push_back(Second::default());
        }
        while self.seconds.len() > MAX_SECONDS {
            self.seconds.pop_front();
        }
        self.newest = self.newest.max(second);
        let back = usize::try_from(self.newest - second).unwrap_or(usize::MAX);
        let index = self.seconds.len().checked_sub(1)?.checked_sub(back)?;
        self.seconds.get_mut(index)
    }

    /// The last `count` whole seconds before `now`, oldest first; `None` for those before anything was known.
    #[must_use]
    pub fn last(&self, count: usize, now: u64) -> Vec<Option<Second>> {
        let end = now / 1000;
        let oldest = self.newest + 1 - self.seconds.len() as u64;
        (0..count as u64)
            .map(|index| {
                let second = (end + index).checked_sub(count as u64)?;
                if self.seconds.is_empty() || second < oldest {
                    return None;
                }
                let index = usize::try_from(second - oldest).ok()?;
                // Seconds after the last event had none.
                Some(self.seconds.get(index).copied().unwrap_or_default())
            })
            .collect()
    }

    /// The last `count` whole minutes before `now`, as [`Rates::last`] has seconds.
    #[must_use]
    pub fn last_minutes(&self, count: usize, now: u64) -> Vec<Option<Second>> {
        let seconds = self.last(count * 60, now / 60_000 * 60_000);
        let sum = |minute: &[Option<Second>]| {
            let known = minute.iter().flatten();
            known.copied().reduce(|sum, second| Second {
                events: sum.events.saturating_add(second.events),
                failures: sum.failures.saturating_add(second.failures),
                has_gap: sum.has_gap || second.has_gap,
            })
        };
        seconds.chunks(60).map(sum).collect()
    }

    /// Events per second over the last `seconds` whole seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a rate, for people
    pub fn mean(&self, seconds: usize, now: u64) -> f64 {
        let known: Vec<Second> = self.last(seconds, now).into_iter().flatten().collect();
        let sum: u64 = known.iter().map(|second| u64::from(second.events)).sum();
        match known.len() {
            0 => 0.0,
            count => sum as f64 / count as f64,
        }
    }
}
