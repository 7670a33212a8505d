//! `salt-master`: serves minions and publishes jobs until a signal ends it.

use std::ffi::OsString;
use std::process::ExitCode;

use brine_config::Role;

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::host;
use crate::node;

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-master",
    usage: "[options]",
    about: "Accepts minions and gives them jobs. This is Brine.",
    options: serve::OPTIONS,
};

/// Serves until a signal ends it.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let refuse_faults = host::faults::refuse_of_master;
    match serve::begin(&SYNTAX, words, Role::Master, "master", refuse_faults)? {
        Begun::Service(service) => service.run(master(&service)),
        Begun::Done(code) => Ok(code),
    }
}

async fn master(service: &Service) -> anyhow::Result<ExitCode> {
    let shutdown = host::shutdown_signal()?;
    let (master, _history) = node::master(&service.loaded).await?;
    let (interface, ret_port) = (service.loaded.opts.text("interface")?, master.ret_port());
    let ready = format!("salt-master is ready; minions sign in at {interface}, port {ret_port}");
    let _pid_file = service.is_up(&ready)?;
    // In the background the log begins there.
    tracing::info!(
        ret_port = master.ret_port(),
        publish_port = master.publish_port(),
        "ready"
    );
    master.run(shutdown).await;
    Ok(ExitCode::SUCCESS)
}
