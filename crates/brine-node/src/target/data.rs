//! Matches `key:value` against a minion's nested data.
//!
//! A key may contain the delimiter, so every way to split the expression is tried, the longest key first. Lists match
//! if any of their members does. Strings are compared in lower case.

use brine_wire::python_text;
use brine_wire::{Map, Value};

use crate::traverse;

/// Compares a pattern with a value's text.
pub(super) type Compare<'a> = dyn Fn(&str, &str) -> bool + 'a;

/// How deep a pattern is followed; no data that matters is deeper.
const MAX_DEPTH: usize = 32;

/// How many bytes or entries are looked at in one step.
const UNIT: usize = 64;

/// How an expression is looked for.
pub(super) struct Search<'a> {
    pub(super) compare: &'a Compare<'a>,
    /// Uses up steps; `false` if none are left, and then nothing matches.
    pub(super) spend: &'a dyn Fn(usize) -> bool,
}

impl Search<'_> {
    /// Whether the data matches an expression.
    pub(super) fn matches(&self, data: &Map, expression: &str, delimiter: &str) -> bool {
        self.search(data, expression, delimiter, 0)
    }

    fn search(&self, data: &Map, expression: &str, delimiter: &str, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        let parts: Vec<&str> = expression.split(delimiter).collect();
        (1..parts.len()).rev().any(|at| {
            if !(self.spend)(1 + (expression.len() + data.len()) / UNIT) {
                return false;
            }
            let (key, rest) = parts.split_at(at);
            if key.join(delimiter) == "*" {
                return !data.is_empty() && self.in_map(data, expression, depth);
            }
            let pattern = rest.join(delimiter);
            match traverse::find(data, key) {
                None => false,
                Some(Value::Map(map)) => !map.is_empty() && self.in_map(map, &pattern, depth),
                Some(Value::Array(members)) => members.iter().any(|member| {
                    let inside =
                        matches!(member, Value::Map(map) if self.in_map(map, &pattern, depth));
                    inside || self.is_like(member, &pattern)
                }),
                Some(value) => self.is_like(value, &pattern),
            }
        })
    }

    fn in_map(&self, map: &Map, pattern: &str, depth: usize) -> bool {
        if depth > MAX_DEPTH || !(self.spend)(1) {
            return false;
        }
        let (anywhere, pattern) = match pattern.strip_prefix("*:") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let keyed =
            |(key, _): &(Value, Value)| key.as_str() == Some(pattern) || self.is_like(key, pattern);
        if pattern == "*"
            || map.iter().any(keyed)
            || self.search(map, pattern, super::DELIMITER, depth + 1)
        {
            return true;
        }
        anywhere
            && map.iter().any(|(_, value)| match value {
                Value::Map(inner) => self.in_map(inner, pattern, depth + 1),
                Value::Array(members) => members.iter().any(|member| self.is_like(member, pattern)),
                value => self.is_like(value, pattern),
            })
    }

    fn is_like(&self, value: &Value, pattern: &str) -> bool {
        let text = python_text::str(value);
        (self.spend)(1 + (text.len() + pattern.len()) / UNIT)
            && (self.compare)(&pattern.to_lowercase(), &text.to_lowercase())
    }
}
