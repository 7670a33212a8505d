//! Sign-in: the `_auth` request and its replies.
//!
//! Only layouts. `brine-net` makes the master's decision and the minion's judgement of a reply. Facts:
//! `docs/protocol/network.md` §6.

use alloc::string::String;
use alloc::vec::Vec;

use super::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use super::{MinionId, Nonce, VERSION, delivery, field, key_text, payload};
use crate::msgpack::{self, DecodeError};
use crate::value::{Map, Value};

/// The command.
pub const CMD: &str = "_auth";

/// A minion's request to be let in. Everything in it is a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthRequest {
    /// The id it claims.
    pub id: MinionId,
    /// What the reply must carry.
    pub nonce: Option<Nonce>,
    /// How the reply's keys are to be encrypted.
    pub encryption: EncryptionAlgorithm,
    /// How the reply is to be signed.
    pub signing: SigningAlgorithm,
    /// Grains by which a master may accept.
    pub autosign_grains: Map,
    /// A random text, encrypted to the master's key, that only that master can give back.
    pub token: Option<Vec<u8>>,
    /// The minion's public key, cleaned.
    pub pub_key: String,
}

/// Why a clear load is no sign-in request that can be answered as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthRequestError {
    /// The id is none: the answer is a signed `ret: false`.
    #[error("the sign-in request has no valid minion id")]
    Id {
        /// The nonce to answer with.
        nonce: Option<Nonce>,
        /// How to sign the answer.
        signing: SigningAlgorithm,
    },
    /// There is no public key of sensible size.
    #[error(
        "the sign-in request has no public key of at most {} bytes",
        key_text::MAX_PUBLIC_PEM_BYTES
    )]
    PublicKey {
        /// The nonce to answer with.
        nonce: Option<Nonce>,
        /// How to sign the answer.
        signing: SigningAlgorithm,
    },
    /// The answer is the unsigned refusal `bad sig algo`.
    #[error("unknown signing algorithm")]
    SigningAlgorithm,
    /// The answer is the unsigned refusal `bad enc algo`.
    #[error("unknown encryption algorithm")]
    EncryptionAlgorithm,
    /// A nonce that no release sends: the answer is `bad load`.
    #[error("the nonce does not have 32 characters")]
    Nonce,
}

impl AuthRequest {
    /// Reads the load of an `_auth` request.
    ///
    /// # Errors
    /// [`AuthRequestError`], which decides the answer.
    pub fn parse(load: &Map) -> Result<Self, AuthRequestError> {
        let signing = match load.get("sig_algo") {
            None => Some(SigningAlgorithm::default()),
            Some(name) => name.as_str().and_then(SigningAlgorithm::parse),
        }
        .ok_or(AuthRequestError::SigningAlgorithm)?;
        let encryption = match load.get("enc_algo") {
            None => Some(EncryptionAlgorithm::default()),
            Some(name) => name.as_str().and_then(EncryptionAlgorithm::parse),
        }
        .ok_or(AuthRequestError::EncryptionAlgorithm)?;
        let nonce = match load.get("nonce") {
            None | Some(Value::Nil) => None,
            Some(nonce) => Some(
                field::bytes_of(nonce)
                    .and_then(Nonce::parse)
                    .ok_or(AuthRequestError::Nonce)?,
            ),
        };
        let id = field::text(load, "id")
            .and_then(|id| MinionId::parse(id).ok())
            .ok_or(AuthRequestError::Id { nonce, signing })?;
        let pub_key = field::text(load, "pub")
            .filter(|pem| pem.len() <= key_text::MAX_PUBLIC_PEM_BYTES)
            .map(key_text::clean)
            .filter(|pem| !pem.is_empty())
            .ok_or(AuthRequestError::PublicKey { nonce, signing })?;
        Ok(Self {
            id,
            nonce,
            encryption,
            signing,
            autosign_grains: load
                .get("autosign_grains")
                .and_then(Value::as_map)
                .cloned()
                .unwrap_or_default(),
            token: field::bytes(load, "token").map(<[u8]>::to_vec),
            pub_key,
        })
    }

    /// The whole payload to send.
    #[must_use]
    pub fn to_payload(&self) -> payload::Payload {
        let mut load: Map = [("cmd", CMD), ("id", self.id.as_str())]
            .into_iter()
            .collect();
        if let Some(nonce) = &self.nonce {
            load.insert("nonce", nonce.as_str());
        }
        load.insert("enc_algo", self.encryption.name());
        load.insert("sig_algo", self.signing.name());
        if !self.autosign_grains.is_empty() {
            load.insert("autosign_grains", self.autosign_grains.clone());
        }
        if let Some(token) = &self.token {
            load.insert("token", Value::Bin(token.clone()));
        }
        load.insert("pub", self.pub_key.as_str());
        payload::Payload::Clear {
            version: VERSION,
            load,
        }
    }
}

/// What a master decided, as in `ret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// Refused.
    Rejected,
    /// The key waits to be accepted.
    Pending,
    /// No more minions are taken.
    Full,
}

/// The signed part of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthReply {
    /// Not let in.
    Refused {
        /// How.
        ret: Ret,
        /// The request's nonce.
        nonce: Option<Nonce>,
    },
    /// Let in.
    Accepted(AcceptedReply),
}

/// The keys of a minion that was let in. `aes`, `session`, `token` and `sig` as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedReply {
    /// The master's public key, unchanged.
    pub pub_key: String,
    /// Where the master publishes.
    pub publish_port: u16,
    /// A signature of `pub_key` by the key `master_sign`, in base64 with a line feed.
    pub pub_sig: Option<Vec<u8>>,
    /// The request's token, encrypted to the minion.
    pub token: Option<Vec<u8>>,
    /// The shared key string, encrypted to the minion.
    pub aes: Vec<u8>,
    /// The minion's session key string, encrypted to the minion.
    pub session: Vec<u8>,
    /// X9.31 signature over the digest of the shared key string; empty if missing.
    pub sig: Vec<u8>,
    /// Whether the master knows deliveries ([`delivery`]).
    pub knows_deliveries: bool,
    /// The request's nonce.
    pub nonce: Option<Nonce>,
}

impl AuthReply {
    /// The bytes that are signed and sent as `load`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut map = Map::new();
        let nonce = match self {
            Self::Refused { ret, nonce } => {
                map.insert("ret", ret.to_value());
                nonce
            }
            Self::Accepted(accepted) => {
                accepted.write(&mut map);
                &accepted.nonce
            }
        };
        if let Some(nonce) = nonce {
            map.insert("nonce", nonce.as_str());
        }
        let mut bytes = Vec::with_capacity(2048);
        msgpack::encode_network(&Value::Map(map), &mut bytes);
        bytes
    }

    /// Reads a signed load.
    ///
    /// # Errors
    /// [`AuthReplyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthReplyError> {
        let value = msgpack::decode_network(bytes)?;
        let map = value.as_map().ok_or(AuthReplyError::NotAReply)?;
        let nonce = field::bytes(map, "nonce").and_then(Nonce::parse);
        if field::text(map, "enc") == Some("pub") {
            return AcceptedReply::read(map, nonce).map(Self::Accepted);
        }
        let ret = match map.get("ret") {
            Some(Value::Bool(true)) => Ret::Pending,
            Some(Value::Bool(false)) => Ret::Rejected,
            Some(Value::Str(text)) if text == "full" => Ret::Full,
            _ => return Err(AuthReplyError::NotAReply),
        };
        Ok(Self::Refused { ret, nonce })
    }
}

impl Ret {
    fn to_value(self) -> Value {
        match self {
            Self::Rejected => false.into(),
            Self::Pending => true.into(),
            Self::Full => "full".into(),
        }
    }
}

impl AcceptedReply {
    fn write(&self, map: &mut Map) {
        map.insert("enc", "pub");
        map.insert("pub_key", self.pub_key.as_str());
        map.insert("publish_port", u64::from(self.publish_port));
        if let Some(pub_sig) = &self.pub_sig {
            map.insert("pub_sig", Value::Bin(pub_sig.clone()));
        }
        if let Some(token) = &self.token {
            map.insert("token", Value::Bin(token.clone()));
        }
        map.insert("aes", Value::Bin(self.aes.clone()));
        map.insert("session", Value::Bin(self.session.clone()));
        map.insert("sig", Value::Bin(self.sig.clone()));
        if self.knows_deliveries {
            delivery::say_known(map);
        }
    }

    fn read(map: &Map, nonce: Option<Nonce>) -> Result<Self, AuthReplyError> {
        let bytes = |key| field::bytes(map, key).map(<[u8]>::to_vec);
        let wanted = |key| bytes(key).ok_or(AuthReplyError::Missing { field: key });
        Ok(Self {
            pub_key: field::text(map, "pub_key")
                .ok_or(AuthReplyError::Missing { field: "pub_key" })?
                .into(),
            publish_port: map
                .get("publish_port")
                .and_then(Value::as_int)
                .and_then(|port| u16::try_from(port).ok())
                .ok_or(AuthReplyError::Missing {
                    field: "publish_port",
                })?,
            pub_sig: bytes("pub_sig"),
            token: bytes("token"),
            aes: wanted("aes")?,
            session: wanted("session")?,
            sig: wanted("sig")?,
            knows_deliveries: delivery::is_known(map),
            nonce,
        })
    }
}

/// A reply as it comes: signed, or a refusal that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthEnvelope {
    /// `{enc, load, sig}`; the signature is over the exact bytes of the load.
    Signed {
        /// What [`AuthReply::parse`] reads.
        load: Vec<u8>,
        /// PKCS #1 v1.5 by the master's key.
        sig: Vec<u8>,
    },
    /// The master does not know an algorithm the minion named: nothing will help but another one.
    BadAlgorithm {
        /// Its words.
        ret: String,
    },
}

/// Why bytes are no reply to a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthReplyError {
    /// Not one msgpack value.
    #[error("invalid reply to the sign-in: {0}")]
    NotMsgpack(#[from] DecodeError),
    /// Something else than a reply, such as the text `bad load`.
    #[error(
        "invalid reply to the sign-in: it is not a map with a signed load; is the master's minimum_auth_version above 3?"
    )]
    NotAReply,
    /// There is no signature.
    #[error("the reply to the sign-in has no signature")]
    Unsigned,
    /// A field is missing or of another type.
    #[error("the reply to the sign-in has no {field}")]
    Missing {
        /// Its name.
        field: &'static str,
    },
}

impl AuthEnvelope {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`AuthReplyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthReplyError> {
        Self::from_value(&msgpack::decode_network(bytes)?)
    }

    /// The same for a reply that came inside another message (tcp).
    ///
    /// # Errors
    /// [`AuthReplyError`].
    pub fn from_value(value: &Value) -> Result<Self, AuthReplyError> {
        let map = value.as_map().ok_or(AuthReplyError::NotAReply)?;
        match map.get("load").ok_or(AuthReplyError::NotAReply)? {
            Value::Map(load) => match field::text(load, "ret") {
                Some(ret @ ("bad sig algo" | "bad enc algo")) => {
                    Ok(Self::BadAlgorithm { ret: ret.into() })
                }
                _ => Err(AuthReplyError::Unsigned),
            },
            load => Ok(Self::Signed {
                load: field::bytes_of(load)
                    .ok_or(AuthReplyError::NotAReply)?
                    .to_vec(),
                sig: field::bytes(map, "sig")
                    .ok_or(AuthReplyError::Unsigned)?
                    .to_vec(),
            }),
        }
    }

    /// The value to send.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::BadAlgorithm { ret } => payload::unsigned_refusal(ret),
            Self::Signed { load, sig } => {
                let map: Map = [
                    ("enc", Value::from("clear")),
                    ("load", Value::Bin(load.clone())),
                    ("sig", Value::Bin(sig.clone())),
                ]
                .into_iter()
                .collect();
                Value::Map(map)
            }
        }
    }
}
