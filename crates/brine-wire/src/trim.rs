//! What happens to an event that is larger than `max_event_size`: its large values go.
//!
//! Salt decides by the size its values have in CPython's memory, so those sizes are facts of the
//! protocol and stand here. Facts: `docs/protocol/ipc.md` §6.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::msgpack;
use crate::value::{Map, Value};

/// What replaces a large value.
pub const TRIMMED: &str = "VALUE_TRIMMED";

/// What Salt adds to the packed size before it compares.
const OVERHEAD_BYTES: usize = 33;

/// The packed map to send: `packed` itself, or one with its large values replaced. One whose many
/// small values exceed the limit is sent whole, as Salt sends it.
#[must_use]
pub fn trim_to(packed: Vec<u8>, max_event_size: usize) -> Vec<u8> {
    match trim(&packed, max_event_size) {
        Some(trimmed) => trimmed.packed,
        None => packed,
    }
}

/// An event that cannot be sent without replacing some of its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event has {bytes} bytes, over max_event_size ({max_event_size}): not sent, since {} would be replaced by {TRIMMED}",
    .keys.join(", ")
)]
pub struct TooLarge {
    /// Its packed data, in bytes.
    pub bytes: usize,
    /// The limit, in bytes.
    pub max_event_size: usize,
    /// The keys of the values that [`trim_to`] would replace, outer keys first: `return.stdout`.
    pub keys: Vec<String>,
}

/// The packed map as it is, for publishers that would rather fail than lose a value.
///
/// # Errors
/// [`TooLarge`] when [`trim_to`] would replace a value.
pub fn refuse_to_trim(packed: Vec<u8>, max_event_size: usize) -> Result<Vec<u8>, TooLarge> {
    match trim(&packed, max_event_size) {
        Some(trimmed) if !trimmed.keys.is_empty() => Err(TooLarge {
            bytes: packed.len(),
            max_event_size,
            keys: trimmed.keys,
        }),
        _ => Ok(packed),
    }
}

/// Whether a map of so many bytes is sent as it is.
pub(crate) const fn fits(packed_bytes: usize, max_event_size: usize) -> bool {
    packed_bytes + OVERHEAD_BYTES <= max_event_size
}

/// What trimming makes of a map.
struct Trimmed {
    packed: Vec<u8>,
    /// The keys of replaced values.
    keys: Vec<String>,
}

/// `None` when the map is small enough.
fn trim(packed: &[u8], max_event_size: usize) -> Option<Trimmed> {
    if fits(packed.len(), max_event_size) {
        return None;
    }
    let Ok(Value::Map(mut map)) = msgpack::decode(packed) else {
        return None;
    };
    let mut trimmed = Trimmed {
        packed: Vec::new(),
        keys: Vec::new(),
    };
    for (pass, percent) in [50, 40, 30, 20, 10].into_iter().enumerate() {
        let packed_before = pass > 0;
        let is_large =
            |value: &Value| object_bytes(value, packed_before) * 100 > max_event_size * percent;
        trim_map(&mut map, "", &is_large, &mut trimmed.keys);
        trimmed.packed.clear();
        msgpack::encode_map(&map, &mut trimmed.packed);
        if trimmed.packed.len() + OVERHEAD_BYTES < max_event_size {
            break;
        }
    }
    Some(trimmed)
}

fn trim_map(
    map: &mut Map,
    prefix: &str,
    is_large: &impl Fn(&Value) -> bool,
    keys: &mut Vec<String>,
) {
    for (key, value) in map.iter_mut() {
        let path = || match key {
            Value::Str(key) => format!("{prefix}{key}"),
            key => format!("{prefix}{key:?}"),
        };
        if let Value::Map(inner) = value {
            trim_map(inner, &format!("{}.", path()), is_large, keys);
        } else if is_large(value) {
            // A later pass meets the marks of an earlier one.
            if value.as_str() != Some(TRIMMED) {
                keys.push(path());
            }
            *value = TRIMMED.into();
        }
    }
}

/// The bytes a value takes in CPython 3.11, contents of lists not counted. Text that is not ASCII
/// keeps a copy in UTF-8 once it was packed.
fn object_bytes(value: &Value, packed_before: bool) -> usize {
    match value {
        Value::Nil => 16,
        Value::Bool(false) | Value::Int(0) | Value::Float(_) => 24,
        Value::Bool(true) => 28,
        Value::Int(number) => {
            let bits = 128 - number.unsigned_abs().leading_zeros() as usize;
            24 + 4 * bits.div_ceil(30)
        }
        Value::Str(text) if text.is_ascii() => 49 + text.len(),
        Value::Str(text) => {
            let characters = text.chars().count();
            let stored = match text.chars().max() {
                Some('\0'..='\u{ff}') => 73 + characters,
                Some('\0'..='\u{ffff}') => 74 + 2 * characters,
                _ => 76 + 4 * characters,
            };
            stored + if packed_before { text.len() + 1 } else { 0 }
        }
        Value::Ext(msgpack::DATE, _) => 48,
        Value::Bin(bytes) | Value::Ext(_, bytes) => 33 + bytes.len(),
        Value::Array(items) => 56 + 8 * items.len(),
        Value::Map(map) => 64 + 8 * map.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_would_be_lost_is_named_instead_of_trimmed() {
        let inner: Map = [
            ("stdout", Value::from("x".repeat(3000))),
            ("code", Value::Int(0)),
        ]
        .into_iter()
        .collect();
        let map: Map = [("a", Value::Int(1)), ("return", inner.into())]
            .into_iter()
            .collect();
        let mut packed = Vec::new();
        msgpack::encode_map(&map, &mut packed);
        let error = refuse_to_trim(packed.clone(), 2000).unwrap_err();
        assert_eq!(error.keys, vec!["return.stdout"]);
        assert_eq!(
            format!("{error}"),
            "the event has 3028 bytes, over max_event_size (2000): not sent, since return.stdout \
             would be replaced by VALUE_TRIMMED"
        );
        assert_eq!(refuse_to_trim(packed.clone(), 4000), Ok(packed));
    }

    /// Salt sends it whole, so nothing is lost.
    #[test]
    fn many_small_values_are_no_reason_to_refuse() {
        let map: Map = (0..200)
            .map(|n| (format!("k{n}"), Value::Bool(true)))
            .collect();
        let mut packed = Vec::new();
        msgpack::encode_map(&map, &mut packed);
        assert_eq!(refuse_to_trim(packed.clone(), 1000), Ok(packed));
    }
}
