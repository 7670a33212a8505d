//! A Salt minion: its own bus, its masters, and the functions it runs.
//!
//! Per master (or list of masters that stand in for each other) one task signs in, subscribes and takes jobs
//! ([`connection`]), and one sends up what waits ([`forward`]); a third serves local programs that ask through the minion's bus ([`local_requests`]). None
//! waits for another. Facts: `docs/protocol/network.md` §8 to §11.

mod connection;
mod find;
mod forward;
mod jobs;
pub mod link;
mod local_requests;
mod lookout;
mod options;
mod places;
mod transport;
mod tries;
mod waits;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use brine_bus::{BusConfig, Served};
use brine_log::Log;
use brine_net::keys::StoreError;
use brine_net::keys::minion::MinionKeys;
use brine_wire::Map;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

pub use self::options::{MasterAddress, MasterType, MinionOptions};
pub use self::transport::TransportError;
pub use self::tries::{ReturnRetry, Tries};

use self::forward::{Item, Queue};
use self::jobs::Jobs;
use self::link::Link;
use crate::file;
use crate::functions::{Functions, Host, HostRequest};
use crate::node_bus::NodeBus;
use crate::shutdown;

/// How long what waits for a master may take to go when the minion ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    /// It was told to.
    Told,
    /// A master rejected its key, and `rejected_retry` is off: Salt's exit code 77.
    Rejected,
}

/// A minion whose bus is bound and whose key is there.
pub struct Minion {
    node: Arc<Node>,
    links: Vec<Link>,
    requests: mpsc::Receiver<HostRequest>,
    log: Arc<Log>,
    served: Vec<Served>,
}

/// What the minion's tasks share.
pub(crate) struct Node {
    pub(crate) options: Arc<MinionOptions>,
    pub(crate) bus: NodeBus,
    pub(crate) functions: Functions,
    pub(crate) jobs: Jobs,
    /// For every master what goes up to it.
    queues: Vec<Arc<Queue>>,
    /// For every master the way to it while the minion is in.
    up: Vec<watch::Sender<Option<Link>>>,
}

/// A way up: a master, or several that stand in for each other (`failover`).
pub(crate) struct Way {
    pub(crate) node: Arc<Node>,
    /// Which of the node's queues is this way's.
    pub(crate) number: usize,
    /// Its masters in their order; at least one.
    pub(crate) links: Vec<Link>,
}

impl Way {
    /// The link to one of its masters.
    pub(crate) fn link(&self, at: usize) -> &Link {
        &self.links[at]
    }

    /// From now on requests of this way go to this master, or wait.
    pub(crate) fn set_up(&self, link: Option<Link>) {
        if let Some(up) = self.node.up.get(self.number) {
            up.send_replace(link);
        }
    }
}

impl Node {
    /// Puts a request into every master's queue; `false` if one has no room.
    pub(crate) fn send_up(&self, load: &Map) -> bool {
        let pushed = self
            .queues
            .iter()
            .map(|queue| queue.push(Item::new(load.clone())));
        pushed.fold(true, |all, pushed| all & pushed.is_ok())
    }

    /// Puts a job's return into the queue of the way it came from; `false` if it has no room.
    pub(crate) fn send_return(&self, way: usize, load: Map, asked_by: Link) -> bool {
        self.queues
            .get(way)
            .is_some_and(|queue| queue.push(Item::new(load).asked_by(asked_by)).is_ok())
    }

    /// A master the minion is in with.
    pub(crate) fn any_master(&self) -> Option<Link> {
        self.up.iter().find_map(|up| up.borrow().clone())
    }

    /// Fires on the minion's own bus.
    pub(crate) fn fire(&self, tag: &str, data: Map) {
        if let Err(error) = self.bus.fire(tag, data) {
            tracing::warn!(%error, "event not fired");
        }
    }
}

impl Minion {
    /// Opens its key and its ways to its masters. The bus's sockets are the caller's, bound already,
    /// with the log they share.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        options: MinionOptions,
        functions: impl FnOnce(Host) -> Functions,
        served: Vec<Served>,
        log: Arc<Log>,
    ) -> Result<Self, StartError> {
        file::make_folder(&options.cachedir).map_err(|source| StartError::Directory {
            path: options.cachedir.display().to_string(),
            source,
        })?;
        let options = Arc::new(options);
        let keys = Arc::new(MinionKeys::open(&options.pki_dir, &options.key_options)?);
        let links = match options.master_type {
            MasterType::None => Vec::new(),
            MasterType::All | MasterType::Failover => options.masters.clone(),
        };
        let links = links
            .into_iter()
            .map(|master| Link::new(options.clone(), keys.clone(), master))
            .collect::<Result<Vec<_>, _>>()?;
        let ways = match options.master_type {
            MasterType::Failover => 1,
            MasterType::All | MasterType::None => links.len(),
        };
        let (host, requests) = Host::new();
        let node = Node {
            bus: NodeBus::new(log.clone(), options.compat, options.max_event_size),
            functions: functions(host),
            jobs: Jobs::new(options.minion_jid_queue_hwm, options.process_count_max),
            queues: (0..ways).map(|_| Arc::default()).collect(),
            up: (0..ways).map(|_| watch::Sender::new(None)).collect(),
            options,
        };
        Ok(Self {
            node: Arc::new(node),
            links,
            requests,
            log,
            served,
        })
    }

    /// Runs until `shutdown`, or until a master rejects its key for good.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Ended {
        let closing = watch::Sender::new(false);
        let Self {
            node,
            links,
            requests,
            log,
            served,
        } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(local_requests::follow_bus(node.clone()));
        tasks.spawn(local_requests::serve_functions(node.clone(), requests));
        for (queue, up) in node.queues.iter().zip(&node.up) {
            let up = up.subscribe();
            tasks.spawn(forward::run(queue.clone(), node.options.clone(), up));
        }
        let (rejected, mut rejection) = mpsc::channel(1);
        for way in ways(&node, links) {
            tasks.spawn(connection::run(way, rejected.clone()));
        }
        drop(rejected);
        let bus = brine_bus::serve(
            served,
            log,
            BusConfig::default(),
            shutdown::requested(closing.subscribe()),
        );
        let told = async {
            let ended = tokio::select! {
                () = shutdown => Ended::Told,
                Some(()) = rejection.recv() => Ended::Rejected,
            };
            last_words(&node).await;
            closing.send_replace(true);
            ended
        };
        let ((), ended) = tokio::join!(bus, told);
        tasks.shutdown().await;
        ended
    }
}

/// The ways that several masters are.
fn ways(node: &Arc<Node>, links: Vec<Link>) -> Vec<Way> {
    let lists = match node.options.master_type {
        MasterType::Failover => vec![links],
        MasterType::All | MasterType::None => links.into_iter().map(|link| vec![link]).collect(),
    };
    let numbered = lists.into_iter().enumerate();
    let ways = numbered.map(|(number, links)| Way {
        node: node.clone(),
        number,
        links,
    });
    ways.collect()
}

/// Gives what waits some time to go, if there is a master to take it.
async fn last_words(node: &Node) {
    let deadline = Instant::now() + LAST_WORDS;
    let waiting = || node.queues.iter().map(|queue| queue.len()).sum::<usize>();
    while waiting() > 0 && node.any_master().is_some() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    let lost = waiting();
    if lost > 0 {
        tracing::warn!(lost, "ended with events that no master has taken");
    }
    let lost = node.jobs.waiting();
    if lost > 0 {
        tracing::warn!(lost, "ended with jobs that had not begun");
    }
}
