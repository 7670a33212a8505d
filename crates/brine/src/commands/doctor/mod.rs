//! `brine doctor`: looks at a site and says what is wrong with it and what to do.
//!
//! Each module looks at one thing and gives findings; nothing is changed. What cannot be looked at, because it belongs
//! to another user or does not run, is left out or named.

mod clients;
mod clock;
mod keys;
mod ports;
mod proc;
mod resources;
mod sockets;

use std::process::ExitCode;
use std::time::Duration;

use brine_bus::address::Endpoint;
use brine_bus::client::local::blocking::LocalClient;
use brine_config::{Environment, review};
use brine_wire::{Map, Value};

use super::bench::listener;
use super::findings::{Finding, ShowArgs};
use super::local_events;
use crate::bus_location::{BusArgs, BusLocation, NodeKind};

/// The arguments of `brine doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at the configuration (as brine check), sockets and their modes, the processes that serve them,
ports, keys, disks, limits, the releases of the programs that listen, and the clocks of minions, as
far as recent events tell. Changes nothing. Run it as root, or as the user of the master: others do
not see everything.

Exit codes: 0 no error (with --strict: no warning either); 1 something is wrong; 2 wrong usage.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    bus: BusArgs,
}

/// Looks at everything.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    if let Some((role, file)) = arguments.bus.configuration_file() {
        let (remarks, _) = review(role, &file, &Environment::current());
        findings.extend(remarks.into_iter().map(Finding::from));
    }
    let location = match arguments.bus.resolve() {
        Ok(location) => location,
        Err(error) => {
            let text = crate::show::one_line(&error);
            if !findings.iter().any(|finding| text.contains(&finding.text)) {
                let place = arguments.bus.sock_dir.as_deref();
                let place = place
                    .map(|path| path.display().to_string())
                    .unwrap_or_default();
                findings.push(
                    Finding::error("no-bus-there", place)
                        .says(text, "correct it; nothing else can be looked at"),
                );
            }
            return arguments.show.print(findings, "doctor");
        }
    };
    let site = Site::look(location, arguments.bus.node);
    findings.extend(sockets::findings(&site));
    findings.extend(ports::findings(&site));
    findings.extend(keys::findings(&site));
    findings.extend(resources::findings(&site));
    findings.extend(clients::findings(&site));
    findings.extend(clock::findings(&site));
    let what = match arguments.bus.node {
        NodeKind::Master => "master",
        NodeKind::Minion => "minion",
    };
    arguments.show.print(findings, what)
}

/// What all modules look at.
struct Site {
    location: BusLocation,
    kind: NodeKind,
    /// The process that serves the publish socket.
    bus_pid: Option<i32>,
    /// Whether somebody serves the publish socket.
    is_running: bool,
    /// What a bus of Brine says of itself.
    status: Option<Map>,
}

impl Site {
    fn look(location: BusLocation, kind: NodeKind) -> Self {
        let endpoint = location.address.publish();
        let bus_pid = listener(endpoint);
        let is_running = match endpoint {
            Endpoint::Path(_) => bus_pid.is_some(),
            Endpoint::Tcp(address) => {
                std::net::TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
            }
        };
        let mut site = Self {
            status: None,
            location,
            kind,
            bus_pid,
            is_running,
        };
        if let Some(mut client) = site.client()
            && let Ok(Value::Map(status)) = client.status(Some(Duration::from_secs(10)))
        {
            site.status = Some(status);
        }
        site
    }

    /// A connection to Brine's own socket, if there is one.
    fn client(&self) -> Option<LocalClient> {
        self.location
            .local_address()
            .and_then(local_events::connect)
    }

    /// A part of the status.
    fn part(&self, name: &str) -> Option<&Map> {
        self.status.as_ref()?.get(name)?.as_map()
    }

    /// An option as text, if a configuration was read.
    fn option(&self, name: &str) -> Option<&str> {
        self.location.opts.as_ref()?.get(name)?.as_str()
    }

    /// How the process that serves the bus is named to people.
    fn server(&self) -> String {
        self.bus_pid.map_or_else(|| "nobody".to_owned(), proc::name)
    }
}
