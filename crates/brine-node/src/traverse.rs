//! Looks up a value by a path of keys through maps and lists, for `grains.get` and targets.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them (`tests/it/targets_salt.rs`).

use brine_config::parse_value;
use brine_wire::{Map, Value};

/// The value at the end of a path.
pub(crate) fn find<'a>(data: &'a Map, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(in_map(data, first)?, |at, key| match at {
            Value::Map(map) => in_map(map, key),
            Value::Array(items) => in_list(items, key),
            _ => None,
        })
}

/// The value under a key, taken as text or as YAML reads it: `1`, `true`.
fn in_map<'a>(map: &'a Map, key: &str) -> Option<&'a Value> {
    map.get(key).or_else(|| match parse_value(key) {
        Value::Map(_) | Value::Array(_) => None,
        key => map.get_key(&key),
    })
}

/// The value under a key of the first of a list's maps that has it; if the key is a number, also that
/// member of the list.
fn in_list<'a>(items: &'a [Value], key: &str) -> Option<&'a Value> {
    let mut maps = items.iter().filter_map(Value::as_map);
    let Some(place) = integer(key) else {
        return maps.find_map(|map| map.get(key));
    };
    maps.find_map(|map| map.get_key(&Value::Int(place)))
        .or_else(|| match usize::try_from(place) {
            Ok(at) => items.get(at),
            Err(_) => {
                let from_end = usize::try_from(place.checked_neg()?).ok()?;
                items.get(items.len().checked_sub(from_end)?)
            }
        })
}

/// Parses as Python's `int` does: surrounding white space and single `_` between digits are ignored.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\x1c'..='\x1f'));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = digits
        .split('_')
        .all(|part| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit()));
    is_number
        .then(|| text.replace('_', "").parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::python_text::repr;

    fn found(yaml: &str, path: &[&str]) -> Option<String> {
        let Ok(Value::Map(data)) = brine_config::yaml::load(yaml.as_bytes()) else {
            panic!("a mapping")
        };
        find(&data, path).map(repr)
    }

    #[test]
    fn keys_that_are_no_text_are_found_by_how_they_are_written() {
        let data = "{1: a, null: c, 1.5: d, '2': e, 2: f, g: {3: h}}";
        for (key, expected) in [
            ("1", "'a'"),
            ("1.0", "'a'"),
            ("True", "'a'"), // one key, to Python
            ("None", "'c'"),
            ("null", "'c'"),
            ("1.5", "'d'"),
            ("2", "'e'"),
        ] {
            assert_eq!(found(data, &[key]).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(found(data, &["g", "3"]).as_deref(), Some("'h'"));
        assert_eq!(found(data, &["[1]"]), None);
        assert_eq!(found(data, &[""]), None);
    }

    #[test]
    fn a_number_in_a_list_is_a_key_of_its_maps_before_it_is_a_place() {
        let data = "{a: [x, {1: y, '0': z, b: w}, v]}";
        for (key, expected) in [
            ("0", Some("'x'")),
            ("1", Some("'y'")),
            ("2", Some("'v'")),
            (" +0_2 ", Some("'v'")),
            ("-1", Some("'v'")),
            ("-3", Some("'x'")),
            ("-4", None),
            ("3", None),
            ("99999999999999999999", None),
            ("b", Some("'w'")),
            ("0__2", None),
            ("1.0", None),
        ] {
            assert_eq!(found(data, &["a", key]).as_deref(), expected, "{key}");
        }
        assert_eq!(found(data, &["a", "0", "z"]), None);
    }
}
