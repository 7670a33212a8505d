//! Everything a change must pass, in the order that fails soonest. Nothing stops the rest: one run
//! shows all that is wrong.

use std::time::{Duration, Instant};

use crate::command::{cargo, run as run_command};
use crate::tally::Tally;
use crate::{deps, fuzz, test, tidy};

/// How long each fuzz target is searched; its corpus is replayed first.
const FUZZ: Duration = Duration::from_secs(10);

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 5] = [
    ("formatting", || {
        run_command(&mut cargo(&["fmt", "--all", "--check"]))
    }),
    ("tidy", tidy::run),
    ("dependencies", deps::run),
    ("lints", || {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        run_command(&mut cargo(&arguments))
    }),
    ("fuzzing", || fuzz::run(FUZZ, &[])),
];

/// Runs all checks, then all tests; a check counts as a test.
pub(crate) fn run() -> Tally {
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        let passed = timed(name, step).is_some();
        tally += Tally::one(passed);
        if !passed {
            failed.push(name);
        }
    }
    tally += timed("tests", test::run).unwrap_or(Tally::one(false));
    if !failed.is_empty() {
        println!("failed before the tests: {}", failed.join(", "));
    }
    tally
}

fn timed<T>(name: &str, step: impl FnOnce() -> anyhow::Result<T>) -> Option<T> {
    println!("== {name}");
    let start = Instant::now();
    let done = step();
    let seconds = start.elapsed().as_secs();
    match done {
        Ok(value) => {
            println!("== {name}: done in {seconds} s");
            Some(value)
        }
        Err(error) => {
            println!("== {name}: failed after {seconds} s: {error:#}");
            None
        }
    }
}
