//! A Salt master: two ports for minions, and a bus for everybody else on the machine.
//!
//! [`Master::start`] binds, [`Master::handle`] gives other parts of the program access, [`Master::run`] serves until
//! shutdown. Requests are handled on the threads that read them (`dispatch`), so that a minion's events keep their
//! order and wait for nothing; slow work (RSA, files) runs on other threads. Facts: `docs/protocol/network.md` §8 to
//! §12.

mod access;
pub mod audit;
mod clear;
mod context;
mod counters;
mod deliveries;
mod dispatch;
mod external;
mod external_options;
mod handle;
mod jobs;
mod maintenance;
mod mine;
mod minion_data;
mod minion_threads;
mod operator;
mod options;
mod peers;
mod ports;
mod refusals;
mod reserved;
mod rsa_threads;
mod runner;
mod shown_options;
mod sign_in_events;
mod signatures;
mod stats;
mod wheel;

use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use brine_bus::{Bus, BusHandle, Noticed};
use brine_log::{Position, Seq};
use brine_net::keys::StoreError;
use brine_net::master::MasterChannel;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use self::access::acl::fuzz_acl;
pub use self::access::acl::{permits_on_all, permits_runner};
pub use self::access::{Caller, acl_users};
pub use self::counters::{MasterStats, RequestOutcome, SignInOutcome};
pub use self::deliveries::Durable;
pub use self::external_options::missing_backends;
pub use self::handle::MasterHandle;
pub(crate) use self::mine::fuzz_mine;
pub use self::options::MasterOptions;
pub use self::peers::Peers;
pub use self::ports::PortError;
pub use self::reserved::{Reservation, Reserved};
pub(crate) use self::wheel::fuzz_wheel;
pub use self::wheel::{WheelError, has_wheel};

use self::access::Access;
use self::context::{Context, RateLimit};
use self::counters::Counters;
use self::deliveries::Deliveries;
use self::dispatch::Dispatcher;
use self::external::External;
use self::mine::Mine;
use self::minion_data::MinionData;
use self::ports::Ports;
use self::sign_in_events::SignInEvents;
use crate::file;
use crate::files::FileServer;
use crate::jobs::{FOLDER, FunctionJobs, JobCache, Keeps, UnknownHash, Writer};
use crate::node_bus::{self, NodeBus};
use crate::shutdown;

/// Changes of presence that wait for their events.
const PRESENCE: usize = 4096;

/// Why a master cannot start.
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
    context: Arc<Context>,
    ports: Ports,
    bus: Bus,
    /// What the audit notices, if there is one.
    audited: Option<mpsc::Receiver<Noticed>>,
    liveness_file: Option<LivenessFile>,
}

/// A file that exists while its master runs.
struct LivenessFile(PathBuf);

impl Drop for LivenessFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Master {
    /// Opens keys and ports. The caller has bound the bus's sockets and passes the bus with its handle.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        mut options: MasterOptions,
        bus: Bus,
        handle: BusHandle,
    ) -> Result<Self, StartError> {
        // Salt's runners write to the first what they run, and fail if it is missing. To the second salt-run writes what has
        // run, if there is a master to clean it.
        for name in ["proc", FOLDER] {
            let folder = options.cachedir.join(name);
            file::make_folder(&folder).map_err(|source| StartError::Directory {
                path: folder.display().to_string(),
                source,
            })?;
        }
        let ports = Ports::open(&options)?;
        options.channel.publish_port = ports.publish_port;
        let channel = MasterChannel::open(options.channel.clone())?;
        // The keys of local users are made now, so that clients find them, and read once, as by Salt: strangers
        // trigger the check, too.
        let access = Access::open(&options.access, &options.cachedir, &options.user)?;
        let liveness_file = liveness_file(&options)?;
        let jobs = JobCache::open(&options.cachedir, &options.hash_type, options.keep_jobs)?;
        let (keeps, functions) = match options.job_cache {
            true => (Keeps::All, Some(jobs.clone())),
            false => (Keeps::Nothing, None),
        };
        let returns = Writer::start(jobs.clone(), keeps).map_err(StartError::Thread)?;
        let function_jobs = Arc::new(FunctionJobs::new(functions, &options.id));
        let audited = options.audit.then(|| audit::begin(&handle));
        let node_bus = NodeBus::new(handle, options.compat(), options.max_event_size);
        let is_accepted = |id: &_| channel.is_accepted(id);
        let deliveries = Deliveries::open(&options.cachedir, is_accepted);
        let context = Context {
            channel: Arc::new(channel),
            publisher: ports.publisher.clone(),
            bus: node_bus,
            access,
            external: External::new(options.external.auth.clone(), options.token_store()),
            jobs,
            function_jobs,
            returns,
            deliveries,
            peers: OnceLock::new(),
            counters: Counters::default(),
            refusal_events: RateLimit::default(),
            sign_in_events: SignInEvents::default(),
            publish_order: Mutex::default(),
            reserved: Reserved::default(),
            tasks: Mutex::default(),
            reactor: OnceLock::new(),
            files: Arc::new(FileServer::new(options.files.clone())),
            minions: Arc::new(MinionData::open(&options.cachedir)),
            mine: Mine::new(
                options.cachedir.clone(),
                options.compat(),
                options.mine.clone(),
            ),
            options: Arc::new(options),
        };
        Ok(Self {
            context: Arc::new(context),
            ports,
            bus,
            audited,
            liveness_file,
        })
    }

    /// Answers requests of our minions, which keep them until then, once their events are safe. `stored` is the last
    /// event that was safe before this start: what minions delivered after it was lost, and is taken again. `held` says how
    /// many events of a minion are safe from a number on.
    pub fn answer_when(&self, durable: Durable, stored: Position, held: &dyn Fn(&str, Seq) -> u64) {
        self.context.deliveries.wait_for(durable, stored, held);
    }

    /// A handle for other parts of the program. It can be used before [`Self::run`], too.
    #[must_use]
    pub fn handle(&self) -> MasterHandle {
        MasterHandle::new(self.context.clone())
    }

    /// The port that minions send requests to.
    #[must_use]
    pub const fn ret_port(&self) -> u16 {
        self.ports.ret_port
    }

    /// The port that minions read publishes from.
    #[must_use]
    pub const fn publish_port(&self) -> u16 {
        self.ports.publish_port
    }

    /// Serves until `shutdown`. Requests in progress are answered and the bus is drained.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let closing = watch::Sender::new(false);
        let context = self.context;
        let _until_the_end = self.liveness_file;
        let dispatcher = Dispatcher::new(context.clone());
        let (changes, presence) = mpsc::channel(PRESENCE);
        let ports = self.ports.serve(
            context.channel.clone(),
            Arc::new(move |incoming| dispatcher.take(incoming)),
            changes,
            context.publish_port_delay(),
            closing.subscribe(),
        );
        let mut tasks = JoinSet::new();
        let bus = context.bus.clone();
        tasks.spawn(async move { bus.announce().await });
        tasks.spawn(maintenance::run(
            context.clone(),
            presence,
            shutdown::requested(closing.subscribe()),
        ));
        if let Some(noticed) = self.audited {
            let over = shutdown::requested(closing.subscribe());
            tasks.spawn(audit::run(context.clone(), noticed, over));
        }
        let bus = node_bus::serve(self.bus, closing.subscribe());
        let close = async {
            shutdown.await;
            closing.send_replace(true);
        };
        tokio::join!(bus, ports, close);
        tasks.shutdown().await;
        context.stop_tasks();
    }
}

/// Makes the file by which Salt's clients see that a master is running; they check only that it exists.
/// Facts: `docs/protocol/network.md` §12.
fn liveness_file(options: &MasterOptions) -> Result<Option<LivenessFile>, StartError> {
    if options.bus_is_open_to_all {
        return Ok(None);
    }
    let path = options.sock_dir.join("publish_pull.ipc");
    let write = || {
        // A real master that was killed has left its socket there, which nobody can write to.
        if std::fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(&path)?;
        }
        std::fs::write(&path, [])
    };
    write().map_err(|source| StartError::Directory {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Some(LivenessFile(path)))
}
