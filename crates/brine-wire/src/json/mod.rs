//! Event data as the JSON that `salt-run state.event` prints: Python's `json.dumps` after Salt has turned bytes and
//! dates into text.
//!
//! Values that stop Salt with an error (its constants, msgpack timestamps, keys that are not UTF-8) are printed too:
//! one odd event must not end a watch. Facts: `docs/protocol/ipc.md` §5, §13; `tests/python_oracle` checks that the
//! output is Salt's. [`to_exact_line`] keeps bytes apart from text, and [`parse`] reads that back.

mod base64;
mod pack;
mod parse;
mod transcode;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt::Write as _;
use core::time::Duration;

use crate::msgpack;
use crate::stamp::{self, StampStyle};
use crate::value::{Map, Value};

pub(crate) use pack::Packer;
pub use parse::{JsonError, JsonFault, parse};
pub use transcode::{packed_to_exact_line, quote, quote_lossy};

/// The one key of the object that represents bytes in [`to_exact_line`] and [`parse`].
pub const BYTES_KEY: &str = "$bytes";

/// Appends a value in one line, keys in the order of the wire.
pub fn to_line(value: &Value, out: &mut String) {
    Writer {
        out,
        indent: None,
        width: 0,
        is_sorted: false,
        bytes: Bytes::AsText,
    }
    .value(value);
}

/// As [`to_line`], keys sorted as Python sorts them.
pub fn to_sorted_line(value: &Value, out: &mut String) {
    Writer {
        out,
        indent: None,
        width: 0,
        is_sorted: true,
        bytes: Bytes::AsText,
    }
    .value(value);
}

/// As [`to_line`], but JSON that any reader takes: bytes are `{"$bytes": "<base64>"}`, whatever they hold, and
/// `NaN`, `Infinity` and `-Infinity` are texts.
pub fn to_exact_line(value: &Value, out: &mut String) {
    Writer {
        out,
        indent: None,
        width: 0,
        is_sorted: false,
        bytes: Bytes::Marked,
    }
    .value(value);
}

/// Appends a value over several lines, indented by four spaces, keys sorted as Python sorts them.
/// Keys of several types, which Python cannot sort, are sorted by their text.
pub fn to_pretty(value: &Value, out: &mut String) {
    to_indented(value, INDENT, Keys::Sorted, out);
}

/// The order of an object's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// That of the wire.
    AsGiven,
    /// As Python sorts them; those it cannot sort by their text.
    Sorted,
}

/// Appends a value over several lines, indented by so many spaces per level.
pub fn to_indented(value: &Value, width: usize, keys: Keys, out: &mut String) {
    Writer {
        out,
        indent: Some(0),
        width,
        is_sorted: keys == Keys::Sorted,
        bytes: Bytes::AsText,
    }
    .value(value);
}

/// Spaces per level in Salt's indented output.
const INDENT: usize = 4;

struct Writer<'a> {
    out: &'a mut String,
    /// The levels around what is written, if it is to be indented.
    indent: Option<usize>,
    /// Spaces per level.
    width: usize,
    is_sorted: bool,
    bytes: Bytes,
}

/// What becomes of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Text if they are UTF-8, else base64, as Salt prints them.
    AsText,
    /// An object that marks them as bytes.
    Marked,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => {
                self.container('[', ']', items.iter(), |writer, item| writer.value(item));
            }
            Value::Map(map) => {
                let members = self.members(map);
                self.container('{', '}', members.iter(), |writer, member| {
                    writer.text(&member.name);
                    writer.out.push_str(": ");
                    writer.value(member.value);
                });
            }
            Value::Bin(bytes) if self.bytes == Bytes::Marked => {
                self.out.push_str("{\"");
                self.out.push_str(BYTES_KEY);
                self.out.push_str("\": \"");
                self.out.push_str(&base64::encode(bytes));
                self.out.push_str("\"}");
            }
            // JSON has no such number, and its readers refuse the whole line.
            Value::Float(number) if self.bytes == Bytes::Marked && !number.is_finite() => {
                self.text(&float(*number));
            }
            scalar => match bare(scalar) {
                Some(literal) => self.out.push_str(&literal),
                None => self.text(&text(scalar)),
            },
        }
    }

    /// The members in the order in which they are printed.
    fn members<'v>(&self, map: &'v Map) -> Vec<Member<'v>> {
        let mut members: Vec<Member<'v>> = Vec::with_capacity(map.len());
        // Bytes and dates become text before anything is printed, and may then be a key that is
        // there already.
        let may_collide = map.iter().any(|(key, _)| is_made_text(key));
        let mut places = BTreeMap::new();
        for (key, value) in map {
            let name = name(key);
            if may_collide && is_text(key) {
                let place: usize = *places.entry(name.clone()).or_insert(members.len());
                if let Some(earlier) = members.get_mut(place) {
                    earlier.value = value;
                    continue;
                }
            }
            members.push(Member { key, name, value });
        }
        if self.is_sorted {
            if members.iter().all(|member| is_number(member.key)) {
                members.sort_by(|a, b| compare_numbers(a.key, b.key));
            } else {
                members.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        members
    }

    fn container<T>(
        &mut self,
        open: char,
        close: char,
        items: impl ExactSizeIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.out.push(open);
        if items.len() > 0 {
            let outside = self.indent;
            self.indent = outside.map(|level| level + 1);
            for (place, item) in items.enumerate() {
                match (self.indent, place) {
                    (None, 0) => {}
                    (None, _) => self.out.push_str(", "),
                    (Some(_), 0) => self.line(),
                    (Some(_), _) => {
                        self.out.push(',');
                        self.line();
                    }
                }
                write(self, item);
            }
            self.indent = outside;
            if outside.is_some() {
                self.line();
            }
        }
        self.out.push(close);
    }

    fn line(&mut self) {
        self.out.push('\n');
        let spaces = self.width * self.indent.unwrap_or(0);
        self.out.extend(core::iter::repeat_n(' ', spaces));
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.push_str(&text[written..at]);
            written = at + 1;
            match byte {
                b'"' => self.out.push_str("\\\""),
                b'\\' => self.out.push_str("\\\\"),
                b'\n' => self.out.push_str("\\n"),
                b'\r' => self.out.push_str("\\r"),
                b'\t' => self.out.push_str("\\t"),
                0x08 => self.out.push_str("\\b"),
                0x0c => self.out.push_str("\\f"),
                control => self.out.push_str(&format!("\\u{control:04x}")),
            }
        }
        self.out.push_str(&text[written..]);
        self.out.push('"');
    }
}

/// One member of an object.
struct Member<'v> {
    key: &'v Value,
    name: Cow<'v, str>,
    value: &'v Value,
}

/// A scalar as a filter compares it: without quotes; `None` for arrays and maps.
pub(crate) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Array(_) | Value::Map(_) => None,
        scalar => Some(name(scalar)),
    }
}

fn name(key: &Value) -> Cow<'_, str> {
    bare(key).unwrap_or_else(|| text(key))
}

const fn is_number(key: &Value) -> bool {
    matches!(key, Value::Bool(_) | Value::Int(_) | Value::Float(_))
}

const fn is_text(key: &Value) -> bool {
    matches!(key, Value::Str(_)) || is_made_text(key)
}

const fn is_made_text(key: &Value) -> bool {
    matches!(key, Value::Bin(_) | Value::Ext(..))
}

/// By value, as Python compares numbers of all kinds; a total order, which floats alone are not.
fn compare_numbers(a: &Value, b: &Value) -> Ordering {
    #[allow(clippy::cast_precision_loss)] // the integers distinguish equal floats
    let place = |number: &Value| match number {
        Value::Bool(flag) => (f64::from(u8::from(*flag)), i128::from(*flag)),
        Value::Int(number) => (*number as f64, *number),
        Value::Float(number) => (*number, i128::MAX),
        _ => (f64::NAN, i128::MAX),
    };
    let (a, b) = (place(a), place(b));
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// The scalars that stand without quotes.
fn bare(scalar: &Value) -> Option<Cow<'_, str>> {
    Some(match scalar {
        Value::Nil => "null".into(),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Int(number) => number.to_string().into(),
        Value::Float(number) => float(*number).into(),
        _ => return None,
    })
}

/// The longest text of a float, rounded up: `-1.7976931348623157e+308`.
const FLOAT_BYTES: usize = 32;

/// A float as Python's `repr` writes it, and JSON's missing numbers as `json.dumps` does.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_string();
    }
    let scientific = shortest(number);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut text = String::with_capacity(FLOAT_BYTES);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(text, "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        return text;
    }
    let mantissa = match mantissa.strip_prefix('-') {
        Some(mantissa) => {
            text.push('-');
            mantissa
        }
        None => mantissa,
    };
    let (first, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = |count: usize| core::iter::repeat_n('0', count);
    match usize::try_from(exponent) {
        Ok(whole) if whole >= decimals.len() => {
            text.extend([first, decimals]);
            text.extend(zeros(whole - decimals.len()));
            text.push_str(".0");
        }
        Ok(whole) => text.extend([first, &decimals[..whole], ".", &decimals[whole..]]),
        Err(_) => {
            text.push_str("0.");
            text.extend(zeros(exponent.unsigned_abs() as usize - 1));
            text.extend([first, decimals]);
        }
    }
    text
}

/// The shortest digits that read back as the same number, in scientific form. Of two that are
/// equally near, Python takes the even one: what rounding to as many digits gives.
fn shortest(number: f64) -> String {
    let mut shortest = String::with_capacity(FLOAT_BYTES);
    let _ = write!(shortest, "{number:e}");
    let digits = shortest.bytes().take_while(|byte| *byte != b'e');
    let decimals = digits.filter(u8::is_ascii_digit).count() - 1;
    if decimals < f64::DIGITS as usize {
        return shortest; // two numbers of so few digits are never the same `f64`, so none is equally near
    }
    let rounded = format!("{number:.decimals$e}");
    if rounded.parse() == Ok(number) {
        rounded
    } else {
        shortest
    }
}

/// How a scalar is written in quotes: bytes as text if they are UTF-8, else in base64.
fn text(scalar: &Value) -> Cow<'_, str> {
    match scalar {
        Value::Str(text) => text.into(),
        Value::Ext(msgpack::DATE, payload) => date(payload),
        Value::Ext(TIMESTAMP, payload) => timestamp(payload),
        Value::Ext(CONSTANT, payload) => constant(payload),
        Value::Bin(bytes) | Value::Ext(_, bytes) => text_or_base64(bytes),
        _ => Cow::Borrowed(""),
    }
}

/// The extension type of Salt's internal constants.
const CONSTANT: i8 = 79;

/// The extension type of msgpack's own timestamps, which Salt never writes.
const TIMESTAMP: i8 = -1;

/// `20261123T21:30:01.000042` in ISO form; the fraction is left out when it is zero.
fn date(payload: &[u8]) -> Cow<'_, str> {
    let parts = core::str::from_utf8(payload)
        .ok()
        .filter(|text| text.len() == 24 && text.is_ascii());
    let Some(text) = parts else {
        return text_or_base64(payload);
    };
    let (day, time, fraction) = (&text[..8], &text[9..17], &text[17..]);
    let fraction = if fraction == ".000000" { "" } else { fraction };
    format!(
        "{}-{}-{}T{time}{fraction}",
        &day[..4],
        &day[4..6],
        &day[6..]
    )
    .into()
}

/// A moment in msgpack's three forms as a stamp of ours. Salt cannot print it.
fn timestamp(payload: &[u8]) -> Cow<'_, str> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (seconds, nanoseconds) = match payload.len() {
        4 => (number(payload), 0),
        8 => (number(payload) & 0x3_ffff_ffff, number(&payload[..4]) >> 2),
        12 => (number(&payload[4..]), number(&payload[..4])),
        _ => return text_or_base64(payload),
    };
    /// The end of the year 9999; times before 1970 are negative and so beyond it.
    const LATEST: u64 = 253_402_300_799;
    match u32::try_from(nanoseconds) {
        Ok(nanoseconds) if nanoseconds < 1_000_000_000 && seconds <= LATEST => {
            stamp::format(Duration::new(seconds, nanoseconds), StampStyle::Utc).into()
        }
        _ => text_or_base64(payload),
    }
}

/// One of Salt's constants as Python shows it. Salt cannot print it as JSON.
fn constant(payload: &[u8]) -> Cow<'_, str> {
    match msgpack::decode(payload) {
        Ok(Value::Array(parts)) => match parts.first().and_then(Value::as_str) {
            Some(name) => format!("<Constant.{name}>").into(),
            None => text_or_base64(payload),
        },
        _ => text_or_base64(payload),
    }
}

fn text_or_base64(bytes: &[u8]) -> Cow<'_, str> {
    match core::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => base64::encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn line(value: impl Into<Value>) -> String {
        let mut out = String::new();
        to_line(&value.into(), &mut out);
        out
    }

    fn pretty(value: impl Into<Value>) -> String {
        let mut out = String::new();
        to_pretty(&value.into(), &mut out);
        out
    }

    fn map(pairs: Vec<(Value, Value)>) -> Value {
        Value::Map(Map::from(pairs))
    }

    #[test]
    fn a_line_is_json_dumps() {
        let data = map(vec![
            ("b".into(), 1.into()),
            ("a".into(), "é☃".into()),
            ("n".into(), Value::Nil),
            (
                "z".into(),
                map(vec![("y".into(), vec![true.into(), map(vec![])].into())]),
            ),
            (5.into(), Value::Array(vec![])),
            (Value::Nil, Value::Bin(vec![0xff, 0])),
        ]);
        assert_eq!(
            line(data),
            r#"{"b": 1, "a": "é☃", "n": null, "z": {"y": [true, {}]}, "5": [], "null": "/wA="}"#
        );
    }

    #[test]
    fn pretty_sorts_keys_and_indents_by_four() {
        let data = map(vec![
            (
                "z".into(),
                map(vec![("o".into(), map(vec![])), ("e".into(), vec![].into())]),
            ),
            ("a".into(), vec![1.into(), 2.into()].into()),
        ]);
        assert_eq!(
            pretty(data),
            "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"z\": {\n        \"e\": [],\n        \"o\": {}\n    }\n}"
        );
    }

    #[test]
    fn numbers_are_sorted_as_numbers_and_mixed_keys_by_their_text() {
        let keys = |keys: Vec<Value>| {
            pretty(map(keys.into_iter().map(|key| (key, 0.into())).collect()))
                .replace([' ', '\n'], "")
        };
        assert_eq!(
            keys(vec![10.into(), 9.into(), 9.5.into(), false.into()]),
            r#"{"false":0,"9":0,"9.5":0,"10":0}"#
        );
        assert_eq!(
            keys(vec!["b".into(), 10.into(), 9.into()]),
            r#"{"10":0,"9":0,"b":0}"#
        );
    }

    #[test]
    fn floats_are_pythons() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (399_702_127_324_001.0 / 16.0, "24981382957750.062"),
            (-123.5, "-123.5"),
            (-0.001_5, "-0.0015"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(line(number), text);
        }
    }

    #[test]
    fn text_is_escaped_as_little_as_python_does() {
        assert_eq!(
            line("a\"\\/\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}\u{80}\u{2028}é"),
            "\"a\\\"\\\\/\\n\\r\\t\\b\\f\\u0000\\u001f\u{7f}\u{80}\u{2028}é\""
        );
    }

    #[test]
    fn extensions_are_readable() {
        let ext = |kind, payload: &[u8]| line(Value::Ext(kind, payload.to_vec()));
        for (printed, expected) in [
            (
                ext(78, b"20261123T21:30:01.000042"),
                "2026-11-23T21:30:01.000042",
            ),
            (ext(78, b"20261123T21:30:01.000000"), "2026-11-23T21:30:01"),
            (ext(79, b"\x92\xa7NOT_SET\xc0"), "<Constant.NOT_SET>"),
            (ext(-1, &[0, 0, 0, 1]), "1970-01-01T00:00:01+00:00"),
            (
                ext(-1, &[0x3b, 0x9a, 0xca, 0, 0, 0, 0, 1]),
                "1970-01-01T00:00:01.250000+00:00",
            ),
            (ext(-1, &[0xff; 12]), "////////////////"),
            (ext(5, b"a"), "a"),
            (ext(5, b"\xff"), "/w=="),
            (ext(5, b"\xff\xfe"), "//4="),
        ] {
            assert_eq!(printed, format!("\"{expected}\""));
        }
    }

    #[test]
    fn bytes_and_text_are_one_key() {
        assert_eq!(
            line(map(vec![
                ("a".into(), 1.into()),
                (Value::Bin(b"a".to_vec()), 2.into()),
                (1.into(), 3.into()),
                ("1".into(), 4.into()),
            ])),
            r#"{"a": 2, "1": 3, "1": 4}"#
        );
    }
}
