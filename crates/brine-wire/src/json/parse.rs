//! JSON read into event data: the other direction of [`crate::json`], for lines that people and
//! programs send.
//!
//! Strict JSON, with two additions that make it read what the writer prints: `NaN`, `Infinity` and
//! `-Infinity` as Python has them, and `{"$bytes": "<base64>"}` for bytes. Of equal keys the last
//! counts. Time and memory are in proportion to the text; nesting is bounded.

use alloc::string::String;
use alloc::vec::Vec;

use super::BYTES_KEY;
use super::base64;
use crate::msgpack::MAX_DEPTH;
use crate::value::{Map, Value};

/// The text is no JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON: {fault} at byte {at}")]
pub struct JsonError {
    /// The byte at which reading stopped.
    pub at: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// What is wrong with a text that is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text ends inside a value.
    #[error("the text ends too early")]
    Ends,
    /// No value begins here, or a separator is missing.
    #[error("unexpected character")]
    Unexpected,
    /// A string holds a control character, an unknown escape or half of a surrogate pair.
    #[error("bad string")]
    BadString,
    /// A number is not written as JSON writes it, or is out of range.
    #[error("bad number")]
    BadNumber,
    /// The text is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// `{"$bytes": …}` does not hold base64.
    #[error("bad base64")]
    BadBase64,
    /// Nested deeper than event data may be.
    #[error("nested too deep")]
    TooDeep,
    /// Something follows the value.
    #[error("more than one value")]
    Trailing,
}

/// Reads one JSON value; white space may surround it.
///
/// # Errors
/// [`JsonError`] with the place where the text stops being JSON.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let mut parser = Parser::new(text)?;
    let value = parser.value(0)?;
    parser.space();
    if !parser.rest().is_empty() {
        return Err(parser.fault(JsonFault::Trailing));
    }
    Ok(value)
}

/// A text and how far it is read.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        let text = core::str::from_utf8(text).map_err(|error| JsonError {
            at: error.valid_up_to(),
            fault: JsonFault::NotUtf8,
        })?;
        Ok(Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
        })
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, fault: JsonFault) -> JsonError {
        JsonError { at: self.at, fault }
    }

    fn unexpected(&self) -> JsonError {
        self.fault(if self.at < self.bytes.len() {
            JsonFault::Unexpected
        } else {
            JsonFault::Ends
        })
    }

    pub(super) fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.fault(JsonFault::Unexpected))
        }
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'"') => self.string().map(Value::Str),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Nil),
            Some(b'N') => self.word("NaN", Value::Float(f64::NAN)),
            Some(b'I') => self.word("Infinity", Value::Float(f64::INFINITY)),
            _ => Err(self.unexpected()),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, JsonError> {
        if depth < MAX_DEPTH {
            Ok(depth + 1)
        } else {
            Err(self.fault(JsonFault::TooDeep))
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut pairs = Vec::new();
        self.space();
        if self.take(b'}') {
            return Ok(Map::new().into());
        }
        loop {
            self.space();
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(self.unexpected());
            }
            pairs.push((Value::Str(key), self.value(depth)?));
            self.space();
            if self.take(b'}') {
                return self.bytes_or_map(pairs);
            }
            if !self.take(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn bytes_or_map(&self, pairs: Vec<(Value, Value)>) -> Result<Value, JsonError> {
        match pairs.as_slice() {
            [(Value::Str(key), Value::Str(text))] if key == BYTES_KEY => base64::decode(text)
                .map(Value::Bin)
                .ok_or_else(|| self.fault(JsonFault::BadBase64)),
            _ => Ok(Value::Map(Map::from_pairs(pairs))),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut out = String::new();
        let mut copied = self.at;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.fault(JsonFault::Ends)),
                Some(b'"') => {
                    out.push_str(&self.text[copied..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[copied..self.at]);
                    self.at += 1;
                    out.push(self.escape()?);
                    copied = self.at;
                }
                Some(0..=0x1f) => return Err(self.fault(JsonFault::BadString)),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(&escape) = self.bytes.get(self.at) else {
            return Err(self.fault(JsonFault::Ends));
        };
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.fault(JsonFault::BadString)),
        })
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let high = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&high) {
            if !(self.take(b'\\') && self.take(b'u')) {
                return Err(self.fault(JsonFault::BadString));
            }
            let low = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.fault(JsonFault::BadString));
            }
            0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.fault(JsonFault::BadString))
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let digits = digits.ok_or_else(|| self.fault(JsonFault::Ends))?;
        let mut code = 0;
        for &digit in digits {
            let digit = char::from(digit).to_digit(16);
            code = code << 4 | digit.ok_or_else(|| self.fault(JsonFault::BadString))?;
        }
        self.at += 4;
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        if self.take(b'-') && self.bytes.get(self.at) == Some(&b'I') {
            return self.word("Infinity", Value::Float(f64::NEG_INFINITY));
        }
        let whole = self.digits();
        let first = self.bytes.get(self.at - whole);
        if whole == 0 || (whole > 1 && first == Some(&b'0')) {
            return Err(self.fault(JsonFault::BadNumber));
        }
        let mut is_whole = true;
        if self.take(b'.') {
            is_whole = false;
            if self.digits() == 0 {
                return Err(self.fault(JsonFault::BadNumber));
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.fault(JsonFault::BadNumber));
            }
        }
        let text = &self.text[start..self.at];
        let value = if is_whole {
            text.parse().ok().map(Value::Int)
        } else {
            text.parse().ok().map(Value::Float)
        };
        value.ok_or_else(|| self.fault(JsonFault::BadNumber))
    }

    /// Passes over digits and counts them.
    fn digits(&mut self) -> usize {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{to_exact_line, to_line};
    use alloc::{format, vec};

    fn read(text: &str) -> Result<Value, JsonFault> {
        parse(text.as_bytes()).map_err(|error| error.fault)
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (text, value) in [
            ("null", Value::Nil),
            (" true ", true.into()),
            ("false", false.into()),
            ("0", 0.into()),
            ("-12", Value::Int(-12)),
            ("18446744073709551615", Value::Int(u64::MAX.into())),
            ("1.5", 1.5.into()),
            ("-1e3", (-1000.0).into()),
            ("1E-2", 0.01.into()),
            ("Infinity", f64::INFINITY.into()),
            ("-Infinity", f64::NEG_INFINITY.into()),
            (
                r#""a\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00é""#,
                "a\"\\/\u{8}\u{c}\n\r\tAé😀é".into(),
            ),
            ("[]", Value::Array(vec![])),
            ("[1, [2]]", vec![1.into(), vec![2.into()].into()].into()),
            ("{}", Map::new().into()),
            (r#"{"$bytes": "/wA="}"#, Value::Bin(vec![0xff, 0])),
            (r#"{"$bytes": ""}"#, Value::Bin(vec![])),
        ] {
            assert_eq!(read(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts_and_bytes_stand_alone() {
        let printed = |text| {
            let mut out = String::new();
            to_line(&read(text).unwrap(), &mut out);
            out
        };
        assert_eq!(
            printed(r#"{"a": 1, "b": 2, "a": 3}"#),
            r#"{"a": 3, "b": 2}"#
        );
        assert_eq!(
            printed(r#"{"$bytes": "/wA=", "a": 1}"#),
            r#"{"$bytes": "/wA=", "a": 1}"#
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        use JsonFault::{
            BadBase64, BadNumber, BadString, Ends, NotUtf8, TooDeep, Trailing, Unexpected,
        };
        for (text, fault) in [
            ("", Ends),
            (" ", Ends),
            ("[1", Ends),
            ("{\"a\"", Ends),
            ("\"a", Ends),
            (r#""\u00"#, Ends),
            ("[1,]", Unexpected),
            ("{,}", Unexpected),
            ("{\"a\" 1}", Unexpected),
            ("{'a': 1}", Unexpected),
            ("nul", Unexpected),
            ("+1", Unexpected),
            ("01", BadNumber),
            ("1.", BadNumber),
            ("1e", BadNumber),
            ("-", BadNumber),
            ("\"\n\"", BadString),
            (r#""\x""#, BadString),
            (r#""\ud800""#, BadString),
            (r#""\ud800\u0041""#, BadString),
            (r#""\udc00""#, BadString),
            ("1 2", Trailing),
            (r#"{"$bytes": "?"}"#, BadBase64),
        ] {
            assert_eq!(read(text), Err(fault), "{text}");
        }
        assert_eq!(parse(b"\"\xff\"").unwrap_err().fault, NotUtf8);
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        // As deep as msgpack is decoded, so that what is printed can be read again.
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(TooDeep));
        assert_eq!(read(&"[".repeat(100_000)), Err(TooDeep));
        assert_eq!(read(&format!("1{}", "0".repeat(50))), Err(BadNumber));
    }

    #[test]
    fn what_is_written_exactly_is_read_back() {
        let value: Value = [
            ("bytes", Value::Bin(b"text".to_vec())),
            ("list", vec![Value::Nil, 1.5.into(), "é\n".into()].into()),
        ]
        .into_iter()
        .collect::<Map>()
        .into();
        let mut line = String::new();
        to_exact_line(&value, &mut line);
        assert_eq!(
            line,
            r#"{"bytes": {"$bytes": "dGV4dA=="}, "list": [null, 1.5, "é\n"]}"#
        );
        assert_eq!(parse(line.as_bytes()), Ok(value));
    }
}
