//! What goes down the publish port: a Crypticle of a job, signed.
//!
//! Facts: `docs/protocol/network.md` §2.1, §2.2, §10.1.

use alloc::string::String;
use alloc::vec::Vec;

use super::algorithm::SigningAlgorithm;
use super::field;
use crate::msgpack::{self, DecodeError};
use crate::value::{Map, Value};

/// The topic of publishes that are not for ids known beforehand (`zmq_filtering`).
pub const BROADCAST: &str = "broadcast";

/// The topic of syndics (`order_masters`).
pub const SYNDIC: &str = "syndic";

/// A publish: encrypted with the shared key, without a nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The Crypticle.
    pub load: Vec<u8>,
    /// Its signature by the master's key.
    pub signature: Option<Signature>,
}

/// The signature of a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How it was made; `None` for a name we do not know.
    pub algorithm: Option<SigningAlgorithm>,
    /// The signature, over the Crypticle's bytes.
    pub sig: Vec<u8>,
}

/// Why bytes are no publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Not one msgpack value.
    #[error("invalid publish: {0}")]
    NotMsgpack(#[from] DecodeError),
    /// Not `{enc: aes, load: bytes}`.
    #[error("the publish does not have enc aes and a load of bytes")]
    NotAPublish,
}

impl Publish {
    /// The bytes to send, in Salt's order of keys.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("enc", "aes");
        map.insert("load", Value::Bin(self.load.clone()));
        if let Some(signature) = &self.signature {
            map.insert("sig_algo", signature.algorithm.unwrap_or_default().name());
            map.insert("sig", Value::Bin(signature.sig.clone()));
        }
        let mut bytes = Vec::with_capacity(self.load.len() + 320);
        msgpack::encode_network(&Value::Map(map), &mut bytes);
        bytes
    }

    /// Reads a publish.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PublishError> {
        Self::from_value(&msgpack::decode_network(bytes)?)
    }

    /// The same for a publish inside a tcp message, where 3006 sends a map and later releases a
    /// byte string that holds one.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn from_value(value: &Value) -> Result<Self, PublishError> {
        if let Some(bytes) = field::bytes_of(value) {
            return Self::parse_map(&msgpack::decode_network(bytes)?);
        }
        Self::parse_map(value)
    }

    fn parse_map(value: &Value) -> Result<Self, PublishError> {
        let map = value.as_map().ok_or(PublishError::NotAPublish)?;
        if field::text(map, "enc") != Some("aes") {
            return Err(PublishError::NotAPublish);
        }
        let load = field::bytes(map, "load").ok_or(PublishError::NotAPublish)?;
        let signature = field::bytes(map, "sig").map(|sig| Signature {
            algorithm: match map.get("sig_algo") {
                None => Some(SigningAlgorithm::default()),
                Some(name) => name.as_str().and_then(SigningAlgorithm::parse),
            },
            sig: sig.to_vec(),
        });
        Ok(Self {
            load: load.to_vec(),
            signature,
        })
    }
}

/// The Crypticle in what a minion sends first on a tcp publish connection: `{enc, load, version}`
/// under the shared key, without the id that requests carry.
#[must_use]
pub fn identification_load(body: &Value) -> Option<&[u8]> {
    let map = body.as_map()?;
    let encrypted = field::text(map, "enc") == Some("aes");
    field::bytes(map, "load").filter(|_| encrypted)
}

/// The body that carries an identification.
#[must_use]
pub fn identification_body(load: Vec<u8>) -> Value {
    let body: Map = [
        ("enc", Value::from("aes")),
        ("load", Value::Bin(load)),
        ("version", u64::from(super::VERSION).into()),
    ]
    .into_iter()
    .collect();
    Value::Map(body)
}

/// What an identification's Crypticle holds.
#[must_use]
pub fn identification(id: &super::MinionId, tok: &[u8]) -> Map {
    [
        ("id", Value::from(id.as_str())),
        ("tok", Value::Bin(tok.to_vec())),
    ]
    .into_iter()
    .collect()
}

/// Who identifies itself, and with which token, in a decrypted identification.
#[must_use]
pub fn read_identification(map: &Map) -> Option<(super::MinionId, Vec<u8>)> {
    let id: String = field::text(map, "id")?.into();
    Some((
        super::MinionId::parse(&id).ok()?,
        field::bytes(map, "tok")?.to_vec(),
    ))
}
