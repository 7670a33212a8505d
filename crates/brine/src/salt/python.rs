//! Python's rules for sorting values, and for lines and blanks in texts.
//! Facts: CPython 3.11.

use std::cmp::Ordering;

pub(super) use brine_wire::python_text::{repr, str};
use brine_wire::{Map, Value};

/// The pairs of a mapping in the order of `sorted(mapping)`; `None` where Python cannot compare the
/// keys.
pub(super) fn sorted(map: &Map) -> Option<Vec<&(Value, Value)>> {
    let mut pairs: Vec<_> = map.iter().collect();
    let is_sortable = match pairs.as_slice() {
        [] | [_] => true,
        [(first, _), rest @ ..] => rest.iter().all(|(key, _)| compare(first, key).is_some()),
    };
    is_sortable.then(|| {
        pairs.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
        pairs
    })
}

/// Python's `<` and `>` of two values, where it has them.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Bin(a), Value::Bin(b)) => Some(a.cmp(b)),
        _ => {
            let (a, b) = (number(a)?, number(b)?);
            Some(a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
        }
    }
}

/// A number of any kind, for comparing: as a float, and more closely if it is an integer.
#[allow(clippy::cast_precision_loss)] // integers that are equal as floats are compared exactly afterwards
const fn number(value: &Value) -> Option<(f64, i128)> {
    match value {
        Value::Bool(flag) => Some(if *flag { (1.0, 1) } else { (0.0, 0) }),
        Value::Int(number) => Some((*number as f64, *number)),
        Value::Float(number) => Some((*number, i128::MAX)),
        _ => None,
    }
}

/// Python's `text.splitlines(keepends=True)`.
pub(super) fn lines_with_ends(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !is_line_end(c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.next_if(|(_, next)| *next == '\n').is_some() {
            end += 1;
        }
        lines.push(&text[start..end]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}

/// Python's `text.splitlines()`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = lines_with_ends(text).into_iter();
    lines.map(|line| match line.strip_suffix("\r\n") {
        Some(line) => line,
        None => line.strip_suffix(is_line_end).unwrap_or(line),
    })
}

/// Python's `bytes.splitlines()`, for which only LF, CR and both end lines.
pub(super) fn byte_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        lines.push(line);
        let end = if after.starts_with(b"\r\n") { 2 } else { 1 };
        rest = after.get(end..).unwrap_or_default();
    }
    lines
}

const fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Python's `c.isspace()`.
pub(super) const fn is_space(c: char) -> bool {
    // Unicode's white space, and the four separators that Python counts too.
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}
