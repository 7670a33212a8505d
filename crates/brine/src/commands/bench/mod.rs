//! `brine bench`: puts load on a bus, or a master, and prints rates and latencies.
//!
//! `brine-bench` measures. This module builds a load from a named case and arguments, and starts a bus if none is
//! named: in its own process, so that its processor time and memory are counted separately from the load's.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use brine_bench::{CASES, Case, Endpoint, Load, Pace, Target, case, first_event, raise_file_limit};
use brine_bus::address::{self, Node};
use brine_bus::client::SubscriberConfig;
use brine_bus::client::blocking::Subscriber;
use brine_wire::compat::Compat;
use tempfile::TempDir;

mod fleet;

use crate::access;
use crate::bus_location::{BusArgs, BusLocation};
use crate::interrupt;
use crate::show;
use crate::terminal;

/// The arguments of `brine bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Without --sock-dir or a configuration, a bus is started for the measurement and ended after it.
A bus that already runs is only loaded with --live; the events' tags begin with brine/bench/.
Every subscriber checks every event: what is lost, repeated, changed or out of order is printed
under faults, and makes the exit code 1.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// Named loads, one after the other (see --list); without any, one from the options below
    #[arg(value_name = "CASE", value_parser = named_case)]
    cases: Vec<&'static Case>,
    /// Print the named loads
    #[arg(long)]
    list: bool,
    /// Publishers
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    publishers: usize,
    /// Subscribers
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    subscribers: usize,
    /// Bytes of an event's data
    #[arg(short = 'b', long, value_name = "BYTES", default_value_t = Load::SMALL)]
    data_bytes: usize,
    /// Events per write of a publisher
    #[arg(short = 'w', long, value_name = "N", default_value_t = 1)]
    events_per_write: usize,
    /// Events per second over all publishers [default: as many as the bus delivers]
    #[arg(short, long, value_name = "RATE")]
    rate: Option<f64>,
    /// How many subscribers to add that never read
    #[arg(long, value_name = "N", default_value_t = 0)]
    stuck: usize,
    /// Seconds measured
    #[arg(short, long, value_name = "SECS", value_parser = show::some_seconds, default_value = "3")]
    duration: Duration,
    /// One JSON object per load
    #[arg(long)]
    json: bool,
    /// Load a bus that is in use. Its listeners get every event, under brine/bench/*
    #[arg(long)]
    live: bool,
    /// Salt series or release whose framing the bus uses
    #[arg(long, value_name = "RELEASE", default_value_t = Compat::NEWEST)]
    compat: Compat,
    #[command(flatten)]
    bus: BusArgs,
}

/// What else than a bus can be measured.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Connect a fleet of simulated minions to a master
    Fleet(Box<fleet::Arguments>),
}

fn named_case(name: &str) -> Result<&'static Case, String> {
    case(name).ok_or_else(|| "no such load; --list prints those there are".to_owned())
}

/// Measures all loads.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(Other::Fleet(arguments)) = &arguments.other {
        return fleet::run(arguments);
    }
    let mut out = terminal::stdout();
    if arguments.list {
        for case in CASES {
            writeln!(out, "{:<4} {}", case.name, case.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let _ = raise_file_limit(); // a load that needs more says so
    let (target, _own) = target(arguments)?;
    let loads = loads(arguments);
    let mut is_sound = true;
    for (name, load) in loads {
        let report = brine_bench::run(&target, &load)?;
        is_sound &= report.faults.none();
        if arguments.json {
            writeln!(out, "{}", report.json())?;
        } else {
            if let Some(case) = name {
                writeln!(out, "{}: {}", case.name, case.about)?;
            }
            writeln!(out, "{}", report.table())?;
        }
    }
    Ok(if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn loads(arguments: &Arguments) -> Vec<(Option<&'static Case>, Load)> {
    if arguments.cases.is_empty() {
        let load = Load {
            publishers: arguments.publishers,
            subscribers: arguments.subscribers,
            data_bytes: arguments.data_bytes,
            events_per_write: arguments.events_per_write,
            pace: arguments.rate.map_or(Pace::Closed, Pace::Rate),
            stuck: arguments.stuck,
            duration: arguments.duration,
            ..Load::default()
        };
        return vec![(None, load)];
    }
    let cases = arguments.cases.iter();
    cases
        .map(|case| (Some(*case), case.load(arguments.duration)))
        .collect()
}

/// The bus that is named, or a new one.
fn target(arguments: &Arguments) -> anyhow::Result<(Target, Option<OwnBus>)> {
    let named = &arguments.bus;
    if named.sock_dir.is_none() && named.config.is_none() && named.config_dir.is_none() {
        let (own, target) = OwnBus::start(arguments.compat)?;
        return Ok((target, Some(own)));
    }
    let location = named.resolve()?;
    if !arguments.live {
        refuse_live(&location)?;
    }
    for socket in [location.address.publish(), location.address.pull()] {
        access::closed(socket).map_or(Ok(()), Err)?;
    }
    let endpoint = |endpoint: &address::Endpoint| match endpoint {
        address::Endpoint::Path(path) => Endpoint::Unix(path.clone()),
        address::Endpoint::Tcp(address) => Endpoint::Tcp(*address),
    };
    let target = Target {
        publish: endpoint(location.address.publish()),
        pull: endpoint(location.address.pull()),
        ..Target::salt_in(Path::new(""), arguments.compat)
    };
    Ok((target, None))
}

/// Fails on a bus that runs: others listen there, and act on what they hear.
fn refuse_live(location: &BusLocation) -> anyhow::Result<()> {
    let config = SubscriberConfig::default();
    Subscriber::new(&location.address, config).connect(Duration::ZERO)?;
    let node = match location.node {
        Node::Master => "master",
        Node::Minion { .. } => "minion",
    };
    let pid = listener(location.address.publish());
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    bail!("{node} bus in use{pid}; add --live to load it anyway")
}

/// The process that listens on a UNIX socket.
pub(super) fn listener(endpoint: &address::Endpoint) -> Option<i32> {
    let address::Endpoint::Path(path) = endpoint else {
        return None;
    };
    let connection = UnixStream::connect(path).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(connection).ok()?;
    Some(peer.pid.as_raw_nonzero().get())
}

/// A bus in a scratch directory; ends when dropped.
struct OwnBus {
    process: Child,
    directory: TempDir,
}

impl OwnBus {
    fn start(compat: Compat) -> anyhow::Result<(Self, Target)> {
        let directory = TempDir::with_prefix("brine-").context("cannot make a directory")?;
        interrupt::remove_on_signal(directory.path().to_owned())?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let started = Instant::now();
        let process = Command::new(program)
            .args(["bus", "--log-level", "warning", "--compat"])
            .arg(compat.to_string())
            .arg("--sock-dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a bus")?;
        let mut target = Target::salt_in(directory.path(), compat);
        target.process = Some(process.id());
        let own = Self { process, directory };
        first_event(&target, started, Duration::from_secs(10)).with_context(|| {
            format!(
                "the bus in {} does not come up",
                own.directory.path().display()
            )
        })?;
        Ok((own, target))
    }
}

impl Drop for OwnBus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
