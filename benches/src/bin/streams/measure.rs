//! One run: streams are opened, events published and read, and what that cost is taken from the kernel.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::peer::{Peer, Running};
use crate::publisher::Publisher;
use crate::readers::{Readers, open_stuck};

/// How long after the last event what has not come counts as not delivered.
const AFTER: Duration = Duration::from_secs(10);
/// How long streams may take to be heard.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// How many streams, and how many events a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) readers: usize,
    pub(crate) rate: u64,
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (readers, rate) = text
            .split_once('x')
            .ok_or("expected streams x rate: 100x1000")?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
        Ok(Self {
            readers: number(readers)? as usize,
            rate: number(rate)?,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&format!("{}x{}", self.readers, self.rate))
    }
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    delivered_per_second: f64,
    undelivered: u64,
    expected: u64,
    faults: u64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: f64,
    idle_mib: f64,
    kib_connected: f64,
    kib_loaded: f64,
    generator_cores: f64,
}

/// Runs a case against a peer.
pub(crate) fn run(
    peer: Peer,
    case: Case,
    stuck: usize,
    time: Duration,
    salt: &Path,
) -> Result<Figures> {
    let running = Running::start(peer, salt)?;
    let epoch = Instant::now();
    let processes = running.processes();
    let before = resident(&processes);
    let mut readers = Readers::open(running.port, case.readers, &running.request, epoch)?;
    let _stuck = open_stuck(running.port, stuck, &running.request)?;
    let mut publisher = Publisher::connect(&running.bus)?;
    // Events numbered 0 until every stream has heard one.
    let deadline = Instant::now() + HEARD_WITHIN;
    loop {
        publisher.send(0, epoch.elapsed())?;
        if readers.read_until(0, Instant::now() + Duration::from_millis(200))? {
            break;
        }
        ensure!(Instant::now() < deadline, "not every stream hears");
    }
    // What was sent in vain until then.
    let _ = readers.read_until(1, Instant::now() + Duration::from_millis(300))?;
    let processes = running.processes();
    let connected = resident(&processes);
    readers.seen = Default::default();
    let (cpu, own) = (processor_time(&processes), own_time());
    let begin = Instant::now();
    let publish = std::thread::spawn(move || {
        let next = publisher.run(1, case.rate, time, epoch);
        (next, Instant::now(), publisher)
    });
    let last = case.rate * time.as_secs();
    let all = readers.read_until(last, begin + time + AFTER)?;
    let cpu = processor_time(&processes) - cpu;
    let own = own_time() - own;
    let wall = begin.elapsed();
    let loaded = resident(&processes);
    let (next, _, _) = publish.join().ok().context("the publisher failed")?;
    ensure!(next? == last + 1, "not everything was published");
    let undelivered = if all {
        0
    } else {
        readers.undelivered(last + 1)
    };
    let seen = &readers.seen;
    let took = seen.last.map_or(wall, |last| last - begin);
    let latency = seen.latency.percentiles();
    let count = case.readers.max(1) as f64;
    Ok(Figures {
        delivered_per_second: seen.delivered as f64 / took.as_secs_f64().max(time.as_secs_f64()),
        undelivered: undelivered + seen.missed,
        expected: last * case.readers as u64,
        faults: seen.repeated + seen.closed,
        p50_ms: latency.p50_ns as f64 / 1e6,
        p99_ms: latency.p99_ns as f64 / 1e6,
        cpu_us: cpu.as_secs_f64() * 1e6 / (seen.delivered.max(1) as f64),
        idle_mib: before / 1024.0,
        kib_connected: (connected - before) / count,
        kib_loaded: (loaded - before) / count,
        generator_cores: own.as_secs_f64() / wall.as_secs_f64(),
    })
}

/// Processor time of these processes, from the scheduler.
fn processor_time(processes: &[u32]) -> Duration {
    let threads = processes.iter().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
    });
    let run_ns = threads.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(run_ns.sum())
}

fn own_time() -> Duration {
    processor_time(&[std::process::id()])
}

/// Resident memory of these processes, in KiB; shared pages count once for each.
fn resident(processes: &[u32]) -> f64 {
    let status = processes
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let kib = status.filter_map(|text| {
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    kib.sum()
}

impl Figures {
    pub(crate) const HEADER: &'static str = "\
| case | peer | delivered/s | undelivered | faults | p50 ms | p99 ms | CPU us | idle MiB | KiB connected | KiB loaded | generator cores |
|---|---|---|---|---|---|---|---|---|---|---|---|";

    /// Medians, with extremes where there are several runs.
    pub(crate) fn row(case: Case, peer: Peer, runs: &[Self]) -> String {
        let of = |get: fn(&Self) -> f64, digits: usize| {
            let mut values: Vec<f64> = runs.iter().map(get).collect();
            values.sort_by(f64::total_cmp);
            let median = values.get(values.len() / 2).copied().unwrap_or_default();
            match (values.first(), values.last()) {
                (Some(least), Some(most)) if values.len() > 1 => {
                    format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
                }
                _ => format!("{median:.digits$}"),
            }
        };
        let undelivered = of(
            |run| 100.0 * run.undelivered as f64 / run.expected.max(1) as f64,
            2,
        );
        format!(
            "| {case} | {peer} | {} | {undelivered} % | {} | {} | {} | {} | {} | {} | {} | {} |",
            of(|run| run.delivered_per_second, 0),
            of(|run| run.faults as f64, 0),
            of(|run| run.p50_ms, 2),
            of(|run| run.p99_ms, 2),
            of(|run| run.cpu_us, 2),
            of(|run| run.idle_mib, 1),
            of(|run| run.kib_connected, 2),
            of(|run| run.kib_loaded, 2),
            of(|run| run.generator_cores, 2),
        )
    }
}
