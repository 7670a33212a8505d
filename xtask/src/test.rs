//! The one test command: everything that can pass or fail, with what it needs.

use std::process::Command;

use anyhow::Context;

use crate::command::{cargo, root, watch};
use crate::salt;
use crate::tally::Tally;

/// The Python package's own tests, when there is a Python package. Ends with a closing line that
/// [`Tally::parse`] knows.
const PYTHON_TESTS: &str = "python/tests/run";

/// Runs all tests and counts them.
///
/// # Errors
/// The tests could not be run. Tests that fail are no error; they are counted.
pub(crate) fn run() -> anyhow::Result<Tally> {
    salt::make(&salt::VERSIONS)?;
    let mut tally = Tally::default();
    if has_nextest() {
        // Fuzzing and measuring want optimised code, tests want checks: the test profile.
        let arguments = [
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--color",
            "never",
        ];
        tally += count(&mut cargo(&arguments))?;
        // nextest does not run what documentation shows.
        let arguments = [
            "test",
            "--doc",
            "--workspace",
            "--no-fail-fast",
            "--color",
            "never",
        ];
        tally += count(&mut cargo(&arguments))?;
    } else {
        let arguments = ["test", "--workspace", "--no-fail-fast", "--color", "never"];
        tally += count(&mut cargo(&arguments))?;
    }
    let python = root().join(PYTHON_TESTS);
    if python.exists() {
        tally += count(Command::new(&python).current_dir(root()))
            .with_context(|| PYTHON_TESTS.to_owned())?;
    }
    Ok(tally)
}

fn has_nextest() -> bool {
    cargo(&["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs a test runner. One that fails without counting a failed test counts as one.
fn count(command: &mut Command) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let status = watch(command, |line| {
        if let Some(more) = Tally::parse(line) {
            tally += more;
        }
    })?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}
