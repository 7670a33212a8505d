//! Reactions that run once within a time, for each key: for the first event, or the last.
//!
//! Pure. Times are those of the events, so a restart that reads them again decides the same.

use std::collections::HashMap;
use std::time::Duration;

use brine_log::Millis;

/// How often a rule's reactions run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// For the newest event when the time is over, or for the first at once.
    pub is_last: bool,
    /// The time.
    pub within: Duration,
    /// An expression over `tag` and `data`; `None` for one key.
    pub key: Option<String>,
}

/// How many keys are remembered; of those beyond it each event counts as the first.
const MAX_KEYS: usize = 100_000;

/// What is known of the keys of one rule. `T` is an event that waits.
#[derive(Debug)]
pub(crate) struct Throttle<T> {
    is_last: bool,
    within: u64,
    keys: HashMap<String, Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    ends: Millis,
    waiting: Option<T>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// It is reacted to.
    Run(T),
    /// It is not, being one too many.
    Drop,
    /// It waits; an earlier one that waited will not be reacted to.
    Wait { replaced: Option<T> },
}

impl<T> Throttle<T> {
    pub(crate) fn new(config: &ThrottleConfig) -> Self {
        Self {
            is_last: config.is_last,
            within: u64::try_from(config.within.as_millis()).unwrap_or(u64::MAX),
            keys: HashMap::new(),
        }
    }

    /// Decides about an event of a time. Events that are due must have been taken before.
    pub(crate) fn offer(&mut self, key: &str, at: Millis, event: T) -> Verdict<T> {
        if !self.is_last && self.keys.len() >= MAX_KEYS {
            self.keys.retain(|_, open| at < open.ends);
        }
        if let Some(open) = self.keys.get_mut(key)
            && (self.is_last || at < open.ends)
        {
            return match self.is_last {
                true => Verdict::Wait {
                    replaced: open.waiting.replace(event),
                },
                false => Verdict::Drop,
            };
        }
        if self.keys.len() >= MAX_KEYS {
            return Verdict::Run(event);
        }
        let ends = Millis(at.0.saturating_add(self.within));
        let mut open = Open {
            ends,
            waiting: None,
        };
        let verdict = match self.is_last {
            true => {
                open.waiting = Some(event);
                Verdict::Wait { replaced: None }
            }
            false => Verdict::Run(event),
        };
        self.keys.insert(key.to_owned(), open);
        verdict
    }

    /// When the next event that waits is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let waiting = self.keys.values().filter(|open| open.waiting.is_some());
        waiting.map(|open| open.ends).min()
    }

    /// Takes the events whose time is over, oldest first.
    pub(crate) fn take_due(&mut self, now: Millis) -> Vec<T> {
        if !self.is_last {
            return Vec::new();
        }
        let due: Vec<String> = self
            .keys
            .iter()
            .filter(|(_, open)| open.ends <= now)
            .map(|(key, _)| key.clone())
            .collect();
        let mut taken: Vec<(Millis, T)> = due
            .iter()
            .filter_map(|key| self.keys.remove(key))
            .filter_map(|open| Some((open.ends, open.waiting?)))
            .collect();
        taken.sort_by_key(|(ends, _)| *ends);
        taken.into_iter().map(|(_, event)| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(is_last: bool) -> Throttle<u32> {
        Throttle::new(&ThrottleConfig {
            is_last,
            within: Duration::from_millis(100),
            key: None,
        })
    }

    #[test]
    fn the_first_of_a_key_runs_and_the_others_do_not() {
        let mut first = throttle(false);
        assert_eq!(first.offer("a", Millis(0), 1), Verdict::Run(1));
        assert_eq!(first.offer("a", Millis(99), 2), Verdict::Drop);
        assert_eq!(first.offer("b", Millis(99), 3), Verdict::Run(3));
        assert_eq!(first.offer("a", Millis(100), 4), Verdict::Run(4));
        assert_eq!(first.next_due(), None);
    }

    #[test]
    fn the_last_of_a_key_runs_when_the_time_is_over() {
        let mut last = throttle(true);
        assert_eq!(
            last.offer("a", Millis(0), 1),
            Verdict::Wait { replaced: None }
        );
        assert_eq!(
            last.offer("b", Millis(10), 2),
            Verdict::Wait { replaced: None }
        );
        assert_eq!(
            last.offer("a", Millis(50), 3),
            Verdict::Wait { replaced: Some(1) }
        );
        assert_eq!(last.next_due(), Some(Millis(100)));
        assert_eq!(last.take_due(Millis(99)), []);
        assert_eq!(last.take_due(Millis(200)), [3, 2]);
        assert_eq!(last.next_due(), None);
    }
}
