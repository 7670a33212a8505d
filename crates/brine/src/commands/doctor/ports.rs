//! The master's ports: who listens there, and whether it is this master.

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
    let all = proc::tcp_listeners();
    let mut findings = Vec::new();
    for name in ["publish_port", "ret_port"] {
        let Some(Value::Int(port)) = opts.get(name) else {
            continue;
        };
        let Ok(port) = u16::try_from(*port) else {
            findings.push(
                Finding::error("wrong-port", name)
                    .says(format!("{port} is no port"), "write a number up to 65535"),
            );
            continue;
        };
        let inodes: Vec<u64> = all
            .iter()
            .filter(|one| one.at == port)
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

fn of_port(site: &Site, name: &str, port: u16, is_served: bool, pids: &[i32]) -> Option<Finding> {
    let place = format!("{name} {port}");
    let Some(own) = site.bus_pid else {
        let (first, _) = pids.split_first()?;
        return Some(Finding::error("port-taken", place).says(
            format!(
                "no bus of this configuration runs, but {} has its port",
                proc::name(*first)
            ),
            format!("end that process, or set {name} to another port"),
        ));
    };
    if !is_served {
        let is_bus_alone = site
            .part("node")
            .is_some_and(|node| node.get("kind").and_then(Value::as_str) == Some("bus"));
        return (!is_bus_alone && site.option("ipc_mode") != Some("tcp")).then(|| {
            Finding::error("port-closed", place).says(
                format!(
                    "nobody listens, though {} serves the bus: minions cannot reach this master",
                    proc::name(own)
                ),
                "look into the master's log, and start it again",
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
