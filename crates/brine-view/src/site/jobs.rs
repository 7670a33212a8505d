//! Jobs: who was expected, who returned, who failed, who is missing.
//!
//! What cannot be known is not guessed: a job's targets are known only if its start was seen, and missing minions
//! only if no events were lost while it ran.

use std::collections::{BTreeMap, HashMap, VecDeque};

use brine_wire::{Map, Value};

use super::{Arrival, text};
use crate::facts::outcome;
use crate::line::{self, PackedLine};

/// The most jobs that are remembered; the oldest is forgotten first.
pub(super) const MAX_JOBS: usize = 1000;
/// The most returns that are kept, of all jobs; of older jobs sums alone are, but for the newest job.
pub(super) const MAX_RETURNS: usize = 50_000;
/// The most expected minions that are kept, of all jobs.
const MAX_EXPECTED: usize = 100_000;
/// After so many milliseconds without a return, whoever is waited for is missing.
const MISSING_AFTER: u64 = 60_000;
/// How much of a return's sentence is kept, in columns: the whole return is an event of its own.
const MAX_SENTENCE: usize = 120;

/// What kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// On minions.
    Job,
    /// On the master: a runner or wheel function.
    Runner,
}

/// A minion's return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Whether it failed.
    pub is_failure: bool,
    /// When it came.
    pub at: u64,
    /// Its event's number.
    pub seq: u64,
    /// What it says, in short.
    pub sentence: PackedLine,
}

/// Where a job is with one minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Returned, and well.
    Good,
    /// Returned a failure.
    Failed,
    /// Not yet returned.
    Waiting,
    /// Nothing came for long.
    Missing,
    /// Events were lost: nobody knows.
    Unknown,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// What kind.
    pub kind: JobKind,
    /// What runs.
    pub fun: String,
    /// On whom.
    pub target: String,
    /// Who started it.
    pub user: String,
    /// When the first event of it came.
    pub began: u64,
    /// When the last one came.
    pub last: u64,
    /// The number of its first event.
    pub seq: u64,
    /// Whether it began before anything was seen of it.
    pub is_headless: bool,
    /// Whether events were lost while minions were waited for.
    pub is_uncertain: bool,
    /// Whom it is for, with their returns.
    minions: BTreeMap<String, Option<Return>>,
    /// How many minions it is for, if they are not kept any more.
    summed: Option<usize>,
    returned: usize,
    failed: usize,
}

/// All jobs.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    jobs: HashMap<String, Job>,
    /// In the order they were first heard of.
    order: VecDeque<String>,
    /// Those whose minions are kept, in that order.
    detailed: VecDeque<String>,
    returns: usize,
    expected: usize,
}

impl Jobs {
    pub(super) fn begin(&mut self, kind: JobKind, jid: &str, data: &Map, event: Arrival<'_>) {
        let expected: Vec<&str> = match (kind, data.get("minions")) {
            (JobKind::Runner, _) => vec!["master"],
            (JobKind::Job, Some(Value::Array(ids))) => {
                ids.iter().filter_map(Value::as_str).collect()
            }
            _ => Vec::new(),
        };
        let has_list = kind == JobKind::Runner || data.get("minions").is_some();
        let job = self.job(kind, jid, event);
        job.fun = fun(data);
        job.target = target(data);
        text(data, "user").clone_into(&mut job.user);
        job.is_headless = !has_list;
        if let Some(summed) = &mut job.summed {
            *summed = expected.len().max(job.returned);
            return;
        }
        let before = job.minions.len();
        for id in expected.into_iter().take(MAX_EXPECTED) {
            job.minions.entry(id.to_owned()).or_default();
        }
        let added = job.minions.len() - before;
        self.expected += added;
        self.make_room();
    }

    pub(super) fn take_return(
        &mut self,
        kind: JobKind,
        jid: &str,
        minion: &str,
        data: &Map,
        event: Arrival<'_>,
    ) {
        // Salt asks minions whether a job still runs; nobody waits for that.
        if text(data, "fun") == "saltutil.find_job" {
            return;
        }
        let job = self.job(kind, jid, event);
        if job.fun.is_empty() {
            job.fun = fun(data);
        }
        if job.user.is_empty() {
            text(data, "user").clone_into(&mut job.user);
        }
        job.last = job.last.max(event.at);
        let is_failure = outcome(data) == Some(false);
        if let Some(summed) = &mut job.summed {
            // Whether this minion has returned before is not known any more.
            job.returned += 1;
            match job.is_headless {
                true => *summed = job.returned,
                false => job.returned = job.returned.min(*summed),
            }
            job.failed = (job.failed + usize::from(is_failure)).min(job.returned);
            return;
        }
        let returned = Return {
            is_failure,
            at: event.at,
            seq: event.seq,
            sentence: line::describe(event.tag, data).cut(MAX_SENTENCE).into(),
        };
        let (mut added, mut returns) = (0, 0);
        let slot = job.minions.entry(minion.to_owned()).or_insert_with(|| {
            added = 1;
            None
        });
        match slot.replace(returned) {
            None => {
                job.returned += 1;
                returns = 1;
            }
            Some(before) => job.failed -= usize::from(before.is_failure),
        }
        job.failed += usize::from(is_failure);
        self.expected += added;
        self.returns += returns;
        self.make_room();
    }

    fn job(&mut self, kind: JobKind, jid: &str, event: Arrival<'_>) -> &mut Job {
        if !self.jobs.contains_key(jid) {
            self.order.push_back(jid.to_owned());
            self.detailed.push_back(jid.to_owned());
        }
        self.jobs.entry(jid.to_owned()).or_insert_with(|| Job {
            kind,
            fun: String::new(),
            target: String::new(),
            user: String::new(),
            began: event.at,
            last: event.at,
            seq: event.seq,
            is_headless: true,
            is_uncertain: false,
            minions: BTreeMap::new(),
            summed: None,
            returned: 0,
            failed: 0,
        })
    }

    fn make_room(&mut self) {
        while self.order.len() > MAX_JOBS
            && let Some(jid) = self.order.pop_front()
        {
            if self.detailed.front() == Some(&jid) {
                self.sum_up_oldest();
            }
            self.jobs.remove(&jid);
        }
        while self.detailed.len() > 1
            && (self.returns > MAX_RETURNS || self.expected > MAX_EXPECTED)
        {
            self.sum_up_oldest();
        }
    }

    /// Keeps of the oldest job that has more no more than its sums.
    fn sum_up_oldest(&mut self) {
        let jid = self.detailed.pop_front();
        if let Some(job) = jid.and_then(|jid| self.jobs.get_mut(&jid)) {
            self.returns -= job.returned;
            self.expected -= job.minions.len();
            job.summed = Some(job.minions.len());
            job.minions = BTreeMap::new();
        }
    }

    /// Events are missing: jobs that wait may be complete.
    pub(super) fn lose_certainty(&mut self) {
        for job in self.jobs.values_mut() {
            job.is_uncertain |= job.returned < job.known();
        }
    }

    /// The job of an id.
    #[must_use]
    pub fn get(&self, jid: &str) -> Option<&Job> {
        self.jobs.get(jid)
    }

    /// All, newest first.
    pub fn newest(&self) -> impl Iterator<Item = (&str, &Job)> {
        self.order
            .iter()
            .rev()
            .filter_map(|jid| Some((jid.as_str(), self.jobs.get(jid)?)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl Job {
    /// How many minions it is for; `None` if its beginning was not seen.
    #[must_use]
    pub fn expected(&self) -> Option<usize> {
        (!self.is_headless).then_some(self.known())
    }

    /// How many minions it is known to be for.
    fn known(&self) -> usize {
        self.summed.unwrap_or(self.minions.len())
    }

    /// Whether its minions and their returns are not kept any more.
    #[must_use]
    pub const fn is_summed(&self) -> bool {
        self.summed.is_some()
    }

    /// How many returned.
    #[must_use]
    pub const fn returned(&self) -> usize {
        self.returned
    }

    /// How many of them failed.
    #[must_use]
    pub const fn failed(&self) -> usize {
        self.failed
    }

    /// How many have not returned, and what that means now.
    #[must_use]
    pub fn outstanding(&self, now: u64) -> (usize, Outcome) {
        let count = self.known().saturating_sub(self.returned);
        let what = match (count, self.is_uncertain) {
            (0, _) => Outcome::Good,
            (_, true) => Outcome::Unknown,
            _ if now.saturating_sub(self.last) > MISSING_AFTER => Outcome::Missing,
            _ => Outcome::Waiting,
        };
        (count, what)
    }

    /// Each minion with its outcome and its return: failures first, then the missing.
    #[must_use]
    pub fn minions(&self, now: u64) -> Vec<(&str, Outcome, Option<&Return>)> {
        let (_, waiting) = self.outstanding(now);
        let mut rows: Vec<_> = self
            .minions
            .iter()
            .map(|(id, returned)| match returned {
                Some(returned) if returned.is_failure => {
                    (id.as_str(), Outcome::Failed, Some(returned))
                }
                Some(returned) => (id.as_str(), Outcome::Good, Some(returned)),
                None => (id.as_str(), waiting, None),
            })
            .collect();
        rows.sort_by_key(|(_, outcome, _)| match outcome {
            Outcome::Failed => 0,
            Outcome::Missing | Outcome::Unknown | Outcome::Waiting => 1,
            Outcome::Good => 2,
        });
        rows
    }
}

fn fun(data: &Map) -> String {
    match data.get("fun") {
        Some(Value::Array(funs)) => crate::data::names(funs),
        _ => text(data, "fun").trim_start_matches("runner.").to_owned(),
    }
}

fn target(data: &Map) -> String {
    let Some(target) = data.get("tgt") else {
        return String::new();
    };
    let target = match target {
        Value::Array(ids) => crate::data::names(ids),
        other => crate::data::value(other),
    };
    match text(data, "tgt_type") {
        "" | "glob" | "list" => target,
        kind => format!("{kind} {target}"),
    }
}
