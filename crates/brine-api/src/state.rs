//! The state from which requests are answered.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brine_bus::{BusHandle, Relay};
use brine_log::history::History;
use brine_log::{Log, Seq};
use brine_wire::Map;
use brine_wire::compat::{Compat, StampStyle};
use brine_wire::event::MAX_EVENT_SIZE;
use tokio::sync::watch;

use crate::acl::Acl;
use crate::command::RunCommand;
use crate::counters::Counters;
use crate::figures::Sources;
use crate::salt_exporter::Exporter;
use crate::sinks::Sinks;
use crate::subject::Subject;

/// Waits until all events of a range are on disk; an error says why one of them will not be.
pub type Durability = Arc<
    dyn Fn(Range<Seq>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync,
>;

/// What a subject does that an audit records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed<'a> {
    /// It begins to read events.
    Reads,
    /// It fires an event with this tag.
    Fires {
        /// The tag.
        tag: &'a str,
    },
    /// It may not fire an event. Of several that come together, the first is noticed.
    IsRefused {
        /// The event's tag; `None` if it may fire none, so that nothing was read.
        tag: Option<&'a str>,
    },
}

/// An audit; decides itself what is worth an event.
pub type Audit = Arc<dyn Fn(&Subject, Noticed<'_>) + Send + Sync>;

/// More for `GET /status`, asked each time.
pub type StatusPart = Arc<dyn Fn() -> Map + Send + Sync>;

/// Says why the process should get no new clients now, if it should not.
pub type ReadinessCheck = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Whose bus this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// `bus`, `master` or `minion`.
    pub kind: &'static str,
    /// The node's id; empty for a bus alone.
    pub id: String,
    /// The program's version.
    pub version: &'static str,
}

/// How requests are served.
#[derive(Debug, Clone, Copy)]
pub struct ApiConfig {
    /// Salt's `max_event_size`: larger data are refused, in bytes of the packed data.
    pub max_event_size: usize,
    /// How the `_stamp` of events that are fired is written.
    pub stamp_style: StampStyle,
    /// After so long without an event a stream writes a heartbeat.
    pub heartbeat: Duration,
    /// The most connections of one user.
    pub connections_per_user: usize,
    /// The most connections together.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and how long a connection may be idle
    /// between two.
    pub head_timeout: Duration,
    /// How many seconds local time is ahead of UTC at a moment, for times without a zone.
    pub zone: fn(i64) -> i32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            max_event_size: MAX_EVENT_SIZE,
            stamp_style: Compat::NEWEST.stamp_style(),
            heartbeat: Duration::from_secs(15),
            connections_per_user: 256,
            connections: 1024,
            head_timeout: Duration::from_secs(30),
            zone: |_| 0,
        }
    }
}

/// What requests are answered from. One for all listeners of a bus.
pub struct ApiState {
    /// The bus's log.
    pub log: Arc<Log>,
    /// The bus, which accepts its subscribers before something is fired here; `None` for a log that no bus serves.
    pub bus: Option<BusHandle>,
    /// Who may do what.
    pub acl: Acl,
    /// Whose bus this is.
    pub node: NodeInfo,
    /// Limits and defaults.
    pub config: ApiConfig,
    /// Names of fields whose values are redacted for readers that may not do everything, in addition to those that
    /// always are.
    pub redact: Arc<[String]>,
    /// How to wait for the disk; `None` without history.
    pub durability: Option<Durability>,
    /// Where events go that are fired here, if this bus has joined another; else into the log.
    pub relay: Option<Relay>,
    /// Where consumers are kept; `None` without history.
    pub history: Option<History>,
    /// Runs the consumers that are sinks.
    pub sinks: Option<Arc<dyn Sinks>>,
    /// Runs commands; `None` where there is no node.
    pub runner: Option<Arc<dyn RunCommand>>,
    /// Parts of `GET /status` that others know: their names and how to ask.
    pub status: Vec<(&'static str, StatusPart)>,
    /// What metrics are read from.
    pub metrics: Sources,
    /// What `/readyz` asks.
    pub readiness: Vec<ReadinessCheck>,
    /// Called whenever a subject begins to read, fires or is refused that; `None` without an audit.
    pub audit: Option<Audit>,
    /// What the network API has counted.
    pub(crate) counters: Arc<Counters>,
    pub(crate) exporter: Exporter,
    readers: Readers,
    shutdown: watch::Sender<bool>,
}

impl ApiState {
    /// The state for a log, with neither history nor commands.
    #[must_use]
    pub fn new(log: Arc<Log>, acl: Acl, node: NodeInfo, config: ApiConfig) -> Self {
        Self {
            log,
            bus: None,
            acl,
            node,
            config,
            redact: Arc::from([]),
            durability: None,
            relay: None,
            history: None,
            sinks: None,
            runner: None,
            status: Vec::new(),
            metrics: Sources::default(),
            readiness: Vec::new(),
            audit: None,
            counters: Arc::default(),
            exporter: Exporter::default(),
            readers: Readers::default(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// Takes the place of a state with another log: whoever reads now is among its readers, and nothing is counted
    /// anew.
    pub fn continues(&mut self, before: &Self) {
        self.counters = Arc::clone(&before.counters);
        self.readers = before.readers.clone();
    }

    /// Tells streams to write what the log holds and end.
    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    pub(crate) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    pub(crate) const fn readers(&self) -> &Readers {
        &self.readers
    }

    pub(crate) fn note(&self, subject: &Subject, noticed: Noticed<'_>) {
        if let Some(audit) = &self.audit {
            audit(subject, noticed);
        }
    }
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ApiState")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The streams that are read now, for `GET /status`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Readers(Arc<Mutex<Reading>>);

/// Who reads now, and what those who have gone were sent.
#[derive(Debug, Default)]
struct Reading {
    now: Vec<Arc<Reader>>,
    sent_to_gone: u64,
}

/// A stream that is read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) subject: Subject,
    /// The next event it looks at.
    pub(crate) next: AtomicU64,
    /// How many events it was sent.
    pub(crate) sent: AtomicU64,
    /// What it asked for.
    pub(crate) query: String,
}

impl Reader {
    /// How many events it has not looked at. One that has no cursor yet does not lag.
    pub(crate) fn lag(&self, log: &Log) -> u64 {
        match self.next.load(Ordering::Relaxed) {
            0 => 0,
            next => log.lag(Seq(next)).events,
        }
    }
}

/// A place among the [`Readers`], given up when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    readers: Readers,
    pub(crate) reader: Arc<Reader>,
}

impl Readers {
    pub(crate) fn enter(&self, subject: Subject, query: String) -> Entry {
        let reader = Arc::new(Reader {
            subject,
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            query,
        });
        self.lock().now.push(Arc::clone(&reader));
        Entry {
            readers: self.clone(),
            reader,
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Reader>> {
        self.lock().now.clone()
    }

    /// How many events streams were sent since the beginning, each counted once for each of them: `watch`, `history`,
    /// consumers and other programs on `brine.sock`, and streams of the HTTP API of this process. Gaps and heartbeats
    /// do not count, nor do events that a stream's filter leaves out.
    pub(crate) fn sent(&self) -> u64 {
        let reading = self.lock();
        let sent = |reader: &Arc<Reader>| reader.sent.load(Ordering::Relaxed);
        reading.sent_to_gone + reading.now.iter().map(sent).sum::<u64>()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reading> {
        // A list of counters is consistent even if a thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut reading = self.readers.lock();
        reading.sent_to_gone += self.reader.sent.load(Ordering::Relaxed);
        reading
            .now
            .retain(|reader| !Arc::ptr_eq(reader, &self.reader));
    }
}

impl Reader {
    pub(crate) fn note(&self, next: Seq, sent: u64) {
        self.next.store(next.0, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }
}
