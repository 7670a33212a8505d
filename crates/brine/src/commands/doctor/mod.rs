//! `brine doctor`: looks at a site and says what is wrong with it and what to do.
//!
//! Each module looks at one thing and returns findings; nothing is changed. What cannot be checked, because it
//! belongs to another user or does not run, is left out or named.

mod clients;
mod clock;
mod delivery;
mod key_state;
mod keys;
mod masters;
mod modes;
mod owners;
mod ports;
mod proc;
mod resources;
mod sockets;
mod unseen;

pub(super) use self::ports::server as tcp_server;
pub(super) use self::proc::{exists, is_stopped};

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use brine_bus::address::{Endpoint, Node};
use brine_bus::client::local::LocalError;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::front;
use brine_config::Severity;
use brine_node::minion::Standing;
use brine_wire::{Map, Value};

use super::bench::listener;
use super::check;
use super::findings::{Finding, ShowArgs};
use super::late;
use super::local_events;
use crate::access;
use crate::bus_location::{BusArgs, BusLocation, NodeKind};

/// The arguments of `brine doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examines the configuration (as brine check), sockets and their modes, the processes that serve them,
ports, keys, what a running minion knows of its key's state at its masters, disks, limits, the
releases of the programs that listen, whether events get where they are to go (sinks, consumers,
cluster, reactor, history, a minion's spool), and the clocks of minions, as far as recent events
tell. Changes nothing. Run it as root, or as the user of the master: other users do not see everything.

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
        findings.extend(check::of_file(role, &file));
        if findings.iter().any(|one| one.kind == "unreadable-file") {
            // The defaults would lead to another site.
            findings.push(not_looked());
            return arguments.show.print(findings, "doctor");
        }
    }
    let location = match arguments.bus.resolve() {
        Ok(location) => location,
        Err(error) => {
            let text = crate::show::one_line(&error);
            let is_said =
                |one: &Finding| one.severity == Severity::Error && text.contains(&one.text);
            if !findings.iter().any(is_said) {
                let place = arguments.bus.sock_dir.as_deref();
                let place = place
                    .map(|path| path.display().to_string())
                    .unwrap_or_default();
                findings.push(
                    Finding::error("no-bus-there", place)
                        .says(text, "correct it; nothing else can be checked"),
                );
            }
            findings.push(not_looked());
            return arguments.show.print(findings, "doctor");
        }
    };
    if let Some(closed) = closed(&location) {
        findings.push(closed);
        return arguments.show.print(findings, "doctor");
    }
    let site = Site::look(location, arguments.bus.kind());
    findings.extend(sockets::findings(&site));
    findings.extend(ports::findings(&site));
    findings.extend(keys::findings(&site));
    findings.extend(owners::findings(&site));
    findings.extend(modes::findings(&site));
    findings.extend(masters::findings(&site));
    findings.extend(key_state::findings(&site));
    findings.extend(resources::findings(&site));
    findings.extend(clients::findings(&site));
    findings.extend(delivery::findings(&site));
    findings.extend(clock::findings(&site));
    findings.extend(unseen::finding(&site));
    let what = match arguments.bus.kind() {
        NodeKind::Master => "master",
        NodeKind::Minion => "minion",
    };
    arguments.show.print(findings, what)
}

/// A user who may ask neither Salt's socket nor Brine's sees nothing of the site: what is left would read as its state.
fn closed(location: &BusLocation) -> Option<Finding> {
    let publish = location.address.publish();
    let denied = match local_events::connect_unless_salts(location) {
        Ok(Some(_)) => None,
        Ok(None) => access::closed(publish),
        Err(denied) => Some(denied),
    };
    denied.map(|denied| {
        Finding::error("no-permission", publish).says(
            denied.to_string(),
            "then run brine doctor again: only the configuration was checked",
        )
    })
}

/// Without a readable configuration, nobody knows where the site is.
fn not_looked() -> Finding {
    Finding::note("not-looked-at", "doctor").says(
        "sockets, processes, keys, disks and deliveries were not checked: the configuration does not say where they are",
        "correct what is above, and run brine doctor again",
    )
}

/// The process that serves Brine's own socket.
pub(super) fn local_server(location: &BusLocation) -> Option<i32> {
    let address = location.local_address()?;
    listener(&Endpoint::Path(address.path().to_owned()))
}

/// Whether a `brine attach --in-front` was killed, and the bus's own socket is not back in its place.
pub(super) fn is_left(location: &BusLocation) -> bool {
    match location.address.publish() {
        Endpoint::Path(path) => front::is_left(path),
        Endpoint::Tcp(_) => false,
    }
}

/// The process that serves the bus, if it is stopped: the kernel goes on accepting connections for it.
pub(super) fn stopped_bus(location: &BusLocation) -> Option<i32> {
    let address = &location.address;
    // A connection to the publish socket would be a subscriber.
    let server = listener(address.pull()).or_else(|| listener(address.publish()));
    server.filter(|pid| is_stopped(*pid))
}

/// What all modules look at.
struct Site {
    location: BusLocation,
    kind: NodeKind,
    /// The process that serves the bus, if this user may know.
    bus_pid: Option<i32>,
    /// Whether a `brine attach --in-front` was killed, and the bus's own socket is not back in its place.
    is_left: bool,
    /// Whether somebody serves the publish socket, as far as this user may know.
    is_running: bool,
    /// Whether this user may not use the publish socket.
    is_refused: bool,
    /// The status of a Brine bus.
    status: Option<Map>,
    /// Whether Brine's own socket takes connections and does not answer.
    is_silent: bool,
    /// The process that serves it then, if another one serves the bus: `brine attach`.
    silent_attach: Option<i32>,
}

impl Site {
    fn look(location: BusLocation, kind: NodeKind) -> Self {
        let endpoint = location.address.publish();
        let is_left = is_left(&location);
        let bus_pid = listener(match is_left {
            true => location.address.pull(),
            false => endpoint,
        });
        let mut is_refused = false;
        let is_running = match endpoint {
            Endpoint::Path(path) => {
                is_refused = UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
                bus_pid.is_some() || is_refused
            }
            Endpoint::Tcp(address) => {
                TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
            }
        };
        let mut site = Self {
            status: None,
            is_silent: false,
            silent_attach: None,
            location,
            kind,
            bus_pid,
            is_left,
            is_running,
            is_refused,
        };
        match site
            .client()
            .map(|mut client| client.status(Some(late::ANSWER)))
        {
            Some(Ok(Value::Map(status))) => site.status = Some(status),
            Some(Err(LocalError::TimedOut { .. })) => site.is_silent = true,
            _ => {}
        }
        if site.part("attach").is_some() || site.is_silent {
            // An attach may have taken the place of the publish socket; the other one is the bus's own. Not every user
            // may ask who serves that.
            let is_in_front = site.is_in_front();
            let seen = site.bus_pid.filter(|_| !is_in_front);
            site.bus_pid = listener(site.location.address.pull()).or(seen);
        }
        if site.is_silent {
            let server = local_server(&site.location);
            site.silent_attach = server.filter(|_| server != site.bus_pid);
        }
        site
    }

    /// A connection to Brine's own socket, if there is one that answers.
    fn client(&self) -> Option<LocalClient> {
        let address = self.location.local_address();
        local_events::connect(address.filter(|_| !self.is_silent)).unwrap_or_default()
    }

    /// What the running minion last heard of its key from its masters, if that is known.
    fn standing(&self) -> Option<Standing> {
        let key = self.part("minion")?.get("key")?.as_str()?;
        Standing::named(key)
    }

    /// A part of the status.
    fn part(&self, name: &str) -> Option<&Map> {
        self.status.as_ref()?.get(name)?.as_map()
    }

    /// Whether an attach says that it has taken the place of the publish socket.
    fn is_in_front(&self) -> bool {
        let attach = self.part("attach");
        attach.and_then(|attach| attach.get("in_front")) == Some(&Value::Bool(true))
    }

    /// Whether the bus belongs to no master or minion, so that what those need may be missing.
    fn is_bus_alone(&self) -> bool {
        self.part("node")
            .is_some_and(|node| node.get("kind").and_then(Value::as_str) == Some("bus"))
    }

    /// An option as text, if a configuration was read.
    fn option(&self, name: &str) -> Option<&str> {
        self.location.opts.as_ref()?.get(name)?.as_str()
    }

    /// The minion's id, by which its masters know it.
    fn id(&self) -> &str {
        match &self.location.node {
            Node::Minion { id, .. } => self.option("id").unwrap_or(id),
            Node::Master => "ID",
        }
    }

    /// Whether this program serves the bus, as far as this user may see that.
    fn is_ours(&self) -> bool {
        let name = |path: std::path::PathBuf| path.file_name().map(std::ffi::OsStr::to_owned);
        let served_by = self.bus_pid.and_then(proc::program).and_then(name);
        served_by.is_some() && served_by == std::env::current_exe().ok().and_then(name)
    }

    /// How the process that serves the bus is named to people.
    fn server(&self) -> String {
        self.bus_pid.map_or_else(|| "nobody".to_owned(), proc::name)
    }
}
