//! The state of a site as known from its events: rates, tags, minions, jobs, what is missing.
//!
//! Pure and limited: whatever arrives, no part grows past its limit. Time is an argument. Only events that change
//! something here have their data decoded; all others are counted by their tag.

mod jobs;
mod minions;
mod rates;
mod recent;
mod tags;

use brine_wire::{Map, Value, msgpack};

pub use jobs::{Job, JobKind, Jobs, Outcome, Return};
pub use minions::{Minion, Minions};
pub use rates::{Rates, Second};
pub use recent::{Recent, Row};
pub use tags::{Tags, shape};

use crate::facts::{outcome, tag_minion};

/// An event as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its tag.
    pub tag: &'a str,
    /// Its data, a msgpack map.
    pub data: &'a [u8],
    /// When it arrived, in milliseconds since 1970.
    pub at: u64,
    /// Its number in the log; where there is none, a running number.
    pub seq: u64,
}

/// Events that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When that was noticed, in milliseconds since 1970.
    pub at: u64,
    /// The number of the first event after it, as far as it is known.
    pub before: u64,
    /// How many are missing; `None` if nobody can know.
    pub missed: Option<u64>,
    /// Why, in a few words.
    pub reason: String,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Site {
    /// Events by second.
    pub rates: Rates,
    /// Events by kind of tag.
    pub tags: Tags,
    /// Returns by function.
    pub functions: Tags,
    /// Who was heard of.
    pub minions: Minions,
    /// Jobs, runners and their returns.
    pub jobs: Jobs,
    /// The last events as they came.
    pub recent: Recent,
    /// How many events were counted.
    pub events: u64,
    /// How many of them report a failure.
    pub failures: u64,
    /// How many events are known to be missing.
    pub missed: u64,
    /// Whether there were gaps of unknown size.
    pub may_have_missed: bool,
}

impl Site {
    /// Takes an event.
    pub fn take(&mut self, event: Arrival<'_>) {
        self.events += 1;
        let shape = shape(event.tag);
        let is_failure = self.look_at(event);
        self.failures += u64::from(is_failure);
        self.rates.count(event.at, is_failure);
        self.tags.count(&shape, event.at, is_failure);
        self.recent.push(event, is_failure);
    }

    /// Takes notice of missing events.
    pub fn take_gap(&mut self, gap: Gap) {
        match gap.missed {
            Some(missed) => self.missed += missed,
            None => self.may_have_missed = true,
        }
        self.rates.mark_gap(gap.at);
        self.jobs.lose_certainty();
        self.minions.forget_presence();
        self.recent.push_gap(gap);
    }

    /// Reads what matters; whether the event reports a failure.
    fn look_at(&mut self, event: Arrival<'_>) -> bool {
        let parts: Vec<&str> = event.tag.splitn(5, '/').collect();
        let is_of_interest = match parts.as_slice() {
            ["salt", "job", _, kind, ..] => matches!(*kind, "new" | "ret" | "prog" | "error"),
            ["salt", "run" | "wheel", _, kind] => matches!(*kind, "new" | "ret"),
            [
                "salt",
                "auth" | "key" | "presence" | "minion" | "beacon" | "state_result",
                ..,
            ] => true,
            _ => false,
        };
        if !is_of_interest {
            return false;
        }
        let Ok(Value::Map(data)) = msgpack::decode(event.data) else {
            return false;
        };
        match parts.as_slice() {
            ["salt", "job", jid, "new"] => self.jobs.begin(JobKind::Job, jid, &data, event),
            ["salt", "job", jid, "ret", minion] => {
                let is_bad = outcome(&data) == Some(false);
                let what = format!(
                    "{} {}",
                    text(&data, "fun"),
                    if is_bad { "FAILED" } else { "ok" }
                );
                self.minions.heard_of(minion, event.at, Some(&what), is_bad);
                self.count_function(&data, event.at, is_bad);
                self.jobs
                    .take_return(JobKind::Job, jid, minion, &data, event);
                return is_bad;
            }
            ["salt", "run" | "wheel", jid, "new"] => {
                self.jobs.begin(JobKind::Runner, jid, &data, event)
            }
            ["salt", "run" | "wheel", jid, "ret"] => {
                self.jobs
                    .take_return(JobKind::Runner, jid, "master", &data, event);
                let is_bad = outcome(&data) == Some(false);
                self.count_function(&data, event.at, is_bad);
                return is_bad;
            }
            ["salt", "job", _, "error"] => return true,
            ["salt", "job", _, "prog", ..] | ["salt", "state_result", ..] => {
                let result = data
                    .get("data")
                    .and_then(|data| data.as_map()?.get("ret")?.as_map()?.get("result"));
                self.hear(event, &data, None);
                return result == Some(&Value::Bool(false));
            }
            ["salt", "presence", kind] => self.minions.presence(kind, &data, event.at),
            ["salt", "auth"] => {
                let act = text(&data, "act");
                self.hear(event, &data, Some(&format!("key {act}")));
                return matches!(act, "reject" | "denied" | "full" | "error");
            }
            ["salt", "key"] if text(&data, "act") == "delete" => {
                self.minions.remove(text(&data, "id"))
            }
            ["salt", "key"] => {
                self.hear(event, &data, Some(&format!("key {}", text(&data, "act"))))
            }
            ["salt", "minion", ..] => self.hear(event, &data, Some("started")),
            ["salt", "beacon", _, name, ..] => {
                self.hear(event, &data, Some(&format!("beacon {name}")))
            }
            _ => {}
        }
        false
    }

    fn count_function(&mut self, data: &Map, at: u64, is_bad: bool) {
        let fun = text(data, "fun");
        // What asks whether a job still runs is nobody's work.
        if !fun.is_empty() && fun != "saltutil.find_job" {
            self.functions.count(fun, at, is_bad);
        }
    }

    fn hear(&mut self, event: Arrival<'_>, data: &Map, what: Option<&str>) {
        let id = tag_minion(event.tag).unwrap_or_else(|| text(data, "id"));
        if !id.is_empty() {
            self.minions.heard_of(id, event.at, what, false);
        }
    }
}

fn text<'a>(data: &'a Map, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
