//! Beside a bus that somebody else runs: its events in a log of ours, with history, the local socket and our own
//! sockets.
//!
//! `brine-bus` joins, relays and takes the place of the socket; this module composes these. Features for listeners of
//! the log beside another's bus are added where [`Beside::open`] makes the log. How it works, and what is left after
//! a crash: `docs/attach.md`.

mod supervisor;

use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use brine_api::local::users_who_read_everything;
use brine_api::{ApiState, RunCommand};
use brine_bus::address::{Address, Endpoint, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::front::{Front, FrontLock};
use brine_bus::join::{Join, JoinConfig, JoinHandle, LastEvent, Place};
use brine_bus::{Bus, BusConfig, BusHandle, Readers, Relay, Served, SocketWatch};
use brine_config::Environment;
use brine_log::Seq;
use brine_log::history::{HistoryReader, Read};
use brine_wire::compat::Compat;
use brine_wire::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::history::{self, HistoryDefault, RunningHistory};
use super::http_api::{self, ApiSettings, BesideMaster, RunningApi};
use super::local_socket::{self, RunningSocket};
use super::reactor::{self, OtherMaster, OwnReactor, Prepared, RunningReactor, Whose, WithReactor};
use super::sinks::{self, PreparedSinks, RunningSinks};
use super::{BusOptions, audit, figures, permissions, sockets};
use crate::bus_location::BusLocation;
use crate::daemon;
pub(crate) use supervisor::{inherited_lock, supervise};

/// A bus that is about to be joined.
pub(crate) struct Beside {
    bus: Bus,
    handle: BusHandle,
    join: Join,
    joined: Joined,
    /// Dropped before the others, so that nothing reacts to their end.
    reactor: Option<RunningReactor>,
    api: Option<RunningApi>,
    /// Dropped before the history, whose acknowledgements it waits for.
    socket: Option<RunningSocket>,
    /// Dropped before the history, which keeps their positions.
    sinks: Option<RunningSinks>,
    history: Option<RunningHistory>,
    location: BusLocation,
}

/// The bus that is joined, for the local socket.
#[derive(Clone)]
struct Joined {
    /// Where events go that are fired here.
    relay: Relay,
    handle: JoinHandle,
    front: Option<Arc<Front>>,
    /// When this process began.
    since: Instant,
}

/// How long it may take to join a bus that is there.
const JOINS_WITHIN: Duration = Duration::from_secs(3);

impl Joined {
    /// How it is going, for `GET /status`.
    fn status(&self) -> Map {
        let joined = self.handle.status();
        let number = |number: u64| Value::Int(number.into());
        let mut status = Map::new();
        let was_joined = joined.counters.events > 0;
        // At first it is not known yet whether the bus is there.
        if joined.is_joined || was_joined || self.since.elapsed() >= JOINS_WITHIN {
            status.insert("joined", joined.is_joined);
        }
        status.insert("events", number(joined.counters.events));
        status.insert("gaps", number(joined.counters.gaps));
        status.insert("malformed", number(joined.counters.malformed));
        if let Some(front) = &self.front {
            status.insert("in_front", front.is_in_front());
        }
        status
    }
}

/// The publish socket whose place is taken, or was.
///
/// # Errors
/// The bus has none, being on ports.
pub(crate) fn publish_socket(location: &BusLocation) -> anyhow::Result<&Path> {
    match location.address.publish() {
        Endpoint::Path(path) => Ok(path),
        Endpoint::Tcp(address) => bail!(
            "the bus is on ports ({address}, ipc_mode: tcp), whose place nobody can take; use brine attach without --in-front"
        ),
    }
}

/// The directory of the bus's sockets, if it is not there yet: the bus makes it when it starts.
pub(crate) fn missing_directory(location: &BusLocation) -> Option<PathBuf> {
    let directory = location.sock_dir.as_ref()?;
    let found = directory.metadata();
    // What else is wrong with it is said by whoever needs it.
    let is_missing = found.is_err_and(|error| error.kind() == ErrorKind::NotFound);
    is_missing.then(|| directory.clone())
}

/// Waits until a directory is there; `false` if a signal comes first.
pub(crate) async fn wait_for(directory: &Path) -> anyhow::Result<bool> {
    let mut shutdown = pin!(super::shutdown_signal()?);
    tracing::warn!(sock_dir = %directory.display(), "the directory of the bus's sockets does not exist; waiting for it");
    while !directory.exists() {
        daemon::report_starting(2 * LOOK_EVERY);
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = &mut shutdown => return Ok(false),
        }
    }
    Ok(true)
}

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Refuses a bus that has a local socket already: it is Brine's own, or another attach has joined it.
///
/// # Errors
/// It has.
pub(crate) fn refuse_own(location: &BusLocation) -> anyhow::Result<()> {
    /// How long the bus may take to say what it is.
    const ANSWER_TIME: Duration = Duration::from_secs(3);
    let Some(address) = location.local_address() else {
        return Ok(());
    };
    let mut client = LocalClient::new(address, PublisherConfig::default());
    let Ok(Value::Map(status)) = client.status(Some(ANSWER_TIME)) else {
        return Ok(());
    };
    let pid = match status.get("pid") {
        Some(Value::Int(pid)) => format!(" (pid {pid})"),
        _ => String::new(),
    };
    let publish = location.address.publish();
    if status.get("attach").is_some() {
        bail!("another brine attach{pid} has joined the bus at {publish}; end it first");
    }
    bail!(
        "the bus at {publish} is Brine's own{pid} and serves brine.sock itself: nothing is to be attached; for a history, set brine: {{history: true}} in its configuration"
    )
}

impl Beside {
    /// Opens the log and binds our own sockets; with a lock, those that will take the place. Must be called inside the
    /// bus's runtime.
    pub(crate) fn open(
        location: BusLocation,
        options: &BusOptions,
        lock: Option<FrontLock>,
    ) -> anyhow::Result<Self> {
        let sinks = PreparedSinks::of(&location)?;
        // First of all: a history that was opened in vain is one that was not closed.
        let watch = watch(&location)?;
        let directory = history_directory(&location, options);
        let default = match directory {
            Some(_) => HistoryDefault::On,
            None => HistoryDefault::Off,
        };
        let prepared = history::prepare(&location, options.history.as_deref(), default)?;
        let last = match (&prepared, &directory) {
            (Some(_), Some(directory)) => last_event(directory)?,
            _ => None,
        };
        let mut served = Vec::new();
        for (sock_dir, compat) in &options.also {
            let address = Address::ipc(sock_dir, &location.node)?;
            if address == location.address {
                bail!(
                    "--also {}: the bus itself is there; name another directory",
                    sock_dir.display()
                );
            }
            served.push(sockets::bind(&address, Some(sock_dir), *compat, &location)?);
        }
        let (place, front) = place(&location, watch, lock, &mut served)?;
        let log_bytes = options.log_bytes.or(location.brine.log_bytes);
        let log = super::log(&served, log_bytes, &location, prepared.as_ref())?;
        let history = prepared.map(|prepared| RunningHistory::start(prepared, &log));
        let history = history.transpose()?;
        let store = history.as_ref().map(RunningHistory::handle);
        let sinks = sinks.start(&log, store.as_ref())?;

        let relay = Relay::default();
        let config = join_config(&location, options.compat.or(location.brine.compat));
        let join = Join::new(config, Arc::clone(&log), relay.clone(), place, last);
        let joined = Joined {
            relay: relay.clone(),
            handle: join.handle(),
            front,
            since: Instant::now(),
        };
        let (bus, handle) = Bus::joined(served, log, relay, BusConfig::default());
        Ok(Self {
            bus,
            handle,
            join,
            joined,
            reactor: None,
            api: None,
            socket: None,
            sinks,
            history,
            location,
        })
    }

    /// Starts a reactor, before the bus is joined.
    ///
    /// # Errors
    /// Its record cannot be opened.
    pub(crate) fn start_reactor(&mut self, prepared: Prepared) -> anyhow::Result<()> {
        let history = self.history.as_ref().map(RunningHistory::handle);
        let opened = prepared.open(Arc::clone(self.handle.log()), history)?;
        let opts = self.location.opts.clone().unwrap_or_default();
        self.reactor = Some(opened.start_on_master(OtherMaster { opts })?);
        Ok(())
    }

    /// What requests to the local socket and the HTTP API are answered from.
    pub(crate) fn state(&self) -> anyhow::Result<ApiState> {
        let commands = self.reactor.as_ref().map(|running| {
            let commands = WithReactor {
                inner: None,
                reactor: Arc::new(OwnReactor(running.handle.clone())),
                node: "bus",
            };
            Arc::new(commands) as Arc<dyn RunCommand>
        });
        let history = self.history.as_ref().map(RunningHistory::handle);
        let list = sinks::shown(self.sinks.as_ref(), None, history.as_ref());
        let mut state = local_socket::state(&self.location, &self.handle, history, commands, None)?;
        state.sinks = list;
        state.audit = audit::beside(&self.location)?;
        let joined = self.joined.clone();
        state.relay = Some(joined.relay.clone());
        let status = move || joined.status();
        state.status.push(("attach", Arc::new(status)));
        if let Some(reactor) = &self.reactor {
            figures::attach_reactor(&mut state, reactor);
        }
        Ok(state)
    }

    /// Serves the local socket until the bus has ended, and the HTTP API of the master if that is wanted.
    pub(crate) fn start(&mut self, with_api: bool) -> anyhow::Result<()> {
        let state = Arc::new(self.state()?);
        self.socket = local_socket::start(&self.location, Arc::clone(&state))?;
        if with_api {
            self.api = Some(start_api(&self.location, state)?);
        }
        Ok(())
    }

    /// Serves until `shutdown` is done; then gives the place back, fires what was published here, and delivers what
    /// was read.
    pub(crate) async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            bus, join, joined, ..
        } = self;
        let (leave, leaving) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let (failed, failure) = oneshot::channel::<()>();
        let join = async move {
            let left = join.run(async { drop(leaving.await) }).await;
            if left.is_err() {
                let _ = failed.send(());
            }
            drop(end);
            left
        };
        let shutdown = async {
            tokio::select! {
                () = shutdown => {}
                // Dropped without a word when the bus was left as it should be.
                Ok(()) = failure => {}
            }
            if let Some(front) = &joined.front
                && let Err(error) = front.give_back()
            {
                tracing::error!(%error, "run brine attach --restore");
            }
        };
        let drained = async {
            drop(leave);
            let _ = ended.await; // dropped when it has left
        };
        let (left, served) = tokio::join!(join, bus.run_until(shutdown, drained));
        served.context("cannot serve the bus's sockets")?;
        Ok(left?)
    }
}

/// The reactor's configuration beside a master, with the rules of a file.
///
/// # Errors
/// The rules cannot be used, or nothing says where the master is.
pub(crate) fn prepare_reactor(location: &BusLocation, file: &Path) -> anyhow::Result<Prepared> {
    let opts = location.opts.as_ref();
    let opts = opts.context("--reactor needs the master's configuration; add -c DIR")?;
    if location.node != Node::Master {
        bail!("--reactor: reactions run beside a master; a minion's reactor runs in the minion");
    }
    if reactor::value(opts).is_some() {
        tracing::warn!(
            "the master has rules of its own (option reactor); if its reactor runs, events that both have rules for are reacted to twice"
        );
    }
    Prepared::with_file(opts, &location.brine, file, Whose::OtherMaster)
}

/// The HTTP API of the master that is joined.
fn start_api(location: &BusLocation, state: Arc<ApiState>) -> anyhow::Result<RunningApi> {
    let opts = location.opts.as_ref();
    let opts = opts.context("--api: nothing says how it is served; add -c DIR")?;
    if location.node != Node::Master {
        bail!("--api: the HTTP API is a master's; leave out --node minion");
    }
    let mut settings = ApiSettings::of_master(opts, &location.brine)?;
    settings.fit_into(super::open_files());
    let user = Environment::current().user;
    let operator = Arc::new(BesideMaster::new(opts, &user)?);
    let socket = settings.bind()?;
    http_api::start(
        &location.brine,
        settings,
        socket,
        watch::channel(state).1,
        operator,
    )
}

/// Notices when another socket is in the place of the bus's; `None` for a bus on ports.
fn watch(location: &BusLocation) -> anyhow::Result<Option<SocketWatch>> {
    let Endpoint::Path(path) = location.address.publish() else {
        return Ok(None);
    };
    let watch = SocketWatch::new(path)
        .with_context(|| format!("sock_dir {}", path.parent().unwrap_or(path).display()))?;
    Ok(Some(watch))
}

fn place(
    location: &BusLocation,
    watch: Option<SocketWatch>,
    lock: Option<FrontLock>,
    served: &mut Vec<Served>,
) -> anyhow::Result<(Place, Option<Arc<Front>>)> {
    let Some(watch) = watch else {
        return Ok((Place::Fixed, None));
    };
    let Some(lock) = lock else {
        return Ok((Place::Watched(watch), None));
    };
    let (front, own) = Front::bind(lock, &readers(location)?)?;
    served.extend(own);
    let front = Arc::new(front);
    Ok((Place::Behind(Arc::clone(&front), watch), Some(front)))
}

/// Who may listen in front: the users who may read everything according to the list, if there is one; else those whom
/// the mode of the bus's own socket admits.
fn readers(location: &BusLocation) -> anyhow::Result<Readers> {
    let acl = permissions::read(location)?;
    Ok(match acl.admits_others() {
        true => Readers::Users(users_who_read_everything(&acl)),
        false => Readers::Any,
    })
}

fn join_config(location: &BusLocation, compat: Option<Compat>) -> JoinConfig {
    let mut config = JoinConfig::new(location.address.clone());
    config.pull_framing = compat.map(Compat::pull_framing);
    config.stamp_style = compat.unwrap_or(Compat::NEWEST).stamp_style();
    config
}

/// Where the history is; `None` if nothing says, which is said, or if there is to be none.
fn history_directory(location: &BusLocation, options: &BusOptions) -> Option<PathBuf> {
    if let Some(directory) = &options.history {
        return Some(directory.clone());
    }
    if location.brine.history.enabled == Some(false) {
        return None;
    }
    match history::configured_directory(location) {
        Ok(directory) => Some(directory),
        Err(_) => {
            tracing::warn!("no history: its directory is not known; add --history DIR, or -c DIR");
            None
        }
    }
}

/// The last event an earlier process has stored: what came later may be missing.
fn last_event(directory: &Path) -> anyhow::Result<Option<LastEvent>> {
    let mut reader = HistoryReader::open(directory)?;
    let Some((newest, _)) = reader.info()?.newest else {
        return Ok(None);
    };
    let mut end = Seq(newest.0 + 1);
    // Numbers may have no event: they were never used, or what had them was not to be stored.
    while let Some(read) = reader.previous(end)? {
        match read {
            Read::Events(events) => {
                if let Some(event) = events.iter().last() {
                    return Ok(Some(LastEvent {
                        read: Duration::from_millis(event.at.0),
                        event: event.event.to_vec(),
                    }));
                }
                end = Seq(end.0.saturating_sub(events.len() as u64));
            }
            Read::Gap { seqs, .. } => end = seqs.start,
        }
    }
    Ok(None)
}
