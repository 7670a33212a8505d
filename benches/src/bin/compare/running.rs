//! A peer that runs, and its certain end: with its scope, with a panic, with Ctrl-C.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use brine_bench::{Target, first_event};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::peer::{Peer, Tools};

/// How long a peer may take from its start to the first event. Salt on a busy machine: seconds.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A peer's process with its directory. Both are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) target: Target,
    /// From the start of the process to the first event through.
    pub(crate) first_event: Duration,
    number: u64,
    _dir: TempDir,
}

/// All that run now. The signal's thread ends them; so a process enters before anything else is
/// done with it, and is waited for under this lock, lest its number be somebody else's by then.
static ALL: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Entry {
    number: u64,
    child: Child,
    dir: PathBuf,
}

impl Running {
    /// Starts a peer and waits for the first event through it.
    pub(crate) fn start(peer: &Peer, tools: &Tools) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("brine-compare-")
            .tempdir()?;
        let (mut command, mut target) = peer.command(dir.path(), tools)?;
        let log = dir.path().join("log");
        let output = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let started = Instant::now();
        let (number, pid) = enter(&mut command, &dir)?;
        target.process = Some(pid);
        // From here on dropping ends the process, whatever fails.
        let mut running = Self {
            target,
            first_event: Duration::ZERO,
            number,
            _dir: dir,
        };
        running.first_event = first_event(&running.target, started, START_WITHIN)
            .map_err(|error| anyhow!("no event came through: {error}; {}", last_line(&log)))?;
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = all();
        if let Some(at) = all.iter().position(|entry| entry.number == self.number) {
            end(&mut all.swap_remove(at).child);
        }
    }
}

/// Ends everything that runs when this process gets a signal to end.
pub(crate) fn end_all_on_signal() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Kept locked to the end: nothing may start any more.
            let mut all = all();
            for mut entry in all.drain(..) {
                end(&mut entry.child);
                let _ = fs::remove_dir_all(&entry.dir);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn enter(command: &mut Command, dir: &TempDir) -> Result<(u64, u32)> {
    let mut all = all();
    let child = command
        .spawn()
        .with_context(|| format!("{}: cannot start", command.get_program().display()))?;
    let pid = child.id();
    let number = all.iter().map(|entry| entry.number + 1).max().unwrap_or(0);
    all.push(Entry {
        number,
        child,
        dir: dir.path().to_owned(),
    });
    Ok((number, pid))
}

fn end(child: &mut Child) {
    // It may be gone already; either way it is waited for.
    let _ = child.kill();
    let _ = child.wait();
}

fn all() -> MutexGuard<'static, Vec<Entry>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_line(log: &PathBuf) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.trim_end().lines().next_back().map_or_else(
        || "it printed nothing".to_owned(),
        |line| format!("the last it printed: {line}"),
    )
}
