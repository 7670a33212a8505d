//! Reads the typed JSON that `oracle/values.py` writes.

use brine_wire::{Map, Value};
use serde_json::Value as Json;

/// A typed value.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Number(_) => panic!("numbers are typed: {json}"),
        Json::Object(fields) => {
            let (kind, inner) = fields.iter().next().unwrap();
            match kind.as_str() {
                "int" => Value::Int(inner.as_str().unwrap().parse().unwrap()),
                "float" => Value::Float(inner.as_str().unwrap().parse().unwrap()),
                "bytes" => Value::Bin(unhex(inner.as_str().unwrap())),
                "set" => value(inner),
                "map" => Value::Map(map(inner)),
                other => panic!("unknown type {other}"),
            }
        }
    }
}

/// A typed mapping's list of pairs.
pub(crate) fn map(pairs: &Json) -> Map {
    let pairs = pairs.as_array().unwrap().iter();
    Map::from(
        pairs
            .map(|pair| (value(&pair[0]), value(&pair[1])))
            .collect::<Vec<_>>(),
    )
}

/// Equality in which a NaN equals a NaN, and the two zeros differ.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((k, a), (l, b))| same(k, l) && same(a, b))
        }
        _ => a == b,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}
