//! Values as Python writes them: `repr` and `str`. Facts: CPython 3.11.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;
use core::str::from_utf8;

use crate::{Value, json, msgpack};

/// Python's `str(value)`.
#[must_use]
pub fn str(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Ext(msgpack::DATE, date) => {
            let [year, month, day, hour, minute, second, micros] = parts(date);
            let mut out =
                format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            if micros != 0 {
                let _ = write!(out, ".{micros:06}"); // writing to a String cannot fail
            }
            out
        }
        other => repr(other),
    }
}

/// The name of the value's Python class.
#[must_use]
pub const fn class_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Bin(_) => "bytes",
        Value::Array(_) => "list",
        Value::Map(_) => "dict",
        Value::Ext(..) => "datetime.datetime",
    }
}

/// Python's `repr(value)`.
#[must_use]
pub fn repr(value: &Value) -> String {
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
        // JSON writes numbers as Python does, except those JSON does not have.
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
        Value::Ext(msgpack::DATE, date) => {
            let parts = parts(date);
            let shown = match parts {
                [.., 0, 0] => 5,
                [.., 0] => 6,
                _ => 7,
            };
            let shown: Vec<_> = parts[..shown].iter().map(u32::to_string).collect();
            let _ = write!(out, "datetime.datetime({})", shown.join(", "));
        }
        // Constants are Salt's own objects.
        Value::Ext(..) => json::to_line(value, out),
    }
}

/// Year, month, day, hour, minute, second and microseconds of a date as it travels.
fn parts(date: &[u8]) -> [u32; 7] {
    let number = |range: Range<usize>| {
        let digits = date.get(range).and_then(|digits| from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    [0..4, 4..6, 6..8, 9..11, 12..14, 15..17, 18..24].map(number)
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
    use crate::Map;
    use alloc::vec;

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
        for (date, text, shown) in [
            (
                "20240102T03:04:05.000600",
                "2024-01-02 03:04:05.000600",
                "2024, 1, 2, 3, 4, 5, 600",
            ),
            (
                "20240102T03:04:05.000000",
                "2024-01-02 03:04:05",
                "2024, 1, 2, 3, 4, 5",
            ),
            (
                "20240102T00:00:00.000000",
                "2024-01-02 00:00:00",
                "2024, 1, 2, 0, 0",
            ),
        ] {
            let date = Value::Ext(msgpack::DATE, date.into());
            assert_eq!(str(&date), text);
            assert_eq!(repr(&date), format!("datetime.datetime({shown})"));
        }
    }
}
