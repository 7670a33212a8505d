//! `salt-minion`: runs the jobs of its masters until a signal ends it.

use std::ffi::OsString;
use std::process::ExitCode;

use brine_config::Role;
use brine_node::minion::Ended;

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::host;
use crate::node;

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-minion",
    usage: "[options]",
    about: "Runs functions for its masters. This is Brine.",
    options: serve::OPTIONS,
};

/// Salt's code for a minion whose key was rejected.
const NO_PERMISSION: u8 = 77;

/// Serves until a signal ends it.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let refuse_faults = host::faults::refuse_of_minion;
    match serve::begin(&SYNTAX, words, Role::Minion, "minion", refuse_faults)? {
        Begun::Service(service) => service.run(minion(&service)),
        Begun::Done(code) => Ok(code),
    }
}

async fn minion(service: &Service) -> anyhow::Result<ExitCode> {
    let shutdown = host::shutdown_signal()?;
    host::cluster::warn_if_ignored(&service.loaded.brine);
    let (minion, _history) = node::minion(&service.loaded, Some(service.functions_umask))?;
    let id = service.loaded.opts.text("id")?;
    let ready = format!("salt-minion {id} is ready and signs in to its master");
    let _pid_file = service.is_up(&ready)?;
    // In the background the log begins there.
    tracing::info!("ready");
    Ok(match minion.run(shutdown).await {
        Ended::Shutdown => ExitCode::SUCCESS,
        Ended::Rejected => ExitCode::from(NO_PERMISSION),
    })
}
