//! Places for jobs: so many run at a time (`process_count_max`), the others wait in the order they came.
//!
//! Pure: what a job is, is the caller's.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// The places, and who waits for one.
#[derive(Debug)]
pub(super) struct Places<T> {
    /// `None` for any number.
    most: Option<NonZeroUsize>,
    taken: usize,
    waiting: VecDeque<T>,
}

impl<T> Places<T> {
    pub(super) const fn new(most: Option<NonZeroUsize>) -> Self {
        Self {
            most,
            taken: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Gives a job back with a place for it, or keeps it until there is one.
    pub(super) fn take(&mut self, job: T) -> Option<T> {
        if self.most.is_some_and(|most| self.taken >= most.get()) {
            self.waiting.push_back(job);
            return None;
        }
        self.taken += 1;
        Some(job)
    }

    /// A place is free: the job that has waited longest gets it.
    pub(super) fn give_back(&mut self) -> Option<T> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.taken -= 1;
        }
        next
    }

    /// Takes a job out of those that wait.
    pub(super) fn forget(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.waiting.iter().position(is_it)?;
        self.waiting.remove(at)
    }

    /// Those that wait, the next first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_run_at_a_time_and_the_others_in_order() {
        let mut places = Places::new(NonZeroUsize::new(2));
        let begun: Vec<_> = (1..=5).filter_map(|job| places.take(job)).collect();
        assert_eq!(begun, [1, 2]);
        assert_eq!((places.give_back(), places.give_back()), (Some(3), Some(4)));
        assert_eq!(places.take(6), None);
        assert_eq!((places.give_back(), places.give_back()), (Some(5), Some(6)));
        assert_eq!((places.give_back(), places.give_back()), (None, None));
        assert_eq!(places.take(7), Some(7));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut places = Places::new(None);
        assert!((0..1000).all(|job| places.take(job) == Some(job)));
    }

    #[test]
    fn a_job_that_waits_can_be_forgotten() {
        let mut places = Places::new(NonZeroUsize::new(1));
        for job in 1..=3 {
            places.take(job);
        }
        assert_eq!(places.forget(|job| *job == 2), Some(2));
        assert_eq!(places.forget(|job| *job == 2), None);
        assert_eq!(places.waiting().collect::<Vec<_>>(), [&3]);
    }
}
