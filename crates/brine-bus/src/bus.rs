//! The bus: accepts publishers and subscribers and gives each a task.
//!
//! This is where an event's path begins: [`Bus::run`] accepts, [`PullConn`](crate::pull) reads and appends to the
//! log, [`Subscriber`](crate::publish) writes from it. All of it runs on the one thread of the runtime in which it is
//! called, except that other threads may accept subscribers before they append ([`accept`](crate::accept));
//! [`Bus::spawn`] makes such a thread. This module does not know what an event means.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brine_log::Log;
use brine_wire::frame::{Framing, MAX_FRAME_BYTES};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::accept::{Accepted, Acceptor};
use crate::allocator::TrimAfterBurst;
use crate::handle::{BusHandle, Registry};
use crate::listen::{Accepting, Listener, Sockets};
use crate::publish::{End, Subscriber};
use crate::pull::{Inlet, PullConn};
use crate::quota::Quota;
use crate::registration::Registered;
use crate::relay::Relay;
use crate::stream::Stream;

/// Limits of a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusConfig {
    /// The largest frame taken from a publisher, in bytes.
    pub max_frame_bytes: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            max_frame_bytes: MAX_FRAME_BYTES,
        }
    }
}

/// One pair of sockets and the framing its subscribers read. Publishers may use either.
#[derive(Debug)]
pub struct Served {
    /// The sockets.
    pub sockets: Sockets,
    /// How events are written to subscribers; one the log keeps.
    pub framing: Framing,
}

/// A bus, its sockets bound but not served yet.
pub struct Bus {
    sockets: Vec<Accepts>,
    core: Arc<Core>,
}

/// The listening sockets: the bus's task accepts publishers; any thread may accept subscribers.
struct Accepts {
    publishers: Option<Listener>,
    subscribers: Arc<Acceptor>,
    accepted: mpsc::Receiver<Accepted>,
}

/// What every connection of a bus shares.
struct Core {
    log: Arc<Log>,
    inlet: Inlet,
    config: BusConfig,
    quota: Arc<Quota>,
    registry: Arc<Registry>,
    phase: watch::Sender<Phase>,
}

/// How far a bus is with its shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Serving,
    /// Publishers are read to their last byte, no more are accepted.
    Draining,
    /// Subscribers get what is in the log.
    Closing,
}

/// How long a subscriber has to take the last events at shutdown.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// How long the connection of a user who may not read is kept open, so that a client that tries again does not do so at once.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// How many of those there may be.
const MOST_REFUSED: usize = 64;
/// The memory for the unfinished frames of all publishers together, in frames of the largest size.
const UNFINISHED_FRAMES: usize = 4;
/// How long to wait when the system cannot give another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two such warnings; near the limit the failure comes and goes with every connection.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// The runtime a bus runs on: one thread, since its work is copying between sockets.
///
/// # Errors
/// What the system says when it has no more descriptors.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Look at the sockets once per round of subscribers, not in the middle of one.
        .event_interval(512)
        .build()
}

impl Bus {
    /// A bus on these sockets, which share one log. The handle works from the start, and after the
    /// bus has ended.
    #[must_use]
    pub fn new(served: Vec<Served>, log: Arc<Log>, config: BusConfig) -> (Self, BusHandle) {
        let inlet = Inlet::Log(Arc::clone(&log));
        Self::with_inlet(served, log, inlet, config)
    }

    /// A bus that mirrors another: its log holds the other bus's events, and what is published here is forwarded by `relay`.
    #[must_use]
    pub fn joined(
        served: Vec<Served>,
        log: Arc<Log>,
        relay: Relay,
        config: BusConfig,
    ) -> (Self, BusHandle) {
        Self::with_inlet(served, log, Inlet::Relay(relay), config)
    }

    fn with_inlet(
        served: Vec<Served>,
        log: Arc<Log>,
        inlet: Inlet,
        config: BusConfig,
    ) -> (Self, BusHandle) {
        let registry = Arc::new(Registry::default());
        let sockets = served.into_iter().map(|Served { sockets, framing }| {
            let (socket, log) = ((sockets.publish, sockets.readers), Arc::clone(&log));
            let (subscribers, accepted) = Acceptor::new(socket, framing, log, &registry);
            Accepts {
                publishers: sockets.pull,
                subscribers,
                accepted,
            }
        });
        let sockets = sockets.collect();
        let core = Core {
            inlet,
            quota: Quota::new(config.max_frame_bytes.saturating_mul(UNFINISHED_FRAMES)),
            config,
            log: Arc::clone(&log),
            registry: Arc::clone(&registry),
            phase: watch::Sender::new(Phase::Serving),
        };
        let core = Arc::new(core);
        (Self { sockets, core }, BusHandle::new(log, registry))
    }

    /// Serves until `shutdown` is done; then reads what publishers have sent, writes it to
    /// subscribers and returns. Dropping the future cuts all connections.
    ///
    /// # Errors
    /// When the sockets cannot be registered with the runtime this is called in.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.run_until(shutdown, std::future::ready(())).await
    }

    /// The same; between reading the last of the publishers and writing the last to subscribers, waits for
    /// `drained`. For a bus whose events go through another ([`Bus::joined`]).
    ///
    /// # Errors
    /// Those of [`Bus::run`].
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()>,
        drained: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Self { sockets, core } = self;
        let (mut pulling, mut publishing) = (JoinSet::new(), JoinSet::new());
        for accepts in sockets {
            if let Some(pull) = accepts.publishers {
                pulling.spawn(Arc::clone(&core).accept_publishers(pull.register()?));
            }
            let (subscribers, accepted) = (accepts.subscribers, accepts.accepted);
            let waiting = subscribers.readiness()?;
            let core = Arc::clone(&core);
            publishing.spawn(core.accept_subscribers(subscribers, waiting, accepted));
        }
        shutdown.await;
        core.phase.send_replace(Phase::Draining);
        while pulling.join_next().await.is_some() {}
        drained.await;
        core.phase.send_replace(Phase::Closing);
        let all_closed = async { while publishing.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING_TIME, all_closed)
            .await
            .is_err()
        {
            tracing::warn!("the bus ended before all subscribers had read everything");
        }
        core.registry.log_totals();
        Ok(())
    }

    /// Does what [`Bus::run`] does on its own thread.
    ///
    /// # Errors
    /// When the system has no more threads or descriptors.
    pub fn spawn(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<BusThread> {
        let runtime = runtime()?;
        let (ending, ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("bus".to_owned())
            .spawn(move || {
                let _ending = ending; // dropped when the thread ends, by a panic too
                runtime.block_on(self.run(shutdown))
            })?;
        Ok(BusThread { thread, ended })
    }
}

/// A bus that runs on its own thread. Dropping this leaves it running until its shutdown.
#[derive(Debug)]
pub struct BusThread {
    thread: JoinHandle<io::Result<()>>,
    ended: oneshot::Receiver<()>,
}

impl BusThread {
    /// Waits until the bus has ended. Dropping the future leaves the bus running.
    ///
    /// # Errors
    /// Those of [`Bus::run`].
    ///
    /// # Panics
    /// When the bus has panicked.
    pub async fn join(self) -> io::Result<()> {
        let _ = self.ended.await; // an error says that it was dropped, which is what we wait for
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Core {
    async fn accept_publishers(self: Arc<Self>, listener: Accepting) {
        let mut connections = JoinSet::new();
        let mut warned = None;
        let mut draining = pin!(self.reached(Phase::Draining));
        loop {
            tokio::select! {
                stream = accept(&listener, &mut warned) => {
                    connections.spawn(Arc::clone(&self).pull_from(stream));
                }
                Some(_) = connections.join_next() => {}
                () = &mut draining => break,
            }
        }
        while let Some(stream) = if_ready(accept(&listener, &mut warned)).await {
            connections.spawn(Arc::clone(&self).pull_from(stream));
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn pull_from(self: Arc<Self>, stream: Stream) {
        let peer = stream.peer();
        let _counted = self.registry.publisher();
        let inlet = self.inlet.clone();
        let mut publisher = PullConn::new(
            stream,
            inlet,
            self.config.max_frame_bytes,
            self.quota.share(),
            Arc::clone(&self.registry),
        );
        let ended = tokio::select! {
            biased;
            ended = publisher.run() => Some(ended),
            () = self.reached(Phase::Draining) => None,
        };
        let ended = match ended {
            Some(ended) => Some(ended),
            None => if_ready(publisher.run()).await,
        };
        if let Some(Err(error)) = ended {
            self.registry.publisher_refused();
            tracing::warn!(%peer, err = %error, "closed a publisher's connection");
        }
    }

    async fn accept_subscribers(
        self: Arc<Self>,
        acceptor: Arc<Acceptor>,
        waiting: Registered,
        mut accepted: mpsc::Receiver<Accepted>,
    ) {
        let (mut connections, mut memory) = (JoinSet::new(), TrimAfterBurst::default());
        let mut refused = JoinSet::new();
        let mut warned = None;
        let mut draining = pin!(self.reached(Phase::Draining));
        let mut serve = |accepted: Accepted, connections: &mut JoinSet<()>| {
            let stream = match Stream::new(accepted.socket) {
                Ok(stream) => stream,
                Err(error) => {
                    return tracing::warn!(err = %error, "cannot serve a subscriber; closed its connection");
                }
            };
            match accepted.subscriber {
                Some((cursor, entry)) => {
                    let subscriber = Subscriber::new(stream, cursor, entry);
                    connections.spawn(Arc::clone(&self).publish_to(subscriber));
                }
                None => refuse(stream, &mut refused),
            }
        };
        loop {
            tokio::select! {
                ready = waiting.readable() => {
                    let accepted = ready.and_then(|mut ready| {
                        if acceptor.accept_waiting()? {
                            ready.clear_ready();
                        }
                        Ok(())
                    });
                    if let Err(error) = accepted {
                        pause(&error, &mut warned).await;
                    }
                }
                Some(accepted) = accepted.recv() => serve(accepted, &mut connections),
                Some(_) = connections.join_next() => {}
                () = &mut draining => break,
            }
            memory.note(connections.len());
        }
        drop((acceptor, waiting));
        while let Ok(accepted) = accepted.try_recv() {
            serve(accepted, &mut connections);
        }
        while connections.join_next().await.is_some() {}
    }

    async fn publish_to(self: Arc<Self>, mut subscriber: Subscriber) {
        let end = tokio::select! {
            biased;
            end = subscriber.run() => end,
            () = self.reached(Phase::Closing) => {
                subscriber.write_to_tail().await.err().unwrap_or(End::Gone)
            }
        };
        if let End::Overrun(gap) = end {
            self.registry.subscriber_overrun();
            let missed = self.log.lag(gap.from.seq).events;
            tracing::warn!(peer = %subscriber.peer(), from = %gap.from.seq, missed,
                cause = %self.log.overrun_cause(),
                "closed the subscriber furthest behind; it missed events");
        }
    }

    /// Waits until the shutdown is this far.
    async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Closes a connection whose user may not read, but not at once: clients connect again as soon as it is closed.
fn refuse(stream: Stream, refused: &mut JoinSet<()>) {
    tracing::debug!(peer = %stream.peer(), "subscriber refused: neither publisher_acl nor Brine's list of readers allows this user");
    while refused.try_join_next().is_some() {}
    if refused.len() < MOST_REFUSED {
        refused.spawn(async move {
            tokio::time::sleep(REFUSED_FOR).await;
            drop(stream);
        });
    }
}

/// Accepts the next connection, trying again while the system is out of descriptors.
async fn accept(listener: &Accepting, warned: &mut Option<Instant>) -> Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            // The peer was gone before it was accepted: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => pause(&error, warned).await,
        }
    }
}

/// Waits until the system may have descriptors again. Warns when that starts, and again after [`WARNING_PAUSE`];
/// `warned` is when it was logged last.
async fn pause(error: &io::Error, warned: &mut Option<Instant>) {
    if warned.is_none_or(|warned| warned.elapsed() > WARNING_PAUSE) {
        tracing::warn!(err = %error, "cannot accept connections for now; raise the file limit (ulimit -n) if this recurs");
        *warned = Some(Instant::now());
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// What a future gives without waiting, once the runtime has looked at the sockets again.
async fn if_ready<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::task::yield_now().await;
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}
