//! Counts a master's requests and their durations, fired as `salt/stats/<worker>` (`master_stats`).
//!
//! Salt fires one event per worker process; Brine has one worker. Fired at most every
//! `master_stats_event_iter` seconds, and only when a request arrives. Facts: Salt 3006.28 and 3008.3.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use brine_wire::compat::{Compat, Series};
use brine_wire::{Map, Value};

/// The requests since the last event.
#[derive(Debug)]
pub(super) struct Stats {
    every: Duration,
    compat: Compat,
    fired_at: Instant,
    by_cmd: BTreeMap<String, Cost>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    runs: u64,
    total: Duration,
}

/// Commands that are counted separately; all others together, since strangers can invent names.
const MAX_COMMANDS: usize = 64;

impl Stats {
    /// The time between two events.
    pub(super) fn new(every: Duration, compat: Compat) -> Self {
        Self {
            every,
            compat,
            fired_at: Instant::now(),
            by_cmd: BTreeMap::new(),
        }
    }

    /// Counts a request; returns tag and data of the event when it is due.
    pub(super) fn count(&mut self, cmd: &str, took: Duration) -> Option<(String, Map)> {
        let is_known = self.by_cmd.contains_key(cmd) || self.by_cmd.len() < MAX_COMMANDS;
        let cost = self
            .by_cmd
            .entry(if is_known {
                cmd.to_owned()
            } else {
                String::new()
            })
            .or_default();
        cost.runs += 1;
        cost.total += took;
        let elapsed = self.fired_at.elapsed();
        if elapsed < self.every {
            return None;
        }
        self.fired_at = Instant::now();
        Some(self.event(elapsed))
    }

    fn event(&mut self, elapsed: Duration) -> (String, Map) {
        let is_3008 = self.compat.series() == Series::S3008;
        let worker = if is_3008 {
            "MWorker-default-0"
        } else {
            "MWorker-0"
        };
        let stats = std::mem::take(&mut self.by_cmd)
            .into_iter()
            .map(|(cmd, cost)| {
                let mut entry = Map::new();
                // Salt's mean is in seconds.
                entry.insert("mean", cost.total.as_secs_f64() / cost.runs.max(1) as f64);
                entry.insert("runs", cost.runs);
                (cmd, Value::Map(entry))
            });
        let mut data = Map::new();
        data.insert("time", elapsed.as_secs_f64());
        data.insert("worker", worker);
        if is_3008 {
            data.insert("pool", "default");
            data.insert("pool_index", 0);
        }
        data.insert("stats", stats.collect::<Map>());
        (format!("salt/stats/{worker}"), data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_has_count_and_mean_duration_by_command() {
        let mut stats = Stats::new(Duration::from_secs(3600), Compat::NEWEST);
        assert!(stats.count("_pillar", Duration::from_millis(10)).is_none());
        assert!(stats.count("_pillar", Duration::from_millis(30)).is_none());
        let (tag, data) = stats.event(Duration::from_secs(60));
        assert_eq!(tag, "salt/stats/MWorker-default-0");
        let pillar = data
            .get("stats")
            .and_then(Value::as_map)
            .unwrap()
            .get("_pillar");
        let pillar = pillar.and_then(Value::as_map).unwrap();
        assert_eq!(pillar.get("runs"), Some(&2.into()));
        assert_eq!(pillar.get("mean"), Some(&0.02.into()));
    }
}
