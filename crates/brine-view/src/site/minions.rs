//! Minions as known from events: the time and kind of each one's last event, and who is connected.

use std::collections::{HashMap, HashSet};

use brine_wire::{Map, Value};

/// The most minions that are remembered; those heard of longest ago are forgotten first.
const MAX_MINIONS: usize = 20_000;

/// A minion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Minion {
    /// When it was last heard of, in milliseconds since 1970.
    pub at: u64,
    /// With what.
    pub what: String,
    /// Events of it.
    pub events: u64,
    /// Returns that failed.
    pub failures: u64,
    /// Whether it is connected, if events of presence say so.
    pub is_present: Option<bool>,
}

/// All that were heard of.
#[derive(Debug, Clone, Default)]
pub struct Minions {
    minions: HashMap<String, Minion>,
    present: Option<HashSet<String>>,
}

impl Minions {
    pub(super) fn heard_of(&mut self, id: &str, at: u64, what: Option<&str>, is_failure: bool) {
        if !self.minions.contains_key(id) && self.minions.len() >= MAX_MINIONS {
            self.forget_some();
        }
        let minion = self.minions.entry(id.to_owned()).or_default();
        minion.at = minion.at.max(at);
        minion.events += 1;
        minion.failures += u64::from(is_failure);
        if let Some(what) = what {
            what.clone_into(&mut minion.what);
        }
    }

    /// Makes room for a tenth at once, so that a flood of new ids does not sort for each of them.
    fn forget_some(&mut self) {
        let mut times: Vec<u64> = self.minions.values().map(|minion| minion.at).collect();
        times.sort_unstable();
        let limit = times[MAX_MINIONS / 10];
        let mut left = MAX_MINIONS / 10;
        self.minions.retain(|_, minion| {
            let goes = minion.at <= limit && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }

    pub(super) fn presence(&mut self, kind: &str, data: &Map, at: u64) {
        let ids = |key| {
            let list = data.get(key).and_then(Value::as_array).unwrap_or_default();
            list.iter().filter_map(Value::as_str).take(MAX_MINIONS)
        };
        match kind {
            "present" => {
                self.present = Some(ids("present").map(str::to_owned).collect());
                for id in ids("present") {
                    self.minions.entry(id.to_owned()).or_default().at = at;
                }
            }
            "change" => {
                for (key, word) in [("new", "connected"), ("lost", "connection lost")] {
                    for id in ids(key) {
                        self.heard_of(id, at, Some(word), false);
                    }
                }
                if let Some(present) = &mut self.present {
                    present.extend(ids("new").map(str::to_owned));
                    for id in ids("lost") {
                        present.remove(id);
                    }
                }
            }
            _ => {}
        }
        if self.minions.len() > MAX_MINIONS {
            self.forget_some();
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.minions.remove(id);
    }

    /// After missing events nobody knows who is connected, until the next event says so.
    pub(super) fn forget_presence(&mut self) {
        self.present = None;
    }

    /// How many are connected, if that is known.
    #[must_use]
    pub fn connected(&self) -> Option<usize> {
        self.present.as_ref().map(HashSet::len)
    }

    /// How many were heard of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.minions.len()
    }

    /// Whether none was heard of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.minions.is_empty()
    }

    /// All, last heard of first.
    #[must_use]
    pub fn newest(&self) -> Vec<(&str, Minion)> {
        let mut rows: Vec<_> = self
            .minions
            .iter()
            .map(|(id, minion)| {
                let is_present = self.present.as_ref().map(|present| present.contains(id));
                (
                    id.as_str(),
                    Minion {
                        is_present,
                        ..minion.clone()
                    },
                )
            })
            .collect();
        rows.sort_unstable_by(|a, b| (b.1.at, a.0).cmp(&(a.1.at, b.0)));
        rows
    }

    /// Those with most events first.
    #[must_use]
    pub fn busiest(&self, count: usize) -> Vec<(&str, u64, u64)> {
        let mut rows: Vec<_> = self
            .minions
            .iter()
            .map(|(id, minion)| (id.as_str(), minion.events, minion.failures))
            .collect();
        rows.sort_unstable_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        rows.truncate(count);
        rows
    }
}
