//! A Salt master: two ports for minions, a bus for everybody else on the machine.
//!
//! [`Master::start`] binds; [`Master::run`] serves until it is told to end. In between, requests are acted on
//! where the transport reads them ([`dispatch`]), so that a minion's events keep their order and wait for
//! nobody; what is slow (RSA, files) is done elsewhere. Facts: `docs/protocol/network.md` §8 to §12.

mod access;
mod clear;
mod connected;
mod dispatch;
mod local_requests;
mod maintenance;
mod mine;
mod minion_data;
mod options;
mod ports;
mod publish;
mod rsa_threads;
mod runner;
mod signatures;
mod stats;
mod wheel;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use brine_bus::{BusConfig, Served};
use brine_log::Log;
use brine_net::keys::StoreError;
use brine_net::master::MasterChannel;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::options::MasterOptions;
pub use self::ports::PortError;
pub use self::runner::{RunnerCall, Runners};

use self::access::Access;
use self::dispatch::Dispatcher;
use self::mine::Mine;
use self::minion_data::MinionData;
use self::ports::Ports;
use self::publish::{Publishing, Refusals};
use crate::file;
use crate::files::{FileRoots, FileServer};
use crate::jobs::{JobCache, UnknownHash, Writer};
use crate::node_bus::NodeBus;
use crate::shutdown;

/// Comings and goings that wait to be told.
const PRESENCE: usize = 4096;

/// Why a master does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A key or session file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// `hash_type`.
    #[error(transparent)]
    Hash(#[from] UnknownHash),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A directory.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// A master whose ports and bus are bound.
pub struct Master {
    options: Arc<MasterOptions>,
    channel: Arc<MasterChannel>,
    ports: Ports,
    bus: NodeBus,
    log: Arc<Log>,
    served: Vec<Served>,
    access: Access,
    runners: Option<Runners>,
    jobs: JobCache,
    returns: Writer,
    liveness_file: Option<LivenessFile>,
}

/// A file that is gone with its master.
struct LivenessFile(PathBuf);

impl Drop for LivenessFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Master {
    /// Opens keys and ports. The bus's sockets are the caller's, bound already, with the log they
    /// share.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        mut options: MasterOptions,
        served: Vec<Served>,
        log: Arc<Log>,
    ) -> Result<Self, StartError> {
        // Salt's runners note there what they run, and fail if it is missing.
        let proc = options.cachedir.join("proc");
        file::make_folder(&proc).map_err(|source| StartError::Directory {
            path: proc.display().to_string(),
            source,
        })?;
        let ports = Ports::open(&options)?;
        options.channel.publish_port = ports.publish_port;
        let channel = MasterChannel::open(options.channel.clone())?;
        // Made now, so that local clients find it; read once, as by Salt: strangers ask for it, too.
        let access = Access::open(&options)?;
        let liveness_file = liveness_file(&options)?;
        let jobs = JobCache::open(&options.cachedir, &options.hash_type, options.keep_jobs)?;
        let returns = Writer::start(jobs.clone()).map_err(StartError::Thread)?;
        let bus = NodeBus::new(log.clone(), options.compat(), options.max_event_size);
        Ok(Self {
            channel: Arc::new(channel),
            options: Arc::new(options),
            ports,
            bus,
            log,
            served,
            access,
            runners: None,
            jobs,
            returns,
            liveness_file,
        })
    }

    /// The same master, which has runner functions run so.
    #[must_use]
    pub fn with_runners(mut self, runners: Runners) -> Self {
        self.runners = Some(runners);
        self
    }

    /// The port requests are taken at.
    #[must_use]
    pub const fn ret_port(&self) -> u16 {
        self.ports.ret_port
    }

    /// The port publishes go out at.
    #[must_use]
    pub const fn publish_port(&self) -> u16 {
        self.ports.publish_port
    }

    /// Serves until `shutdown`; requests under way are answered and the bus is drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let closing = watch::Sender::new(false);
        let publisher = self.ports.publisher.clone();
        let publishing = Arc::new(Publishing {
            options: self.options.clone(),
            channel: self.channel.clone(),
            publisher,
            bus: self.bus.clone(),
            access: self.access,
            runners: self.runners,
            jobs: self.jobs,
            returns: self.returns,
            refusals: Refusals::default(),
            in_order: Mutex::default(),
            files: Arc::new(FileServer::new(FileRoots::from_opts(&self.options.opts))),
            minions: Arc::new(MinionData::open(&self.options.cachedir)),
            mine: Mine::new(&self.options),
        });
        let _until_the_end = self.liveness_file;
        let dispatcher = Dispatcher::new(publishing.clone());
        let (changes, presence) = mpsc::channel(PRESENCE);
        let ports = self.ports.serve(
            self.channel.clone(),
            Arc::new(move |incoming| dispatcher.take(incoming)),
            changes,
            publishing.opens_late(),
            closing.subscribe(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(maintenance::run(
            publishing.clone(),
            presence,
            shutdown::requested(closing.subscribe()),
        ));
        tasks.spawn(local_requests::follow_bus(
            publishing.clone(),
            self.bus.follow(),
        ));
        let bus = brine_bus::serve(
            self.served,
            self.log,
            BusConfig::default(),
            shutdown::requested(closing.subscribe()),
        );
        let told = async {
            shutdown.await;
            closing.send_replace(true);
        };
        tokio::join!(bus, ports, told);
        tasks.shutdown().await;
    }
}

/// Makes the path by which Salt's clients see that a master runs; they look for nothing more.
/// Facts: `docs/protocol/network.md` §12.
fn liveness_file(options: &MasterOptions) -> Result<Option<LivenessFile>, StartError> {
    if options
        .opts
        .text("ipc_mode")
        .is_ok_and(|mode| mode == "tcp")
    {
        return Ok(None);
    }
    let Ok(sock_dir) = options.opts.text("sock_dir") else {
        return Ok(None);
    };
    let path = PathBuf::from(sock_dir).join("publish_pull.ipc");
    std::fs::write(&path, []).map_err(|source| StartError::Directory {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Some(LivenessFile(path)))
}
