//! Everything a change must pass. Nothing stops the rest: one run shows all that is wrong.
//!
//! What takes seconds comes first, then the tests; lints and fuzzing run beside these, where they
//! take the processors' idle time.

use std::time::{Duration, Instant};

use crate::command::{cargo, features, nicely, run as run_command, run_captured};
use crate::fuzz::Build;
use crate::parts::{Part, summary};
use crate::tally::Tally;
use crate::{deps, fuzz, mdbook, package, test, tidy};

/// How long each fuzz target is searched; its corpus is replayed first.
pub(crate) const FUZZ: Duration = Duration::from_secs(3);

/// The workspace beside the main one, which cargo's `--workspace` does not reach.
const PYTHON: &str = "python/Cargo.toml";

/// Runs all checks and all tests; a check counts as a test.
pub(crate) fn run() -> Tally {
    let start = Instant::now();
    let mut parts = vec![
        Part::check("formatting", format),
        Part::check("tidy", tidy::run),
        Part::check("dependencies", deps::run),
    ];
    let beside = || {
        vec![
            Part::check("lints", lint),
            Part::check("rustdoc", document),
            Part::check("fuzzing", || fuzz::run(FUZZ, &[], Build::Quick)),
            Part::run("package", package::test),
            Part::check("book", mdbook::run_and_check),
        ]
    };
    match test::run(beside) {
        Ok(tested) => parts.extend(tested),
        Err(error) => parts.push(Part::check("tests", || Err(error))),
    }
    summary(&parts, start.elapsed())
}

fn format() -> anyhow::Result<()> {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    let arguments = ["fmt", "--all", "--check", "--manifest-path", PYTHON];
    run_command(&mut cargo(&arguments))
}

/// Clippy over both workspaces. The other uses the main one's target directory and profile, so that what
/// they share is checked once.
fn lint() -> anyhow::Result<()> {
    for (manifest, features) in [("Cargo.toml", features()), (PYTHON, &[])] {
        let arguments = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--target-dir=target",
            "--manifest-path",
            manifest,
        ];
        let mut command = cargo(&arguments);
        command.args(features).args(["--", "-D", "warnings"]);
        run_captured(&mut nicely(&command))?;
    }
    Ok(())
}

fn document() -> anyhow::Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked"];
    let mut command = nicely(cargo(&arguments).args(features()));
    run_captured(command.env("RUSTDOCFLAGS", "-D warnings"))
}
