//! The HTTP API of a serving process: its options, the master it works for, and the threads it runs on.
//!
//! It has its own runtime, so that requests take no time from the bus's thread.

mod arguments;
mod beside;
mod feed;
mod gate;
mod options;
pub(super) mod own;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use brine_api::network;
use brine_api::rest::{Operator, RestState};
use brine_api::stream::{EventsOf, StreamConfig, Streams};
use brine_api::{ApiState, network::Tls};
use brine_config::Brine;
use brine_wire::compat::Series;
use tokio::sync::{oneshot, watch};

use crate::clock::local_offset;
pub(crate) use beside::BesideMaster;
pub(crate) use feed::{Ended, Feed};
pub(crate) use options::ApiSettings;
pub(crate) use own::OwnMaster;

/// The threads of the API: answering is not what takes long.
const THREADS: usize = 2;

/// An API that is served. Dropping it ends its streams and waits for them.
pub(crate) struct RunningApi {
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) is_tls: bool,
}

/// Serves the API on a socket that listens. `api` may get another log meanwhile: streams continue there.
pub(crate) fn start(
    brine: &Brine,
    settings: ApiSettings,
    socket: TcpListener,
    api: watch::Receiver<Arc<ApiState>>,
    operator: Arc<dyn Operator>,
) -> anyhow::Result<RunningApi> {
    let forms = brine.api.forms.or(brine.compat);
    let streams = Streams::start(
        api.clone(),
        StreamConfig {
            zone: local_offset,
            events_of: match forms.map(|forms| forms.series()) {
                Some(Series::S3006 | Series::S3007) => EventsOf::Before3008,
                _ => EventsOf::Bus,
            },
            ..StreamConfig::default()
        },
    )
    .context("cannot start the thread of event streams")?;
    let address = socket.local_addr()?;
    let tls = settings.tls.map(Tls::load).transpose()?;
    let is_tls = tls.is_some();
    let state = RestState::new(api, streams, settings.rest, operator);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("brine-http")
        .enable_all()
        .build()
        .context("cannot start the runtime of the HTTP API")?;
    let (shutdown, ended) = oneshot::channel();
    let serve = move || {
        let ended = async {
            let _ = ended.await; // a sender that is gone ends it too
        };
        let served = runtime.block_on(network::serve(socket, tls, Arc::new(state), ended));
        if let Err(error) = served {
            tracing::error!(err = %error, "the HTTP API is not served");
        }
    };
    let thread = std::thread::Builder::new()
        .name("brine-http".to_owned())
        .spawn(serve)
        .context("cannot start the thread of the HTTP API")?;
    tracing::info!(%address, tls = is_tls, "HTTP API");
    Ok(RunningApi {
        shutdown: Some(shutdown),
        thread: Some(thread),
        address,
        is_tls,
    })
}

impl Drop for RunningApi {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}
