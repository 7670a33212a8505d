//! Numbers without an event: those that killed processes left unused.
//!
//! A bus that was killed continues billions of numbers later, so the difference of two numbers is not a count of
//! events. All code that reports how many events are in a range asks here. This module knows neither log nor store.

use std::ops::Range;

use crate::position::Seq;

/// Numbers without an event, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unused(Vec<Range<u64>>);

impl Unused {
    /// Adds numbers behind all that are known.
    pub(crate) fn push(&mut self, seqs: Range<Seq>) {
        let known = self.0.last().map_or(0, |last| last.end);
        let seqs = seqs.start.0.max(known)..seqs.end.0;
        if !seqs.is_empty() {
            self.0.push(seqs);
        }
    }

    /// The most events that these numbers can have.
    pub(crate) fn count(&self, seqs: Range<Seq>) -> u64 {
        let seqs = seqs.start.0..seqs.end.0;
        let first = self.0.partition_point(|unused| unused.end <= seqs.start);
        let inside = self.0[first..]
            .iter()
            .take_while(|unused| unused.start < seqs.end);
        let unused = inside
            .map(|unused| unused.end.min(seqs.end) - unused.start.max(seqs.start))
            .sum();
        seqs.end.saturating_sub(seqs.start).saturating_sub(unused)
    }

    /// The number this many events before this one; the first number, if there are fewer.
    pub(crate) fn before(&self, seq: Seq, events: u64) -> Seq {
        let (mut at, mut left) = (seq.0, events);
        for unused in self.0.iter().rev().filter(|unused| unused.start < seq.0) {
            let between = at.saturating_sub(unused.end);
            if left <= between {
                break;
            }
            left -= between;
            at = unused.start;
        }
        Seq(at.saturating_sub(left))
    }

    /// The number this many events after this one.
    pub(crate) fn after(&self, seq: Seq, events: u64) -> Seq {
        let mut at = seq.0.saturating_add(events);
        for unused in self.0.iter().filter(|unused| unused.end > seq.0) {
            if at < unused.start {
                break;
            }
            at = at.saturating_add(unused.end - unused.start.max(seq.0));
        }
        Seq(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 11 to 100 and 151 to 1000 were never used.
    fn unused() -> Unused {
        let mut unused = Unused::default();
        unused.push(Seq(11)..Seq(101));
        unused.push(Seq(101)..Seq(101));
        unused.push(Seq(151)..Seq(1001));
        unused
    }

    #[test]
    fn numbers_that_were_never_used_are_no_events() {
        for (seqs, count) in [
            (1..1, 0),
            (1..11, 10),
            (1..101, 10),
            (11..101, 0),
            (50..60, 0),
            (50..102, 1),
            (1..1002, 61),
            (200..2000, 999),
            (2000..2010, 10),
        ] {
            let range = Seq(seqs.start)..Seq(seqs.end);
            assert_eq!(unused().count(range), count, "{seqs:?}");
        }
    }

    #[test]
    fn so_many_events_back_and_forward_are_events_and_not_numbers() {
        let unused = unused();
        for (from, events, to) in [
            (1001, 0, 1001),
            (1003, 2, 1001),
            (1003, 3, 150),
            (1003, 52, 101),
            (1003, 53, 10),
            (1003, 62, 1),
            (1003, 1000, 0),
            (500, 1, 150),
            (8, 3, 5),
        ] {
            assert_eq!(
                unused.before(Seq(from), events),
                Seq(to),
                "{from} - {events}"
            );
        }
        for (from, events, to) in [
            (5, 5, 10),
            (5, 6, 101),
            (5, 55, 150),
            (5, 56, 1001),
            (50, 0, 101),
            (50, 1, 102),
            (2000, 5, 2005),
        ] {
            assert_eq!(
                unused.after(Seq(from), events),
                Seq(to),
                "{from} + {events}"
            );
        }
    }

    #[test]
    fn ranges_that_overlap_count_once() {
        let mut unused = Unused::default();
        unused.push(Seq(10)..Seq(20));
        unused.push(Seq(15)..Seq(30));
        assert_eq!(unused.count(Seq(1)..Seq(40)), 19);
    }
}
