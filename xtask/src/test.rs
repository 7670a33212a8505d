//! The one test command: everything that can pass or fail, with what it needs.
//!
//! Most of what takes long waits: for package indexes, for real Salt to start, for timers that are
//! tested. So the parts run beside each other, and more tests at a time than there are processors.
//! Once the tests run, compilers run beside them at a lower priority and take what is left.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, available_parallelism};

use anyhow::Context;

use crate::command::{capture, cargo, features, nicely, output, root, run as run_command, watch};
use crate::nats;
use crate::parts::Part;
use crate::salt;
use crate::tally::Tally;

/// So many tests run at a time for each processor; what keeps one busy says so in
/// `.config/nextest.toml`.
const TESTS_PER_PROCESSOR: usize = 3;

/// Builds the Python package and an environment for its tests.
const PYTHON_PREPARE: &str = "python/tests/prepare";
/// Runs the Python package's tests. Ends with a closing line that [`Tally::parse`] knows.
const PYTHON_TESTS: &str = "python/tests/run";

/// Fetches what the tests of the web page need; runs them, in a browser.
const PAGE_PREPARE: &str = "tests/page/prepare";
const PAGE_TESTS: &str = "tests/page/run";

/// Runs all tests; `beside` runs as well, while they do.
///
/// # Errors
/// The tests could not be built. Tests that fail are no error; they are counted.
pub(crate) fn run(beside: impl FnOnce() -> Vec<Part> + Send) -> anyhow::Result<Vec<Part>> {
    thread::scope(|scope| {
        let salt = scope.spawn(|| Part::prepare("real Salt", || salt::make(&salt::VERSIONS)));
        let nats = scope.spawn(|| Part::prepare("nats-server", nats::make));
        let package = scope.spawn(|| Part::prepare("python package", || prepare(PYTHON_PREPARE)));
        let browser = scope.spawn(|| Part::prepare("browser", || prepare(PAGE_PREPARE)));
        let mut build = None;
        let compile = Part::prepare("compiling", || {
            build = Some(Build::make()?);
            Ok(())
        });
        let mut parts = vec![compile, join(salt), join(nats)];
        let build = build.context("tests cannot be compiled")?;

        let python = scope.spawn(|| {
            let package = join(package);
            vec![
                package,
                Part::run("python tests", || test_with(PYTHON_TESTS)),
            ]
        });
        let page = scope.spawn(|| {
            let browser = join(browser);
            vec![browser, Part::run("page tests", || test_with(PAGE_TESTS))]
        });
        let others = scope.spawn(|| {
            let documentation = Part::run("documentation tests", test_documentation);
            let mut parts = vec![documentation];
            parts.extend(beside());
            parts
        });
        parts.push(Part::run("tests", || build.test()));
        parts.extend(join(others));
        parts.extend(join(python));
        parts.extend(join(page));
        Ok(parts)
    })
}

/// The result of a thread. One that panicked takes everything with it.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The compiled tests.
enum Build {
    /// What nextest needs to run them without asking cargo, which others keep busy meanwhile.
    Nextest { cargo: PathBuf, binaries: PathBuf },
    /// There is no nextest: cargo's own runner.
    Cargo,
}

impl Build {
    fn make() -> anyhow::Result<Self> {
        if !has_nextest() {
            let arguments = ["test", "--workspace", "--tests", "--no-run"];
            run_command(cargo(&arguments).args(features()))?;
            return Ok(Self::Cargo);
        }
        let list = [
            "nextest",
            "list",
            "--workspace",
            "--list-type=binaries-only",
            "--message-format=json",
        ];
        let binaries = output(cargo(&list).args(features()))?;
        let metadata = output(&mut cargo(&["metadata", "--format-version=1", "--locked"]))?;
        let folder = root().join("target/nextest");
        fs::create_dir_all(&folder)?;
        let build = (folder.join("cargo.json"), folder.join("binaries.json"));
        fs::write(&build.0, metadata)?;
        fs::write(&build.1, binaries)?;
        Ok(Self::Nextest {
            cargo: build.0,
            binaries: build.1,
        })
    }

    fn test(&self) -> anyhow::Result<Tally> {
        match self {
            Self::Nextest {
                cargo: metadata,
                binaries,
            } => {
                let processors = available_parallelism().map_or(1, usize::from);
                let threads = processors * TESTS_PER_PROCESSOR;
                let mut command = cargo(&["nextest", "run", "--color=never"]);
                command
                    .arg(format!("--test-threads={threads}"))
                    .arg("--cargo-metadata")
                    .arg(metadata)
                    .arg("--binaries-metadata")
                    .arg(binaries);
                count(&mut command)
            }
            // Documentation is tested by a part of its own.
            Self::Cargo => {
                let arguments = [
                    "test",
                    "--workspace",
                    "--tests",
                    "--no-fail-fast",
                    "--color=never",
                ];
                count(cargo(&arguments).args(features()))
            }
        }
    }
}

fn test_documentation() -> anyhow::Result<Tally> {
    let arguments = [
        "test",
        "--doc",
        "--workspace",
        "--no-fail-fast",
        "--color=never",
    ];
    capture_count(&mut nicely(cargo(&arguments).args(features())))
}

fn prepare(script: &str) -> anyhow::Result<()> {
    let mut command = Command::new(root().join(script));
    command.current_dir(root());
    run_command(&mut nicely(&command))
}

/// With the program that the tests are compiled with.
fn test_with(script: &str) -> anyhow::Result<Tally> {
    let mut command = Command::new(root().join(script));
    command
        .env("PREPARED", "1")
        .env("BRINE", root().join("target/debug/brine"))
        .current_dir(root());
    capture_count(&mut command)
}

fn has_nextest() -> bool {
    cargo(&["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs a test runner and shows what it prints as it comes. One that fails without counting a
/// failed test counts as one.
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

/// The same for a runner beside others: what it prints is shown when it has ended.
fn capture_count(command: &mut Command) -> anyhow::Result<Tally> {
    let (printed, success) = capture(command)?;
    print!("{printed}");
    let mut tally = Tally::default();
    for more in printed.lines().filter_map(Tally::parse) {
        tally += more;
    }
    if !success && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}
