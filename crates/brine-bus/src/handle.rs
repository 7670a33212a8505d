//! Access to a running bus from outside: its log, and its statistics.
//!
//! On the event path this costs one relaxed store per write to a subscriber, and a look at the clock for some of
//! these writes; the log counts everything else, or it is counted when a connection begins and ends. This module
//! knows nothing of sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use brine_log::{EventCursor, Incoming, Lag, Log, Millis, Position, Seq, Source, Start, Stats};
use tokio::sync::mpsc;

use crate::accept::Acceptor;
use crate::audit::{Audit, Noticed};
use crate::clock;
use crate::delay::{self, Delays, DeliveryDelay};
use crate::stream::Peer;

/// A handle to a bus; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct BusHandle {
    log: Arc<Log>,
    registry: Arc<Registry>,
}

/// What a bus has done since it was made, and who is connected now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusStats {
    /// What the log holds, and how many events and bytes came in.
    pub log: Stats,
    /// Events written to subscribers of Salt's publish sockets, each counted once for each subscriber. Readers of
    /// `brine.sock` and of the HTTP API read the log without the bus: who serves them counts theirs.
    pub deliveries: u64,
    /// Publishers connected now.
    pub publishers: usize,
    /// Publishers whose connection was closed because of what they sent.
    pub refused_publishers: u64,
    /// Events of publishers that were left out because they are malformed.
    pub malformed_events: u64,
    /// Subscribers closed because the log had moved past them.
    pub overrun_subscribers: u64,
    /// How long events waited before they were written.
    pub delivery_delay: DeliveryDelay,
    /// Subscribers connected now, longest first.
    pub subscribers: Vec<SubscriberStats>,
}

/// One subscriber that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberStats {
    /// Who it is.
    pub peer: Peer,
    /// The last event written to it; if none has been, the one before the first that it will get.
    pub position: Position,
    /// How far behind it is, and where the next event it reads is.
    pub lag: Lag,
}

impl BusHandle {
    pub(crate) const fn new(log: Arc<Log>, registry: Arc<Registry>) -> Self {
        Self { log, registry }
    }

    /// The bus's log.
    #[must_use]
    pub const fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Appends events that are already checked and encoded, as of now. Gives their numbers. Every subscriber whose
    /// connection waits to be accepted is accepted before, and gets them.
    pub fn append<'a>(&self, events: impl IntoIterator<Item = Incoming<'a>>) -> Range<Seq> {
        self.accept_waiting();
        self.log.append(events, clock::now())
    }

    /// As `append`, for events of one authenticated sender, the minion of this name, or of nobody in particular. Wakes
    /// nobody, so that a crowd of senders does not wake the bus for each event: [`BusHandle::wake_readers`] must follow
    /// soon.
    pub fn append_quietly<'a>(
        &self,
        sender: Option<&str>,
        events: impl IntoIterator<Item = Incoming<'a>>,
    ) -> Range<Seq> {
        self.accept_waiting();
        self.log.append_quietly(sender, events, clock::now())
    }

    /// Wakes all readers that wait for events.
    pub fn wake_readers(&self) {
        self.log.wake_cursors();
    }

    /// As `append`, for events of other masters, each with its source.
    pub fn append_sourced<'a, 's>(
        &self,
        events: impl IntoIterator<Item = (Source<'s>, Incoming<'a>)>,
    ) -> Range<Seq> {
        self.accept_waiting();
        self.log.append_sourced(events, clock::now())
    }

    /// Accepts the subscribers whose connections wait, so that they get what is appended from now on. For those who
    /// append to the log themselves, and not on the bus's own thread.
    pub fn accept_waiting(&self) {
        self.registry.accept_waiting();
    }

    /// A cursor over the events of the bus, whoever publishes them.
    #[must_use]
    pub fn events(&self, start: Start) -> EventCursor {
        self.log.events(start)
    }

    /// Notices from now on who subscribes, and which publishers fire reserved tags. One audit per bus; what its owner
    /// fires itself is not noticed.
    #[must_use]
    pub fn audit(&self, is_reserved: fn(&str) -> bool) -> mpsc::Receiver<Noticed> {
        self.registry.audit.begin(is_reserved)
    }

    /// What the bus has done so far.
    #[must_use]
    pub fn stats(&self) -> BusStats {
        let log = self.log.stats();
        let registry = &self.registry;
        let entries: Vec<_> = registry.subscribers().values().cloned().collect();
        let under_way: u64 = entries.iter().map(|entry| entry.delivered()).sum();
        BusStats {
            log,
            deliveries: registry.delivered.load(Ordering::Relaxed) + under_way,
            publishers: registry.publishers.load(Ordering::Relaxed),
            refused_publishers: registry.refused_publishers.load(Ordering::Relaxed),
            malformed_events: registry.malformed_events.load(Ordering::Relaxed),
            overrun_subscribers: registry.overrun_subscribers.load(Ordering::Relaxed),
            delivery_delay: registry.delays.snapshot(),
            subscribers: entries.iter().map(|entry| self.subscriber(entry)).collect(),
        }
    }

    fn subscriber(&self, entry: &Progress) -> SubscriberStats {
        let next = entry.next();
        SubscriberStats {
            peer: entry.peer,
            position: Position {
                log: self.log.id(),
                seq: Seq(next.0.saturating_sub(1)),
            },
            lag: self.log.lag(next),
        }
    }
}

impl fmt::Debug for BusHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BusHandle").finish_non_exhaustive()
    }
}

/// Who is connected to a bus, and totals of those who were.
#[derive(Default)]
pub(crate) struct Registry {
    publishers: AtomicUsize,
    refused_publishers: AtomicU64,
    malformed_events: AtomicU64,
    overrun_subscribers: AtomicU64,
    /// Events written to subscribers that have gone.
    delivered: AtomicU64,
    delays: Delays,
    connections: AtomicU64,
    /// Those of the bus's publish sockets, while it serves them.
    acceptors: Mutex<Vec<Weak<Acceptor>>>,
    /// By the order in which they connected. Locked when one comes or goes and for statistics,
    /// never for an event.
    subscribers: Mutex<BTreeMap<u64, Arc<Progress>>>,
    pub(crate) audit: Audit,
}

/// A publisher that is connected; counted out when dropped.
pub(crate) struct CountedPublisher(Arc<Registry>);

/// A subscriber that is connected; counted out when dropped.
pub(crate) struct CountedSubscriber {
    registry: Arc<Registry>,
    number: u64,
    writes: u32,
    progress: Arc<Progress>,
}

/// How far a subscriber has read.
#[derive(Debug)]
struct Progress {
    peer: Peer,
    first: Seq,
    next: AtomicU64,
}

impl Registry {
    pub(crate) fn publisher(self: &Arc<Self>) -> CountedPublisher {
        self.publishers.fetch_add(1, Ordering::Relaxed);
        CountedPublisher(Arc::clone(self))
    }

    /// A subscriber whose first event will be `first`.
    pub(crate) fn subscriber(self: &Arc<Self>, peer: Peer, first: Seq) -> CountedSubscriber {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress {
            peer,
            first,
            next: AtomicU64::new(first.0),
        });
        self.subscribers().insert(number, Arc::clone(&progress));
        self.audit.subscribed(peer);
        CountedSubscriber {
            registry: Arc::clone(self),
            number,
            writes: 0,
            progress,
        }
    }

    /// From now on, every thread that appends also accepts from this one.
    pub(crate) fn accepts(&self, acceptor: &Arc<Acceptor>) {
        self.acceptors().push(Arc::downgrade(acceptor));
    }

    /// Accepts the subscribers whose connections wait.
    fn accept_waiting(&self) {
        for acceptor in self.acceptors().iter().filter_map(Weak::upgrade) {
            // The bus's own thread meets the same error, and reports it.
            let _ = acceptor.accept_waiting();
        }
    }

    fn acceptors(&self) -> MutexGuard<'_, Vec<Weak<Acceptor>>> {
        self.acceptors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publisher_refused(&self) {
        self.refused_publishers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn malformed_events(&self, count: u64) {
        self.malformed_events.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn subscriber_overrun(&self) {
        self.overrun_subscribers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn log_totals(&self) {
        let refused_publishers = self.refused_publishers.load(Ordering::Relaxed);
        let overrun_subscribers = self.overrun_subscribers.load(Ordering::Relaxed);
        tracing::info!(refused_publishers, overrun_subscribers, "bus ended");
    }

    fn subscribers(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Progress>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl CountedSubscriber {
    pub(crate) fn peer(&self) -> Peer {
        self.progress.peer
    }

    /// Notes that everything before `next` was written to it; `taken` is when the first of these events was received.
    #[inline]
    pub(crate) fn wrote(&mut self, next: Seq, taken: impl FnOnce() -> Option<Millis>) {
        self.progress.next.store(next.0, Ordering::Relaxed);
        if delay::is_sampled(self.writes)
            && let Some(taken) = taken()
        {
            self.registry.delays.note(taken, clock::now());
        }
        self.writes = self.writes.wrapping_add(1);
    }
}

impl Progress {
    fn next(&self) -> Seq {
        Seq(self.next.load(Ordering::Relaxed))
    }

    fn delivered(&self) -> u64 {
        self.next().0.saturating_sub(self.first.0)
    }
}

impl Drop for CountedPublisher {
    fn drop(&mut self) {
        self.0.publishers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for CountedSubscriber {
    fn drop(&mut self) {
        let delivered = self.progress.delivered();
        self.registry
            .delivered
            .fetch_add(delivered, Ordering::Relaxed);
        self.registry.subscribers().remove(&self.number);
    }
}
