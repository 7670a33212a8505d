//! Job slots: at most `process_count_max` jobs run at a time; the others wait in order of arrival.
//!
//! Pure; does not know what a job is.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

/// The slots, and the jobs that wait for one.
#[derive(Debug)]
pub(super) struct JobSlots<T> {
    /// `None` for no limit.
    most: Option<NonZeroUsize>,
    taken: usize,
    waiting: VecDeque<T>,
}

impl<T> JobSlots<T> {
    pub(super) const fn new(most: Option<NonZeroUsize>) -> Self {
        Self {
            most,
            taken: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Returns the job if a slot is free; otherwise keeps it until one is.
    pub(super) fn take(&mut self, job: T) -> Option<T> {
        if self.most.is_some_and(|most| self.taken >= most.get()) {
            self.waiting.push_back(job);
            return None;
        }
        self.taken += 1;
        Some(job)
    }

    /// Frees a slot, or hands it to the job that has waited longest.
    pub(super) fn release(&mut self) -> Option<T> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.taken -= 1;
        }
        next
    }

    /// Removes a waiting job.
    pub(super) fn remove(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.waiting.iter().position(is_it)?;
        self.waiting.remove(at)
    }

    /// The waiting jobs, the next one first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_run_at_a_time_and_the_others_in_order() {
        let mut slots = JobSlots::new(NonZeroUsize::new(2));
        let begun: Vec<_> = (1..=5).filter_map(|job| slots.take(job)).collect();
        assert_eq!(begun, [1, 2]);
        assert_eq!((slots.release(), slots.release()), (Some(3), Some(4)));
        assert_eq!(slots.take(6), None);
        assert_eq!((slots.release(), slots.release()), (Some(5), Some(6)));
        assert_eq!((slots.release(), slots.release()), (None, None));
        assert_eq!(slots.take(7), Some(7));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut slots = JobSlots::new(None);
        assert!((0..1000).all(|job| slots.take(job) == Some(job)));
    }

    #[test]
    fn a_job_that_waits_can_be_forgotten() {
        let mut slots = JobSlots::new(NonZeroUsize::new(1));
        for job in 1..=3 {
            slots.take(job);
        }
        assert_eq!(slots.remove(|job| *job == 2), Some(2));
        assert_eq!(slots.remove(|job| *job == 2), None);
        assert_eq!(slots.waiting().collect::<Vec<_>>(), [&3]);
    }
}
