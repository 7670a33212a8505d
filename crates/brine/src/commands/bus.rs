//! `brine bus`: only the local bus, in the foreground or as a daemon.
//!
//! Reads the arguments; [`crate::host`] composes the bus. One process can offer its bus to clients of several
//! releases, each in its own socket directory.

use std::path::PathBuf;
use std::process::ExitCode;

use super::bus_options::BusOptionArgs;
use crate::bus_location::{BusArgs, BusLocation};
use crate::daemon::account;
use crate::daemon::handover::Belongings;
use crate::daemon::{self, Daemon, signals};
use crate::host::{self, HistoryDefault, OpenBus, cluster, faults};

/// The arguments of `brine bus`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and Ctrl-C stop it; it first delivers what publishers have sent.
Exit codes: 0 ended by a signal; 1 could not start; 2 wrong usage.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: BusOptionArgs,
    /// Run in the background; returns when the bus is ready
    #[arg(short, long)]
    daemon: bool,
    /// The process that `--daemon` starts.
    #[arg(long, hide = true)]
    detached: bool,
    /// Write the process id to a file, which is removed at the end
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// With --daemon: append the log to a file [default: no log]
    #[arg(long, value_name = "FILE", requires = "daemon")]
    log_file: Option<PathBuf>,
    #[command(flatten)]
    bus: BusArgs,
}

/// Runs the bus until a signal ends it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.daemon && !arguments.detached {
        return daemon::start();
    }
    let location = arguments.bus.resolve()?;
    faults::refuse_of_bus(&location, arguments.options.has_history())?;
    if let Some(opts) = &location.opts {
        account::run_as_configured_user(opts, &arguments.belongings(&location))?;
    }
    daemon::restrict_new_files(arguments.detached);
    for warning in &location.warnings {
        tracing::warn!("{warning}");
    }
    cluster::warn_if_ignored(&location.brine);
    host::raise_file_limit();
    host::bus_runtime()?.block_on(signals::while_serving(serve(arguments, location)))??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: &Arguments, location: BusLocation) -> anyhow::Result<()> {
    let shutdown = host::shutdown_signal()?;
    let mut bus = OpenBus::open(location, &arguments.options.options(), HistoryDefault::Off)?;
    bus.start_local_socket()?;
    let _pid_file = arguments.daemon().is_up()?;
    bus.serve(shutdown).await
}

impl Arguments {
    fn daemon(&self) -> Daemon {
        Daemon {
            detached: self.detached,
            pid_file: self.pid_file.clone(),
            log_file: self.log_file.clone(),
            syslog: None,
        }
    }

    /// The directories there will be sockets in, and the daemon's files.
    fn belongings(&self, location: &BusLocation) -> Belongings {
        Belongings {
            folders: self.options.folders(location),
            pid_file: self.pid_file.clone(),
            log_file: self.log_file.clone(),
        }
    }
}
