//! Reads msgpack directly into what its caller makes of values, without a [`Value`](crate::Value) in between: Python
//! objects in the Python package.
//!
//! Reads as [`msgpack::decode`](crate::msgpack::decode) does; a fuzz target compares the two. Facts:
//! `docs/protocol/ipc.md` §5.

use crate::msgpack::{DATE, MAX_DEPTH};
use crate::scan::{ScanError, skip_value};

/// Makes values of what is read.
pub trait Build {
    /// A value.
    type Value;
    /// A list that is being filled.
    type List;
    /// A map that is being filled.
    type Map;
    /// Why a value cannot be made.
    type Error: From<BuildError>;

    /// Nothing.
    fn nil(&mut self) -> Self::Value;
    /// A boolean.
    fn boolean(&mut self, boolean: bool) -> Self::Value;
    /// A number that has a sign on the wire.
    ///
    /// # Errors
    /// The builder's.
    fn signed(&mut self, number: i64) -> Result<Self::Value, Self::Error>;
    /// A number that has none.
    ///
    /// # Errors
    /// The builder's.
    fn unsigned(&mut self, number: u64) -> Result<Self::Value, Self::Error>;
    /// A float.
    fn float(&mut self, number: f64) -> Self::Value;
    /// A text.
    fn text(&mut self, text: &str) -> Self::Value;
    /// Bytes, and the payload of an extension that is no date.
    fn bytes(&mut self, bytes: &[u8]) -> Self::Value;
    /// An extension that is no date.
    fn extension(&mut self, kind: i8, payload: &[u8]) -> Self::Value;
    /// A date, whose fields need not be one's.
    ///
    /// # Errors
    /// The builder's, for fields that are no date.
    fn date(&mut self, date: Date) -> Result<Self::Value, Self::Error>;
    /// An empty list.
    fn list(&mut self) -> Self::List;
    /// Adds an item to a list.
    ///
    /// # Errors
    /// The builder's.
    fn push(&mut self, list: &mut Self::List, item: Self::Value) -> Result<(), Self::Error>;
    /// A list that is complete.
    fn whole_list(&mut self, list: Self::List) -> Self::Value;
    /// An empty map.
    fn map(&mut self) -> Self::Map;
    /// Sets a key of a map.
    ///
    /// # Errors
    /// The builder's, for what can be no key.
    fn set(
        &mut self,
        map: &mut Self::Map,
        key: Self::Value,
        value: Self::Value,
    ) -> Result<(), Self::Error>;
    /// A map that is complete.
    fn whole_map(&mut self, map: Self::Map) -> Self::Value;
}

/// The fields of a date as Salt writes it: `20261123T21:30:01.000042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Four digits.
    pub year: u32,
    /// Two digits, as those that follow.
    pub month: u8,
    /// Of the month.
    pub day: u8,
    /// Of the day.
    pub hour: u8,
    /// Of the hour.
    pub minute: u8,
    /// Of the minute.
    pub second: u8,
    /// Six digits.
    pub microsecond: u32,
}

/// Why bytes are not one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Bytes are missing, or something follows.
    #[error("not exactly one complete msgpack value")]
    NotOneValue,
    /// The bytes are not msgpack.
    #[error(transparent)]
    NotMsgpack(#[from] ScanError),
    /// Lists or maps inside each other past [`MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// Extension 78 is not a date as Salt writes it.
    #[error("extension 78 does not hold a date")]
    NotADate,
}

/// Reads exactly one value. If one text in it is not UTF-8, all texts become bytes.
///
/// # Errors
/// [`BuildError`] where Salt calls an event malformed, and the builder's errors.
pub fn build<B: Build>(packed: &[u8], builder: &mut B) -> Result<B::Value, B::Error> {
    // The scan proves every length, so that the reader can take them at their word.
    match skip_value(packed).map_err(BuildError::from)? {
        Some(length) if length == packed.len() => {}
        _ => return Err(BuildError::NotOneValue.into()),
    }
    let mut reader = Reader {
        builder,
        rest: packed,
        as_bytes: false,
        not_text: false,
    };
    let value = reader.value(MAX_DEPTH)?;
    if !reader.not_text {
        return Ok(value);
    }
    drop(value);
    reader.rest = packed;
    reader.as_bytes = true;
    reader.value(MAX_DEPTH)
}

struct Reader<'a, 'b, B> {
    builder: &'b mut B,
    rest: &'a [u8],
    as_bytes: bool,
    not_text: bool,
}

impl<'a, B: Build> Reader<'a, '_, B> {
    fn value(&mut self, depth: usize) -> Result<B::Value, B::Error> {
        let marker = self.array::<1>()?[0];
        match marker {
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f)),
            0x00..=0x7f => self.builder.unsigned(marker.into()),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f), depth),
            0x90..=0x9f => self.list(usize::from(marker & 0x0f), depth),
            0xe0..=0xff => self.builder.signed(i8::from_be_bytes([marker]).into()),
            0xc0 | 0xc1 => Ok(self.builder.nil()),
            0xc2 | 0xc3 => Ok(self.builder.boolean(marker == 0xc3)),
            0xca => {
                let number = f32::from_be_bytes(self.array()?);
                Ok(self.builder.float(number.into()))
            }
            0xcb => {
                let number = f64::from_be_bytes(self.array()?);
                Ok(self.builder.float(number))
            }
            0xcc..=0xcf => {
                let number = self.number(1 << (marker - 0xcc))?;
                self.builder.unsigned(number)
            }
            0xd0..=0xd3 => {
                let width = 1 << (marker - 0xd0);
                // The sign is in the first of these bytes.
                let unused = 64 - 8 * width;
                let number = self.number(width)? << unused;
                self.builder.signed(number.cast_signed() >> unused)
            }
            _ => self.sized(marker, depth),
        }
    }

    /// What says its length in the bytes after the marker.
    fn sized(&mut self, marker: u8, depth: usize) -> Result<B::Value, B::Error> {
        let width = match marker {
            0xc4 | 0xc7 | 0xd9 => 1,
            0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
            0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
            _ => 0,
        };
        let length = self.number(width)?;
        let length = usize::try_from(length).map_err(|_| BuildError::NotOneValue)?;
        match marker {
            0xc4..=0xc6 => {
                let bytes = self.take(length)?;
                Ok(self.builder.bytes(bytes))
            }
            0xc7..=0xc9 => self.extension(length),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4)),
            0xd9..=0xdb => self.text(length),
            0xdc | 0xdd => self.list(length, depth),
            _ => self.map(length, depth),
        }
    }

    fn text(&mut self, length: usize) -> Result<B::Value, B::Error> {
        let bytes = self.take(length)?;
        if !self.as_bytes {
            if let Ok(text) = core::str::from_utf8(bytes) {
                return Ok(self.builder.text(text));
            }
            self.not_text = true;
        }
        Ok(self.builder.bytes(bytes))
    }

    fn list(&mut self, length: usize, depth: usize) -> Result<B::Value, B::Error> {
        let depth = depth.checked_sub(1).ok_or(BuildError::TooDeep)?;
        let mut list = self.builder.list();
        for _ in 0..length {
            let item = self.value(depth)?;
            self.builder.push(&mut list, item)?;
        }
        Ok(self.builder.whole_list(list))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<B::Value, B::Error> {
        let depth = depth.checked_sub(1).ok_or(BuildError::TooDeep)?;
        let mut map = self.builder.map();
        for _ in 0..length {
            let key = self.value(depth)?;
            let value = self.value(depth)?;
            self.builder.set(&mut map, key, value)?;
        }
        Ok(self.builder.whole_map(map))
    }

    fn extension(&mut self, length: usize) -> Result<B::Value, B::Error> {
        let kind = i8::from_be_bytes(self.array()?);
        let payload = self.take(length)?;
        if kind == DATE {
            let date = Date::parse(payload).ok_or(BuildError::NotADate)?;
            return self.builder.date(date);
        }
        Ok(self.builder.extension(kind, payload))
    }

    fn number(&mut self, width: usize) -> Result<u64, BuildError> {
        let digits = self.take(width)?.iter();
        Ok(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], BuildError> {
        let (taken, rest) = (self.rest.split_at_checked(length)).ok_or(BuildError::NotOneValue)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BuildError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| BuildError::NotOneValue)
    }
}

impl Date {
    fn parse(text: &[u8]) -> Option<Self> {
        let shape = b"00000000T00:00:00.000000";
        let has_shape = text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                separator => byte == separator,
            });
        if !has_shape {
            return None;
        }
        let number = |digits: &[u8]| {
            let digits = digits.iter().map(|digit| u32::from(digit - b'0'));
            digits.fold(0, |number, digit| number * 10 + digit)
        };
        let small = |from: usize| u8::try_from(number(&text[from..from + 2])).unwrap_or(u8::MAX);
        Some(Self {
            year: number(&text[..4]),
            month: small(4),
            day: small(6),
            hour: small(9),
            minute: small(12),
            second: small(15),
            microsecond: number(&text[18..]),
        })
    }
}
