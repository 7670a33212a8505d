//! Shared by the transports: requests and their answers, publications and their audience.
//!
//! Every request is answered: one that is dropped unanswered is answered `bad load`, which makes a
//! minion sign in again and repeat it. Facts: `docs/protocol/network.md` §2, §15.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brine_wire::Value;
use brine_wire::network::{MinionId, payload};
use tokio::sync::OwnedSemaphorePermit;

use crate::accounts::{Charge, Holder};
use crate::known::KnownAddresses;
use crate::quota;

/// Limits for a connection, an address and the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// The largest message of a connection that has not authenticated; a larger one counts against
    /// `large_message_bytes`.
    pub max_stranger_bytes: usize,
    /// The bytes that all large messages of strangers may take together: one half from addresses of minions, one from
    /// all others.
    pub large_message_bytes: usize,
    /// The most connections for requests of one accepted minion or local user. Beyond it the oldest is closed.
    pub connections_per_minion: usize,
    /// The bytes that the large messages of one of them may take until they are answered, and its answers until they
    /// are sent; at least one message.
    pub bytes_per_minion: usize,
    /// The bytes that the large messages of all of them may take together.
    pub minion_bytes: usize,
    /// The most unauthenticated connections of one address.
    pub strangers_per_address: usize,
    /// The most unauthenticated connections in all. Beyond it the oldest of the address that has most is closed.
    pub strangers: usize,
    /// The most subscribers of one address over ZeroMQ, where they do not identify themselves.
    pub subscribers_per_address: usize,
    /// The most such subscribers in all.
    pub subscribers: usize,
    /// The time limit for a message to arrive, an answer to be sent, and a stranger to authenticate.
    pub io_timeout: Duration,
    /// The most requests in progress per connection; further ones wait in the socket.
    pub requests_per_connection: usize,
    /// Messages that wait for one subscriber (`pub_hwm`); newer ones are dropped beyond.
    pub publish_queue: usize,
    /// How long a subscriber may take to identify itself, or over ZeroMQ to subscribe.
    pub identification: Duration,
    /// Where minions have authenticated. Clones of the limits share it, so that both ports know.
    pub known: KnownAddresses,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 * 1024 * 1024,
            max_stranger_bytes: 64 * 1024,
            large_message_bytes: 256 * 1024 * 1024,
            connections_per_minion: 256,
            bytes_per_minion: 64 * 1024 * 1024,
            minion_bytes: 512 * 1024 * 1024,
            strangers_per_address: 1024,
            strangers: 8192,
            subscribers_per_address: usize::MAX,
            subscribers: usize::MAX,
            io_timeout: Duration::from_secs(60),
            requests_per_connection: 32,
            publish_queue: 1000,
            identification: Duration::from_secs(30),
            known: KnownAddresses::default(),
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

    /// The defaults, within shares of this many open files, so that neither strangers nor subscribers use up what requests,
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

/// The sender of a request, as far as the transport knows it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: Option<IpAddr>,
    is_known: bool,
    /// Who it is, once it has authenticated.
    holder: Arc<OnceLock<Holder>>,
}

impl Peer {
    pub(crate) fn new(address: Option<IpAddr>, known: &KnownAddresses) -> Self {
        Self {
            address,
            is_known: address.is_some_and(|address| known.contains(address)),
            holder: Arc::default(),
        }
    }

    /// Whether a minion had authenticated from its address before it connected.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.is_known
    }

    /// What its address counts as: an IPv6 /64 network is one.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.address.map(quota::holder)
    }

    /// The peer is an accepted minion: the limits for strangers no longer apply to its connection, and those for this
    /// minion do. The first identity counts.
    pub fn trust_minion(&self, id: &MinionId) {
        if self.holder.get().is_none() {
            let _ = self.holder.set(Holder::Minion(id.clone()));
        }
    }

    /// The peer is a local client of this user: as for a minion.
    pub fn trust_client(&self, user: &str) {
        if self.holder.get().is_none() {
            let _ = self.holder.set(Holder::Client(user.to_owned()));
        }
    }

    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.get()
    }
}

/// A request.
pub struct Incoming {
    /// Who sent it.
    pub peer: Peer,
    /// The request, not yet interpreted: for [`brine_wire::network::payload::Payload::from_value`].
    pub payload: Value,
    /// Its size on the wire, in bytes.
    pub bytes: usize,
    /// Sends the answer; `None` when it was sent.
    answer: Option<Answer>,
    /// What its memory is charged to, until it is answered.
    _room: Option<Room>,
}

/// Receives requests in the order of their connection. It runs where the transport reads and must not wait: slow work
/// belongs on another task, which takes the [`Incoming`] along.
pub type Handler = Arc<dyn Fn(Incoming) + Send + Sync>;

/// The room that a large message takes.
#[derive(Debug)]
pub(crate) enum Room {
    /// Among those of strangers.
    Stranger(OwnedSemaphorePermit),
    /// Among those of a minion or local client.
    Charge(Charge),
}

/// Sends an answer to the peer.
pub(crate) type Answer = Box<dyn FnOnce(Value) + Send>;

impl Incoming {
    pub(crate) fn new(
        peer: Peer,
        payload: Value,
        bytes: usize,
        answer: Answer,
        room: Option<Room>,
    ) -> Self {
        Self {
            peer,
            payload,
            bytes,
            answer: Some(answer),
            _room: room,
        }
    }

    /// Takes the request out; it can still be answered.
    #[must_use]
    pub fn take_payload(&mut self) -> Value {
        std::mem::replace(&mut self.payload, Value::Nil)
    }

    /// Answers the request. If the peer is gone, the answer is dropped.
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

/// The audience of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every subscriber.
    Everyone,
    /// These minions, and on tcp also those that have not identified themselves; they check the target themselves.
    /// An empty list is everyone, as in Salt.
    Minions(Vec<MinionId>),
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The bytes of a [`brine_wire::network::publish::Publish`].
    pub payload: Arc<[u8]>,
    /// Its audience.
    pub audience: Audience,
}

/// A change that a tcp publish port notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A connection identified itself as this minion.
    Identified(MinionId),
    /// A connection of this minion is gone.
    Gone(MinionId),
}
