//! The bus: accepts publishers and subscribers and gives each a task.
//!
//! This is where an event's path begins: `serve` accepts, [`PullConn`](crate::pull) reads and
//! appends to the log, [`Subscriber`](crate::publish) writes from it. All of it runs on the one
//! thread of the runtime it is called in.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brine_log::{Log, Start};
use brine_wire::frame::{Framing, MAX_FRAME_BYTES};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::allocator::Crowd;
use crate::listen::{Listener, Sockets};
use crate::publish::{End, Subscriber};
use crate::pull::PullConn;
use crate::quota::Quota;
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

/// What a bus has turned away.
#[derive(Debug, Default)]
struct Counters {
    refused_publishers: AtomicU64,
    overrun_subscribers: AtomicU64,
}

/// How far a bus is with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Serving,
    /// Publishers are read to their last byte, no more are accepted.
    Draining,
    /// Subscribers get what is in the log.
    Closing,
}

/// How long a subscriber has to take the last events, once the bus ends.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// How many full frames unfinished ones of all publishers may take together.
const UNFINISHED_FRAMES: usize = 4;
/// How long to wait when the system cannot give another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long not to repeat that it cannot; near the limit it comes and goes with every connection.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

struct Bus {
    log: Arc<Log>,
    config: BusConfig,
    quota: Arc<Quota>,
    counters: Counters,
    phase: watch::Sender<Phase>,
}

/// Serves buses that share one log, until `shutdown` is done; then reads what publishers have
/// sent, writes it to subscribers and returns. Dropping the future cuts all connections.
pub async fn serve(
    buses: Vec<Served>,
    log: Arc<Log>,
    config: BusConfig,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::new(config.max_frame_bytes.saturating_mul(UNFINISHED_FRAMES));
    let phase = watch::Sender::new(Phase::Serving);
    let bus = Arc::new(Bus {
        log,
        config,
        quota,
        counters: Counters::default(),
        phase,
    });
    let (mut pulling, mut publishing) = (JoinSet::new(), JoinSet::new());
    for Served { sockets, framing } in buses {
        pulling.spawn(Arc::clone(&bus).accept_publishers(sockets.pull));
        publishing.spawn(Arc::clone(&bus).accept_subscribers(sockets.publish, framing));
    }
    shutdown.await;
    bus.phase.send_replace(Phase::Draining);
    while pulling.join_next().await.is_some() {}
    bus.phase.send_replace(Phase::Closing);
    let all_closed = async { while publishing.join_next().await.is_some() {} };
    if tokio::time::timeout(CLOSING_TIME, all_closed)
        .await
        .is_err()
    {
        tracing::warn!("ended with subscribers that had not read everything");
    }
    bus.counters.log();
}

impl Bus {
    async fn accept_publishers(self: Arc<Self>, listener: Listener) {
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
        let log = Arc::clone(&self.log);
        let mut publisher =
            PullConn::new(stream, log, self.config.max_frame_bytes, self.quota.share());
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
            self.counters
                .refused_publishers
                .fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%peer, err = %error, "closed a publisher's connection");
        }
    }

    async fn accept_subscribers(self: Arc<Self>, listener: Listener, framing: Framing) {
        let (mut connections, mut crowd) = (JoinSet::new(), Crowd::default());
        let mut warned = None;
        let mut draining = pin!(self.reached(Phase::Draining));
        loop {
            tokio::select! {
                stream = accept(&listener, &mut warned) => {
                    let subscriber = Subscriber::new(stream, self.log.frames(framing, Start::Tail));
                    connections.spawn(Arc::clone(&self).publish_to(subscriber));
                }
                Some(_) = connections.join_next() => {}
                () = &mut draining => break,
            }
            crowd.note(connections.len());
        }
        drop(listener);
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
            self.counters
                .overrun_subscribers
                .fetch_add(1, Ordering::Relaxed);
            tracing::warn!(peer = %subscriber.peer(), from = %gap.from.seq, to = %gap.to.seq,
                "closed a subscriber that did not read, the log has moved past it");
        }
    }
}

impl Bus {
    /// Waits until the bus is this far with its end.
    async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

impl Counters {
    fn log(&self) {
        let refused_publishers = self.refused_publishers.load(Ordering::Relaxed);
        let overrun_subscribers = self.overrun_subscribers.load(Ordering::Relaxed);
        tracing::info!(refused_publishers, overrun_subscribers, "bus ended");
    }
}

/// The next connection, however long the system has none to give; that is said when it begins, and
/// again after [`WARNING_PAUSE`]. `warned` is when it was said last.
async fn accept(listener: &Listener, warned: &mut Option<Instant>) -> Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            // The peer was gone before it was accepted: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if warned.is_none_or(|warned| warned.elapsed() > WARNING_PAUSE) {
                    tracing::warn!(err = %error, "cannot accept connections for now; raise the file limit (ulimit -n) if this recurs");
                    *warned = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
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
