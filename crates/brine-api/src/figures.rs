//! The figures that the parts of a process provide for metrics, and how they are read.

use std::sync::Arc;

/// The sources of metrics, besides the bus, its log and the streams; each is asked whenever somebody reads.
#[derive(Default)]
pub struct Sources {
    /// Its history, if it has one.
    pub history: Option<Arc<dyn Fn() -> HistoryFigures + Send + Sync>>,
    /// The master, if it is one.
    pub master: Option<Arc<dyn Fn() -> MasterFigures + Send + Sync>>,
    /// The reactor, if one runs.
    pub reactor: Option<Arc<dyn Fn() -> ReactorFigures + Send + Sync>>,
}

/// The figures of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryFigures {
    /// What its files take, in bytes.
    pub used_bytes: u64,
    /// Events that are on disk.
    pub events: u64,
    /// Events of the log that are not on disk yet.
    pub behind_events: u64,
    /// Events that it does not have and will not get.
    pub missing_events: u64,
    /// Whether its disk is full, or failing.
    pub is_in_trouble: bool,
}

/// The figures of a master.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MasterFigures {
    /// Requests by outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// Sign-ins by outcome.
    pub sign_ins: Vec<(&'static str, u64)>,
    /// Jobs sent to minions.
    pub jobs_published: u64,
    /// Returns of jobs that minions sent.
    pub returns: u64,
    /// Events that minions sent.
    pub minion_events: u64,
    /// Events of minions that are not theirs to fire.
    pub minion_events_refused: u64,
    /// Minions that are connected now.
    pub connected_minions: usize,
    /// Keys by state: accepted, pending, rejected, denied.
    pub keys: Vec<(&'static str, usize)>,
}

/// The figures of a reactor: all of its rules together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReactorFigures {
    /// Its rules.
    pub rules: u64,
    /// Reactions that are running.
    pub running: u64,
    /// How many events the rule furthest behind has not read.
    pub lag_events: u64,
    /// Events that a rule was for, once for each rule.
    pub events: u64,
    /// Reactions that ended, by outcome.
    pub reactions: Vec<(&'static str, u64)>,
    /// Events that a rule was for and did not react to, by reason.
    pub passed_over: Vec<(&'static str, u64)>,
}
