//! What the record holds about a reaction, and the counts of a rule.

use brine_log::{Millis, Position};

use crate::call::Call;

/// A reaction in the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number, by which it can be run again.
    pub number: u64,
    /// The pattern of its rule.
    pub rule: String,
    /// The event.
    pub position: Position,
    /// Which of the reactions to that event it is, from 0; `None` if none could be made of it.
    pub nth: Option<usize>,
    /// The event's tag.
    pub tag: String,
    /// Its file and ID.
    pub from: String,
    /// What it called; `None` if it could not be read, or is too large to be kept.
    pub call: Option<Call>,
    /// The function, of a call that is too large to be kept.
    pub too_large: Option<String>,
    /// When it started.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// How it ended.
    pub outcome: Outcome,
    /// The run that it repeats.
    pub repeats: Option<u64>,
}

/// What became of a reaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is running.
    Running,
    /// It succeeded, with this result.
    Done(String),
    /// It failed, or was not called at all.
    Failed(String),
    /// The reactor ended while it ran.
    Uncertain,
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What became of events and reactions of a rule, over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that it is for.
    pub events: u64,
    /// Reactions that succeeded.
    pub done: u64,
    /// Reactions that failed.
    pub failed: u64,
    /// Reactions that a crash interrupted.
    pub uncertain: u64,
    /// Events that were one too many for `throttle`.
    pub throttled: u64,
    /// Events that a restart found too old.
    pub too_old: u64,
    /// Events that were gone before they could be read.
    pub missed: u64,
    /// The number of the newest event that is counted: events that are read again are not counted again.
    pub through: u64,
}

impl Counts {
    /// Each with its name.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("events", self.events),
            ("done", self.done),
            ("failed", self.failed),
            ("uncertain", self.uncertain),
            ("throttled", self.throttled),
            ("too_old", self.too_old),
            ("missed", self.missed),
        ]
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.done += other.done;
        self.failed += other.failed;
        self.uncertain += other.uncertain;
        self.throttled += other.throttled;
        self.too_old += other.too_old;
        self.missed += other.missed;
        self.through = self.through.max(other.through);
    }
}
