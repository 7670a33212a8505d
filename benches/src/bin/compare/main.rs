//! Brine beside its peers, on the same machine, in the same minutes.
//!
//! Starts each peer afresh for each measurement, goes through them in turn (A B C A B C, so that
//! a busy minute hits everybody), and prints medians with their ranges and Brine's ratios to each
//! of them. What is measured and how: `docs/benchmarks.md`.
//!
//!     cargo build --release && cargo run --release -p brine-benches --bin compare

mod peer;
mod running;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use brine_bench::{CASES, Case, Load, StuckReaders, case, run, stuck_readers};
use clap::Parser;
use serde_json::{Value, json};

use crate::peer::{PEERS, Peer, Tools};
use crate::running::Running;

/// Measure Brine beside real Salt, NATS, Redis and a relay that parses nothing.
#[derive(Debug, Parser)]
#[command(after_help = after_help())]
struct Arguments {
    /// Who is measured, in this order.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "brine,salt-3008.3,nats,redis,relay"
    )]
    peers: Vec<String>,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "a,A,b,c,C,d,D,e,f")]
    cases: Vec<String>,
    /// How often each peer runs each case.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured per run, after 0.3 s of warm-up.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Repeat a run, up to twice, while others on this machine (or its hypervisor) took more
    /// cores than this.
    #[arg(long, default_value_t = 0.3)]
    undisturbed: f64,
    /// Subscribers that never read in case `m`.
    #[arg(long, default_value_t = 1000)]
    stuck_readers: usize,
    /// Where the results go, as JSON and as a table.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Print the table of earlier results (JSON files) together, and measure nothing.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    report: Vec<PathBuf>,
}

/// What can be measured of a peer.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// A load of the generator's list.
    Load(&'static Case),
    /// `l`: from the start of the process to the first event.
    Start,
    /// `m`: many subscribers that never read, beside case a.
    StuckReaders,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.report.is_empty() {
        let measurements = read_results(&arguments.report)?;
        return print(&table::markdown(&measurements));
    }
    let peers = named(&arguments.peers, Peer::find, "peer")?;
    let plans = named(&arguments.cases, Plan::find, "case")?;
    running::end_all_on_signal()?;
    let tools = peer::find_tools(&peers)?;
    // Peers inherit it; Salt and Redis would refuse the thousandth subscriber.
    let _ = brine_bench::raise_file_limit();

    fs::create_dir_all(&arguments.out)?;
    let started = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    let results = arguments.out.join(format!("compare-{started}.json"));
    let machine = machine();
    let mut measurements = Vec::new();
    for plan in &plans {
        for round in 0..arguments.rounds {
            for peer in &peers {
                eprint_progress(plan.name(), round, peer.name);
                let mut measurement = measure(peer, *plan, &tools, &arguments);
                measurement["round"] = round.into();
                eprint_outcome(&measurement);
                measurements.push(measurement);
            }
        }
        // After every case: a run that is cut short keeps what it has.
        let all = json!({ "machine": machine, "measurements": measurements });
        fs::write(&results, serde_json::to_vec_pretty(&all)?)
            .with_context(|| format!("{}: cannot write", results.display()))?;
    }
    let markdown = table::markdown(&measurements);
    fs::write(results.with_extension("md"), &markdown)?;
    print(&format!("{markdown}\n{}\n", results.display()))
}

/// One measurement of a peer started for it, named; what fails is a result too.
fn measure(peer: &Peer, plan: Plan, tools: &Tools, arguments: &Arguments) -> Value {
    const TRIES: usize = 3;
    let once = || Running::start(peer, tools).and_then(|it| plan.measure(&it, arguments));
    let disturbed = |found: &Value| {
        let others = found["generator"]["others_cores"].as_f64();
        others.is_some_and(|others| others > arguments.undisturbed)
    };
    let mut outcome = once();
    for _ in 1..TRIES {
        if !outcome.as_ref().is_ok_and(disturbed) {
            break;
        }
        outcome = once();
    }
    let mut measurement = outcome.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
    measurement["peer"] = peer.name.into();
    measurement["case"] = plan.name().into();
    measurement["about"] = plan.about().into();
    measurement
}

impl Plan {
    fn find(name: &str) -> Option<Self> {
        match name {
            "l" => Some(Self::Start),
            "m" => Some(Self::StuckReaders),
            name => case(name).map(Self::Load),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Load(case) => case.name,
            Self::Start => "l",
            Self::StuckReaders => "m",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::Load(case) => case.about,
            Self::Start => "start to first event",
            Self::StuckReaders => "a, beside subscribers that never read",
        }
    }

    fn measure(self, running: &Running, arguments: &Arguments) -> Result<Value> {
        let seconds = Duration::from_secs_f64(arguments.seconds);
        let mut found = match self {
            Self::Load(case) => run(&running.target, &case.load(seconds))?.json(),
            Self::Start => json!({}),
            Self::StuckReaders => {
                let load = Load {
                    duration: seconds,
                    ..Load::default()
                };
                let many = StuckReaders {
                    subscribers: arguments.stuck_readers,
                    load,
                    rounds: 2,
                };
                stuck_readers(&running.target, &many)?.json()
            }
        };
        found["first_event_s"] = running.first_event.as_secs_f64().into();
        Ok(found)
    }
}

fn named<T>(names: &[String], find: impl Fn(&str) -> Option<T>, what: &str) -> Result<Vec<T>> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for name in names {
        match find(name) {
            Some(one) if seen.insert(name) => found.push(one),
            Some(_) => bail!("{what} {name} is named twice"),
            None => bail!("there is no {what} {name}; --help lists them"),
        }
    }
    Ok(found)
}

fn read_results(files: &[PathBuf]) -> Result<Vec<Value>> {
    let mut measurements = Vec::new();
    for file in files {
        let unreadable = || format!("{}: not results of this program", file.display());
        let mut all: Value = serde_json::from_slice(&fs::read(file).with_context(unreadable)?)
            .with_context(unreadable)?;
        let found = all["measurements"]
            .as_array_mut()
            .with_context(unreadable)?;
        measurements.append(found);
    }
    Ok(measurements)
}

/// The machine, for later readers of the figures.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

fn after_help() -> String {
    let mut text = "Peers:\n".to_owned();
    for peer in PEERS {
        text += &format!("  {:<14} {}\n", peer.name, peer.about);
    }
    text += "\nCases:\n";
    for case in CASES {
        text += &format!("  {:<4} {}\n", case.name, case.about);
    }
    for plan in [Plan::Start, Plan::StuckReaders] {
        text += &format!("  {:<4} {}\n", plan.name(), plan.about());
    }
    text
}

#[expect(clippy::print_stdout, reason = "the result is this program's output")]
fn print(text: &str) -> Result<()> {
    print!("{text}");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a run takes minutes; say where it is")]
fn eprint_progress(case: &str, round: usize, peer: &str) {
    eprint!("{case:<4} {:>2}  {peer:<14} ", round + 1);
}

#[expect(clippy::print_stderr, reason = "a run takes minutes; say where it is")]
fn eprint_outcome(measurement: &Value) {
    eprintln!("{}", table::one_line(measurement));
}
