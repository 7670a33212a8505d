//! Values and texts as Python sees them: `repr` and `str`, sorting, lines and blanks.
//! Facts: CPython 3.11.

use std::cmp::Ordering;
use std::fmt::Write;

use brine_wire::{Map, Value, json};

/// Python's `str(value)`.
pub(super) fn str(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => repr(other),
    }
}

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
#[allow(clippy::cast_precision_loss)] // equal floats are told apart by the integers
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

/// Python's `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write_repr(value, &mut out);
    out
}

fn write_repr(value: &Value, out: &mut String) {
    match value {
        Value::Nil => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => {
            let _ = write!(out, "{number}"); // writing to a String cannot fail
        }
        // JSON has Python's digits for all but the numbers it lacks.
        Value::Float(number) if number.is_finite() => json::to_line(value, out),
        Value::Float(number) if number.is_nan() => out.push_str("nan"),
        Value::Float(number) => out.push_str(if *number > 0.0 { "inf" } else { "-inf" }),
        Value::Str(text) => quoted(text, out),
        Value::Bin(bytes) => write_bytes(bytes, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_repr(item, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (at, (key, item)) in map.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_repr(key, out);
                out.push_str(": ");
                write_repr(item, out);
            }
            out.push('}');
        }
        // Dates and constants do not come from a command line.
        Value::Ext(..) => json::to_line(value, out),
    }
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = match u32::from(c) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Python's `c.isprintable()`: Rust's `Debug` escapes the same characters, and combining ones at
/// the beginning of a text, hence the letter before.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().eq(text.chars())
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    out.extend(['b', quote]);
    for byte in bytes {
        match byte {
            b'\'' if quote == '\'' => out.push_str("\\'"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Python.
    #[test]
    fn values_look_as_in_python() {
        let inner: Map = [("a'", Value::Float(1.0)), ("b", Value::Nil)]
            .into_iter()
            .collect();
        let list = vec![
            Value::Int(-5),
            true.into(),
            "it's".into(),
            "\"it's\"\n\x01é".into(),
            Value::Bin(b"a'\xff".to_vec()),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(1e16),
            inner.into(),
        ];
        assert_eq!(
            repr(&list.into()),
            r#"[-5, True, "it's", '"it\'s"\n\x01é', b"a'\xff", -inf, 1e+16, {"a'": 1.0, 'b': None}]"#
        );
        assert_eq!(str(&"x".into()), "x");
    }
}
