//! A run made of parts, of which some run beside each other: what each found and how long it took.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::tally::Tally;

/// One part that has ended.
pub(crate) struct Part {
    name: &'static str,
    took: Duration,
    tally: Tally,
    error: Option<String>,
}

impl Part {
    /// Runs a check, which counts as one test.
    pub(crate) fn check(name: &'static str, check: impl FnOnce() -> anyhow::Result<()>) -> Self {
        Self::run(name, || check().map(|()| Tally::one(true)))
    }

    /// Runs tests. An error counts as one that failed.
    pub(crate) fn run(name: &'static str, tests: impl FnOnce() -> anyhow::Result<Tally>) -> Self {
        let start = Instant::now();
        let (tally, error) = match tests() {
            Ok(tally) => (tally, None),
            Err(error) => (Tally::one(false), Some(format!("{error:#}"))),
        };
        let part = Self {
            name,
            took: start.elapsed(),
            tally,
            error,
        };
        println!("== {}", part.line());
        part
    }

    /// Prepares what others need: counts only when it fails.
    pub(crate) fn prepare(
        name: &'static str,
        prepare: impl FnOnce() -> anyhow::Result<()>,
    ) -> Self {
        Self::run(name, || prepare().map(|()| Tally::default()))
    }

    fn line(&self) -> String {
        let mut line = format!("{:>5} s  {}", self.took.as_secs(), self.name);
        if self.tally != Tally::default() {
            let _ = write!(line, ": {}", self.tally);
        }
        if let Some(error) = &self.error {
            let _ = write!(line, " ({error})");
        }
        line
    }
}

/// Says how long each part took and what it found, and adds up the tests.
pub(crate) fn summary(parts: &[Part], took: Duration) -> Tally {
    println!(
        "== parts, some beside each other; {} s in all:",
        took.as_secs()
    );
    let mut tally = Tally::default();
    for part in parts {
        println!("{}", part.line());
        tally += part.tally;
    }
    tally
}
