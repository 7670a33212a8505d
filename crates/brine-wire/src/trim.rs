//! What happens to an event that is larger than `max_event_size`: its large values go.
//!
//! Salt decides by the size its values have in CPython's memory, so those sizes are facts of the
//! protocol and stand here. Facts: `docs/protocol/ipc.md` §6.

use alloc::vec::Vec;

use crate::msgpack;
use crate::value::{Map, Value};

/// What stands in a large value's place.
pub const TRIMMED: &str = "VALUE_TRIMMED";

/// What Salt adds to the packed size before it compares.
const OVERHEAD_BYTES: usize = 33;

/// The packed map to send: `packed` itself, or one with its large values replaced. One whose many
/// small values exceed the limit is sent whole, as Salt sends it.
#[must_use]
pub fn trim_to(packed: Vec<u8>, max_event_size: usize) -> Vec<u8> {
    if packed.len() + OVERHEAD_BYTES <= max_event_size {
        return packed;
    }
    let Ok(Value::Map(mut map)) = msgpack::decode(&packed) else {
        return packed;
    };
    let mut trimmed = packed;
    for (pass, percent) in [50, 40, 30, 20, 10].into_iter().enumerate() {
        let packed_before = pass > 0;
        trim_map(&mut map, &|value| {
            object_bytes(value, packed_before) * 100 > max_event_size * percent
        });
        trimmed.clear();
        msgpack::encode_map(&map, &mut trimmed);
        if trimmed.len() + OVERHEAD_BYTES < max_event_size {
            break;
        }
    }
    trimmed
}

fn trim_map(map: &mut Map, is_large: &impl Fn(&Value) -> bool) {
    for value in map.values_mut() {
        if let Value::Map(inner) = value {
            trim_map(inner, is_large);
        } else if is_large(value) {
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
