//! `salt-api`: the HTTP API of a master beside this process, ours or Salt's.

use std::ffi::OsString;
use std::net::TcpListener;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use brine_config::{Environment, Role};
use tokio::sync::watch;

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::daemon::activation;
use crate::host;
use crate::host::http_api::{self, ApiSettings, BesideMaster, Ended, Feed};

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-api",
    usage: "[options]",
    about: "Serves the HTTP API of a master. This is Brine.",
    options: serve::OPTIONS,
};

/// Serves until it is asked to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    // Sinks and the cluster are the master's.
    match serve::begin(&SYNTAX, words, Role::Master, "master", |_| Ok(()))? {
        Begun::Service(service) => {
            let socket = activation::passed_socket()?;
            service.run(api(&service, socket))
        }
        Begun::Done(code) => Ok(code),
    }
}

/// `passed` is the socket of a service manager, to be served instead of one of our own.
async fn api(service: &Service, passed: Option<TcpListener>) -> anyhow::Result<ExitCode> {
    let mut shutdown = pin!(host::shutdown_signal()?);
    let loaded = &service.loaded;
    let user = Environment::current().user;
    // It may wait for a bus, and what it is told then explains that.
    service.warn_beside(None);
    if let Some(passed) = &passed {
        ApiSettings::of_master(&loaded.opts, &loaded.brine)?.warn_if_elsewhere(passed)?;
    }
    let mut settings = ApiSettings::of_master(&loaded.opts, &loaded.brine)?;
    settings.fit_into(host::open_files());
    let operator = Arc::new(BesideMaster::new(&loaded.opts, &user)?);
    let (mut feed, state) = tokio::select! {
        opened = Feed::open(loaded) => opened?,
        () = &mut shutdown => return Ok(ExitCode::SUCCESS),
    };
    let socket = match passed {
        Some(passed) => passed,
        None => settings.bind()?,
    };
    let current = watch::Sender::new(Arc::new(state));
    let api = http_api::start(
        &loaded.brine,
        settings,
        socket,
        current.subscribe(),
        operator,
    )?;
    let _pid_file = service.is_up("salt-api is ready")?;
    // In the background the log begins there.
    tracing::info!(address = %api.address, "ready");
    while feed.run(&mut shutdown).await? == Ended::Changed {
        let (next, mut state) = tokio::select! {
            opened = Feed::open_again(loaded) => opened,
            () = &mut shutdown => break,
        };
        state.continues(&current.borrow());
        current.send_replace(Arc::new(state));
        feed = next;
    }
    drop(api);
    Ok(ExitCode::SUCCESS)
}
