//! Packed data directly to JSON, without values in between: streams of events spend most of their time on this.
//!
//! It knows the forms that most events consist of and gives up on all others (keys that are not text, repeated keys,
//! extensions, text that is not UTF-8, nesting past the limit). Those are converted through values, which defines the
//! result. Both ways give the same text.

use alloc::string::String;
use alloc::vec::Vec;

use super::{BYTES_KEY, base64, float, to_exact_line};
use crate::decimal::unsigned;
use crate::msgpack::{self, DecodeError, MAX_DEPTH};

/// Appends packed data as [`to_exact_line`] writes the values they decode to.
///
/// # Errors
/// [`DecodeError`] as [`msgpack::decode`]; then nothing is appended.
pub fn packed_to_exact_line(packed: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let before = out.len();
    let mut reader = Reader { rest: packed };
    if reader.value(MAX_DEPTH, out).is_some() && reader.rest.is_empty() {
        return Ok(());
    }
    out.truncate(before);
    let mut text = String::new();
    to_exact_line(&msgpack::decode(packed)?, &mut text);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends a text in quotes.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(plain) = rest.iter().position(|byte| IS_ESCAPED[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..plain]);
        let short = match rest[plain] {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                let (high, low) = (control >> 4, control & 0xf);
                out.extend([high, low].map(|digit| DIGITS[usize::from(digit)]));
                rest = &rest[plain + 1..];
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// As [`quote`], for bytes that should be text: what is not UTF-8 is replaced.
pub fn quote_lossy(text: &[u8], out: &mut Vec<u8>) {
    if quote_bytes(text, out).is_none() {
        quote(&String::from_utf8_lossy(text), out);
    }
}

/// Appends a text in quotes, if it is one.
fn quote_bytes(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if is_plain(text) {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
        return Some(());
    }
    quote(core::str::from_utf8(text).ok()?, out);
    Some(())
}

/// Whether every byte is a character that stands for itself: one look at what most texts are, in place of one for UTF-8
/// and one for what must be escaped.
fn is_plain(text: &[u8]) -> bool {
    // All bytes of a chunk are looked at whatever they are, which the compiler turns into vector instructions.
    fn is_plain_chunk<const N: usize>(chunk: &[u8; N]) -> bool {
        let special = |found, byte: &u8| {
            found | !matches!(*byte, 0x20..=0x7f) | matches!(*byte, b'"' | b'\\')
        };
        !chunk.iter().fold(false, special)
    }
    let ends = |text: &[u8]| match (text.last_chunk::<16>(), text.first_chunk::<8>()) {
        (Some(last), _) => is_plain_chunk(last),
        // Two chunks that overlap.
        (None, Some(first)) => {
            is_plain_chunk(first) && text.last_chunk().is_none_or(is_plain_chunk::<8>)
        }
        (None, None) => text.iter().all(|byte| is_plain_chunk(&[*byte])),
    };
    text.as_chunks::<16>().0.iter().all(is_plain_chunk) && ends(text)
}

/// Which bytes do not stand for themselves.
const IS_ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// Keys of one map among which a repeated one is looked for; larger maps take the other way. Most have few, and a place
/// for each key costs time even if it stays empty.
const MAX_KEYS: usize = 64;
const FEW_KEYS: usize = 8;

struct Reader<'p> {
    rest: &'p [u8],
}

/// `None` wherever the value is of a form that is not known here, or ends too early.
impl<'p> Reader<'p> {
    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let marker = self.take(1)?[0];
        match marker {
            0x00..=0x7f => unsigned(marker.into(), out),
            0x80..=0x8f => self.map(usize::from(marker & 0xf), depth, out)?,
            0x90..=0x9f => self.array(usize::from(marker & 0xf), depth, out)?,
            0xa0..=0xbf => quote_bytes(self.take(usize::from(marker & 0x1f))?, out)?,
            0xc0 => out.extend_from_slice(b"null"),
            0xc2 => out.extend_from_slice(b"false"),
            0xc3 => out.extend_from_slice(b"true"),
            0xc4..=0xc6 => {
                let length = self.length(1 << (marker - 0xc4))?;
                bytes(self.take(length)?, out);
            }
            0xca => {
                let number = f32::from_be_bytes(self.take(4)?.try_into().ok()?);
                exact_float(number.into(), out);
            }
            0xcb => {
                let number = f64::from_be_bytes(self.take(8)?.try_into().ok()?);
                exact_float(number, out);
            }
            0xcc..=0xcf => unsigned(self.number(1 << (marker - 0xcc))?, out),
            0xd0..=0xd3 => {
                let width = 1 << (marker - 0xd0);
                let unused = 64 - 8 * width;
                // Shifted up and down again: the sign fills what the number does not take.
                #[allow(clippy::cast_possible_wrap)] // that is what the shift is for
                signed((self.number(width)? << unused) as i64 >> unused, out);
            }
            0xd9..=0xdb => {
                let length = self.length(1 << (marker - 0xd9))?;
                quote_bytes(self.take(length)?, out)?;
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (marker - 0xdc))?;
                self.array(length, depth, out)?;
            }
            0xde | 0xdf => {
                let length = self.length(2 << (marker - 0xde))?;
                self.map(length, depth, out)?;
            }
            0xe0..=0xff => signed(i8::from_be_bytes([marker]).into(), out),
            _ => return None,
        }
        Some(())
    }

    fn array(&mut self, length: usize, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        out.push(b'[');
        for place in 0..length {
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            self.value(depth, out)?;
        }
        out.push(b']');
        Some(())
    }

    fn map(&mut self, length: usize, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        match length {
            0..=FEW_KEYS => self.entries(&mut [&[][..]; FEW_KEYS][..length], depth, out),
            _ => self.entries([&[][..]; MAX_KEYS].get_mut(..length)?, depth, out),
        }
    }

    /// The entries of a map; there is a place for each key.
    fn entries(&mut self, keys: &mut [&'p [u8]], depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        out.push(b'{');
        for place in 0..keys.len() {
            let key = self.key()?;
            let (earlier, this) = keys.split_at_mut(place);
            if earlier.contains(&key) {
                return None;
            }
            *this.first_mut()? = key;
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            quote_bytes(key, out)?;
            out.extend_from_slice(b": ");
            self.value(depth, out)?;
        }
        out.push(b'}');
        Some(())
    }

    fn key(&mut self) -> Option<&'p [u8]> {
        let length = match self.take(1)?[0] {
            short @ 0xa0..=0xbf => usize::from(short & 0x1f),
            marker @ 0xd9..=0xdb => self.length(1 << (marker - 0xd9))?,
            _ => return None,
        };
        self.take(length)
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.number(width)?).ok()
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        let bytes = self.take(width)?.iter();
        Some(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }
}

fn bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(BYTES_KEY.as_bytes());
    out.extend_from_slice(b"\": \"");
    out.extend_from_slice(base64::encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// A number, or the text of what is none.
fn exact_float(number: f64, out: &mut Vec<u8>) {
    let text = float(number);
    match number.is_finite() {
        true => out.extend_from_slice(text.as_bytes()),
        false => quote(&text, out),
    }
}

fn signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(number.unsigned_abs(), out);
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    /// What the way over values gives.
    fn over_values(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut text = String::new();
        to_exact_line(&msgpack::decode(packed)?, &mut text);
        Ok(text.into_bytes())
    }

    fn straight(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = b"before".to_vec();
        let result = packed_to_exact_line(packed, &mut out);
        assert!(out.starts_with(b"before") && (result.is_ok() || out.len() == 6));
        result.map(|()| out.split_off(6))
    }

    #[test]
    fn every_form_is_written_as_over_values() {
        for packed in [
            &b"\x80"[..],
            b"\x83\xa1a\x01\xa1b\xff\xa1c\xc0",
            b"\x82\xa1a\x01\xa1a\x02",
            b"\x82\xc4\x01a\x01\xa1a\x02",
            b"\x81\x05\xc3",
            b"\x93\xcc\xff\xcd\xff\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x94\xd0\x80\xd1\x80\x00\xd2\x80\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
            b"\x92\xca\x3f\xc0\x00\x00\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
            b"\x92\xca\x7f\x80\x00\x00\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
            b"\x91\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a",
            b"\x91\xa6\"\\\n\x01\x1f\x7f",
            b"\x91\xd9\x04\xc3\xa4\xc3\xb6",
            b"\x91\xa1\xff",
            b"\x91\xc4\x03\x00\xff\x10",
            b"\xc7\x00\x4e",
            b"\xdc\x00\x01\xc2",
            b"\xde\x00\x01\xa1k\xdd\x00\x00\x00\x00",
            b"\xc1",
            b"",
            b"\x81\xa1a",
            b"\x01\x02",
            b"\xdb\xff\xff\xff\xff",
        ] {
            assert_eq!(straight(packed), over_values(packed), "{packed:02x?}");
        }
        let deep = [vec![0x91; 300], vec![0xc0]].concat();
        assert_eq!(straight(&deep), over_values(&deep));
    }

    #[test]
    fn what_is_no_number_is_a_text() {
        let packed =
            b"\x93\xca\x7f\xc0\x00\x00\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00\xca\xff\x80\x00\x00";
        let expected = br#"["NaN", "Infinity", "-Infinity"]"#;
        assert_eq!(straight(packed).unwrap(), expected);
        assert_eq!(over_values(packed).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_both_ways_agree(packed in proptest::collection::vec(
            prop_oneof![any::<u8>(), 0x80u8..0xa4, Just(b'a')], 0..40,
        )) {
            prop_assert_eq!(straight(&packed), over_values(&packed));
        }
    }
}
