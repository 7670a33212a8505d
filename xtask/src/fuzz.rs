//! Searches the fuzz targets with libFuzzer, on the stable toolchain.
//!
//! Flags of stable rustc turn on the compiler's coverage passes, so neither a
//! nightly toolchain nor cargo-fuzz is needed. It takes a C++ compiler, which builds libFuzzer.
//! Finds go to `fuzz/artifacts/<target>/`; fix them, then move them to `fuzz/corpus/<target>/`,
//! which a plain test replays.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use anyhow::{Context, bail};
use toml::{Table, Value};

use crate::command::{cargo, features, nicely, output, root, run_captured};

/// What cargo-fuzz passes for `--sanitizer none`: coverage counters and compared values.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 -Cdebug-assertions";

/// How the targets are compiled.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// For a short search: only our own crates get the flags. All others are those of the tests.
    Quick,
    /// For a long search: everything gets the flags, and is optimized.
    Optimized,
}

impl Build {
    /// Compiles these targets. Returns the folder of the programs.
    fn make(self, targets: &[&String]) -> anyhow::Result<PathBuf> {
        let mut command = cargo(&["build", "--locked"]);
        for target in targets {
            command.args(["--bin", target]);
        }
        let folder = match self {
            Self::Quick => {
                // The same packages, and tests' dependencies as well (there are no examples):
                // so every crate has the features that it was compiled with for the tests.
                command.args(["--workspace", "--examples"]).args(features());
                command.env("RUSTC_WORKSPACE_WRAPPER", rustc_with_coverage()?);
                root().join("target/debug")
            }
            Self::Optimized => {
                let host = host()?;
                // Names the host, so that build scripts are built without the flags.
                command.args(["--package=brine-fuzz", "--profile=fuzz", "--target", &host]);
                command.arg("--target-dir=target/fuzz");
                command.env("RUSTFLAGS", COVERAGE);
                root().join("target/fuzz").join(host).join("fuzz")
            }
        };
        run_captured(&mut nicely(&command))?;
        Ok(folder)
    }
}

/// A rustc that adds the flags, for cargo to compile our own crates with.
fn rustc_with_coverage() -> anyhow::Result<PathBuf> {
    // Build scripts and macros run outside the fuzzer; `___` is cargo's question about the target.
    let script = format!(
        r#"#!/bin/sh
case "$*" in
    *"--crate-name build_script_"* | *"--crate-type proc-macro"* | *"--crate-name ___"*) exec "$@" ;;
esac
exec "$@" {COVERAGE} -Copt-level=1
"#
    );
    // By this path, cargo tells what it compiled with these flags from what without or with others.
    let mut hash = DefaultHasher::new();
    script.hash(&mut hash);
    let folder = root().join("target/fuzz");
    let path = folder.join(format!("rustc-{:x}", hash.finish()));
    if !path.exists() {
        let new = folder.join("rustc-new");
        fs::create_dir_all(&folder)?;
        fs::write(&new, script)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(new, &path)?;
    }
    Ok(path)
}

/// Searches each of the named targets, or all, for so long; as many at a time as there are
/// processors.
pub(crate) fn run(each: Duration, only: &[&str], build: Build) -> anyhow::Result<()> {
    let known = targets()?;
    if let Some(unknown) = only
        .iter()
        .find(|name| !known.iter().any(|known| known == *name))
    {
        bail!(
            "expected a fuzz target ({}), found {unknown}",
            known.join(", ")
        );
    }
    let wanted = |name: &&String| only.is_empty() || only.contains(&name.as_str());
    let wanted: Vec<_> = known.iter().filter(wanted).collect();
    let programs = build.make(&wanted)?;
    let queue = Mutex::new(wanted.into_iter());
    let failed = Mutex::new(Vec::new());
    let work = || {
        // The lock is let go before the search starts.
        let next = || queue.lock().ok()?.next();
        while let Some(target) = next() {
            if let Err(error) = search(target, &programs, each) {
                eprintln!("{error:#}");
                failed
                    .lock()
                    .map(|mut failed| failed.push(target.as_str()))
                    .ok();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!(
            "found failures in {}; see fuzz/artifacts",
            failed.join(", ")
        );
    }
    Ok(())
}

fn search(target: &str, programs: &Path, each: Duration) -> anyhow::Result<()> {
    let root = root();
    // The first folder takes what the search finds worth keeping; the corpus is only read.
    let found = root.join("target/fuzz/found").join(target);
    let artifacts = root.join("fuzz/artifacts").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={}", each.as_secs()))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"])
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = root.join(format!("fuzz/dictionaries/{target}.dict"));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command
        .arg(found)
        .arg(root.join("fuzz/corpus").join(target));
    let output = nicely(&command)
        .output()
        .with_context(|| target.to_owned())?;
    let says = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{says}");
        bail!("{target}: {}", output.status);
    }
    let mut lines = says.lines();
    let inputs = lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!(
        "{target}: {} inputs, nothing found",
        inputs.unwrap_or("?").trim()
    );
    Ok(())
}

/// The targets that `fuzz/Cargo.toml` declares.
fn targets() -> anyhow::Result<Vec<String>> {
    let manifest: Table = fs::read_to_string(root().join("fuzz/Cargo.toml"))?.parse()?;
    let bins = manifest.get("bin").and_then(Value::as_array);
    let bins = bins.context("fuzz/Cargo.toml: expected fuzz targets as [[bin]], found none")?;
    let names = bins.iter().filter_map(|bin| bin.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let says = output(Command::new(rustc).arg("-vV"))?;
    let host = says.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("expected rustc -vV to name the host")?
        .to_owned())
}
