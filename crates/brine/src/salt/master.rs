//! `salt-master`: takes minions in and gives them jobs, until it is told to end.

use std::ffi::OsString;
use std::process::ExitCode;

use brine_bus::address::Node;
use brine_config::Role;
use brine_node::master::{Master, MasterOptions};

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::commands::bus;
use crate::place;

const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-master",
    usage: "[options]",
    about: "Takes minions in and gives them jobs. This is Brine.",
    options: serve::OPTIONS,
};

/// Serves until told to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    match serve::begin(&SYNTAX, words, Role::Master, "master")? {
        Begun::Service(service) => service.run(master(&service)),
        Begun::Done(code) => Ok(code),
    }
}

async fn master(service: &Service) -> anyhow::Result<ExitCode> {
    let loaded = &service.loaded;
    let options = MasterOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let address = place::address(&loaded.opts, &Node::Master, None)?;
    let told_to_end = bus::told_to_end()?;
    let (served, log) = bus::open(&address, Node::Master, loaded)?;
    let master = Master::start(options, served, log).await?;
    tracing::info!(
        ret_port = master.ret_port(),
        publish_port = master.publish_port(),
        "ready"
    );
    let _pid_file = service.is_up()?;
    master.run(told_to_end).await;
    Ok(ExitCode::SUCCESS)
}
