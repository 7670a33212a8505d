//! `salt-api`: the HTTP API of a master beside this process, ours or Salt's.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use brine_config::{Environment, Role};

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::host;
use crate::host::http_api::{self, ApiSettings, BesideMaster};

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-api",
    usage: "[options]",
    about: "Serves the HTTP API of a master. This is Brine.",
    options: serve::OPTIONS,
};

/// Serves until told to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    match serve::begin(&SYNTAX, words, Role::Master, "master")? {
        Begun::Service(service) => service.run(api(&service)),
        Begun::Done(code) => Ok(code),
    }
}

async fn api(service: &Service) -> anyhow::Result<ExitCode> {
    let shutdown = host::shutdown_signal()?;
    let loaded = &service.loaded;
    let settings = ApiSettings::of_master(loaded)?;
    let user = Environment::current().user;
    let operator = Arc::new(BesideMaster::new(&loaded.opts, &user)?);
    let (state, feed) = http_api::separate_state(loaded)?;
    let api = http_api::start(loaded, settings, state, operator)?;
    tracing::info!(address = %api.address, "ready");
    let _pid_file = service.is_up("salt-api is ready")?;
    tokio::select! {
        ended = feed.run() => ended?,
        () = shutdown => {}
    }
    drop(api);
    Ok(ExitCode::SUCCESS)
}
