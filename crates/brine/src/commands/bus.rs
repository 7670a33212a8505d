//! `brine bus`: the local bus alone, in the foreground or as a daemon.
//!
//! Reads the arguments; the bus is put together by [`crate::host`]. One process can offer its bus
//! to clients of several releases, each in a socket directory of its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use brine_wire::compat::Compat;

use crate::bus_location::{BusArgs, BusLocation};
use crate::daemon::account;
use crate::daemon::handover::Belongings;
use crate::daemon::{self, Daemon, signals};
use crate::host::{self, BusOverrides, OpenBus};

/// The arguments of `brine bus`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGTERM and Ctrl-C end it: what publishers have sent is delivered first.
Exit codes: 0 ended by a signal; 1 could not start; 2 wrong usage.")]
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
    /// Keep events on disk in a directory, so that readers can go back and a restart goes on with
    /// the same numbers
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
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
    bus: BusArgs,
}

/// Another directory the bus is offered in.
#[derive(Debug, Clone)]
pub(super) struct Also {
    pub(super) sock_dir: PathBuf,
    pub(super) compat: Compat,
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

/// Runs the bus until a signal ends it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.daemon && !arguments.detached {
        return daemon::start();
    }
    let location = arguments.bus.resolve()?;
    if let Some(opts) = &location.opts {
        account::run_as_configured_user(opts, &arguments.belongings(&location))?;
    }
    daemon::restrict_new_files(arguments.detached);
    for warning in &location.warnings {
        tracing::warn!("{warning}");
    }
    host::raise_file_limit();
    host::bus_runtime()?.block_on(signals::while_serving(serve(arguments, location)))??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: &Arguments, location: BusLocation) -> anyhow::Result<()> {
    let shutdown = host::shutdown_signal()?;
    let mut bus = OpenBus::open(location, &arguments.overrides())?;
    bus.start_local_socket()?;
    let _pid_file = arguments.daemon().is_up()?;
    bus.serve(shutdown).await
}

impl Arguments {
    fn overrides(&self) -> BusOverrides {
        let also = self.also.iter();
        BusOverrides {
            compat: self.compat,
            also: also
                .map(|also| (also.sock_dir.clone(), also.compat))
                .collect(),
            log_bytes: self.log_bytes,
            history: self.history.clone(),
            ..BusOverrides::default()
        }
    }

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
        let others = self.also.iter().map(|also| &also.sock_dir);
        Belongings {
            folders: location.sock_dir.iter().chain(others).cloned().collect(),
            pid_file: self.pid_file.clone(),
            log_file: self.log_file.clone(),
        }
    }
}

/// A size: `1048576`, `64MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
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
    use std::path::Path;

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
