//! Requests of minions that have signed in: opened, checked, and their answers sealed.

use std::sync::Arc;
use std::time::SystemTime;

use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::payload::{self, Encrypted};
use brine_wire::network::pillar::{PillarData, PillarReply, SignedPillar};
use brine_wire::network::request::{Freshness, Load, LoadError, signed_bytes};
use brine_wire::network::{MinionId, VERSION, field};
use brine_wire::{Map, Value};

use super::{MasterChannel, SealError, seconds};
use crate::crypto::crypticle::{Key, OpenError};
use crate::keys::StoreError;
use crate::keys::accepted::AcceptedKey;
use crate::replay::Seen;

/// A minion that has proved its session key and its token: only [`MasterChannel::open_request`] makes one.
#[derive(Debug, Clone)]
pub struct AuthenticatedMinion {
    id: MinionId,
    key: Arc<AcceptedKey>,
    session: Arc<Key>,
}

impl AuthenticatedMinion {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &MinionId {
        &self.id
    }
}

/// A request of an accepted minion.
#[derive(Debug, Clone)]
pub struct Request {
    /// The minion that sent it.
    pub minion: AuthenticatedMinion,
    /// Its content.
    pub load: Load,
    /// Whether the same request came before: then answer it without acting on it again.
    pub seen: Seen,
    encryption: Option<EncryptionAlgorithm>,
    signing: Option<SigningAlgorithm>,
    accepts_sha1: bool,
}

/// Whether a message is signed by its minion (`minion_sign_messages`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageSignature {
    /// It is not signed.
    Missing,
    /// The signature is valid.
    Valid,
    /// The signature is invalid.
    Invalid,
}

/// Why an encrypted request is refused; [`Refused::reply`] is the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Protocol version below 3, without an id. Refused whatever `minimum_auth_version` says.
    #[error("protocol version below 3")]
    Version,
    /// No accepted key.
    #[error("{id} has no accepted key")]
    Unknown {
        /// The minion it names.
        id: MinionId,
    },
    /// Not sealed with the minion's session key, or not a message.
    #[error("request of {id}: {source}")]
    Seal {
        /// The minion it names.
        id: MinionId,
        /// What is wrong.
        source: OpenError,
    },
    /// A field of the load.
    #[error("request of {id}: {source}")]
    Load {
        /// The minion whose session key sealed it.
        id: MinionId,
        /// What is wrong.
        source: LoadError,
    },
    /// The token is not the accepted key's.
    #[error("the token is not that of the accepted key of {id}")]
    Token {
        /// The minion whose session key sealed it.
        id: MinionId,
    },
    /// The master's own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    /// What to answer.
    #[must_use]
    pub const fn reply(&self) -> &'static str {
        match self {
            Self::Load { source, .. } => source.reply(),
            _ => payload::BAD_LOAD,
        }
    }
}

impl MasterChannel {
    /// Opens an encrypted request: accepted key, session key, fields and token, in this order.
    /// Nothing is created or stored for a stranger.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open_request(&self, request: &Encrypted, now: SystemTime) -> Result<Request, Refused> {
        let Some(id) = request.id.as_ref().filter(|_| request.version >= VERSION) else {
            return Err(Refused::Version);
        };
        let unknown = || Refused::Unknown { id: id.clone() };
        let key = self.accepted.get(id).ok_or_else(unknown)?;
        let session = self.sessions.get(id, &key, now)?;
        let load = session
            .open(&request.load, None)
            .map_err(|source| Refused::Seal {
                id: id.clone(),
                source,
            })?;
        let fresh = Freshness {
            now: seconds(now),
            window: self.config.request_server_ttl,
        };
        let load = Load::parse(load, id, fresh).map_err(|source| Refused::Load {
            id: id.clone(),
            source,
        })?;
        if !load.tok.as_deref().is_some_and(|tok| key.verifies(tok)) {
            return Err(Refused::Token { id: id.clone() });
        }
        Ok(Request {
            seen: match &load.nonce {
                Some(nonce) => self
                    .nonces
                    .see(id, nonce, load.ts.unwrap_or(fresh.now), fresh.now),
                None => Seen::First,
            },
            minion: AuthenticatedMinion {
                id: id.clone(),
                key,
                session,
            },
            load,
            encryption: (request.encryption)
                .filter(|algorithm| !self.config.refuse_sha1 || !algorithm.uses_sha1()),
            signing: (request.signing)
                .filter(|algorithm| !self.config.refuse_sha1 || !algorithm.uses_sha1()),
            accepts_sha1: !self.config.refuse_sha1,
        })
    }

    /// Seals the reply to a pillar request: with a key of its own, signed.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_pillar(&self, request: &Request, pillar: Map) -> Result<Value, SealError> {
        let encryption = request.encryption.ok_or(SealError::Algorithm)?;
        let signing = request.signing.ok_or(SealError::Algorithm)?;
        let one_time = Key::generate()?;
        let public = &request.minion.key.public;
        let key = public.encrypt(encryption, one_time.as_str().as_bytes())?;
        let data = PillarData {
            key: key.clone(),
            pillar,
            nonce: request.load.nonce,
        }
        .to_bytes();
        let sig = self.key.sign(signing, &data)?;
        let pillar = one_time.seal(&SignedPillar { data, sig }.to_value(), None)?;
        Ok(PillarReply { key, pillar }.to_value())
    }
}

impl Request {
    /// Seals the answer.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, answer: &Value) -> Result<Value, SealError> {
        let nonce = self.load.nonce.as_ref();
        Ok(Value::Bin(self.minion.session.seal(answer, nonce)?))
    }

    /// Whether the message is signed by its minion, with the algorithm it names or, as 3007's minions do
    /// whatever they name, with SHA-1. One RSA operation, or a few if it is signed otherwise.
    #[must_use]
    pub fn message_signature(&self) -> MessageSignature {
        let Some(sig) = field::bytes(&self.load.fields, "sig") else {
            return MessageSignature::Missing;
        };
        let key = &self.minion.key.public;
        let default = SigningAlgorithm::default();
        let other = self.signing.filter(|named| *named != default);
        let default = self.accepts_sha1.then_some(default);
        let fits = |bytes: &Vec<u8>| {
            let mut algorithms = other.into_iter().chain(default);
            algorithms.any(|algorithm| key.verify(algorithm, bytes, sig))
        };
        if signed_bytes(&self.load.fields).iter().any(fits) {
            MessageSignature::Valid
        } else {
            MessageSignature::Invalid
        }
    }
}
