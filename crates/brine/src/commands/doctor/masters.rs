//! A minion's masters: whether their names resolve, whether somebody listens there, and whether a ping is answered.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use brine_node::minion::master_client::is_silent;
use brine_node::minion::{MasterAddress, MasterType, MinionOptions};

use super::{Site, ports, proc};
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;
use crate::host;

/// How many of them are asked: each may take as long as [`PATIENCE`].
const FEW: usize = 5;
/// How long a master may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let Some(opts) = site
        .location
        .opts
        .as_ref()
        .filter(|_| site.kind == NodeKind::Minion)
    else {
        return Vec::new();
    };
    // Wrong options are found with the configuration.
    let Ok(options) = MinionOptions::from_opts(opts, &site.location.brine) else {
        return Vec::new();
    };
    if options.master_type == MasterType::None {
        return Vec::new();
    }
    let masters = options.masters.iter().take(FEW);
    masters
        .filter_map(|master| of_master(&options, master))
        .collect()
}

fn of_master(options: &MinionOptions, master: &MasterAddress) -> Option<Finding> {
    let place = format!("master {}", master.with_port(master.port));
    let addresses = match (master.host.as_str(), master.port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => {
            return Some(Finding::error("unknown-master", place).says(
                format!("its name cannot be resolved: {error}"),
                "correct the option master, or the name service (DNS, /etc/hosts)",
            ));
        }
    };
    let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return silent(options, master, address, place),
            Err(failed) => error = failed,
        }
    }
    Some(Finding::error("no-master", place).says(
        format!("cannot be reached: {error}"),
        "start the master there, correct master and master_port, or open the port in the firewalls between",
    ))
}

/// The kernel accepts connections for a process that hangs.
fn silent(
    options: &MinionOptions,
    master: &MasterAddress,
    address: SocketAddr,
    place: String,
) -> Option<Finding> {
    let runtime = host::bus_runtime().ok()?;
    if !runtime.block_on(is_silent(options, master, PATIENCE)) {
        return None;
    }
    let found = Finding::error("master-hung", place);
    let stopped = servers(address)
        .into_iter()
        .find(|pid| proc::is_stopped(*pid));
    Some(match stopped {
        Some(pid) => found.says(
            format!(
                "accepts connections but answers nothing: {} is stopped (SIGSTOP, or a debugger)",
                proc::name(pid)
            ),
            format!("kill -CONT {pid}, or restart the master"),
        ),
        None => found.says(
            format!(
                "accepts connections but does not answer a ping for {} s: it hangs, or is no master with this transport",
                PATIENCE.as_secs()
            ),
            "look at the master's log, run brine doctor there, and restart it; or correct master, master_port and transport",
        ),
    })
}

/// The processes that listen there, if that is on this machine.
fn servers(address: SocketAddr) -> Vec<i32> {
    if TcpListener::bind((address.ip(), 0)).is_err() {
        return Vec::new();
    }
    let listeners = proc::tcp_listeners().into_iter();
    let here = listeners.filter(|one| ports::meet(one.at, address));
    let inodes: Vec<u64> = here.map(|one| one.inode).collect();
    proc::holders(&inodes).into_values().flatten().collect()
}
