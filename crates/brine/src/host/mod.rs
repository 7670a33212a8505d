//! The parts of a serving process: the sockets of a bus, the log behind them, the runtime they run on, the limit of
//! open files and the signals that end it.
//!
//! `brine bus`, `brine up` and Salt's daemons are composed of these parts, so that each part is written once and
//! every daemon gets it. A part knows options, not command lines.

pub(crate) mod attach;
mod audit;
pub(crate) mod cluster;
mod commands;
pub(crate) mod faults;
mod figures;
mod history;
pub(crate) mod http_api;
mod local_socket;
mod permissions;
pub(crate) mod reactor;
pub(crate) mod sinks;
mod sockets;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use brine_api::{ApiState, RunCommand};
use brine_bus::address::{Address, Node};
use brine_bus::{Bus, BusConfig, BusHandle, Served};
use brine_config::Loaded;
use brine_log::history::{History, PreparedHistory};
use brine_log::{Framings, Log, LogConfig, LogId, OverflowConfig, Position, Seq};
use brine_node::master::{Durable, MasterHandle};
use brine_node::minion::MinionHandle;
use brine_wire::compat::Compat;
use brine_wire::frame::Framing;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::rand::GetRandomFlags;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::bus_location::BusLocation;
use crate::show;
use cluster::RunningCluster;
pub(crate) use commands::{MasterCommands, MinionCommands};
pub(crate) use history::{
    HistoryDefault, RunningHistory, configured_directory, configured_retention,
};
use http_api::{ApiSettings, OwnMaster, RunningApi};
pub(crate) use local_socket::RunningSocket;
use reactor::{OpenedReactor, RunningReactor};
pub(crate) use sinks::SinkList;
use sinks::{PreparedSinks, RunningSinks};

/// How a bus, or one that is joined, differs from what its configuration says.
#[derive(Debug, Default)]
pub(crate) struct BusOptions {
    /// The release whose clients read from it, or the release of the bus that is joined.
    pub(crate) compat: Option<Compat>,
    /// Further directories in which it is offered to clients of other releases.
    pub(crate) also: Vec<(PathBuf, Compat)>,
    /// The size of the log in memory, in bytes.
    pub(crate) log_bytes: Option<u64>,
    /// The directory of its history.
    pub(crate) history: Option<PathBuf>,
}

/// A bus that has its sockets and its log. It accepts nothing until it is served.
pub(crate) struct OpenBus {
    pub(crate) bus: Bus,
    pub(crate) handle: BusHandle,
    /// Dropped before the history, whose acknowledgements it waits for.
    socket: Option<RunningSocket>,
    /// Dropped before the history, which keeps their positions.
    sinks: Option<RunningSinks>,
    /// To be dropped when nothing is appended any more.
    pub(crate) history: Option<RunningHistory>,
    location: BusLocation,
}

/// What a node's bus has beside it, to be dropped when the node has ended.
#[expect(
    dead_code,
    reason = "fields are dropped in their order: nothing is fired after history ends"
)]
pub(crate) struct Attached {
    /// First, so that nothing reacts to the end of the others.
    reactor: Option<RunningReactor>,
    api: Option<RunningApi>,
    state: Arc<ApiState>,
    socket: Option<RunningSocket>,
    sinks: Option<RunningSinks>,
    cluster: Option<RunningCluster>,
    history: Option<RunningHistory>,
}

impl Attached {
    /// Serves the HTTP API of the node, a master; where it listens, and whether with TLS.
    pub(crate) fn start_api(
        &mut self,
        loaded: &Loaded,
        master: MasterHandle,
    ) -> anyhow::Result<(SocketAddr, bool)> {
        let mut settings = ApiSettings::of_master(&loaded.opts, &loaded.brine)?;
        // Of what the master's own ports leave.
        settings.fit_into(open_files() / 8);
        let operator = Arc::new(OwnMaster::of(master, &loaded.opts)?);
        let socket = settings.bind()?;
        let state = Arc::clone(&self.state);
        let api = http_api::start(
            &loaded.brine,
            settings,
            socket,
            watch::channel(state).1,
            operator,
        )?;
        let place = (api.address, api.is_tls);
        self.api = Some(api);
        Ok(place)
    }
}

impl OpenBus {
    /// Binds the sockets of a bus and makes its log.
    pub(crate) fn open(
        location: BusLocation,
        options: &BusOptions,
        default: HistoryDefault,
    ) -> anyhow::Result<Self> {
        permissions::read_and_warn(&location)?;
        let sinks = PreparedSinks::of(&location)?;
        let prepared = history::prepare(&location, options.history.as_deref(), default)?;
        let compat = options.compat.or(location.brine.compat);
        let mut served = vec![sockets::bind(
            &location.address,
            location.sock_dir.as_deref(),
            compat.unwrap_or(Compat::NEWEST),
            &location,
        )?];
        for (sock_dir, compat) in &options.also {
            let address = Address::ipc(sock_dir, &location.node)?;
            served.push(sockets::bind(&address, Some(sock_dir), *compat, &location)?);
        }
        let log_bytes = options.log_bytes.or(location.brine.log_bytes);
        let log = log(&served, log_bytes, &location, prepared.as_ref())?;
        let history = prepared.map(|prepared| RunningHistory::start(prepared, &log));
        let history = history.transpose()?;
        let store = history.as_ref().map(RunningHistory::handle);
        let sinks = sinks.start(&log, store.as_ref())?;
        let (bus, handle) = Bus::new(served, log, BusConfig::default());
        Ok(Self {
            bus,
            handle,
            socket: None,
            sinks,
            history,
            location,
        })
    }

    /// The bus of a node, as the node's configuration says.
    pub(crate) fn of_node(loaded: &Loaded, node: Node) -> anyhow::Result<Self> {
        let default = match node {
            Node::Master => HistoryDefault::On,
            Node::Minion { .. } => HistoryDefault::Off,
        };
        let location = BusLocation::of_node(loaded, node)?;
        Self::open(location, &BusOptions::default(), default)
    }

    /// Serves the local socket of a bus alone, until the bus has ended.
    pub(crate) fn start_local_socket(&mut self) -> anyhow::Result<()> {
        let history = self.history.as_ref().map(RunningHistory::handle);
        let list = sinks::shown(self.sinks.as_ref(), None, history.as_ref());
        let mut state = local_socket::state(&self.location, &self.handle, history, None, None)?;
        state.sinks = list;
        self.socket = local_socket::start(&self.location, Arc::new(state))?;
        Ok(())
    }

    /// The bus for a node to serve, and a way to attach the local socket once the node is there.
    pub(crate) fn into_parts(self) -> (Bus, BusHandle, Detached) {
        let detached = Detached {
            handle: self.handle.clone(),
            sinks: self.sinks,
            history: self.history,
            location: self.location,
            minion: None,
        };
        (self.bus, self.handle, detached)
    }

    /// Serves until `shutdown` is done and everything sent before that is delivered.
    pub(crate) async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        self.bus
            .run(shutdown)
            .await
            .context("cannot serve the bus's sockets")
    }
}

/// What is attached to a node's bus once the node is there.
pub(crate) struct Detached {
    handle: BusHandle,
    sinks: Option<RunningSinks>,
    history: Option<RunningHistory>,
    location: BusLocation,
    /// The minion whose bus it is.
    minion: Option<MinionHandle>,
}

impl Detached {
    /// Lets the local socket tell of a minion.
    pub(crate) fn of_minion(mut self, minion: MinionHandle) -> Self {
        self.minion = Some(minion);
        self
    }

    /// How to wait until events are as safe as they get here, and the last event that was so before this start;
    /// `None` without history.
    pub(crate) fn durable(&self) -> Option<(Durable, Position)> {
        let history = self.history.as_ref()?;
        let (handle, stored) = (history.handle(), history.stored);
        let durable: Durable = Arc::new(move |events| {
            let history = handle.clone();
            // Events that cannot be stored have been reported and are recorded as missing; live readers have them.
            Box::pin(async move { drop(history.durable(events).await) })
        });
        Some((durable, stored))
    }

    /// How many events of a minion the history has from a number on, as far as it can be read.
    pub(crate) fn held(&self, minion: &str, from: Seq) -> u64 {
        let Some(history) = &self.history else {
            return 0;
        };
        history.held(minion, from).unwrap_or_else(|error| {
            tracing::error!(
                "events from minions may be fired twice: {}",
                show::one_line(&error)
            );
            0
        })
    }

    /// Opens the record of a reactor over the bus's log, before the bus is served.
    pub(crate) fn open_reactor(
        &self,
        prepared: reactor::Prepared,
    ) -> anyhow::Result<OpenedReactor> {
        let history = self.history.as_ref().map(RunningHistory::handle);
        prepared.open(Arc::clone(self.handle.log()), history)
    }

    /// Serves the local socket, with the node's commands.
    pub(crate) fn attach(
        self,
        runner: Arc<dyn RunCommand>,
        master: Option<&MasterHandle>,
        reactor: Option<RunningReactor>,
    ) -> anyhow::Result<Attached> {
        let history = self.history.as_ref().map(RunningHistory::handle);
        let cluster = match master {
            Some(master) => self.start_cluster(history.as_ref(), master)?,
            None => None,
        };
        let publisher = cluster.as_ref().map(|cluster| cluster.status.publisher());
        let list = sinks::shown(self.sinks.as_ref(), publisher, history.as_ref());
        let mut state =
            local_socket::state(&self.location, &self.handle, history, Some(runner), master)?;
        if let Some(cluster) = &cluster {
            let status = cluster.status.clone();
            state
                .status
                .push(("cluster", Arc::new(move || status.show())));
        }
        state.sinks = list;
        if let Some(minion) = self.minion.clone() {
            figures::attach_minion(&mut state, minion);
        }
        if let Some(reactor) = &reactor {
            figures::attach_reactor(&mut state, reactor);
        }
        let state = Arc::new(state);
        let socket = local_socket::start(&self.location, Arc::clone(&state))?;
        Ok(Attached {
            reactor,
            api: None,
            state,
            socket,
            sinks: self.sinks,
            cluster,
            history: self.history,
        })
    }

    fn start_cluster(
        &self,
        history: Option<&History>,
        master: &MasterHandle,
    ) -> anyhow::Result<Option<RunningCluster>> {
        let Some(opts) = &self.location.opts else {
            return Ok(None);
        };
        let (id, cachedir) = (opts.text("id")?, Path::new(opts.text("cachedir")?));
        let brine = &self.location.brine;
        cluster::start(brine, id, cachedir, &self.handle, history, master)
    }
}

/// The log that all sockets share: kept in the framings that their subscribers read.
fn log(
    served: &[Served],
    max_bytes: Option<u64>,
    location: &BusLocation,
    history: Option<&PreparedHistory>,
) -> anyhow::Result<Arc<Log>> {
    let is_used = |framing| served.iter().any(|bus| bus.framing == framing);
    let framings = match (is_used(Framing::Bare), is_used(Framing::Prefixed)) {
        (true, true) => Framings::Both,
        (_, false) => Framings::Bare,
        (false, true) => Framings::Prefixed,
    };
    let mut config = LogConfig::new(new_log_id()?);
    config.framings = framings;
    if let Some(bytes) = max_bytes {
        config.max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    config.overflow = overflow(location);
    if let Some(bytes) = location.brine.keep_bytes {
        config.keep_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    Ok(match history {
        Some(history) => Log::with_history(config, history),
        None => Log::new(config),
    })
}

/// Where the log's overflow goes: `cachedir` rather than `sock_dir`, which is often in memory.
pub(crate) fn overflow(location: &BusLocation) -> Option<OverflowConfig> {
    let cachedir = location
        .opts
        .as_ref()
        .and_then(|opts| opts.text("cachedir").ok());
    let cachedir = cachedir.map(PathBuf::from).filter(|path| path.is_dir());
    let directory = cachedir.or_else(|| location.sock_dir.clone());
    let max_bytes = location
        .brine
        .overflow_bytes
        .unwrap_or(OverflowConfig::MAX_BYTES);
    Some(OverflowConfig {
        directory: directory.unwrap_or_else(std::env::temp_dir),
        max_bytes,
    })
    .filter(|_| max_bytes > 0)
}

/// An identity no other log has.
pub(crate) fn new_log_id() -> anyhow::Result<LogId> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
        .context("the system gives no random number")?;
    Ok(LogId(u64::from_le_bytes(bytes)))
}

/// The runtime of a bus: one thread.
pub(crate) fn bus_runtime() -> anyhow::Result<Runtime> {
    brine_bus::runtime().context("cannot start the runtime")
}

/// The runtime of a master or minion.
pub(crate) fn node_runtime() -> anyhow::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Waits until a flag is set, or nobody can set it any more.
pub(crate) async fn requested(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|is_set| *is_set).await; // a sender that is gone ends it too
}

/// From now on catches Ctrl-C and `SIGTERM`; the future waits for one of them.
pub(crate) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let catch = |kind| signal(kind).context("cannot catch signals");
    let mut interrupt = catch(SignalKind::interrupt())?;
    let mut terminate = catch(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: delivering what was sent");
    })
}

/// From now on catches the end of the terminal (`SIGHUP`), which daemons outlive; the future waits
/// for it.
pub(crate) fn terminal_closed() -> anyhow::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot catch signals")?;
    Ok(async move {
        hangup.recv().await;
    })
}

/// How many files this process may open.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Allows as many connections as the system does; the soft limit is often 1,024.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(err = %error, "cannot raise the limit of open files");
    }
}
