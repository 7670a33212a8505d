//! `brine bus`: the local bus alone.
//!
//! Arguments and Salt's configuration become sockets, modes and limits here, once; what a bus does
//! with them is `brine-bus`'s. One process can offer its bus to clients of several releases, each
//! in a socket directory of its own. Facts: `docs/protocol/ipc.md` §1, §2, §10.

use std::fs::{self, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use brine_bus::address::{Address, Node};
use brine_bus::{BusConfig, Modes, Served, Sockets};
use brine_config::Loaded;
use brine_log::{Framings, Log, LogConfig, LogId};
use brine_wire::compat::{Compat, Series};
use brine_wire::frame::Framing;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::rand::GetRandomFlags;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::account::{self, Belongings};
use crate::daemon::{self, Daemon};
use crate::place::{Place, PlaceArguments};

/// What `brine bus` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and Ctrl-C end it: what publishers have sent is delivered first.
Exit codes: 0 ended when told to; 1 could not start; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Salt series or release whose clients read from the bus [default: 3008, or what the
    /// configuration says]
    #[arg(long, value_name = "RELEASE")]
    compat: Option<Compat>,
    /// Offer the same bus in another directory to clients of another release; repeatable
    #[arg(long, value_name = "DIR=RELEASE")]
    also: Vec<Also>,
    /// How much of the log of events is kept in memory for slow subscribers, such as 64MiB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    log_bytes: Option<u64>,
    /// Run in the background; returns when the bus is ready
    #[arg(short, long)]
    daemon: bool,
    /// The process that `--daemon` starts.
    #[arg(long, hide = true)]
    detached: bool,
    /// Write the process id to a file, which goes with the process
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// With --daemon: append the log to a file [default: no log]
    #[arg(long, value_name = "FILE", requires = "daemon")]
    log_file: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Another directory the bus is offered in.
#[derive(Debug, Clone)]
struct Also {
    sock_dir: PathBuf,
    compat: Compat,
}

impl FromStr for Also {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sock_dir, release) = text
            .rsplit_once('=')
            .ok_or("expected DIR=RELEASE, such as /run/salt/old=3006.25")?;
        Ok(Self {
            sock_dir: sock_dir.into(),
            compat: release.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

/// Runs the bus until it is told to end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.daemon && !arguments.detached {
        return daemon::start();
    }
    let place = arguments.place.resolve()?;
    if let Some(opts) = &place.opts {
        account::run_as_configured_user(opts, &arguments.belongings(&place))?;
    }
    daemon::restrict_new_files(arguments.detached);
    for warning in &place.warnings {
        tracing::warn!("{warning}");
    }
    raise_file_limit();
    runtime()?.block_on(serve(arguments, &place))?;
    Ok(ExitCode::SUCCESS)
}

/// The runtime a bus runs on: one thread.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Look at the sockets once per round of subscribers, not in the middle of one.
        .event_interval(512)
        .build()
        .context("cannot start the runtime")
}

async fn serve(arguments: &Arguments, place: &Place) -> anyhow::Result<()> {
    let told_to_end = told_to_end()?;
    let (buses, log) = bind(arguments, place)?;
    let _pid_file = arguments.daemon().is_up()?;
    brine_bus::serve(buses, log, BusConfig::default(), told_to_end).await;
    Ok(())
}

/// From now on catches Ctrl-C and `SIGTERM`; what it gives waits for one.
pub(crate) fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let catch = |kind| signal(kind).context("cannot catch signals");
    let mut interrupt = catch(SignalKind::interrupt())?;
    let mut terminate = catch(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("ending: delivering what was sent");
    })
}

/// Takes all sockets and makes the log they share.
fn bind(arguments: &Arguments, place: &Place) -> anyhow::Result<(Vec<Served>, Arc<Log>)> {
    let compat = arguments.compat.or(place.brine.compat);
    let mut buses = vec![bind_one(
        &place.address,
        place.sock_dir.as_deref(),
        compat.unwrap_or(Compat::NEWEST),
        place,
    )?];
    for also in &arguments.also {
        let address = Address::ipc(&also.sock_dir, &place.node)?;
        buses.push(bind_one(
            &address,
            Some(&also.sock_dir),
            also.compat,
            place,
        )?);
    }
    let log_bytes = arguments.log_bytes.or(place.brine.log_bytes);
    let log = log(&buses, log_bytes, place.brine.keep_bytes)?;
    Ok((buses, log))
}

/// The log that buses share, in the framings they are read in.
fn log(
    buses: &[Served],
    log_bytes: Option<u64>,
    keep_bytes: Option<u64>,
) -> anyhow::Result<Arc<Log>> {
    let is_used = |framing| buses.iter().any(|bus| bus.framing == framing);
    let framings = match (is_used(Framing::Bare), is_used(Framing::Prefixed)) {
        (true, true) => Framings::Both,
        (_, false) => Framings::Bare,
        (false, true) => Framings::Prefixed,
    };
    let mut config = LogConfig {
        framings,
        ..LogConfig::new(new_log_id()?)
    };
    if let Some(bytes) = log_bytes {
        config.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = keep_bytes {
        config.keep_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    Ok(Log::new(config))
}

/// An identity no other log has.
fn new_log_id() -> anyhow::Result<LogId> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .context("the system gives no random number")?;
    Ok(LogId(u64::from_le_bytes(bytes)))
}

/// Takes the sockets of a node's bus, as its configuration says, and makes its log.
pub(crate) fn open(
    address: &Address,
    node: Node,
    loaded: &Loaded,
) -> anyhow::Result<(Vec<Served>, Arc<Log>)> {
    let place = Place {
        address: address.clone(),
        node,
        sock_dir: match loaded.opts.text("ipc_mode")? {
            "tcp" => None,
            _ => Some(loaded.opts.text("sock_dir")?.into()),
        },
        opts: Some(loaded.opts.clone()),
        brine: loaded.brine.clone(),
        warnings: Vec::new(),
    };
    let compat = place.brine.compat.unwrap_or(Compat::NEWEST);
    let buses = vec![bind_one(
        address,
        place.sock_dir.as_deref(),
        compat,
        &place,
    )?];
    let log = log(&buses, place.brine.log_bytes, place.brine.keep_bytes)?;
    Ok((buses, log))
}

/// Takes the two sockets of one address.
fn bind_one(
    address: &Address,
    sock_dir: Option<&Path>,
    compat: Compat,
    place: &Place,
) -> anyhow::Result<Served> {
    let access = access(compat, place);
    if let Some(sock_dir) = sock_dir {
        prepare(sock_dir, access)?;
    } else {
        tracing::warn!(
            "ipc_mode is tcp: every user of this machine can read this bus and fire on it"
        );
    }
    let sockets = Sockets::bind(address, access.modes)?;
    let framing = compat.publish_framing();
    tracing::info!(
        publish = %address.publish(),
        pull = %address.pull(),
        compat = %compat,
        framing = match framing {
            Framing::Bare => "bare",
            Framing::Prefixed => "prefixed",
        },
        "ready"
    );
    Ok(Served { sockets, framing })
}

impl Arguments {
    fn daemon(&self) -> Daemon {
        Daemon {
            detached: self.detached,
            pid_file: self.pid_file.clone(),
            log_file: self.log_file.clone(),
        }
    }

    /// The directories there will be sockets in, and the daemon's files.
    fn belongings(&self, place: &Place) -> Belongings {
        let others = self.also.iter().map(|also| &also.sock_dir);
        Belongings {
            folders: place.sock_dir.iter().chain(others).cloned().collect(),
            pid_file: self.pid_file.clone(),
            log_file: self.log_file.clone(),
        }
    }
}

/// Who may come in.
#[derive(Debug, Clone, Copy)]
struct Access {
    modes: Modes,
    /// Whether `sock_dir` is opened for others to go through.
    passable: bool,
}

/// Salt's modes of the two sockets: `docs/protocol/ipc.md` §2.
fn access(compat: Compat, place: &Place) -> Access {
    let is_shared = ["publisher_acl", "external_auth"].iter().any(|name| {
        let value = place.opts.as_ref().and_then(|opts| opts.get(name));
        value
            .and_then(|value| value.as_map())
            .is_some_and(|map| !map.is_empty())
    });
    let (publish, passable) = match (&place.node, compat.series()) {
        (Node::Minion { .. }, _) => (0o600, false),
        (Node::Master, Series::S3006) if is_shared => (0o660, true),
        (Node::Master, Series::S3006) => (0o600, false),
        (Node::Master, Series::S3007 | Series::S3008) => (0o660, false),
    };
    Access {
        modes: Modes {
            publish,
            pull: 0o600,
        },
        passable,
    }
}

/// Makes the socket directory, if it is not there, as Salt does.
fn prepare(sock_dir: &Path, access: Access) -> anyhow::Result<()> {
    let refused = || {
        format!(
            "sock_dir {}: run as the user that owns it, or set another",
            sock_dir.display()
        )
    };
    daemon::make_public_folder(sock_dir).with_context(refused)?;
    if access.passable {
        let mode = fs::metadata(sock_dir)
            .with_context(refused)?
            .permissions()
            .mode();
        fs::set_permissions(sock_dir, Permissions::from_mode(mode | 0o001))
            .with_context(refused)?;
    }
    Ok(())
}

/// As many connections as the system allows; the soft limit is often 1,024.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(err = %error, "cannot raise the limit of open files");
    }
}

/// A size: `1048576`, `64MiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected bytes, such as 1048576 or 64MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_directory_is_named_with_its_release() {
        let also: Also = "/run/a=b=3006.25".parse().unwrap();
        assert_eq!(also.sock_dir, Path::new("/run/a=b"));
        assert_eq!(also.compat.to_string(), "3006.25");
        assert!("/run/a".parse::<Also>().is_err());
        assert!("/run/a=3005".parse::<Also>().is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("5"), Ok(5));
        for text in ["", "0", "MiB", "5MB", "-1", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
