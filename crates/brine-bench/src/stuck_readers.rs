//! Many subscribers that connect and never read, and what they cost the one that does.

use core::time::Duration;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::load::Load;
use crate::process::{Process, raise_file_limit};
use crate::report::Report;
use crate::run::{BenchError, run};
use crate::target::Target;

/// Subscribers that never read, and the load beside them.
#[derive(Debug, Clone)]
pub struct StuckReaders {
    /// Subscribers that connect and never read.
    pub subscribers: usize,
    /// What runs with and without them.
    pub load: Load,
    /// How often each is measured, in turn.
    pub rounds: usize,
}

/// What they cost. Memory is the bus's resident memory in bytes; with the load's own traffic
/// in it, so that what remains is what they left.
#[derive(Debug, Clone)]
pub struct StuckReadersReport {
    /// How many they were.
    pub subscribers: usize,
    /// Runs without them.
    pub without: Vec<Report>,
    /// Runs beside them.
    pub with: Vec<Report>,
    /// Memory of the bus before anything.
    pub rss_idle: u64,
    /// Memory after the load has run without them.
    pub rss_loaded: u64,
    /// Memory after they connected, before any event.
    pub rss_connected: u64,
    /// The most memory seen right after a run beside them.
    pub rss_stuck: u64,
    /// Memory after they have left.
    pub rss_left: u64,
    /// Cores the bus keeps busy with all of them connected and no event.
    pub idle_cores: f64,
}

/// Runs the load with and without them, in turn, and watches the bus's memory.
///
/// What the kernel buffers for each of them is filled while the load warms up, so the warm-up is
/// made longer by half a millisecond each, on both sides.
///
/// # Errors
/// As [`run`].
pub fn stuck_readers(
    target: &Target,
    stuck_readers: &StuckReaders,
) -> Result<StuckReadersReport, BenchError> {
    let mut load = stuck_readers.load.clone();
    load.warm_up +=
        Duration::from_micros(500) * u32::try_from(stuck_readers.subscribers).unwrap_or(0);
    let needed = (stuck_readers.subscribers + load.subscribers + 64) as u64;
    let allowed = raise_file_limit();
    if needed > allowed {
        return Err(BenchError::TooFewFiles { needed, allowed });
    }
    let first = connect(target, 1)?;
    let pid = target
        .process
        .or_else(|| Process::behind(&first[0]).map(|process| process.pid));
    let process = Process {
        pid: pid.unwrap_or(0),
    };
    drop(first);
    let mut report = StuckReadersReport {
        subscribers: stuck_readers.subscribers,
        without: Vec::new(),
        with: Vec::new(),
        rss_idle: process.rss(),
        rss_loaded: 0,
        rss_connected: 0,
        rss_stuck: 0,
        rss_left: 0,
        idle_cores: 0.0,
    };
    for round in 0..stuck_readers.rounds {
        report.without.push(run(target, &load)?);
        if round == 0 {
            report.rss_loaded = settled(process);
        }
        let members = connect(target, stuck_readers.subscribers)?;
        if round == 0 {
            report.rss_connected = settled(process);
            report.idle_cores = idle_cores(process);
        }
        report.with.push(run(target, &load)?);
        report.rss_stuck = report.rss_stuck.max(process.rss());
        drop(members);
    }
    report.rss_left = settled(process);
    Ok(report)
}

impl StuckReadersReport {
    /// Everything, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "subscribers": self.subscribers,
            "without": self.without.iter().map(Report::json).collect::<Vec<_>>(),
            "with": self.with.iter().map(Report::json).collect::<Vec<_>>(),
            "rss_idle": self.rss_idle,
            "rss_loaded": self.rss_loaded,
            "rss_connected": self.rss_connected,
            "rss_stuck": self.rss_stuck,
            "rss_left": self.rss_left,
            "idle_cores": self.idle_cores,
        })
    }
}

fn connect(target: &Target, subscribers: usize) -> Result<Vec<OwnedFd>, BenchError> {
    let failed = |source| {
        let endpoint = target.publish.clone();
        BenchError::Connect {
            who: "a subscriber",
            endpoint,
            source,
        }
    };
    (0..subscribers)
        .map(|_| target.subscriber().map_err(failed))
        .collect()
}

/// The memory once it has not fallen for a while.
fn settled(process: Process) -> u64 {
    const STILL_FOR: Duration = Duration::from_millis(500);
    let (mut least, mut since) = (u64::MAX, Instant::now());
    while since.elapsed() < STILL_FOR {
        let rss = process.rss();
        if rss < least {
            (least, since) = (rss, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
    least
}

fn idle_cores(process: Process) -> f64 {
    const WATCHED: Duration = Duration::from_secs(2);
    let before = process.cpu();
    thread::sleep(WATCHED);
    process.cpu().saturating_sub(before).as_secs_f64() / WATCHED.as_secs_f64()
}
