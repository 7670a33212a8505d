//! Matches `key:value` against a minion's nested data.
//!
//! A key may contain the delimiter, so every way to split the expression is tried, the longest key first. Lists match if any of their members does. Texts are compared in lower case.

use brine_wire::python_text;
use brine_wire::{Map, Value};

use crate::traverse;

/// Compares a pattern with a value's text.
pub(super) type Compare<'a> = dyn Fn(&str, &str) -> bool + 'a;

/// How deep a pattern is followed; no data that matters is deeper.
const MAX_DEPTH: usize = 32;

/// Whether the data matches an expression.
pub(super) fn matches(
    data: &Map,
    expression: &str,
    delimiter: &str,
    compare: &Compare<'_>,
) -> bool {
    search(data, expression, delimiter, compare, 0)
}

fn search(
    data: &Map,
    expression: &str,
    delimiter: &str,
    compare: &Compare<'_>,
    depth: usize,
) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let parts: Vec<&str> = expression.split(delimiter).collect();
    (1..parts.len()).rev().any(|at| {
        let (key, rest) = parts.split_at(at);
        if key.join(delimiter) == "*" {
            return !data.is_empty() && in_map(data, expression, compare, depth);
        }
        let pattern = rest.join(delimiter);
        match traverse::find(data, key) {
            None => false,
            Some(Value::Map(map)) => !map.is_empty() && in_map(map, &pattern, compare, depth),
            Some(Value::Array(members)) => members.iter().any(|member| {
                let inside =
                    matches!(member, Value::Map(map) if in_map(map, &pattern, compare, depth));
                inside || is_like(member, &pattern, compare)
            }),
            Some(value) => is_like(value, &pattern, compare),
        }
    })
}

fn in_map(map: &Map, pattern: &str, compare: &Compare<'_>, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let (anywhere, pattern) = match pattern.strip_prefix("*:") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let keyed =
        |(key, _): &(Value, Value)| key.as_str() == Some(pattern) || is_like(key, pattern, compare);
    if pattern == "*"
        || map.iter().any(keyed)
        || search(map, pattern, super::DELIMITER, compare, depth + 1)
    {
        return true;
    }
    anywhere
        && map.iter().any(|(_, value)| match value {
            Value::Map(inner) => in_map(inner, pattern, compare, depth + 1),
            Value::Array(members) => members
                .iter()
                .any(|member| is_like(member, pattern, compare)),
            value => is_like(value, pattern, compare),
        })
}

fn is_like(value: &Value, pattern: &str, compare: &Compare<'_>) -> bool {
    compare(
        &pattern.to_lowercase(),
        &python_text::str(value).to_lowercase(),
    )
}
