//! What strangers can cause at will is told once in a while: nobody fills a disk with warnings.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two reports.
const BETWEEN: Duration = Duration::from_secs(10);

/// When something was told last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time to tell it; from then on it has been told.
    pub(crate) fn may_be_told(&self) -> bool {
        self.may_be_told_at(Instant::now())
    }

    fn may_be_told_at(&self, now: Instant) -> bool {
        // One moment or none, whoever panicked.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.is_none_or(|told| now.saturating_duration_since(told) >= BETWEEN);
        if is_time {
            *told = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_in_a_while() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let told = (0..25).map(|second| start + Duration::from_secs(second));
        assert_eq!(told.filter(|now| seldom.may_be_told_at(*now)).count(), 3);
    }
}
