//! The master's address and ports: who listens there, and whether it is this master.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use brine_wire::Value;

use super::{Site, proc};
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let Some(opts) = site
        .location
        .opts
        .as_ref()
        .filter(|_| site.kind == NodeKind::Master)
    else {
        return Vec::new();
    };
    let own = site
        .option("interface")
        .and_then(|text| text.trim_matches(['[', ']']).parse().ok())
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if let Some(finding) = of_interface(own) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    let all = proc::tcp_listeners();
    for name in ["publish_port", "ret_port"] {
        let Some(Value::Int(port)) = opts.get(name) else {
            continue;
        };
        // Others are wrong values.
        let Ok(port) = u16::try_from(*port) else {
            continue;
        };
        let inodes: Vec<u64> = all
            .iter()
            .filter(|one| meet(one.at, SocketAddr::new(own, port)))
            .map(|one| one.inode)
            .collect();
        let holders = proc::holders(&inodes);
        let mut pids: Vec<i32> = holders.into_values().flatten().collect();
        pids.sort_unstable();
        pids.dedup();
        findings.extend(of_port(site, name, port, !inodes.is_empty(), &pids));
    }
    findings
}

/// The process of this machine that listens at an address, if this user may see it.
pub(in crate::commands) fn server(at: SocketAddr) -> Option<String> {
    let all = proc::tcp_listeners();
    let inodes = all.iter().filter(|one| meet(one.at, at));
    let inodes: Vec<u64> = inodes.map(|one| one.inode).collect();
    let pids = proc::holders(&inodes).into_values().flatten();
    pids.min().map(proc::name)
}

/// Whether two listeners cannot be on one machine. Another interface's port of the same number is another port.
pub(super) fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn of_interface(own: IpAddr) -> Option<Finding> {
    let error = TcpListener::bind((own, 0)).err()?;
    (error.kind() == ErrorKind::AddrNotAvailable).then(|| {
        Finding::error("wrong-interface", format!("interface {own}")).says(
            "this machine has no such address: the master cannot listen there",
            "set interface to one of the addresses that `ip address` shows, or to 0.0.0.0",
        )
    })
}

fn of_port(site: &Site, name: &str, port: u16, is_served: bool, pids: &[i32]) -> Option<Finding> {
    let place = format!("{name} {port}");
    let Some(own) = site.bus_pid else {
        // This user may not know who serves it.
        if site.is_running {
            return None;
        }
        let (first, _) = pids.split_first()?;
        return Some(Finding::error("port-taken", place).says(
            format!(
                "no bus of this configuration runs, but {} has its port",
                proc::name(*first)
            ),
            format!(
                "if that is this site's master, restart it: its sockets are gone; if not, end it or set {name} to another port"
            ),
        ));
    };
    if !is_served {
        return (!site.is_bus_alone() && site.option("ipc_mode") != Some("tcp")).then(|| {
            Finding::error("port-closed", place).says(
                format!(
                    "nobody listens at it, though {} serves the bus: minions cannot reach this master",
                    proc::name(own)
                ),
                "check the master's log, and restart it",
            )
        });
    }
    let strangers: Vec<i32> = pids
        .iter()
        .copied()
        .filter(|pid| !proc::are_one_service(*pid, own))
        .collect();
    if strangers.is_empty() {
        return None;
    }
    let names: Vec<String> = strangers.iter().map(|pid| proc::name(*pid)).collect();
    let is_shared = strangers.len() < pids.len();
    let text = match is_shared {
        true => format!(
            "two masters on one port: {} and {}; minions reach one or the other by chance",
            proc::name(own),
            names.join(", ")
        ),
        false => format!(
            "held by {}, not by the master that serves this bus, {}",
            names.join(", "),
            proc::name(own)
        ),
    };
    Some(Finding::error("two-masters", place).says(
        text,
        format!("end one of them, or give each its own {name}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_another_interface_is_another_port() {
        for (one, other, expected) in [
            ("127.0.0.1:4505", "127.0.0.1:4505", true),
            ("127.0.0.1:4505", "127.0.0.2:4505", false),
            ("127.0.0.1:4505", "127.0.0.1:4506", false),
            ("0.0.0.0:4505", "127.0.0.2:4505", true),
            ("[::]:4505", "127.0.0.2:4505", true),
            ("[::ffff:127.0.0.1]:4505", "127.0.0.1:4505", true),
        ] {
            assert_eq!(
                meet(one.parse().unwrap(), other.parse().unwrap()),
                expected,
                "{one} {other}"
            );
        }
    }
}
