//! Shared by the transports: requests and their answers, publications and their audience.
//!
//! Every request is answered: one that is dropped unanswered is answered `bad load`, which makes a
//! minion sign in again and repeat it. Facts: `docs/protocol/network.md` §2, §15.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use brine_wire::Value;
use brine_wire::network::{MinionId, payload};
use tokio::sync::OwnedSemaphorePermit;

use crate::accounts::{Charge, Holder};
use crate::known::{self, KnownAddresses};
pub use crate::limits::Limits;

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
        self.address.map(known::holder)
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
