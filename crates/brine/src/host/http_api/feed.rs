//! Where an API in its own process gets its events from.
//!
//! If the bus has a local socket and a history (a Brine master's, or `brine attach` beside a real one), the API
//! repeats its log here, number by number, and reads what is no longer in memory from that history: positions are the
//! bus's own. Otherwise the API joins the bus, as `brine attach` does, with its own log and positions. If that
//! changes while the API runs, another feed takes the place of the first: streams continue there, and requests notice
//! nothing.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use brine_api::{ApiConfig, ApiState, NodeInfo};
use brine_bus::address::{Endpoint, Node};
use brine_bus::client::local::tokio::{EventStream, LocalClient};
use brine_bus::client::local::{Delivery, EventQuery, LocalAddress, LocalError};
use brine_bus::client::{EventRef, PublisherConfig, Wait};
use brine_config::Loaded;
use brine_log::history::{ForeignHistory, GapReason};
use brine_log::{EventCursor, Incoming, Log, LogConfig, Next, Position, Seq};
use brine_wire::{Map, Value};
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::bus_location::BusLocation;
use crate::clock::local_offset;
use crate::daemon;
use crate::host::attach::Beside;
use crate::host::{self, BusOptions, audit, permissions};
use crate::show;

/// How long the local socket may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often is looked for a local socket where there was none.
const LOOK: Duration = Duration::from_secs(2);
/// How long no event may come before it is looked whether the bus's local socket is gone, and how often in a row it must
/// be: the bus may just be starting, with one socket after the other.
const SILENCE: Duration = Duration::from_millis(250);
const LOOKS: u32 = 2;
/// The newest events that stay in memory, in bytes: what the other process has not written to the disk yet is among
/// them.
const KEEP_BYTES: usize = 16 << 20;

/// The events of a bus beside this process.
pub(crate) enum Feed {
    /// Its log is repeated.
    Repeats(Box<Repeat>),
    /// It is joined.
    Joins(Box<Beside>, LocalAddress),
}

/// Why a feed has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to.
    Told,
    /// There is another log now.
    Changed,
}

impl Feed {
    /// Finds out what there is beside this process; also what requests are answered from.
    pub(crate) async fn open(loaded: &Loaded) -> anyhow::Result<(Self, ApiState)> {
        let location = BusLocation::of_node(loaded, Node::Master)?;
        let address = location
            .local_address()
            .context("nothing says where the master's sockets are; set sock_dir")?;
        match Repeat::open(&location, &address).await {
            Ok(Some((repeat, state))) => return Ok((Self::Repeats(Box::new(repeat)), state)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    "the master's history is not used: {}",
                    show::one_line(&error)
                );
            }
        }
        let beside = join(location)?;
        let state = beside.state()?;
        Ok((Self::Joins(Box::new(beside), address), state))
    }

    /// Finds it out once more, as often as it takes: requests are answered meanwhile.
    pub(crate) async fn open_again(loaded: &Loaded) -> (Self, ApiState) {
        loop {
            match Self::open(loaded).await {
                Ok(opened) => return opened,
                Err(error) => {
                    tracing::warn!(
                        "the bus cannot be read; trying again: {}",
                        show::one_line(&error)
                    );
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Takes events in until `shutdown`, or until the log is another.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<Ended> {
        match self {
            Self::Repeats(repeat) => tokio::select! {
                () = repeat.run() => Ok(Ended::Changed),
                () = shutdown => Ok(Ended::Told),
            },
            Self::Joins(beside, address) => {
                let mut ended = Ended::Changed;
                let until = async {
                    tokio::select! {
                        () = shutdown => ended = Ended::Told,
                        () = until_there(&address) => {}
                    }
                };
                beside.serve(until).await?;
                Ok(ended)
            }
        }
    }
}

/// Joins the bus, with a history if the configuration asks for one: beside the one that a bus here may have itself.
fn join(mut location: BusLocation) -> anyhow::Result<Beside> {
    if let Some(sock_dir) = &location.sock_dir {
        // Its bus may come later.
        daemon::make_public_folder(sock_dir)
            .with_context(|| format!("sock_dir {}", sock_dir.display()))?;
    }
    let is_wanted = location.brine.history.enabled == Some(true);
    let history = match &location.opts {
        Some(opts) if is_wanted => Some(Path::new(opts.text("cachedir")?).join("api_history")),
        _ => None,
    };
    if history.is_none() {
        location.brine.history.enabled = Some(false);
    }
    let options = BusOptions {
        history,
        ..BusOptions::default()
    };
    Beside::open(location, &options, None)
}

/// Waits until there is a local socket whose log can be repeated.
async fn until_there(address: &LocalAddress) {
    loop {
        sleep(LOOK).await;
        if let LocalAddress::Socket(path) | LocalAddress::TokenFile(path) = address
            && path.exists()
            && matches!(kept(address).await, Ok(Some(_)))
        {
            tracing::info!("the bus has a log with a history now; using it");
            return;
        }
    }
}

/// The history of another process, and how far it is.
struct Kept {
    history: ForeignHistory,
    directory: PathBuf,
    /// The first event that is not on the disk yet.
    next: Seq,
    /// The newest event.
    newest: Position,
}

/// The history of the bus at a local socket; `None` if nobody answers there, the bus has none, or this user may not
/// read everything.
async fn kept(address: &LocalAddress) -> anyhow::Result<Option<Kept>> {
    let mut client = LocalClient::new(address.clone(), PublisherConfig::default());
    let status = match client.status(Some(ANSWER)).await {
        Ok(status) => status,
        Err(LocalError::Connect(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let part = |name| {
        let status = status.as_map()?;
        status.get(name).and_then(Value::as_map)
    };
    let (Some(log), Some(history)) = (part("log"), part("history")) else {
        return Ok(None);
    };
    let text = |part: &Map, name: &str| part.get(name).and_then(Value::as_str).map(str::to_owned);
    let next = history.get("next").and_then(Value::as_int);
    let (Some(directory), Some(next), Some(newest)) = (
        text(history, "directory"),
        next.and_then(|next| u64::try_from(next).ok()),
        text(log, "newest"),
    ) else {
        return Ok(None);
    };
    let (directory, newest) = (PathBuf::from(directory), newest.parse::<Position>()?);
    let history = ForeignHistory::open(&directory)?;
    anyhow::ensure!(
        history.log_id() == newest.log,
        "history {}: expected that of log {}, found that of log {}",
        directory.display(),
        newest.log,
        history.log_id()
    );
    Ok(Some(Kept {
        history,
        directory,
        next: Seq(next),
        newest,
    }))
}

/// The log of a bus, repeated.
pub(crate) struct Repeat {
    log: Arc<Log>,
    events: EventStream,
    address: LocalAddress,
    /// The bus's own publish socket.
    publish: Endpoint,
}

impl Repeat {
    /// Opens the log of the bus at a local socket, and reads it up to now; `None` if it has no history.
    async fn open(
        location: &BusLocation,
        address: &LocalAddress,
    ) -> anyhow::Result<Option<(Self, ApiState)>> {
        let Some(kept) = kept(address).await? else {
            return Ok(None);
        };
        let config = LogConfig {
            first: kept.next,
            keep_bytes: KEEP_BYTES,
            overflow: host::overflow(location),
            ..LogConfig::new(kept.history.log_id())
        };
        let log = Log::repeating(config, &kept.history);
        let from = Position {
            log: log.id(),
            seq: Seq(kept.next.0.saturating_sub(1)),
        };
        let query = EventQuery {
            from: from.to_string(),
            ..EventQuery::default()
        };
        let state = state(location, &log)?;
        let mut repeat = Self {
            log,
            events: EventStream::new(address.clone(), &query),
            address: address.clone(),
            publish: location.address.publish().clone(),
        };
        repeat.events.connect(Some(ANSWER)).await?;
        // Clients come back with the position of an event they had from an earlier process.
        let is_behind = |events: &EventStream| {
            let at = events.position();
            kept.newest.seq >= kept.next && at.is_none_or(|at| at.seq < kept.newest.seq)
        };
        while is_behind(&repeat.events) {
            // The newest may be among those that are never shown.
            let Some(delivery) = repeat.events.next(Wait::For(ANSWER)).await? else {
                break;
            };
            anyhow::ensure!(repeat.take(&delivery), "the log has changed meanwhile");
        }
        tracing::info!(log = %repeat.log.id(), directory = %kept.directory.display(), "positions are the master's");
        Ok(Some((repeat, state)))
    }

    /// Repeats the log until it is another.
    async fn run(mut self) {
        let mut looks = 0;
        loop {
            match self.events.next(Wait::For(SILENCE)).await {
                Ok(None) => looks = 0,
                Ok(Some(delivery)) if self.take(&delivery) => looks = 0,
                Ok(Some(_)) => return tracing::warn!("the master has a new log"),
                Err(LocalError::Connect(_)) if self.is_another().await => {
                    looks += 1;
                    if looks == LOOKS {
                        return tracing::warn!("the master has no local socket any more");
                    }
                }
                Err(LocalError::Connect(_)) => looks = 0,
                Err(error) => {
                    tracing::warn!(%error, "the master's events cannot be read; trying again");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Puts what came into the log; `false` if it is of another.
    fn take(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::Event(stored) => {
                let incoming = Incoming {
                    event: stored.event.as_bytes(),
                    tag_bytes: stored.event.tag().len(),
                };
                let sender = stored.sender.as_deref();
                let is_same = stored.position.log == self.log.id();
                if is_same {
                    self.log
                        .append_at(stored.position.seq, sender, incoming, stored.at);
                }
                is_same
            }
            Delivery::Gap { to, reason, .. } => {
                let reason = reason.as_deref().and_then(GapReason::parse);
                self.log.skip_to(Seq(to.seq.0 + 1), reason);
                to.log == self.log.id()
            }
            // Streams that follow have no end.
            Delivery::End => false,
        }
    }

    /// Whether the bus is there and its local socket is not: it is another bus than before.
    async fn is_another(&self) -> bool {
        let Endpoint::Path(path) = &self.publish else {
            return false;
        };
        UnixStream::connect(path).await.is_ok() && matches!(kept(&self.address).await, Ok(None))
    }
}

fn state(location: &BusLocation, log: &Arc<Log>) -> anyhow::Result<ApiState> {
    let acl = permissions::read(location)?;
    let node = NodeInfo {
        kind: "master",
        id: String::new(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let config = ApiConfig {
        zone: local_offset,
        ..ApiConfig::default()
    };
    let mut state = ApiState::new(Arc::clone(log), acl, node, config);
    state.redact = location.brine.redact.clone().into();
    state.audit = audit::beside(location)?;
    Ok(state)
}

/// The data of the first event with a tag that a cursor finds without waiting.
pub(super) fn find(events: &mut EventCursor, tag: &str) -> Option<Map> {
    loop {
        let Next::Ready(run) = events.next() else {
            return None;
        };
        for event in run.iter() {
            if let Some(event) = EventRef::parse(event.event)
                && event.tag() == tag
                && let Ok(Value::Map(data)) = event.decode()
            {
                return Some(data);
            }
        }
        events.advance(&run, run.len());
    }
}
