//! A Salt minion: its own bus, its masters, and the functions it runs.
//!
//! Each uplink (a master, or a list of masters for failover) has one task that signs in, subscribes and receives jobs
//! (`connection`) and one that sends queued events and returns (`forward`). A third task serves local programs, which
//! send requests through the minion's bus (`local_requests`). None waits for another. Facts:
//! `docs/protocol/network.md` §8 to §11.

mod beacons_and_schedule;
mod connection;
mod forward;
mod job_slots;
mod jobs;
mod liveness;
mod local_requests;
pub mod master_client;
mod masters;
mod options;
mod retry;
mod retry_options;
mod sign_in_loop;
mod spool;
mod standing;
mod start_events;
mod tasks;
mod transport;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use brine_bus::{Bus, BusHandle};
use brine_net::keys::StoreError;
use brine_net::keys::minion::MinionKeys;
use brine_wire::Map;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub use self::masters::{MasterAddress, MasterType};
pub use self::options::{MinionOptions, SpoolOptions};
pub use self::retry_options::{RetryOptions, ReturnRetry};
pub use self::spool::{Backlog, SpoolLimits};
pub use self::standing::Standing;
pub use self::transport::TransportError;

use self::forward::{Item, Queue};
use self::jobs::Jobs;
use self::local_requests::Refreshes;
use self::master_client::MasterClient;
use self::standing::Standings;
use self::tasks::Tasks;
use crate::file;
use crate::functions::{Functions, Host, HostRequest};
use crate::node_bus::{self, NodeBus};

/// How long queued requests may take to be sent when the minion ends.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// Why a minion does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A key file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A master's address.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A directory.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// How a minion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By the shutdown future.
    Shutdown,
    /// A master rejected its key, and `rejected_retry` is off: Salt's exit code 77.
    Rejected,
}

/// A minion whose bus is bound and whose key is loaded.
pub struct Minion {
    node: Arc<Node>,
    clients: Vec<MasterClient>,
    requests: mpsc::Receiver<HostRequest>,
    bus: Bus,
}

/// What the minion's tasks share.
pub(crate) struct Node {
    pub(crate) options: Arc<MinionOptions>,
    pub(crate) bus: NodeBus,
    pub(crate) functions: Functions,
    pub(crate) jobs: Jobs,
    /// The tasks of jobs and local requests.
    pub(crate) tasks: Tasks,
    /// For each uplink, what waits to be sent.
    queues: Vec<Arc<Queue>>,
    /// For each uplink, the master it is connected to.
    up: Vec<watch::Sender<Option<MasterClient>>>,
    /// For each uplink, what its masters said of the minion's key.
    standings: Standings,
    refreshes: Refreshes,
}

/// A connection to one master at a time: a single master, or a list of masters for failover.
pub(crate) struct Uplink {
    pub(crate) node: Arc<Node>,
    /// The index of this uplink's queue in the node.
    pub(crate) number: usize,
    /// Its masters in their order; at least one.
    pub(crate) clients: Vec<MasterClient>,
}

impl Uplink {
    /// The client of one of its masters.
    pub(crate) fn client(&self, at: usize) -> &MasterClient {
        &self.clients[at]
    }

    /// Sends this uplink's requests to `client` from now on; with `None` they wait.
    pub(crate) fn set_current(&self, client: Option<MasterClient>) {
        if let Some(up) = self.node.up.get(self.number) {
            up.send_replace(client);
        }
    }
}

impl Node {
    /// The first master that this minion is connected to.
    pub(crate) fn connected_master(&self) -> Option<MasterClient> {
        self.up.iter().find_map(|up| up.borrow().clone())
    }

    /// Waits a moment until the masters have all that has been queued, as long as they are connected and have nothing
    /// against the minion's key; whether they have it.
    async fn all_sent(&self) -> bool {
        let mut is_sent = true;
        for (number, (queue, up)) in self.queues.iter().zip(&self.up).enumerate() {
            let mut up = up.subscribe();
            is_sent &= tokio::select! {
                biased;
                is_sent = queue.is_all_sent() => is_sent,
                () = self.standings.until_bad(number) => false,
                _ = up.wait_for(Option::is_none) => false,
            };
        }
        is_sent
    }

    /// Puts a request into every master's queue; `false` if one has no room.
    pub(crate) fn send_up(&self, load: &Map) -> bool {
        let pushed = self
            .queues
            .iter()
            .map(|queue| queue.push(Item::new(load.clone())));
        pushed.fold(true, |all, pushed| all & pushed.is_ok())
    }

    /// Puts a job's return into the queue of the uplink the job came from; `false` if it has no room.
    pub(crate) fn send_return(&self, uplink: usize, load: Map, asked_by: MasterClient) -> bool {
        self.queues
            .get(uplink)
            .is_some_and(|queue| queue.push(Item::new(load).asked_by(asked_by)).is_ok())
    }

    /// A master the minion is connected to.
    pub(crate) fn any_master(&self) -> Option<MasterClient> {
        self.up.iter().find_map(|up| up.borrow().clone())
    }

    /// All masters the minion is connected to.
    pub(crate) fn masters(&self) -> Vec<MasterClient> {
        let connected = self.up.iter().filter_map(|up| up.borrow().clone());
        connected.collect()
    }

    /// Fires on the minion's own bus.
    pub(crate) fn fire(&self, tag: &str, data: Map) {
        if let Err(error) = self.bus.fire(tag, data) {
            tracing::warn!(%error, "event not fired");
        }
    }
}

/// A running minion, from outside: what the local socket may have it do. Cheap to clone.
#[derive(Clone)]
pub struct MinionHandle {
    node: Arc<Node>,
    runtime: tokio::runtime::Handle,
}

impl MinionHandle {
    /// Runs an execution function in the minion: `fun`, `arg`, `kwarg`, `jid`, and `return` if the
    /// master is to have the result too. Dropping the future does not stop it; `None` when the minion
    /// is ending.
    pub async fn call(&self, load: Map) -> Option<Map> {
        let (done, result) = tokio::sync::oneshot::channel();
        let node = self.node.clone();
        {
            // The minion's own runtime, wherever the caller is.
            let _runtime = self.runtime.enter();
            self.node.tasks.spawn(async move {
                let _ = done.send(local_requests::run_call(&node, &load).await);
            });
        }
        result.await.ok()
    }

    /// What the masters say about the minion's key, and since when; of a good standing, when the minion last signed in.
    #[must_use]
    pub fn standing(&self) -> (Standing, Option<SystemTime>) {
        self.node.standings.best_since()
    }

    /// Whether the minion is connected to a master.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.node.any_master().is_some()
    }
}

impl Minion {
    /// A handle to this minion. Must be called inside the runtime it will run in.
    #[must_use]
    pub fn handle(&self) -> MinionHandle {
        MinionHandle {
            node: self.node.clone(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Loads the key and prepares the uplinks. The caller has bound the bus's sockets, and made their log.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        options: MinionOptions,
        functions: impl FnOnce(Host) -> Functions,
        bus: Bus,
        handle: BusHandle,
    ) -> Result<Self, StartError> {
        file::make_folder(&options.cachedir).map_err(|source| StartError::Directory {
            path: options.cachedir.display().to_string(),
            source,
        })?;
        let options = Arc::new(options);
        let keys = Arc::new(MinionKeys::open(&options.pki_dir, &options.key_options)?);
        let (host, requests) = Host::new();
        let functions = functions(host);
        let grains = functions.grains();
        let clients = match options.master_type {
            MasterType::None => Vec::new(),
            MasterType::All | MasterType::Failover => options.masters.clone(),
        };
        let clients = clients
            .into_iter()
            .map(|master| MasterClient::new(options.clone(), keys.clone(), &grains, master))
            .collect::<Result<Vec<_>, _>>()?;
        let uplinks = match options.master_type {
            MasterType::Failover => 1,
            MasterType::All | MasterType::None => clients.len(),
        };
        let node = Node {
            bus: NodeBus::new(handle, options.compat, options.max_event_size),
            functions,
            jobs: Jobs::new(options.minion_jid_queue_hwm, options.process_count_max),
            tasks: Tasks::default(),
            queues: queues(&options, uplinks)?,
            up: (0..uplinks).map(|_| watch::Sender::new(None)).collect(),
            standings: Standings::new(uplinks),
            refreshes: Refreshes::default(),
            options,
        };
        Ok(Self {
            node: Arc::new(node),
            clients,
            requests,
            bus,
        })
    }

    /// Runs until `shutdown`, or until a master rejects its key for good.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        let closing = watch::Sender::new(false);
        let Self {
            node,
            clients,
            requests,
            bus,
        } = self;
        let mut tasks = JoinSet::new();
        // From before the bus is served: publishers may have been waiting in its socket since it was bound.
        let events = node.bus.follow();
        tasks.spawn(local_requests::follow_bus(node.clone(), events));
        tasks.spawn(local_requests::serve_functions(node.clone(), requests));
        tasks.spawn(local_requests::serve_refreshes(node.clone()));
        for (number, queue) in node.queues.iter().enumerate() {
            tasks.spawn(forward::run(node.clone(), number));
            tasks.spawn(forward::sync(queue.clone()));
        }
        let (rejected, mut rejection) = mpsc::channel(1);
        for uplink in uplinks(&node, clients) {
            tasks.spawn(connection::run(uplink, rejected.clone()));
        }
        drop(rejected);
        let bus = node_bus::serve(bus, closing.subscribe());
        let end = async {
            let ended = tokio::select! {
                () = shutdown => Ended::Shutdown,
                Some(()) = rejection.recv() => Ended::Rejected,
            };
            drain(&node).await;
            closing.send_replace(true);
            ended
        };
        let ((), ended) = tokio::join!(bus, end);
        node.tasks.shutdown().await;
        tasks.shutdown().await;
        ended
    }
}

/// A queue for each uplink: by its master's name, where there are several.
fn queues(options: &MinionOptions, uplinks: usize) -> Result<Vec<Arc<Queue>>, StartError> {
    let names = (options.masters.iter()).map(|master| master.with_port(master.port));
    let names: Vec<String> = match uplinks {
        0 | 1 => vec!["master".to_owned(); uplinks],
        _ => names.take(uplinks).collect(),
    };
    let open = |name: &String| {
        let queue = Queue::open(options, &name.replace('/', "_"));
        let queue = queue.map_err(|source| StartError::Directory {
            path: options.spool.directory.as_ref().map_or_else(
                || "the spool".to_owned(),
                |directory| directory.join(name).display().to_string(),
            ),
            source,
        });
        queue.map(Arc::new)
    };
    names.iter().map(open).collect()
}

/// One uplink per master; with failover, one for all of them.
fn uplinks(node: &Arc<Node>, clients: Vec<MasterClient>) -> Vec<Uplink> {
    let lists = match node.options.master_type {
        MasterType::Failover => vec![clients],
        MasterType::All | MasterType::None => {
            clients.into_iter().map(|client| vec![client]).collect()
        }
    };
    let numbered = lists.into_iter().enumerate();
    let uplinks = numbered.map(|(number, clients)| Uplink {
        node: node.clone(),
        number,
        clients,
    });
    uplinks.collect()
}

/// Waits a moment for queued requests to be sent, if a master is connected, and reports what is left.
async fn drain(node: &Node) {
    let deadline = Instant::now() + DRAIN_WITHIN;
    let waiting = || node.queues.iter().map(|queue| queue.len()).sum::<usize>();
    while waiting() > 0 && node.any_master().is_some() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    match (waiting(), &node.options.spool.directory) {
        (0, _) => {}
        (left, Some(_)) => {
            tracing::info!(
                left,
                "events and returns are kept on disk for the next start"
            );
        }
        (lost, None) => tracing::warn!(
            lost,
            "stopping with events and returns that no master has acknowledged"
        ),
    }
    let running = node.tasks.count();
    if running > 0 {
        tracing::warn!(running, "stopping while jobs or requests still run");
    }
    let lost = node.jobs.waiting();
    if lost > 0 {
        tracing::warn!(lost, "stopping before queued jobs have begun");
    }
}
