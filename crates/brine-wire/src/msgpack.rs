//! Values to msgpack and back, as Salt writes and reads them.
//!
//! Two dialects: the local bus keeps text and bytes apart ([`encode`], [`decode`]); the network
//! between minion and master knows raw strings only ([`encode_network`], [`decode_network`]).
//! Facts: `docs/protocol/ipc.md` §5, `docs/protocol/network.md` §1.

use alloc::string::ToString;
use alloc::vec::Vec;

use rmp::Marker;

use crate::scan::{self, ScanError, big_endian};
use crate::value::{Map, Value};

/// The deepest nesting decoded. A quarter of what Python's reader takes, and far beyond what any
/// event holds; the decoder recurses, so the bound is what its stack can bear.
pub const MAX_DEPTH: usize = 256;

/// Why bytes are not one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes are needed.
    #[error("incomplete msgpack value: it ends after {bytes} bytes")]
    Incomplete {
        /// How many there are.
        bytes: usize,
    },
    /// Something follows the value.
    #[error("{bytes} bytes follow the msgpack value")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// The bytes are not msgpack.
    #[error(transparent)]
    NotMsgpack(#[from] ScanError),
    /// Arrays or maps inside each other past [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A key is an array or a map, which Python cannot hold.
    #[error("a map key is an array or a map; only scalars are allowed")]
    KeyNotScalar,
    /// Extension 78 is not a date as Salt writes it.
    #[error("extension 78 does not hold a date (%Y%m%dT%H:%M:%S.%f)")]
    NotADate,
}

/// Decodes exactly one value as Salt's event library does: text is [`Value::Str`], bytes are
/// [`Value::Bin`]; if any text is not UTF-8, all of it is bytes.
///
/// # Errors
/// [`DecodeError`] where Salt calls the event malformed.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    match decode_as(bytes, Strings::Text)? {
        Some(value) => Ok(value),
        None => Ok(decode_as(bytes, Strings::Bytes)?.unwrap_or(Value::Nil)),
    }
}

/// Decodes exactly one value as Salt's network side does: each string is text where it is UTF-8
/// and bytes where it is not.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_network(bytes: &[u8]) -> Result<Value, DecodeError> {
    Ok(decode_as(bytes, Strings::Either)?.unwrap_or(Value::Nil))
}

/// Appends a value as Salt's event library writes it.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    Encoder {
        network: false,
        out,
    }
    .value(value);
}

/// Appends a map as Salt's event library writes it.
pub fn encode_map(map: &Map, out: &mut Vec<u8>) {
    Encoder {
        network: false,
        out,
    }
    .map(map);
}

/// Appends a text as Salt's event library writes it.
pub(crate) fn encode_str(text: &str, out: &mut Vec<u8>) {
    Encoder {
        network: false,
        out,
    }
    .string(text.as_bytes());
}

/// Appends a value as Salt's network side writes it: neither the bin family nor 8-bit strings.
pub fn encode_network(value: &Value, out: &mut Vec<u8>) {
    Encoder { network: true, out }.value(value);
}

/// What strings become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strings {
    /// Text, and nothing at all if one of them is not UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// Text or bytes, each by its content; binary strings too.
    Either,
}

/// `None` if strings must be text and one is not.
fn decode_as(bytes: &[u8], strings: Strings) -> Result<Option<Value>, DecodeError> {
    // The scan proves every length, so that what follows can take them at their word.
    match scan::skip_value(bytes)? {
        Some(length) if length == bytes.len() => {}
        Some(length) if length < bytes.len() => {
            return Err(DecodeError::TrailingBytes {
                bytes: bytes.len() - length,
            });
        }
        _ => return Err(DecodeError::Incomplete { bytes: bytes.len() }),
    }
    let mut reader = Reader {
        bytes,
        at: 0,
        strings,
        not_text: false,
    };
    let value = reader.value(MAX_DEPTH)?;
    Ok((!reader.not_text).then_some(value))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    strings: Strings,
    not_text: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, DecodeError> {
        let marker = Marker::from_u8(*self.take(1).first().unwrap_or(&0xc1));
        Ok(match marker {
            Marker::Null | Marker::Reserved => Value::Nil,
            Marker::False => Value::Bool(false),
            Marker::True => Value::Bool(true),
            Marker::FixPos(number) => Value::Int(number.into()),
            Marker::FixNeg(number) => Value::Int(number.into()),
            Marker::U8 => Value::Int(self.unsigned(1)),
            Marker::U16 => Value::Int(self.unsigned(2)),
            Marker::U32 => Value::Int(self.unsigned(4)),
            Marker::U64 => Value::Int(self.unsigned(8)),
            Marker::I8 => Value::Int(self.signed(1)),
            Marker::I16 => Value::Int(self.signed(2)),
            Marker::I32 => Value::Int(self.signed(4)),
            Marker::I64 => Value::Int(self.signed(8)),
            Marker::F32 => Value::Float(f32::from_be_bytes(self.array()).into()),
            Marker::F64 => Value::Float(f64::from_be_bytes(self.array())),
            Marker::FixStr(length) => self.string(length.into()),
            Marker::Str8 => self.sized_string(1),
            Marker::Str16 => self.sized_string(2),
            Marker::Str32 => self.sized_string(4),
            Marker::Bin8 => self.sized_binary(1),
            Marker::Bin16 => self.sized_binary(2),
            Marker::Bin32 => self.sized_binary(4),
            Marker::FixArray(length) => self.array_of(length.into(), depth)?,
            Marker::Array16 => self.sized_array(2, depth)?,
            Marker::Array32 => self.sized_array(4, depth)?,
            Marker::FixMap(length) => self.map_of(length.into(), depth)?,
            Marker::Map16 => self.sized_map(2, depth)?,
            Marker::Map32 => self.sized_map(4, depth)?,
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.sized_extension(1)?,
            Marker::Ext16 => self.sized_extension(2)?,
            Marker::Ext32 => self.sized_extension(4)?,
        })
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let taken = self.bytes.get(self.at..self.at + length).unwrap_or(&[]);
        self.at += length;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    fn length(&mut self, width: usize) -> usize {
        let length = big_endian(self.bytes, self.at, width).unwrap_or(0);
        self.at += width;
        length
    }

    fn unsigned(&mut self, width: usize) -> i128 {
        self.take(width)
            .iter()
            .fold(0, |number, byte| number << 8 | i128::from(*byte))
    }

    fn signed(&mut self, width: usize) -> i128 {
        let number = self.unsigned(width);
        let bits = 8 * width;
        if number >> (bits - 1) == 0 {
            number
        } else {
            number - (1 << bits)
        }
    }

    fn string(&mut self, length: usize) -> Value {
        let bytes = self.take(length);
        if self.strings == Strings::Bytes {
            return Value::Bin(bytes.to_vec());
        }
        match core::str::from_utf8(bytes) {
            Ok(text) => Value::Str(text.to_string()),
            Err(_) => {
                self.not_text |= self.strings == Strings::Text;
                Value::Bin(bytes.to_vec())
            }
        }
    }

    fn sized_string(&mut self, width: usize) -> Value {
        let length = self.length(width);
        self.string(length)
    }

    fn sized_binary(&mut self, width: usize) -> Value {
        let length = self.length(width);
        if self.strings == Strings::Either {
            return self.string(length);
        }
        Value::Bin(self.take(length).to_vec())
    }

    fn sized_array(&mut self, width: usize, depth: usize) -> Result<Value, DecodeError> {
        let length = self.length(width);
        self.array_of(length, depth)
    }

    fn array_of(&mut self, length: usize, depth: usize) -> Result<Value, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        (0..length)
            .map(|_| self.value(depth))
            .collect::<Result<_, _>>()
            .map(Value::Array)
    }

    fn sized_map(&mut self, width: usize, depth: usize) -> Result<Value, DecodeError> {
        let length = self.length(width);
        self.map_of(length, depth)
    }

    fn map_of(&mut self, length: usize, depth: usize) -> Result<Value, DecodeError> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let mut pairs = Vec::new();
        for _ in 0..length {
            let key = self.value(depth)?;
            if matches!(key, Value::Array(_) | Value::Map(_)) {
                return Err(DecodeError::KeyNotScalar);
            }
            pairs.push((key, self.value(depth)?));
        }
        Ok(Value::Map(Map::from_pairs(pairs)))
    }

    fn sized_extension(&mut self, width: usize) -> Result<Value, DecodeError> {
        let length = self.length(width);
        self.extension(length)
    }

    fn extension(&mut self, length: usize) -> Result<Value, DecodeError> {
        let kind = i8::from_be_bytes(self.array());
        let payload = self.take(length);
        if kind == DATE && !is_date(payload) {
            return Err(DecodeError::NotADate);
        }
        Ok(Value::Ext(kind, payload.to_vec()))
    }
}

/// The extension type of a date.
pub const DATE: i8 = 78;

/// Whether bytes are a date as Salt writes it: `20261123T21:30:01.000042`. (Its reader also takes
/// fields without their leading zeros; no program writes those.)
fn is_date(text: &[u8]) -> bool {
    let shape = b"00000000T00:00:00.000000";
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            separator => byte == separator,
        })
        && is_day(number(&text[..4]), number(&text[4..6]), number(&text[6..8]))
        && number(&text[9..11]) < 24
        && number(&text[12..14]) < 60
        && number(&text[15..17]) < 60
}

fn is_day(year: u32, month: u32, day: u32) -> bool {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    year > 0 && (1..=12).contains(&month) && (1..=days).contains(&day)
}

fn number(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

struct Encoder<'a> {
    network: bool,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Nil => self.marker(Marker::Null),
            Value::Bool(flag) => self.marker(if *flag { Marker::True } else { Marker::False }),
            Value::Int(number) => self.int(*number),
            Value::Float(number) => {
                self.marker(Marker::F64);
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Str(text) => self.string(text.as_bytes()),
            Value::Bin(bytes) if self.network => self.string(bytes),
            Value::Bin(bytes) => {
                self.sized(
                    bytes.len(),
                    None,
                    Some(Marker::Bin8),
                    Marker::Bin16,
                    Marker::Bin32,
                );
                self.out.extend_from_slice(bytes);
            }
            Value::Array(items) => {
                let short = u8::try_from(items.len())
                    .ok()
                    .filter(|n| *n < 16)
                    .map(Marker::FixArray);
                self.sized(items.len(), short, None, Marker::Array16, Marker::Array32);
                items.iter().for_each(|item| self.value(item));
            }
            Value::Map(map) => self.map(map),
            Value::Ext(kind, payload) => self.extension(*kind, payload),
        }
    }

    fn map(&mut self, map: &Map) {
        let short = u8::try_from(map.len())
            .ok()
            .filter(|n| *n < 16)
            .map(Marker::FixMap);
        self.sized(map.len(), short, None, Marker::Map16, Marker::Map32);
        for (key, value) in map {
            self.value(key);
            self.value(value);
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        let short = u8::try_from(bytes.len())
            .ok()
            .filter(|n| *n < 32)
            .map(Marker::FixStr);
        let eight_bits = (!self.network).then_some(Marker::Str8);
        self.sized(bytes.len(), short, eight_bits, Marker::Str16, Marker::Str32);
        self.out.extend_from_slice(bytes);
    }

    /// The shortest form; what 64 bits cannot hold becomes decimal text, as in Salt.
    fn int(&mut self, number: i128) {
        if let Ok(number) = u64::try_from(number) {
            self.unsigned(number);
        } else if let Ok(number) = i64::try_from(number) {
            self.negative(number);
        } else {
            self.string(number.to_string().as_bytes());
        }
    }

    #[allow(clippy::cast_possible_truncation)] // each arm's range fits its width
    fn unsigned(&mut self, number: u64) {
        match number {
            0..=0x7f => self.marker(Marker::FixPos(number as u8)),
            0x80..=0xff => self.tagged(Marker::U8, &[number as u8]),
            0x100..=0xffff => self.tagged(Marker::U16, &(number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(Marker::U32, &(number as u32).to_be_bytes()),
            _ => self.tagged(Marker::U64, &number.to_be_bytes()),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // each arm's range fits its width
    fn negative(&mut self, number: i64) {
        match number {
            -32..=-1 => self.marker(Marker::FixNeg(number as i8)),
            -0x80..=-33 => self.tagged(Marker::I8, &(number as i8).to_be_bytes()),
            -0x8000..=-0x81 => self.tagged(Marker::I16, &(number as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(Marker::I32, &(number as i32).to_be_bytes()),
            _ => self.tagged(Marker::I64, &number.to_be_bytes()),
        }
    }

    fn extension(&mut self, kind: i8, payload: &[u8]) {
        let fixed = match payload.len() {
            1 => Some(Marker::FixExt1),
            2 => Some(Marker::FixExt2),
            4 => Some(Marker::FixExt4),
            8 => Some(Marker::FixExt8),
            16 => Some(Marker::FixExt16),
            _ => None,
        };
        self.sized(
            payload.len(),
            fixed,
            Some(Marker::Ext8),
            Marker::Ext16,
            Marker::Ext32,
        );
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    /// A marker and a length, in the shortest form that is allowed.
    #[allow(clippy::cast_possible_truncation)] // each arm's range fits its width
    fn sized(
        &mut self,
        length: usize,
        short: Option<Marker>,
        eight_bits: Option<Marker>,
        sixteen_bits: Marker,
        thirty_two_bits: Marker,
    ) {
        match (short, eight_bits, length) {
            (Some(short), ..) => self.marker(short),
            (None, Some(marker), 0..=0xff) => self.tagged(marker, &[length as u8]),
            (None, _, 0..=0xffff) => self.tagged(sixteen_bits, &(length as u16).to_be_bytes()),
            _ => self.tagged(thirty_two_bits, &(length as u32).to_be_bytes()),
        }
    }

    fn marker(&mut self, marker: Marker) {
        self.out.push(marker.to_u8());
    }

    fn tagged(&mut self, marker: Marker, bytes: &[u8]) {
        self.marker(marker);
        self.out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn integers_take_the_shortest_form() {
        for (number, bytes) in [
            (0i128, &b"\x00"[..]),
            (127, b"\x7f"),
            (128, b"\xcc\x80"),
            (256, b"\xcd\x01\x00"),
            (65_536, b"\xce\x00\x01\x00\x00"),
            (1 << 32, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
            (-1, b"\xff"),
            (-32, b"\xe0"),
            (-33, b"\xd0\xdf"),
            (-129, b"\xd1\xff\x7f"),
            (-32_769, b"\xd2\xff\xff\x7f\xff"),
            (-(1 << 40), b"\xd3\xff\xff\xff\x00\x00\x00\x00\x00"),
        ] {
            assert_eq!(encoded(&Value::Int(number)), bytes, "{number}");
            assert_eq!(decode(bytes), Ok(Value::Int(number)));
        }
        assert_eq!(encoded(&Value::Int(1 << 64)), b"\xb418446744073709551616");
    }

    #[test]
    fn one_string_that_is_no_text_makes_all_of_them_bytes() {
        let bytes = b"\x82\xa1a\xa2\xff\xfe\xa1b\xc4\x01x";
        let pairs = vec![
            (Value::Bin(b"a".to_vec()), Value::Bin(b"\xff\xfe".to_vec())),
            (Value::Bin(b"b".to_vec()), Value::Bin(b"x".to_vec())),
        ];
        assert_eq!(decode(bytes), Ok(Value::Map(Map::from(pairs))));
    }

    #[test]
    fn the_network_knows_raw_strings_only() {
        let value = Value::Array(vec![Value::Bin(vec![b'x'; 40]), "y".repeat(40).into()]);
        let mut out = Vec::new();
        encode_network(&value, &mut out);
        assert!(out.starts_with(b"\x92\xda\x00\x28x"));
        assert_eq!(
            decode_network(&out),
            Ok(Value::Array(vec![
                "x".repeat(40).into(),
                "y".repeat(40).into()
            ]))
        );
        assert_eq!(decode_network(b"\xa1\xff"), Ok(Value::Bin(vec![0xff])));
    }

    #[test]
    fn malformed_values_are_named() {
        assert_eq!(decode(b""), Err(DecodeError::Incomplete { bytes: 0 }));
        assert_eq!(
            decode(b"\xc4\x05ab"),
            Err(DecodeError::Incomplete { bytes: 4 })
        );
        assert_eq!(
            decode(b"\x01\x02"),
            Err(DecodeError::TrailingBytes { bytes: 1 })
        );
        assert_eq!(decode(b"\x81\x90\x01"), Err(DecodeError::KeyNotScalar));
        assert_eq!(decode(b"\xc7\x03\x4eabc"), Err(DecodeError::NotADate));
        assert_eq!(
            decode(&vec![0x91; 400].into_iter().chain([1]).collect::<Vec<_>>()),
            Err(DecodeError::TooDeep)
        );
        assert!(matches!(decode(b"\xc1"), Err(DecodeError::NotMsgpack(_))));
    }

    #[test]
    fn of_equal_keys_the_last_value_counts_in_the_first_place() {
        let expected: Map = [("a", Value::Int(3)), ("b", Value::Int(2))]
            .into_iter()
            .collect();
        assert_eq!(
            decode(b"\x83\xa1a\x01\xa1b\x02\xa1a\x03"),
            Ok(Value::Map(expected))
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            (i128::from(i64::MIN)..=i128::from(u64::MAX)).prop_map(Value::Int),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |f| !f.is_nan())
                .prop_map(Value::Float),
            ".{0,40}".prop_map(Value::Str),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bin),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map(".{0,10}", inner, 0..6)
                    .prop_map(|map| { Value::Map(map.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(value in values()) {
            let bytes = encoded(&value);
            prop_assert_eq!(decode(&bytes), Ok(value));
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode(&bytes), decode_network(&bytes));
        }
    }
}
