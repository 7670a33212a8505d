//! The pillar reply, the only answer that is encrypted with its own key.
//!
//! Facts: `docs/protocol/network.md` §8.1.

use alloc::vec::Vec;

use super::{Nonce, field};
use crate::msgpack;
use crate::value::{Map, Value};

/// The outer map, in clear: a one-time key and what is encrypted with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PillarReply {
    /// The one-time key string, encrypted to the minion.
    pub key: Vec<u8>,
    /// The Crypticle of [`SignedPillar`].
    pub pillar: Vec<u8>,
}

impl PillarReply {
    /// Reads the outer map.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        Some(Self {
            key: field::bytes(map, "key")?.to_vec(),
            pillar: field::bytes(map, "pillar")?.to_vec(),
        })
    }

    /// The value to send.
    #[must_use]
    pub fn to_value(&self) -> Value {
        pair("key", &self.key, "pillar", &self.pillar)
    }
}

/// What the one-time key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPillar {
    /// The bytes of [`PillarData`].
    pub data: Vec<u8>,
    /// PKCS #1 v1.5 over them by the master's key.
    pub sig: Vec<u8>,
}

impl SignedPillar {
    /// Reads it.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        Some(Self {
            data: field::bytes(map, "data")?.to_vec(),
            sig: field::bytes(map, "sig")?.to_vec(),
        })
    }

    /// The value to encrypt, without a nonce.
    #[must_use]
    pub fn to_value(&self) -> Value {
        pair("data", &self.data, "sig", &self.sig)
    }
}

/// The signed data.
#[derive(Debug, Clone, PartialEq)]
pub struct PillarData {
    /// The same bytes as in the outer map.
    pub key: Vec<u8>,
    /// The pillar.
    pub pillar: Map,
    /// The request's nonce.
    pub nonce: Option<Nonce>,
}

impl PillarData {
    /// Reads it; `None` if the bytes are something else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let value = msgpack::decode_network(bytes).ok()?;
        let map = value.as_map()?;
        Some(Self {
            key: field::bytes(map, "key")?.to_vec(),
            pillar: map.get("pillar")?.as_map()?.clone(),
            nonce: field::bytes(map, "nonce").and_then(Nonce::parse),
        })
    }

    /// The bytes to sign.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("key", Value::Bin(self.key.clone()));
        map.insert("pillar", self.pillar.clone());
        if let Some(nonce) = &self.nonce {
            map.insert("nonce", nonce.as_str());
        }
        let mut bytes = Vec::new();
        msgpack::encode_network(&Value::Map(map), &mut bytes);
        bytes
    }
}

fn pair(first: &str, one: &[u8], second: &str, two: &[u8]) -> Value {
    let map: Map = [
        (first, Value::Bin(one.to_vec())),
        (second, Value::Bin(two.to_vec())),
    ]
    .into_iter()
    .collect();
    Value::Map(map)
}
