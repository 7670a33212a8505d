//! `brine.sock` of a serving process: where it is, who may use it, and the thread it runs on.
//!
//! It has its own runtime, so that streams and requests take no time from the bus's thread.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use brine_api::local::{self, Listener};
use brine_api::{ApiConfig, ApiState, NodeInfo, RunCommand};
use brine_bus::BusHandle;
use brine_bus::address::Node;
use brine_log::history::History;
use brine_node::master::MasterHandle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::bus_location::BusLocation;
use crate::clock::local_offset;
use crate::daemon;
use crate::host::{audit, figures, permissions};
use crate::show;

/// How often a request that waits for the disk looks whether it hangs.
const HANG_LOOKS: Duration = Duration::from_secs(11);

/// A local socket that is served. Dropping it ends its streams and waits for them.
pub(crate) struct RunningSocket {
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds the local socket of a bus and serves it on its own thread; `None` if a bus on ports has no directory for the
/// token.
pub(crate) fn start(
    location: &BusLocation,
    state: Arc<ApiState>,
) -> anyhow::Result<Option<RunningSocket>> {
    let listener = match &location.sock_dir {
        Some(sock_dir) => {
            Listener::bind(&sock_dir.join(location.node.local_socket_name()), &state)?
        }
        None => match bind_loopback(location) {
            Ok(listener) => listener,
            // The bus itself needs no directory there, so that it runs where none can be made.
            Err(error) => {
                tracing::warn!("no local socket: {}", show::one_line(&error));
                return Ok(None);
            }
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the local socket")?;
    let (shutdown, ended) = oneshot::channel();
    let serve = move || {
        let ended = async {
            let _ = ended.await; // a sender that is gone ends it too
        };
        if let Err(error) = runtime.block_on(local::serve(listener, state, ended)) {
            tracing::error!(err = %error, "the local socket is not served");
        }
    };
    let thread = std::thread::Builder::new()
        .name("brine-api".to_owned())
        .spawn(serve)
        .context("cannot start the thread of the local socket")?;
    Ok(Some(RunningSocket {
        shutdown: Some(shutdown),
        thread: Some(thread),
    }))
}

impl Drop for RunningSocket {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

/// Under `ipc_mode: tcp`, a port and a token in a file beside where the sockets would be.
fn bind_loopback(location: &BusLocation) -> anyhow::Result<Listener> {
    let opts = location.opts.as_ref();
    let opts = opts.context("a bus on ports without a configuration has no local socket")?;
    let sock_dir = Path::new(opts.text("sock_dir")?);
    daemon::make_public_folder(sock_dir)
        .with_context(|| format!("sock_dir {}", sock_dir.display()))?;
    let token_file = sock_dir.join(location.node.local_token_name());
    Ok(Listener::bind_loopback(&token_file)?)
}

/// What the socket, and the HTTP API beside it, answer from.
pub(crate) fn state(
    location: &BusLocation,
    bus: &BusHandle,
    history: Option<History>,
    runner: Option<Arc<dyn RunCommand>>,
    master: Option<&MasterHandle>,
) -> anyhow::Result<ApiState> {
    let acl = permissions::read(location)?;
    let (kind, id) = match &location.node {
        Node::Master => ("master", String::new()),
        Node::Minion { id, .. } => ("minion", id.clone()),
    };
    let node = NodeInfo {
        kind: if runner.is_some() { kind } else { "bus" },
        id,
        version: env!("CARGO_PKG_VERSION"),
    };
    let mut config = ApiConfig {
        zone: local_offset,
        ..ApiConfig::default()
    };
    if let Some(compat) = location.brine.compat {
        config.stamp_style = compat.stamp_style();
    }
    let mut state = ApiState::new(Arc::clone(bus.log()), acl, node, config);
    state.redact = location.brine.redact.clone().into();
    state.runner = runner;
    state.history.clone_from(&history);
    if let Some(history) = &history {
        let writer = history.clone();
        state.durability = Some(Arc::new(move |events| {
            let writer = writer.clone();
            Box::pin(async move {
                let mut durable = pin!(writer.durable(events));
                loop {
                    if let Ok(durable) = timeout(HANG_LOOKS, durable.as_mut()).await {
                        return durable.map_err(|error| error.to_string());
                    }
                    writer.notice_hanging();
                }
            })
        }));
    }
    if let Some(master) = master.filter(|_| location.brine.audit) {
        let master = master.clone();
        state.audit = Some(Arc::new(move |subject, noticed| {
            master.audit_user(audit::who(subject), audit::act(noticed));
        }));
    }
    figures::attach(&mut state, bus, history, master);
    Ok(state)
}
