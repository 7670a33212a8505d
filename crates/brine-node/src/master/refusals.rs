//! Counts refused events by minion and limits the reports about them: one per minion and minute.
//!
//! Pure except for the clock. It holds a small entry for each accepted minion that had events refused in the last
//! minutes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use brine_wire::network::MinionId;

/// The tag of the event that reports refusals. Minions cannot fire it: it names no sender.
pub(super) const TAG: &str = "brine/minion/refused";

/// The time between two reports of one minion.
const BETWEEN: Duration = Duration::from_secs(60);

/// The unreported refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<MinionId, Entry>>);

#[derive(Debug)]
struct Entry {
    reported: Instant,
    unreported: usize,
}

impl Refusals {
    /// Counts refusals of a minion; how many to report now, if it is time to.
    pub(super) fn count(&self, id: &MinionId, count: usize) -> Option<usize> {
        self.count_at(id, count, Instant::now())
    }

    fn count_at(&self, id: &MinionId, count: usize, now: Instant) -> Option<usize> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(id) else {
            // Minions that have been quiet since need no entry.
            entries.retain(|_, entry| now.duration_since(entry.reported) < 2 * BETWEEN);
            let entry = Entry {
                reported: now,
                unreported: 0,
            };
            entries.insert(id.clone(), entry);
            return Some(count);
        };
        entry.unreported = entry.unreported.saturating_add(count);
        if now.duration_since(entry.reported) < BETWEEN {
            return None;
        }
        entry.reported = now;
        Some(std::mem::take(&mut entry.unreported))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_reported_once_per_minion_and_minute() {
        let refusals = Refusals::default();
        let [one, other] = ["m1", "m2"].map(|id| MinionId::parse(id).unwrap());
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(refusals.count_at(&one, 3, at(0)), Some(3));
        assert_eq!(refusals.count_at(&one, 2, at(1)), None);
        assert_eq!(refusals.count_at(&other, 1, at(1)), Some(1));
        assert_eq!(refusals.count_at(&one, 1, at(59)), None);
        assert_eq!(refusals.count_at(&one, 1, at(60)), Some(4));
        assert_eq!(refusals.count_at(&one, 1, at(61)), None);
    }
}
