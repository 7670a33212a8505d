//! A minion's masters: whether their names resolve, and whether somebody listens there.

use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use brine_node::minion::{MasterAddress, MasterType, MinionOptions};

use super::Site;
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;

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
    masters.filter_map(of_master).collect()
}

fn of_master(master: &MasterAddress) -> Option<Finding> {
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
            Ok(_) => return None,
            Err(failed) => error = failed,
        }
    }
    Some(Finding::error("no-master", place).says(
        format!("cannot be reached: {error}"),
        "start the master there, correct master and master_port, or open the port in the firewalls between",
    ))
}
