//! Reading fields of network maps by what they are, not by what their bytes look like.
//!
//! The network knows one kind of string: a field of bytes whose content happens to be UTF-8 arrives
//! as text. Facts: `docs/protocol/network.md` §1.

use crate::value::{Map, Value};

/// The bytes under `key`, whatever kind of string they came as.
#[must_use]
pub fn bytes<'a>(map: &'a Map, key: &str) -> Option<&'a [u8]> {
    bytes_of(map.get(key)?)
}

/// The bytes of a string of either kind.
#[must_use]
pub fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Str(text) => Some(text.as_bytes()),
        Value::Bin(bytes) => Some(bytes),
        _ => None,
    }
}

/// The text under `key`.
#[must_use]
pub fn text<'a>(map: &'a Map, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str()
}
