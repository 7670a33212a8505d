//! `brine attach`: runs beside the bus of an unmodified Salt master or minion, in the foreground.
//!
//! Reads the arguments; [`crate::host::attach`] composes what runs.

use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use brine_bus::front::FrontLock;
use brine_config::Warning;

use super::bus_options::BusOptionArgs;
use crate::bus_location::{BusArgs, BusLocation};
use crate::daemon::handover::Belongings;
use crate::daemon::{self, Daemon, account, signals};
use crate::host;
use crate::host::attach::{self, Beside};
use crate::host::{cluster, faults};
use crate::terminal;

/// The arguments of `brine attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Salt's configuration and programs are not changed. SIGTERM and Ctrl-C stop it; it then puts Salt's own socket back.

Examples:
  brine attach                    history and brine.sock beside this machine's salt-master
  brine attach --in-front         and new listeners are served by Brine
  brine attach --restore          after a crash of both its processes: Salt's socket is put back
  brine attach --node minion      beside this machine's salt-minion

Exit codes: 0 ended by a signal, or restored; 1 failed; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Take the place of the bus's publish socket: Brine serves new listeners, and Salt's publisher only Brine
    #[arg(long)]
    in_front: bool,
    /// Put the bus's own publish socket back after a brine attach was killed, remove a stale brine.sock, and exit
    #[arg(long, conflicts_with = "in_front")]
    restore: bool,
    /// React to events by the rules in this file, a list as in Salt's option `reactor`; switch
    /// Salt's own reactor off first
    #[arg(long, value_name = "FILE", conflicts_with = "restore")]
    reactor: Option<PathBuf>,
    /// Also serve the master's HTTP API, as rest_cherrypy in its configuration says
    #[arg(long, conflicts_with = "restore")]
    api: bool,
    #[command(flatten)]
    options: BusOptionArgs,
    /// The process that waits for this one.
    #[arg(long, hide = true, value_name = "PID")]
    supervised: Option<u32>,
    #[command(flatten)]
    bus: BusArgs,
}

/// The option by which the serving process learns which process waits for it.
const SUPERVISED: &str = "--supervised";

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let location = arguments.bus.resolve()?;
    if !arguments.restore {
        faults::refuse_of_bus(&location, arguments.options.has_history())?;
    }
    if let Some(opts) = &location.opts {
        account::run_as_configured_user(opts, &arguments.belongings(&location))?;
    }
    if arguments.restore {
        return restore(&location);
    }
    if let Some(directory) = attach::missing_directory(&location) {
        let waiting = attach::wait_for(&directory);
        if !host::bus_runtime()?.block_on(signals::while_serving(waiting))?? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    if arguments.in_front && arguments.supervised.is_none() {
        let lock = FrontLock::take(attach::publish_socket(&location)?)?;
        if let Err(own) = attach::refuse_own(&location) {
            lock.release()?;
            return Err(own);
        }
        let ended = attach::supervise(&lock, SUPERVISED)?;
        lock.release()?;
        return Ok(ended.into());
    }
    if arguments.supervised.is_none() {
        attach::refuse_own(&location)?;
    }
    if arguments.supervised.is_none()
        && let Ok(publish) = attach::publish_socket(&location)
        && FrontLock::restore_left(publish)?
    {
        tracing::warn!(
            "put the bus's own socket back, after a brine attach --in-front that was killed"
        );
    }
    let lock = match arguments.supervised {
        Some(parent) => {
            let publish = attach::publish_socket(&location)?;
            Some(attach::inherited_lock(publish, parent)?)
        }
        None => None,
    };
    daemon::restrict_new_files(false);
    for warning in &location.warnings {
        // What Brine's own master would ignore is for the real one to act on.
        if !matches!(warning, Warning::NotActedOn { .. }) {
            tracing::warn!("{warning}");
        }
    }
    cluster::warn_if_ignored(&location.brine);
    host::raise_file_limit();
    let serve = serve(arguments, location, lock);
    host::bus_runtime()?.block_on(signals::while_serving(serve))??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    arguments: &Arguments,
    location: BusLocation,
    lock: Option<FrontLock>,
) -> anyhow::Result<()> {
    let shutdown = host::shutdown_signal()?;
    // What is wrong with its rules is said before anything is there.
    let rules = arguments.reactor.as_deref();
    let reactor = rules.map(|rules| attach::prepare_reactor(&location, rules));
    let reactor = reactor.transpose()?;
    let mut beside = Beside::open(location, &arguments.options.options(), lock)?;
    if let Some(prepared) = reactor {
        beside.start_reactor(prepared)?;
    }
    beside.start(arguments.api)?;
    let _no_file = Daemon::default().is_up()?;
    beside.serve(shutdown).await
}

fn restore(location: &BusLocation) -> anyhow::Result<ExitCode> {
    let publish = attach::publish_socket(location)?;
    let put_back = match attach::missing_directory(location) {
        Some(_) => false,
        None => {
            let lock = FrontLock::take(publish)?;
            let put_back = lock.restore()?;
            lock.release()?;
            put_back
        }
    };
    let done = match put_back {
        true => "the bus's own socket is back",
        false => "nothing to put back",
    };
    let mut out = terminal::stdout();
    writeln!(out, "{}: {done}", publish.display())?;
    if let Some(path) = remove_stale(location) {
        writeln!(
            out,
            "{}: removed, since nobody listens on it",
            path.display()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes `brine.sock` if nobody serves it.
fn remove_stale(location: &BusLocation) -> Option<PathBuf> {
    let path = location.local_address()?.path().to_owned();
    let about = path.symlink_metadata().ok()?;
    // Taking its name, and giving it up, is safe beside another process that starts.
    (about.file_type().is_socket() && brine_bus::bind_named(&path, 0o600).is_ok()).then_some(path)
}

impl Arguments {
    /// The directories there will be sockets in.
    fn belongings(&self, location: &BusLocation) -> Belongings {
        Belongings {
            folders: self.options.folders(location),
            ..Belongings::default()
        }
    }
}
