//! `brine bench fleet`: connects simulated minions to a master, Salt's or Brine's, and prints how it
//! copes.
//!
//! `brine-bench` measures. This module builds its options from arguments and, with `-c`, from the
//! master's configuration.

use std::fs;
use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bench::fleet::{self, FleetError, FleetOptions, Transport};
use brine_bench::raise_file_limit;
use brine_bus::address::{Address, Node};
use brine_config::{Environment, Opts, Role};

use crate::commands::doctor::tcp_server;
use crate::terminal;
use crate::{bus_location, show};

/// The arguments of `brine bench fleet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A master that runs is only loaded with --live: the minions' ids and keys are left there, and its
reactor and listeners act on their events.

Every minion signs in, subscribes and fires its start event; then come the phases asked for with
--events, --jobs and --reconnect. The master needs auto_accept, or the minions' keys: --pki-dir
puts them there. Answers to sign-ins are judged after the clock has stopped, since a minion spends
more on one than its master.

Every minion has two connections, as real ones have. Open files and memory limit the fleet: 10,000 minions need a limit of 20,100 open files (ulimit -Hn) here and at the
master; fewer with --requesters.

Over tcp, Salt's own masters drop connections when many arrive at once; use --concurrency 8 for them.

The exit code is 1 if a minion could not sign in, a request was not answered, or an event was lost,
repeated or out of order.

Example: brine bench fleet -c /etc/salt --live --transport tcp --minions 1000 --events 50000
--senders 100 --jobs 3 --reconnect --pid $(pidof -s salt-master)")]
pub(super) struct Arguments {
    /// The master's configuration directory: for its ports, transport, sockets and .root_key
    #[arg(short = 'c', long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Name or address of the master
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    master: String,
    /// Its request port [default: as configured, else 4506]
    #[arg(long, value_name = "PORT")]
    ret_port: Option<u16>,
    /// Its publish port [default: the one it names at sign-in]
    #[arg(long, value_name = "PORT")]
    publish_port: Option<u16>,
    /// Transport [default: as configured, else zeromq]
    #[arg(long, value_enum)]
    transport: Option<TransportName>,
    /// How many minions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    minions: usize,
    /// Connections for requests over tcp, shared if there are more minions [default: one each]
    #[arg(long, value_name = "N")]
    requesters: Option<usize>,
    /// Prefix of their ids; a five-digit number follows
    #[arg(long, value_name = "TEXT", default_value = "fleet-")]
    prefix: String,
    /// How many different RSA keys they have
    #[arg(long, value_name = "N", default_value_t = 16)]
    keys: usize,
    /// Where those keys are kept for the next run
    #[arg(long, value_name = "DIR")]
    key_dir: Option<PathBuf>,
    /// The master's pki_dir: puts the keys among the accepted ones
    #[arg(long, value_name = "DIR")]
    pki_dir: Option<PathBuf>,
    /// Requests under way at once while signing in and starting
    #[arg(long, value_name = "N", default_value_t = 64)]
    concurrency: usize,
    /// Seconds that a request may take
    #[arg(long, value_name = "SECS", value_parser = show::seconds, default_value = "60")]
    timeout: Duration,
    /// Events fired in all
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    events: usize,
    /// Minions that fire them
    #[arg(long, value_name = "N", default_value_t = 1)]
    senders: usize,
    /// Events per second in all [default: each as soon as the last is answered]
    #[arg(short, long, value_name = "RATE", value_parser = rate)]
    rate: Option<f64>,
    /// Bytes of padding in each event's data
    #[arg(short = 'b', long, value_name = "BYTES", default_value_t = 100)]
    data_bytes: usize,
    /// Jobs (test.ping) for the whole fleet; needs -c or --key-file
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    jobs: usize,
    /// File with the key that allows publishing jobs: .root_key in the master's cachedir
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// User to whom that key belongs
    #[arg(long, value_name = "NAME", default_value = "root")]
    user: String,
    /// Drop all connections at the end and reconnect all minions
    #[arg(long)]
    reconnect: bool,
    /// Directory of the master's bus sockets, to see what arrives there [default: as configured]
    #[arg(long, value_name = "DIR")]
    sock_dir: Option<PathBuf>,
    /// The master's process, for its memory and that of its children
    #[arg(long)]
    pid: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Load a master that is in use
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TransportName {
    Tcp,
    Zeromq,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("expected events per second, more than none".into()),
    }
}

/// Measures and prints.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = options(arguments)?;
    if !arguments.live {
        refuse_live(&options)?;
    }
    // A subscription each, what carries requests, and some for signing in and the runtime.
    let requesters = options.requesters.min(options.minions);
    let wanted = (options.minions + requesters + 100 + options.concurrency) as u64;
    let files = raise_file_limit();
    if files < wanted {
        bail!(
            "{} minions: expected a limit of {wanted} open files, found {files}; raise it with ulimit -Hn, or use --requesters",
            options.minions
        );
    }
    let report = fleet::run(options);
    if matches!(report, Ok(_) | Err(FleetError::NobodyIn(_))) {
        say_what_is_left(arguments);
    }
    let report = report?;
    let mut out = terminal::stdout();
    if arguments.json {
        writeln!(out, "{}", report.json())?;
    } else {
        write!(out, "{}", report.table())?;
    }
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Names the keys that the master has of the fleet now, accepted or pending.
fn say_what_is_left(arguments: &Arguments) {
    let config_dir = arguments.config_dir.as_ref();
    let config_dir = config_dir.map_or_else(String::new, |path| format!(" -c {}", path.display()));
    let (prefix, count) = (&arguments.prefix, arguments.minions);
    show::complain(&format_args!(
        "the master keeps the keys {prefix}00001 to {prefix}{count:05}; to remove them: \
         salt-key{config_dir} -y -d '{prefix}[0-9][0-9][0-9][0-9][0-9]*'"
    ));
}

/// Fails on a master that runs. One that does not is complained of by the fleet.
fn refuse_live(options: &FleetOptions) -> anyhow::Result<()> {
    /// For a machine that does not answer.
    const PATIENCE: Duration = Duration::from_secs(5);
    let host = options.master.trim_matches(['[', ']']);
    let addresses = (host, options.ret_port).to_socket_addrs();
    let mut addresses = addresses.into_iter().flatten();
    let Some(address) =
        addresses.find(|address| TcpStream::connect_timeout(address, PATIENCE).is_ok())
    else {
        return Ok(());
    };
    let by = tcp_server(address).map_or_else(String::new, |process| format!(" by {process}"));
    bail!(
        "master {}, port {}: in use{by}; add --live to connect {} simulated minions to it anyway, whose ids and keys are left there",
        options.master,
        options.ret_port,
        options.minions
    )
}

fn options(arguments: &Arguments) -> anyhow::Result<FleetOptions> {
    let opts = arguments.config_dir.as_deref().map(configuration);
    let opts = opts.transpose()?;
    let transport = match (arguments.transport, &opts) {
        (Some(TransportName::Tcp), _) => Transport::Tcp,
        (Some(TransportName::Zeromq), _) | (None, None) => Transport::ZeroMq,
        (None, Some(opts)) => match opts.text("transport")? {
            "tcp" => Transport::Tcp,
            "zeromq" => Transport::ZeroMq,
            other => bail!("transport {other}: the simulated minions speak tcp and zeromq"),
        },
    };
    let ret_port = match (arguments.ret_port, &opts) {
        (Some(port), _) => port,
        (None, Some(opts)) => u16::try_from(opts.int("ret_port")?).context("option ret_port")?,
        (None, None) => 4506,
    };
    Ok(FleetOptions {
        master: arguments.master.clone(),
        ret_port,
        publish_port: arguments.publish_port,
        transport,
        minions: arguments.minions,
        requesters: arguments.requesters.unwrap_or(arguments.minions),
        prefix: arguments.prefix.clone(),
        keys: arguments.keys,
        key_dir: key_dir(arguments),
        pki_dir: arguments.pki_dir.clone(),
        concurrency: arguments.concurrency,
        timeout: arguments.timeout,
        events: arguments.events,
        senders: arguments.senders,
        rate: arguments.rate,
        data_bytes: arguments.data_bytes,
        jobs: arguments.jobs,
        publish_key: publish_key(arguments, opts.as_ref())?,
        user: arguments.user.clone(),
        reconnect: arguments.reconnect,
        bus: bus(arguments, opts.as_ref())?,
        pid: arguments.pid,
    })
}

fn configuration(directory: &Path) -> anyhow::Result<Opts> {
    bus_location::check_config_dir(directory, "master")?;
    let path = directory.join("master");
    let path = std::path::absolute(&path).unwrap_or(path);
    let loaded = Opts::load(Role::Master, &path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))?;
    Ok(loaded.opts)
}

/// Keys may be in the user's cache if they give access only to a benchmark's master.
fn key_dir(arguments: &Arguments) -> PathBuf {
    let cache = || {
        let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        named.or(home).unwrap_or_else(std::env::temp_dir)
    };
    let named = arguments.key_dir.clone();
    named.unwrap_or_else(|| cache().join("brine").join("fleet-keys"))
}

fn publish_key(arguments: &Arguments, opts: Option<&Opts>) -> anyhow::Result<Option<String>> {
    if arguments.jobs == 0 {
        return Ok(None);
    }
    let path = match (&arguments.key_file, opts) {
        (Some(path), _) => path.clone(),
        (None, Some(opts)) => {
            let name = format!(".{}_key", arguments.user);
            PathBuf::from(opts.text("cachedir")?).join(name)
        }
        (None, None) => bail!("--jobs: expected -c or --key-file, for the key that lets publish"),
    };
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(Some(text.trim().to_owned()))
}

fn bus(arguments: &Arguments, opts: Option<&Opts>) -> anyhow::Result<Option<Address>> {
    let sock_dir = arguments.sock_dir.as_deref();
    Ok(match (sock_dir, opts) {
        (Some(sock_dir), _) => Some(Address::ipc(sock_dir, &Node::Master)?),
        (None, Some(opts)) => Some(bus_location::address(opts, &Node::Master, None)?),
        (None, None) => None,
    })
}
