//! `brine: {acl: …}` of a node: read before its sockets are created, with the line of each mistake.

use std::path::Path;

use anyhow::Context;
use brine_api::Acl;
use brine_api::local::remarks;
use brine_bus::address::Node;
use brine_config::{Environment, Opts, Role};
use rustix::process::geteuid;

use crate::bus_location::BusLocation;

/// The list of permissions of a bus.
pub(crate) fn read(location: &BusLocation) -> anyhow::Result<Acl> {
    let rules = location.brine.acl.as_ref().map(|acl| &acl.0);
    Acl::parse(rules, geteuid().as_raw()).with_context(|| place(location))
}

/// As [`read`], and warns of what is odd about it.
pub(crate) fn read_and_warn(location: &BusLocation) -> anyhow::Result<Acl> {
    let acl = read(location)?;
    for remark in remarks(&acl) {
        tracing::warn!("{}: {remark}", place(location));
    }
    Ok(acl)
}

/// The file and line of the list.
fn place(location: &BusLocation) -> String {
    let file = location
        .opts
        .as_ref()
        .and_then(|opts| opts.text("conf_file").ok());
    let Some(file) = file else {
        return "configuration".to_owned();
    };
    let role = match location.node {
        Node::Master => Role::Master,
        Node::Minion { .. } => Role::Minion,
    };
    let places = Opts::places(role, Path::new(file), &Environment::current());
    let place = places
        .iter()
        .rev()
        .find(|place| place.option == "brine: acl");
    place.map_or_else(|| file.to_owned(), ToString::to_string)
}
