//! What the transports share: requests and their answers, publications and their audience.
//!
//! Every request is answered: one that is dropped unanswered is answered `bad load`, which makes a
//! minion sign in again and repeat it. Facts: `docs/protocol/network.md` §2, §15.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brine_wire::Value;
use brine_wire::network::{MinionId, payload};

/// What one connection, address and server may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// The largest message of a connection that has not authenticated; a larger one draws on
    /// `large_message_bytes`.
    pub max_stranger_bytes: usize,
    /// What all large messages of strangers may take together, in bytes.
    pub large_message_bytes: usize,
    /// Connections of one address that have not authenticated.
    pub strangers_per_address: usize,
    /// Such connections of all addresses together. Beyond it the oldest of the address that has most is closed.
    pub strangers: usize,
    /// Subscribers of one address over ZeroMQ, where they do not say who they are.
    pub subscribers_per_address: usize,
    /// Such subscribers of all addresses together.
    pub subscribers: usize,
    /// How long a message may take to arrive, an answer to be sent, and a stranger to authenticate.
    pub patience: Duration,
    /// Requests under way per connection; what comes beyond waits in the socket.
    pub requests_per_connection: usize,
    /// Messages that wait for one subscriber (`pub_hwm`); newer ones are dropped beyond.
    pub publish_queue: usize,
    /// How long a subscriber may take to identify itself, or over ZeroMQ to subscribe.
    pub identification: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 * 1024 * 1024,
            max_stranger_bytes: 64 * 1024,
            large_message_bytes: 256 * 1024 * 1024,
            strangers_per_address: 1024,
            strangers: 8192,
            subscribers_per_address: usize::MAX,
            subscribers: usize::MAX,
            patience: Duration::from_secs(60),
            requests_per_connection: 32,
            publish_queue: 1000,
            identification: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// The defaults, within shares of the files that this process may open.
    #[must_use]
    pub fn for_this_process() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::default().within_open_files(files.unwrap_or(u64::MAX))
    }

    /// The same, within shares of this many open files, so that neither strangers nor subscribers use up what requests,
    /// the local bus and the command line need: a quarter for strangers, an eighth for those of one address; half for
    /// subscribers, three eighths for those of one address, behind which there may be many minions.
    #[must_use]
    pub fn within_open_files(self, files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            strangers_per_address: self.strangers_per_address.min(files / 8),
            strangers: self.strangers.min(files / 4),
            subscribers_per_address: self.subscribers_per_address.min(files / 8 * 3),
            subscribers: self.subscribers.min(files / 2),
            ..self
        }
    }
}

/// Who sent a request, as far as the transport knows.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Set once it has authenticated.
    trusted: Arc<AtomicBool>,
}

impl Peer {
    pub(crate) fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            trusted: Arc::default(),
        }
    }

    /// Marks the peer as an accepted minion or a local client: the limits for strangers no longer apply to its
    /// connection.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
}

/// A request.
pub struct Incoming {
    /// Who sent it.
    pub peer: Peer,
    /// The request, not interpreted yet: for [`brine_wire::network::payload::Payload::from_value`].
    pub payload: Value,
    /// How many bytes it came in.
    pub bytes: usize,
    /// Where the answer goes; `None` once it went.
    answer: Option<Answer>,
}

/// Takes requests, in the order in which they come on each connection. It is called where the transport reads,
/// and must not wait: what takes long is to be done elsewhere, with the [`Incoming`] in hand.
pub type Handler = Arc<dyn Fn(Incoming) + Send + Sync>;

/// Sends an answer to the peer.
pub(crate) type Answer = Box<dyn FnOnce(Value) + Send>;

impl Incoming {
    pub(crate) fn new(peer: Peer, payload: Value, bytes: usize, answer: Answer) -> Self {
        Self {
            peer,
            payload,
            bytes,
            answer: Some(answer),
        }
    }

    /// Takes the request out; it can still be answered.
    #[must_use]
    pub fn take_payload(&mut self) -> Value {
        std::mem::replace(&mut self.payload, Value::Nil)
    }

    /// Answers it. If the peer is gone, so is the answer.
    pub fn answer(mut self, answer: Value) {
        if let Some(send) = self.answer.take() {
            send(answer);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Incoming")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(send) = self.answer.take() {
            send(payload::BAD_LOAD.into());
        }
    }
}

/// Whom a publication is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every subscriber.
    Everyone,
    /// These minions, and on tcp those that have not identified themselves, which match for themselves.
    /// An empty list is everyone, as in Salt.
    Minions(Vec<MinionId>),
}

/// Something to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The bytes of a [`brine_wire::network::publish::Publish`].
    pub payload: Arc<[u8]>,
    /// For whom.
    pub audience: Audience,
}

/// What a tcp publish port learns about minions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A connection identified itself as this minion.
    Identified(MinionId),
    /// A connection of this minion is gone.
    Gone(MinionId),
}
