//! What others can ask a running reactor and change in it: its rules, what they have done, running a reaction again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use brine_log::Seq;
use brine_wire::{Map, Value};

use crate::journal::{self, Counts, MAX_CALL_KIB, Outcome, Run};
use crate::lane::Lane;
use crate::react::lock;
use crate::rules;
use crate::run::{Shared, now};

/// A reactor that runs, from outside.
#[derive(Clone)]
pub struct ReactorHandle {
    pub(crate) shared: Arc<Shared>,
}

/// Why the rules cannot be changed, or a reaction not run again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What all rules together have done, and where they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// How many rules there are.
    pub rules: u64,
    /// Reactions that are running.
    pub running: u64,
    /// How many events the rule furthest behind has not read.
    pub behind: u64,
    /// What became of events and reactions.
    pub counts: Counts,
}

impl ReactorHandle {
    /// The rules.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        self.shared
            .lanes()
            .iter()
            .map(|lane| lane.rule().to_value())
            .collect()
    }

    /// Adds a rule, until the reactor ends; tells whether there was none of that pattern.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add(&self, glob: &str, files: &Value) -> Result<bool, Refused> {
        let mut entry = Map::new();
        entry.insert(glob, files.clone());
        let parsed = rules::parse(&Value::from(vec![entry.into()]));
        let parsed = parsed.map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.fault).collect();
            Refused(faults.join("; "))
        })?;
        let lanes = self.shared.lanes();
        if lanes.iter().any(|lane| lane.rule().glob == glob) {
            return Ok(false);
        }
        self.shared.add(parsed);
        Ok(true)
    }

    /// Removes the first rule of a pattern; returns whether there was one. Running reactions continue.
    #[must_use]
    pub fn delete(&self, glob: &str) -> bool {
        self.shared.remove(glob)
    }

    /// Whether it reacts.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.is_leader()
    }

    /// Has it react, or pass all events over.
    pub fn set_leader(&self, is_leader: bool) {
        if self.shared.is_leader.swap(is_leader, Ordering::Relaxed) != is_leader {
            match is_leader {
                true => tracing::info!("the reactor is the leader again"),
                false => tracing::warn!(
                    "the reactor is no longer the leader: it ignores events until salt-run reactor.set_leader True"
                ),
            }
        }
    }

    /// Runs a reaction of the record again: the number of the new run.
    ///
    /// # Errors
    /// There is none of that number, it is running, or its call was not kept.
    pub fn rerun(&self, number: u64) -> Result<u64, Refused> {
        let runs =
            journal::read(&self.shared.directory).map_err(|error| Refused(error.to_string()))?;
        let found = runs.into_iter().find(|run| run.number == number);
        let found =
            found.ok_or_else(|| Refused(format!("there is no reaction {number} in the record")))?;
        if found.outcome == Outcome::Running {
            return Err(Refused(format!("reaction {number} is still running")));
        }
        let call = found.call.clone();
        let call = call.ok_or_else(|| {
            Refused(match &found.too_large {
                Some(fun) => format!(
                    "reaction {number} called {fun} with more than the {MAX_CALL_KIB} KiB that are kept of a call; fire its event again"
                ),
                None => format!(
                    "reaction {number} called nothing: {}, {}",
                    found.from,
                    found.outcome.word()
                ),
            })
        })?;
        let mut run = Run {
            started: now(),
            ended: None,
            outcome: Outcome::Running,
            repeats: Some(number),
            ..found
        };
        let recorded = self.shared.record_start(&mut run);
        recorded.map_err(|error| Refused(format!("it cannot be recorded: {error}")))?;
        let (shared, new) = (Arc::clone(&self.shared), run.number);
        let mut repeats = lock(&self.shared.repeats);
        while repeats.try_join_next().is_some() {}
        repeats.spawn(async move {
            let outcome = shared.perform(&call).await;
            shared.record_end(new, &outcome).await;
        });
        Ok(new)
    }

    /// Where each rule is, and what it has done.
    #[must_use]
    pub fn status(&self) -> Vec<Map> {
        let lanes = self.shared.lanes();
        lanes
            .iter()
            .map(|lane| self.shared.describe(lane))
            .collect()
    }

    /// The same of all rules together.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for lane in self.shared.lanes() {
            figures.rules += 1;
            figures.running += lane.counters.running.load(Ordering::Relaxed);
            figures.behind = figures.behind.max(self.shared.behind(&lane));
            figures.counts += self.shared.counts(&lane);
        }
        figures
    }
}

impl Shared {
    fn describe(&self, lane: &Lane) -> Map {
        let rule = lane.rule();
        let files = rule.files.iter().map(|file| Value::from(file.as_str()));
        let mut map = Map::new();
        map.insert("rule", lane.name.as_str());
        map.insert("pattern", rule.glob.as_str());
        map.insert("leader", self.is_leader());
        map.insert("files", files.collect::<Vec<_>>());
        map.insert("position", lock(&lane.read).to_string());
        map.insert("behind", self.behind(lane));
        map.insert("running", lane.counters.running.load(Ordering::Relaxed));
        for (name, count) in self.counts(lane).named() {
            map.insert(name, count);
        }
        map
    }

    fn behind(&self, lane: &Lane) -> u64 {
        let next = Seq(lock(&lane.read).seq.0 + 1);
        self.log.count(next..self.log.stats().next)
    }

    /// What the record knows of reactions, and the rule of events.
    fn counts(&self, lane: &Lane) -> Counts {
        let recorded = lock(&self.journal).counts(&lane.name);
        lane.counters.with(recorded)
    }
}
