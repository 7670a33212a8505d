//! Carries out what [`Joining`] decides: connects to the joined bus, reads it into the log, and writes to it what a
//! [`Relay`] holds.
//!
//! The framing that the other bus reads cannot be seen on its socket, and a frame in the wrong one is silently lost.
//! So each connection begins by firing an event, `brine/attach/joined`, in one framing after the other until one
//! comes back. That event also shows from which moment on nothing is missed. Facts: `docs/protocol/ipc.md` §1, §2.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::{Log, Seq};
use brine_wire::Map;
use brine_wire::compat::StampStyle;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::frame::{Framing, MAX_FRAME_BYTES};
use brine_wire::stamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Counters, Joining, LastEvent};
use crate::address::{Address, Endpoint};
use crate::client::socket::Progress;
use crate::client::tokio::{Publisher, Stream, connect};
use crate::client::{ConnectError, PublishError, PublisherConfig};
use crate::clock;
use crate::front::{Front, FrontError};
use crate::pull::wait_for_disk;
use crate::relay::{Expected, Relay};
use crate::watch::SocketWatch;

/// Tags of the events that begin and end a connection.
const JOINED: &str = "brine/attach/joined";
const LEAVING: &str = "brine/attach/leaving";

/// The first pause between attempts to connect, and the longest: what is fired meanwhile is missed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long the first event may take to come back before it is tried in the other framing; doubled each time.
const GREETING: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// How long the last event may take to come back.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long to wait before the next attempt to write, also when permission is missing.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How much is written at once, in bytes.
const WRITE_BYTES: usize = 64 << 10;

/// How a bus is joined.
#[derive(Debug, Clone)]
pub struct JoinConfig {
    /// Where it is.
    pub address: Address,
    /// How frames are written to its pull socket; detected if not given.
    pub pull_framing: Option<Framing>,
    /// How `_stamp` is written in events of ours.
    pub stamp_style: StampStyle,
    /// A frame larger than this, in bytes, ends the connection.
    pub max_frame_bytes: usize,
}

impl JoinConfig {
    /// The defaults, for the bus at this address.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            pull_framing: None,
            stamp_style: StampStyle::Utc,
            max_frame_bytes: MAX_FRAME_BYTES,
        }
    }
}

/// Where the publish socket of the bus is while it is joined.
#[derive(Debug)]
pub enum Place {
    /// On a port, or on a path that is not watched.
    Fixed,
    /// On its path: another socket there is another bus.
    Watched(SocketWatch),
    /// Behind our own, which took its place.
    Behind(Arc<Front>, SocketWatch),
}

/// How it is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinStatus {
    /// Whether every event is read now.
    pub is_joined: bool,
    /// What was read so far.
    pub counters: Counters,
    /// How its publish socket writes, once that is known.
    pub framing: Option<Framing>,
}

/// A view on a bus that is joined; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct JoinHandle(Arc<Mutex<JoinStatus>>);

impl JoinHandle {
    /// How it is going.
    #[must_use]
    pub fn status(&self) -> JoinStatus {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, status: JoinStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// A bus to be joined.
pub struct Join {
    config: JoinConfig,
    joining: Joining,
    log: Arc<Log>,
    relay: Relay,
    place: Place,
    handle: JoinHandle,
}

/// Which connection there is, if any; each has its own number.
type Link = Option<u64>;

impl Join {
    /// The bus's events will be appended to `log`, whose last event, if it has any, is `last`. What `relay` gets is
    /// written to the bus.
    #[must_use]
    pub fn new(
        config: JoinConfig,
        log: Arc<Log>,
        relay: Relay,
        place: Place,
        last: Option<LastEvent>,
    ) -> Self {
        Self {
            joining: Joining::new(config.max_frame_bytes, config.stamp_style, last),
            config,
            log,
            relay,
            place,
            handle: JoinHandle::default(),
        }
    }

    /// A view on it.
    #[must_use]
    pub fn handle(&self) -> JoinHandle {
        self.handle.clone()
    }

    /// Reads and writes, connecting as often as it takes, until `leave` is done; then writes what waits and ends.
    /// Dropping the future leaves at once.
    ///
    /// # Errors
    /// [`FrontError`] when the place of the socket cannot be taken.
    pub async fn run(self, leave: impl Future<Output = ()>) -> Result<(), FrontError> {
        let links = watch::Sender::new(None);
        let writer = Writer::new(&self.config, self.relay.clone(), self.handle.clone());
        let written = writer.run(links.subscribe());
        tokio::select! {
            read = self.read(&links, leave) => read,
            () = written => Ok(()),
        }
    }

    async fn read(
        self,
        links: &watch::Sender<Link>,
        leave: impl Future<Output = ()>,
    ) -> Result<(), FrontError> {
        let Self {
            config,
            mut joining,
            log,
            relay,
            mut place,
            handle,
        } = self;
        let mut leave = pin!(leave);
        for number in 0.. {
            let stream = tokio::select! {
                stream = place.connect(&config) => stream,
                () = &mut leave => return Ok(()),
            };
            joining.handle_connected();
            links.send_replace(Some(number));
            let mut farewell: Option<Farewell> = None;
            let mut is_placed = false;
            let reason = loop {
                let progress = tokio::select! {
                    progress = stream.read(joining.room(), None) => progress,
                    () = place.is_replaced() => break "another bus took the socket".to_owned(),
                    () = &mut leave, if farewell.is_none() => {
                        farewell = Some(Farewell::new(&relay, &config));
                        continue;
                    }
                    () = Farewell::is_over(&mut farewell) => return Ok(()),
                };
                let read = match progress {
                    Ok(Progress::Bytes(read)) => joining.handle_read(read, since_epoch()).err(),
                    Ok(Progress::Later) => continue,
                    Ok(Progress::Over) => break "the bus ended its connections".to_owned(),
                    Err(error) => break format!("the connection broke: {error}"),
                };
                append(&joining, &log, &relay);
                handle.set(status(&joining));
                if let Some(error) = read {
                    break format!("the bus sent a frame that is not an event: {error}");
                }
                if let (false, true, Some(framing)) =
                    (is_placed, joining.is_joined(), joining.framing())
                {
                    tracing::info!("joined the bus; reading all its events");
                    is_placed = place.take(framing)?;
                }
                wait_for_disk(&log).await;
                // Subscribers have their turn before more is read.
                tokio::task::yield_now().await;
            };
            links.send_replace(None);
            joining.handle_lost(&reason, since_epoch());
            handle.set(status(&joining));
            if farewell.is_some() {
                break;
            }
            tracing::warn!("{reason}; joining again when the bus is back");
        }
        Ok(())
    }
}

/// Puts what was read into the log, and tells those who wait for it.
fn append(joining: &Joining, log: &Log, relay: &Relay) {
    let batch = joining.batch();
    if batch.is_empty() {
        return;
    }
    let appended = log.append(batch.events(), clock::now());
    if relay.is_awaited() {
        for (event, seq) in batch.events().zip(appended.start.0..) {
            relay.seen(event.event, Seq(seq));
        }
    }
}

fn status(joining: &Joining) -> JoinStatus {
    JoinStatus {
        is_joined: joining.is_joined(),
        counters: joining.counters(),
        framing: joining.framing(),
    }
}

impl Place {
    /// Connects to the bus, however long it takes to come.
    async fn connect(&mut self, config: &JoinConfig) -> Stream {
        let (mut pause, mut complained) = (PAUSE.0, false);
        loop {
            let endpoint = match self {
                Self::Fixed | Self::Watched(_) => config.address.publish().clone(),
                Self::Behind(front, _) => Endpoint::Path(front.original().to_owned()),
            };
            if let Self::Watched(watch) | Self::Behind(_, watch) = self {
                watch.mark();
            }
            let error = match connect(&endpoint, Some(std::time::Instant::now() + RETRY.1)).await {
                Ok(stream) => return stream,
                Err(error) => error,
            };
            if !complained {
                let error = ConnectError::diagnose(&endpoint, error);
                tracing::warn!(%error, "the bus is not running; waiting for it");
                complained = true;
            }
            match self {
                Self::Fixed => sleep(pause).await,
                Self::Watched(watch) | Self::Behind(_, watch) => {
                    let _ = timeout(pause, watch.changed()).await; // either way it is tried again
                }
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits until the path belongs to another socket than the connected one.
    async fn is_replaced(&mut self) {
        match self {
            Self::Fixed => pending().await,
            Self::Watched(watch) => watch.is_other(|_| false).await,
            Self::Behind(front, watch) => watch.is_other(|found| front.is_own(found)).await,
        }
    }

    /// Takes the place of the socket, if that is wanted; `false` if the socket is no longer there.
    fn take(&self, framing: Framing) -> Result<bool, FrontError> {
        match self {
            Self::Fixed | Self::Watched(_) => Ok(true),
            Self::Behind(front, _) => front.take(framing),
        }
    }
}

/// The last event of ours, which shows that nothing was missed before.
struct Farewell {
    expected: Expected,
    until: Instant,
}

impl Farewell {
    fn new(relay: &Relay, config: &JoinConfig) -> Self {
        let event = own_event(LEAVING, config.stamp_style);
        let expected = relay.expect(&event);
        relay.push(event);
        let until = Instant::now() + FAREWELL;
        Self { expected, until }
    }

    /// Waits until it has come back, or not for long.
    async fn is_over(farewell: &mut Option<Self>) {
        match farewell {
            Some(farewell) => {
                let seen = farewell.expected.seq();
                let _ = tokio::time::timeout_at(farewell.until, seen).await;
            }
            None => pending().await,
        }
    }
}

/// The way of events to the bus.
struct Writer {
    config: JoinConfig,
    relay: Relay,
    handle: JoinHandle,
    publisher: Publisher,
    /// The framing in which events have come back.
    framing: Option<Framing>,
    /// What the publisher has queued.
    in_hand: Vec<Vec<u8>>,
    /// Whether it was said that this user may not fire.
    is_denied: bool,
}

impl Writer {
    fn new(config: &JoinConfig, relay: Relay, handle: JoinHandle) -> Self {
        let framing = config.pull_framing;
        Self {
            publisher: publisher(config, framing.unwrap_or(Framing::Bare)),
            config: config.clone(),
            relay,
            handle,
            framing,
            in_hand: Vec::new(),
            is_denied: false,
        }
    }

    async fn run(mut self, mut links: watch::Receiver<Link>) {
        loop {
            let Ok(link) = links.wait_for(Option::is_some).await.map(|link| *link) else {
                return;
            };
            let mut over = links.clone();
            tokio::select! {
                () = self.write() => {}
                _ = over.wait_for(|now| *now != link) => {}
            }
            self.relay.set_open(false);
        }
    }

    /// Writes for ever.
    async fn write(&mut self) {
        self.greet().await;
        self.relay.set_open(true);
        loop {
            if self.in_hand.is_empty() {
                self.in_hand = self.relay.take(WRITE_BYTES).await;
                for event in &self.in_hand {
                    self.publisher.queue_raw(event);
                }
            }
            match self.publisher.flush(Some(GREETING.1)).await {
                Ok(()) => self.in_hand.clear(),
                Err(error) => {
                    tracing::warn!(%error, "events for the bus are queued");
                    sleep(RETRY.0).await;
                }
            }
        }
    }

    /// Fires the event that begins a connection until it comes back, in whichever framing.
    async fn greet(&mut self) {
        if self.in_hand.is_empty() {
            // What began another connection and never went out.
            self.publisher.discard_queued();
        }
        let mut wait = GREETING.0;
        loop {
            for framing in self.candidates() {
                match self.try_greeting(framing, wait).await {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(error @ PublishError::Connect(ConnectError::Denied { .. })) => {
                        if !std::mem::replace(&mut self.is_denied, true) {
                            tracing::warn!(%error, "cannot fire on the bus");
                        }
                        sleep(RETRY.1).await;
                    }
                    Err(error) => {
                        // Salt makes this socket after the other.
                        tracing::debug!(%error, "cannot fire on the bus yet");
                        sleep(RETRY.0).await;
                    }
                }
            }
            wait = (wait * 2).min(GREETING.1);
        }
    }

    /// The framings to try, best first. A bare frame does no harm where prefixed ones are read, the other way
    /// round four lines appear in the log of that bus.
    fn candidates(&self) -> Vec<Framing> {
        if let Some(framing) = self.config.pull_framing {
            return vec![framing];
        }
        match (self.framing, self.handle.status().framing) {
            (_, Some(Framing::Prefixed)) => vec![Framing::Prefixed],
            (Some(Framing::Prefixed), _) => vec![Framing::Prefixed, Framing::Bare],
            _ => vec![Framing::Bare, Framing::Prefixed],
        }
    }

    async fn try_greeting(
        &mut self,
        framing: Framing,
        wait: Duration,
    ) -> Result<bool, PublishError> {
        let event = own_event(JOINED, self.config.stamp_style);
        let mut expected = self.relay.expect(&event);
        let mut other = None;
        let publisher = match self.framing == Some(framing) {
            true => &mut self.publisher,
            false => other.insert(publisher(&self.config, framing)),
        };
        publisher.fire_raw(&event, Some(wait)).await?;
        if !matches!(timeout(wait, expected.seq()).await, Ok(Some(_))) {
            return Ok(false);
        }
        if let Some(mut publisher) = other {
            for event in &self.in_hand {
                publisher.queue_raw(event);
            }
            self.publisher = publisher;
            self.framing = Some(framing);
        }
        Ok(true)
    }
}

fn publisher(config: &JoinConfig, framing: Framing) -> Publisher {
    let config_of_publisher = PublisherConfig {
        framing,
        ..PublisherConfig::default()
    };
    Publisher::new(&config.address, config_of_publisher)
}

/// An event of ours, unlike any other.
fn own_event(tag: &str, style: StampStyle) -> Vec<u8> {
    let mut data = Map::new();
    data.insert("pid", i64::from(std::process::id()));
    data.insert("version", env!("CARGO_PKG_VERSION"));
    let stamp = stamp::format(since_epoch(), style);
    encode_event(tag, &mut data, &stamp, MAX_EVENT_SIZE)
        .expect("the tag is a constant that can be sent")
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
