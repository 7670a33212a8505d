//! One subscriber's account of what it has been given: every event once, each publisher's in order.
//!
//! Pure: sequence numbers in, faults out.

use std::collections::BTreeMap;

/// What went wrong, in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wrongs {
    /// Never came, though a later one of the same publisher did, or the connection ended.
    pub(crate) lost: u64,
    /// Came after a later one of the same publisher connection.
    pub(crate) reordered: u64,
    /// Came after an event of a later connection; order is not guaranteed there.
    pub(crate) swapped: u64,
    /// Came twice.
    pub(crate) duplicated: u64,
    /// Had not come when the run ended, on a connection still open.
    pub(crate) owed: u64,
}

impl Wrongs {
    pub(crate) const fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.swapped += other.swapped;
        self.duplicated += other.duplicated;
        self.owed += other.owed;
    }
}

/// The account.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    publishers: Vec<Account>,
    /// Publishers from this one on are many connections that share a number.
    first_shared: usize,
    duplicated: u64,
    taken: u64,
}

#[derive(Debug, Clone, Default)]
struct Account {
    /// One more than the highest sequence seen.
    next: u64,
    /// Ranges skipped so far: start → end (exclusive).
    missing: BTreeMap<u64, u64>,
    reordered: u64,
}

impl Ledger {
    /// An account with `publishers` connections, and one number more that short-lived
    /// connections share.
    pub(crate) fn new(publishers: usize) -> Self {
        Self {
            publishers: vec![Account::default(); publishers + 1],
            first_shared: publishers,
            duplicated: 0,
            taken: 0,
        }
    }

    /// Books an event. `false` if there is no such publisher.
    #[inline]
    pub(crate) fn take(&mut self, publisher: u32, sequence: u64) -> bool {
        let Some(account) = self.publishers.get_mut(publisher as usize) else {
            return false;
        };
        self.taken += 1;
        if sequence == account.next {
            account.next += 1;
        } else {
            self.take_out_of_turn(publisher as usize, sequence);
        }
        true
    }

    /// One more than the highest sequence of this publisher that came.
    #[inline]
    pub(crate) fn next(&self, publisher: usize) -> u64 {
        self.publishers[publisher].next
    }

    /// How many events came, repeated ones included.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether everything up to these totals has come or been skipped.
    pub(crate) fn has_reached(&self, totals: &[u64]) -> bool {
        self.publishers
            .iter()
            .zip(totals)
            .all(|(account, total)| account.next >= *total)
    }

    /// The faults, given how many events each publisher sent and whether the bus closed on us.
    pub(crate) fn close(&self, totals: &[u64], closed_by_bus: bool) -> Wrongs {
        let mut wrongs = Wrongs {
            duplicated: self.duplicated,
            ..Wrongs::default()
        };
        for (publisher, (account, total)) in self.publishers.iter().zip(totals).enumerate() {
            if publisher < self.first_shared {
                wrongs.reordered += account.reordered;
            } else {
                wrongs.swapped += account.reordered;
            }
            wrongs.lost += account
                .missing
                .iter()
                .map(|(from, to)| to - from)
                .sum::<u64>();
            let tail = total.saturating_sub(account.next);
            if closed_by_bus {
                wrongs.lost += tail;
            } else {
                wrongs.owed += tail;
            }
        }
        wrongs
    }

    #[cold]
    fn take_out_of_turn(&mut self, publisher: usize, sequence: u64) {
        let account = &mut self.publishers[publisher];
        if sequence > account.next {
            account.missing.insert(account.next, sequence);
            account.next = sequence + 1;
            return;
        }
        let hole = account
            .missing
            .range(..=sequence)
            .next_back()
            .map(|(from, to)| (*from, *to));
        match hole {
            Some((from, to)) if sequence < to => {
                account.missing.remove(&from);
                if from < sequence {
                    account.missing.insert(from, sequence);
                }
                if sequence + 1 < to {
                    account.missing.insert(sequence + 1, to);
                }
                account.reordered += 1;
            }
            _ => self.duplicated += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrongs(came: &[u64], sent: u64) -> Wrongs {
        let mut ledger = Ledger::new(1);
        for sequence in came {
            assert!(ledger.take(0, *sequence));
        }
        ledger.close(&[sent, 0], false)
    }

    #[test]
    fn all_in_order_is_no_fault() {
        assert_eq!(wrongs(&[0, 1, 2], 3), Wrongs::default());
    }

    #[test]
    fn a_skipped_event_is_lost() {
        assert_eq!(
            wrongs(&[0, 3], 4),
            Wrongs {
                lost: 2,
                ..Wrongs::default()
            }
        );
    }

    #[test]
    fn a_late_event_is_reordered_and_not_lost() {
        assert_eq!(
            wrongs(&[0, 2, 1, 3], 4),
            Wrongs {
                reordered: 1,
                ..Wrongs::default()
            }
        );
    }

    #[test]
    fn a_late_event_in_the_middle_of_a_hole_leaves_both_sides_lost() {
        let expected = Wrongs {
            lost: 4,
            reordered: 1,
            ..Wrongs::default()
        };
        assert_eq!(wrongs(&[0, 6, 3], 7), expected);
    }

    #[test]
    fn an_event_twice_is_a_duplicate_even_after_a_hole() {
        let expected = Wrongs {
            reordered: 1,
            duplicated: 3,
            ..Wrongs::default()
        };
        assert_eq!(wrongs(&[0, 0, 2, 1, 1, 2], 3), expected);
    }

    #[test]
    fn what_has_not_come_is_owed_while_open_and_lost_once_closed() {
        let mut ledger = Ledger::new(2);
        ledger.take(0, 0);
        ledger.take(1, 0);
        let totals = [3, 2, 0];
        assert_eq!(
            ledger.close(&totals, false),
            Wrongs {
                owed: 3,
                ..Wrongs::default()
            }
        );
        assert_eq!(
            ledger.close(&totals, true),
            Wrongs {
                lost: 3,
                ..Wrongs::default()
            }
        );
        assert!(!ledger.has_reached(&totals));
    }

    #[test]
    fn order_is_kept_per_publisher_only() {
        let mut ledger = Ledger::new(2);
        for (publisher, sequence) in [(0, 0), (1, 0), (1, 1), (0, 1)] {
            ledger.take(publisher, sequence);
        }
        assert_eq!(ledger.close(&[2, 2, 0], false), Wrongs::default());
        assert!(!ledger.take(3, 0), "there is no third publisher");
    }

    #[test]
    fn between_connections_that_share_a_number_order_is_not_promised() {
        let mut ledger = Ledger::new(1);
        for sequence in [1, 0, 2] {
            ledger.take(1, sequence);
        }
        assert_eq!(
            ledger.close(&[0, 3], false),
            Wrongs {
                swapped: 1,
                ..Wrongs::default()
            }
        );
    }
}
