//! The outer payload of requests: in clear or encrypted, with its version and sender.
//!
//! Parsing decides by the exact value of `enc` and refuses low versions before it looks into the
//! load. Facts: `docs/protocol/network.md` §3, §15.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use super::field;
use super::minion_id::{MinionId, MinionIdError};
use crate::msgpack::{self, DecodeError};
use crate::value::{Map, Value};

/// The reply to everything that is refused without a reason given. A minion signs in again on it
/// and repeats its request.
pub const BAD_LOAD: &str = "bad load";

/// The reply when a handler failed.
pub const HANDLER_FAILED: &str = "Some exception handling minion payload";

/// A request as it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Readable by anybody: `_auth` and local clients.
    Clear {
        /// The protocol version it claims.
        version: u32,
        /// The request.
        load: Map,
    },
    /// From a minion that has signed in, if the load can be opened with its key.
    Encrypted(Encrypted),
}

/// An encrypted request. Everything but the Crypticle is a claim of the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// The protocol version.
    pub version: u32,
    /// Whose key it claims to be encrypted with. Absent below version 3.
    pub id: Option<MinionId>,
    /// The Crypticle.
    pub load: Vec<u8>,
    /// What to encrypt keys in the reply with; `None` for an unknown name.
    pub encryption: Option<EncryptionAlgorithm>,
    /// What to sign the reply with; `None` for an unknown name.
    pub signing: Option<SigningAlgorithm>,
}

/// Why bytes are no request. The answer is [`BAD_LOAD`] in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// Not one msgpack value.
    #[error("invalid request: {0}")]
    NotMsgpack(#[from] DecodeError),
    /// Not a map with `enc` and `load` of the types that `enc` asks for.
    #[error("the request is not a map with enc and load")]
    NotAPayload,
    /// `enc` is neither `clear` nor `aes`.
    #[error("enc must be clear or aes")]
    UnknownEnc,
    /// The version is too low.
    #[error(
        "expected protocol version {minimum} or higher, found {found}; see minimum_auth_version"
    )]
    VersionTooLow {
        /// What came.
        found: u32,
        /// The lowest accepted.
        minimum: u32,
    },
    /// There is no id, which version 3 requires.
    #[error("the request does not name its sender")]
    NoId,
    /// The id is none.
    #[error(transparent)]
    Id(#[from] MinionIdError),
}

impl Payload {
    /// Reads a request.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn parse(bytes: &[u8], minimum_version: u32) -> Result<Self, PayloadError> {
        Self::from_value(msgpack::decode_network(bytes)?, minimum_version)
    }

    /// The same for a payload that came inside another message (tcp).
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn from_value(value: Value, minimum_version: u32) -> Result<Self, PayloadError> {
        let Value::Map(mut map) = value else {
            return Err(PayloadError::NotAPayload);
        };
        let (Some(enc), Some(load)) = (map.remove("enc"), map.remove("load")) else {
            return Err(PayloadError::NotAPayload);
        };
        let version = version(&map);
        if version < minimum_version {
            return Err(PayloadError::VersionTooLow {
                found: version,
                minimum: minimum_version,
            });
        }
        match (enc.as_str(), load) {
            (Some("clear"), Value::Map(load)) => Ok(Self::Clear { version, load }),
            (Some("aes"), Value::Bin(load)) => encrypted(version, &map, load),
            (Some("aes"), Value::Str(load)) => encrypted(version, &map, load.into_bytes()),
            (Some("clear" | "aes"), _) => Err(PayloadError::NotAPayload),
            _ => Err(PayloadError::UnknownEnc),
        }
    }

    /// The value to send.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        match self {
            Self::Clear { version, load } => {
                map.insert("enc", "clear");
                map.insert("load", load.clone());
                map.insert("version", u64::from(*version));
            }
            Self::Encrypted(encrypted) => {
                map.insert("enc", "aes");
                map.insert("load", Value::Bin(encrypted.load.clone()));
                map.insert("version", u64::from(encrypted.version));
                if let Some(id) = &encrypted.id {
                    map.insert("id", id.as_str());
                    map.insert("enc_algo", encrypted.encryption.unwrap_or_default().name());
                    map.insert("sig_algo", encrypted.signing.unwrap_or_default().name());
                }
            }
        }
        Value::Map(map)
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        msgpack::encode_network(&self.to_value(), &mut bytes);
        bytes
    }
}

fn encrypted(version: u32, map: &Map, load: Vec<u8>) -> Result<Payload, PayloadError> {
    let id = match map.get("id") {
        Some(Value::Str(id)) => Some(MinionId::parse(id)?),
        None if version < super::VERSION => None,
        _ => return Err(PayloadError::NoId),
    };
    Ok(Payload::Encrypted(Encrypted {
        version,
        id,
        load,
        encryption: match map.get("enc_algo") {
            None => Some(EncryptionAlgorithm::default()),
            Some(name) => name.as_str().and_then(EncryptionAlgorithm::parse),
        },
        signing: match map.get("sig_algo") {
            None => Some(SigningAlgorithm::default()),
            Some(name) => name.as_str().and_then(SigningAlgorithm::parse),
        },
    }))
}

/// The version of a payload: 0 where there is none or it is no number.
fn version(map: &Map) -> u32 {
    map.get("version")
        .and_then(Value::as_int)
        .and_then(|version| u32::try_from(version).ok())
        .unwrap_or(0)
}

/// A reply in clear: texts such as [`BAD_LOAD`], and the values local clients get.
#[must_use]
pub fn clear_reply(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    msgpack::encode_network(value, &mut bytes);
    bytes
}

/// What a reply to an encrypted request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A Crypticle, if its HMAC matches. Cleartext fails that check.
    Crypticle(Vec<u8>),
    /// A reply to `_pillar`.
    Pillar(super::pillar::PillarReply),
}

/// Why bytes are no reply to an encrypted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Not one msgpack value.
    #[error("invalid reply: {0}")]
    NotMsgpack(#[from] DecodeError),
    /// Neither bytes nor a pillar.
    #[error("the reply is neither bytes nor a pillar")]
    NotAReply,
}

impl Reply {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReplyError> {
        Self::from_value(&msgpack::decode_network(bytes)?)
    }

    /// The same for a reply that came inside another message (tcp).
    ///
    /// # Errors
    /// [`ReplyError`].
    pub fn from_value(value: &Value) -> Result<Self, ReplyError> {
        if let Some(bytes) = field::bytes_of(value) {
            return Ok(Self::Crypticle(bytes.to_vec()));
        }
        value
            .as_map()
            .and_then(super::pillar::PillarReply::from_map)
            .map(Self::Pillar)
            .ok_or(ReplyError::NotAReply)
    }
}

/// The clear load that carries a refusal of an algorithm: `{enc: clear, load: {ret: …}}`.
#[must_use]
pub fn unsigned_refusal(ret: &str) -> Value {
    let load: Map = [("ret", ret.to_string())].into_iter().collect();
    let reply: Map = [("enc", Value::from("clear")), ("load", load.into())]
        .into_iter()
        .collect();
    Value::Map(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn payload(pairs: &[(&str, Value)]) -> Value {
        Value::Map(pairs.iter().cloned().collect())
    }

    #[test]
    fn dispatch_is_by_the_exact_value_of_enc() {
        let load = || Value::Map([("cmd", "_auth")].into_iter().collect());
        for enc in ["", "pub", "Clear", "clear ", "AES", "aes\0"] {
            let value = payload(&[("enc", enc.into()), ("load", load()), ("version", 3.into())]);
            assert_eq!(
                Payload::from_value(value, 3),
                Err(PayloadError::UnknownEnc),
                "{enc:?}"
            );
        }
        for enc in [
            Value::Nil,
            Value::Int(1),
            Value::Bin(b"clear\xff".to_vec()),
            true.into(),
        ] {
            let value = payload(&[("enc", enc), ("load", load()), ("version", 3.into())]);
            assert_eq!(Payload::from_value(value, 3), Err(PayloadError::UnknownEnc));
        }
        for (enc, load) in [
            ("aes", load()),
            ("clear", "text".into()),
            ("clear", Value::Nil),
        ] {
            let value = payload(&[("enc", enc.into()), ("load", load), ("version", 3.into())]);
            assert_eq!(
                Payload::from_value(value, 3),
                Err(PayloadError::NotAPayload)
            );
        }
    }

    #[test]
    fn low_versions_are_refused_whatever_they_hold() {
        for version in [Value::Nil, 2.into(), "3".into(), Value::Int(-3), 3.0.into()] {
            let value = payload(&[
                ("enc", "clear".into()),
                ("load", 1.into()),
                ("version", version),
            ]);
            assert!(matches!(
                Payload::from_value(value, 3),
                Err(PayloadError::VersionTooLow { minimum: 3, .. })
            ));
        }
    }

    #[test]
    fn an_encrypted_request_names_a_minion() {
        let with = |id: Value| {
            let bytes = Value::Bin(vec![0xff]);
            payload(&[
                ("enc", "aes".into()),
                ("load", bytes),
                ("version", 3.into()),
                ("id", id),
            ])
        };
        assert!(Payload::from_value(with("m1".into()), 3).is_ok());
        for id in [
            Value::Nil,
            7.into(),
            "../x".into(),
            "".into(),
            Value::Bin(b"m\xff".to_vec()),
        ] {
            assert!(Payload::from_value(with(id), 3).is_err());
        }
    }
}
