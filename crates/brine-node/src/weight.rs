//! About how much memory decoded values use: a nil is a byte on the wire and some 70 in memory.

use brine_wire::{Map, Value};

/// Of a value, in bytes.
pub(crate) fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Str(text) => text.len(),
            Value::Bin(bytes) => bytes.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Map(map) => weight_of_map(map),
            _ => 0,
        }
}

/// Of a map, in bytes.
pub(crate) fn weight_of_map(map: &Map) -> usize {
    map.iter()
        .map(|(key, value)| weight(key) + weight(value))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_values_weigh_more_than_their_bytes() {
        let map: Map = [("a", Value::Array(vec![Value::Nil; 1000]))]
            .into_iter()
            .collect();
        assert_eq!(weight_of_map(&map), 1002 * size_of::<Value>() + 1);
    }
}
