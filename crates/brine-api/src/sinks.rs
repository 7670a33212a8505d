//! The view of sinks that requests about consumers and metrics need; the code that runs the sinks implements it.

use std::future::Future;
use std::pin::Pin;

use brine_log::Position;
use brine_wire::Map;

/// The sinks of a process, or what is left of them on its disk while it does not run.
pub trait Sinks: Send + Sync {
    /// Whether a consumer of this name is a sink that runs.
    fn is_running(&self, name: &str) -> bool;

    /// What a sink has done, as members to show; of one that does not run, how many dead letters it has left.
    fn describe(&self, name: &str) -> Option<Map>;

    /// What each sink has done, for metrics.
    fn figures(&self) -> Vec<SinkFigures>;

    /// The dead letters of a sink, oldest first, and how many there are beyond the first `most`.
    ///
    /// # Errors
    /// A text that says why they cannot be read.
    fn dead(&self, name: &str, most: usize) -> Result<(Vec<Map>, usize), String>;

    /// Sends them again, and returns the results.
    fn resend<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Map, String>> + Send + 'a>>;

    /// Removes those of these events for good, or all; without `execute`, only looks. If one does not exist, that is
    /// an error, and nothing is removed.
    fn discard<'a>(
        &'a self,
        name: &'a str,
        which: Option<Vec<Position>>,
        execute: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Discarded, String>> + Send + 'a>>;
}

/// Dead letters that were removed, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discarded {
    /// How many.
    pub count: u64,
    /// How many are left.
    pub kept: u64,
}

/// What one sink has done since its process began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkFigures {
    /// Its name.
    pub name: String,
    /// Events the other side has got.
    pub delivered: u64,
    /// Deliveries that failed.
    pub failures: u64,
    /// Events that were gone before they could be delivered.
    pub missed: u64,
    /// Dead letters that are kept now.
    pub dead: u64,
    /// Whether it waits for the other side.
    pub is_waiting: bool,
}
