//! How long a msgpack value is, without decoding it.
//!
//! The bus checks every event with this before it passes it on, so it allocates nothing for
//! ordinary data and looks at one byte per value. It knows msgpack's layout and nothing of Salt.

mod containers;

use alloc::vec::Vec;

pub(crate) use containers::{ArrayItems, MapEntries, text};

/// The deepest nesting accepted. Python's msgpack reader, which every Salt program uses, gives up
/// at 1,024: what is deeper could be published but never read.
pub const MAX_DEPTH: usize = 1024;

/// Why bytes cannot become a msgpack value, however many more follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// `0xc1`, the one byte msgpack leaves undefined.
    #[error("the undefined byte 0xc1 at byte {at}")]
    Undefined {
        /// Where, counted from the start of the value.
        at: usize,
    },
    /// Arrays or maps inside each other past [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Where, counted from the start of the value.
        at: usize,
    },
}

/// The length in bytes of the first value in `bytes`; `None` if more bytes are needed.
///
/// # Errors
/// [`ScanError`] when no continuation could make the bytes a value.
pub fn skip_value(bytes: &[u8]) -> Result<Option<usize>, ScanError> {
    match walk(bytes, usize::MAX)? {
        Walk::Whole { length } => Ok(Some(length)),
        Walk::Incomplete | Walk::OverBudget => Ok(None),
    }
}

/// How many values [`is_one_map`] looks at. An ordinary event has some dozens; a job return with
/// hundreds of states has thousands, and one made to hurt has a hundred million, which would keep
/// every other connection waiting while they are counted.
pub const CHECKED_VALUES: usize = 1024;

/// Whether `bytes` are exactly one msgpack map, judged by its first [`CHECKED_VALUES`] values.
///
/// # Errors
/// [`ScanError`] when they are not msgpack.
pub fn is_one_map(bytes: &[u8]) -> Result<bool, ScanError> {
    match bytes.first() {
        Some(0x80..=0x8f | 0xde | 0xdf) => Ok(match walk(bytes, CHECKED_VALUES)? {
            Walk::Whole { length } => length == bytes.len(),
            Walk::OverBudget => true,
            Walk::Incomplete => false,
        }),
        _ => Ok(false),
    }
}

enum Walk {
    Whole { length: usize },
    Incomplete,
    OverBudget,
}

fn walk(bytes: &[u8], mut budget: usize) -> Result<Walk, ScanError> {
    let mut at = 0;
    let mut left: u64 = 1;
    let mut outer = Levels::default();
    loop {
        while left == 0 {
            match outer.pop() {
                Some(rest) => left = rest,
                None => return Ok(Walk::Whole { length: at }),
            }
        }
        left -= 1;
        budget = match budget.checked_sub(1) {
            Some(rest) => rest,
            None => return Ok(Walk::OverBudget),
        };
        let Some(&marker) = bytes.get(at) else {
            return Ok(Walk::Incomplete);
        };
        let known = KNOWN_LENGTHS[usize::from(marker)];
        if known > 0 {
            at += usize::from(known);
            continue;
        }
        let inner = match marker {
            0x80..=0x8f => {
                at += 1;
                2 * u64::from(marker & 0x0f)
            }
            0x90..=0x9f => {
                at += 1;
                u64::from(marker & 0x0f)
            }
            0xc1 => return Err(ScanError::Undefined { at }),
            0xdc..=0xdf => {
                let width = if marker & 1 == 0 { 2 } else { 4 };
                let Some(count) = big_endian(bytes, at + 1, width) else {
                    return Ok(Walk::Incomplete);
                };
                at += 1 + width;
                count as u64 * if marker >= 0xde { 2 } else { 1 }
            }
            _ => {
                let Some(length) = said_length(marker, bytes, at) else {
                    return Ok(Walk::Incomplete);
                };
                at = at.saturating_add(length);
                continue;
            }
        };
        if inner > 0 {
            outer
                .push(left)
                .map_err(|TooDeep| ScanError::TooDeep { at })?;
            left = inner;
            // A container and one key are for nothing, so that a chain of them is followed as far
            // as it may go; what they hold is counted, so that the walk ends all the same.
            budget = budget.saturating_add(2);
        }
    }
}

/// The whole length of the values whose first byte implies it, 0 for the others. A table and not a
/// `match`, since ordinary data are a mix of such values and a jump per value is mispredicted.
const KNOWN_LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut marker = 0;
    while marker < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let byte = marker as u8;
        lengths[marker] = match byte {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 1,
            0xa0..=0xbf => 1 + (byte & 0x1f),
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            0xd4..=0xd8 => 2 + (1 << (byte - 0xd4)),
            _ => 0,
        };
        marker += 1;
    }
    lengths
};

/// The whole length of the texts, bytes and extensions with a length field.
fn said_length(marker: u8, bytes: &[u8], at: usize) -> Option<usize> {
    Some(match marker {
        0xc4 | 0xd9 => 2 + big_endian(bytes, at + 1, 1)?,
        0xc5 | 0xda => 3 + big_endian(bytes, at + 1, 2)?,
        0xc6 | 0xdb => big_endian(bytes, at + 1, 4)?.saturating_add(5),
        0xc7 => 3 + big_endian(bytes, at + 1, 1)?,
        0xc8 => 4 + big_endian(bytes, at + 1, 2)?,
        // 0xc9; every other marker is a case of the caller's.
        _ => big_endian(bytes, at + 1, 4)?.saturating_add(6),
    })
}

/// The big-endian number of `width` (1, 2 or 4) bytes at `at`, if they are there.
pub(crate) fn big_endian(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(
        field
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    )
}

/// What is left to read in each container around the present one. Ordinary events are a few
/// levels deep and stay in the fixed part.
#[derive(Default)]
struct Levels {
    shallow: [u64; 12],
    deep: Vec<u64>,
    depth: usize,
}

struct TooDeep;

impl Levels {
    fn push(&mut self, left: u64) -> Result<(), TooDeep> {
        match self.shallow.get_mut(self.depth) {
            Some(level) => *level = left,
            None if self.depth < MAX_DEPTH => self.deep.push(left),
            None => return Err(TooDeep),
        }
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<u64> {
        self.depth = self.depth.checked_sub(1)?;
        self.shallow
            .get(self.depth)
            .copied()
            .or_else(|| self.deep.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn check(bytes: &[u8]) {
        assert_eq!(skip_value(bytes), Ok(Some(bytes.len())), "{bytes:02x?}");
        for cut in 0..bytes.len() {
            match skip_value(&bytes[..cut]) {
                Ok(None) => {}
                // A length that reaches past the end is an answer too: more than there is.
                Ok(Some(length)) => assert!(length > cut, "{bytes:02x?} cut at {cut}"),
                Err(error) => panic!("{bytes:02x?} cut at {cut}: {error}"),
            }
        }
    }

    #[test]
    fn every_marker_has_its_length() {
        for marker in (0x00..=0x7f).chain([0xc0, 0xc2, 0xc3]).chain(0xe0..=0xff) {
            check(&[marker]);
        }
        check(b"\xa3abc");
        check(&[0xcc, 1]);
        check(&[0xcd, 1, 2]);
        check(&[0xce, 1, 2, 3, 4]);
        check(&[0xcf, 1, 2, 3, 4, 5, 6, 7, 8]);
        check(&[0xd0, 1]);
        check(&[0xd1, 1, 2]);
        check(&[0xd2, 1, 2, 3, 4]);
        check(&[0xd3, 1, 2, 3, 4, 5, 6, 7, 8]);
        check(&[0xca, 1, 2, 3, 4]);
        check(&[0xcb, 1, 2, 3, 4, 5, 6, 7, 8]);
        for (marker, payload) in [(0xd4, 1), (0xd5, 2), (0xd6, 4), (0xd7, 8), (0xd8, 16)] {
            let mut bytes = vec![marker, 5];
            bytes.resize(2 + payload, 9);
            check(&bytes);
        }
        for (marker, header) in [
            (0xc4, 1),
            (0xc5, 2),
            (0xc6, 4),
            (0xd9, 1),
            (0xda, 2),
            (0xdb, 4),
        ] {
            let mut bytes = vec![marker];
            bytes.resize(header, 0);
            bytes.extend([3, b'a', b'b', b'c']);
            check(&bytes);
        }
        for (marker, header) in [(0xc7, 1), (0xc8, 2), (0xc9, 4)] {
            let mut bytes = vec![marker];
            bytes.resize(header, 0);
            bytes.extend([2, 78, 1, 2]);
            check(&bytes);
        }
        check(&[0x93, 1, 0x91, 2, 0x90]);
        check(&[0x82, 1, 0x81, 2, 3, 4, 0x80]);
        check(&[0xdc, 0, 2, 1, 2]);
        check(&[0xdd, 0, 0, 0, 1, 2]);
        check(&[0xde, 0, 1, 1, 2]);
        check(&[0xdf, 0, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_second_value_is_not_counted() {
        assert_eq!(skip_value(&[0x81, 1, 2, 0xc0]), Ok(Some(3)));
    }

    #[test]
    fn lengths_near_the_end_of_the_address_space_do_not_wrap() {
        assert_eq!(skip_value(&[0xdf, 0xff, 0xff, 0xff, 0xff]), Ok(None));
        assert_eq!(
            skip_value(&[
                0x92, 0xc6, 0xff, 0xff, 0xff, 0xff, 0xc6, 0xff, 0xff, 0xff, 0xff
            ]),
            Ok(None)
        );
    }

    #[test]
    fn refuses_the_undefined_byte_and_endless_nesting() {
        assert_eq!(
            skip_value(&[0x92, 1, 0xc1]),
            Err(ScanError::Undefined { at: 2 })
        );
        let mut nested = vec![0x91; MAX_DEPTH];
        nested.push(0xc0);
        assert_eq!(skip_value(&nested), Ok(Some(MAX_DEPTH + 1)));
        assert!(matches!(
            skip_value(&[0x91; 100_000]),
            Err(ScanError::TooDeep { .. })
        ));
    }

    #[test]
    fn a_chain_of_maps_is_followed_past_the_depth_limit() {
        let chain = b"\x81\xa1a".repeat(MAX_DEPTH + 1);
        assert!(matches!(is_one_map(&chain), Err(ScanError::TooDeep { .. })));
    }

    #[test]
    fn a_map_of_very_many_values_is_taken_on_trust_past_the_first() {
        let mut bytes = b"\x81\xa1a\xdd\x00\x10\x00\x00".to_vec();
        bytes.resize(bytes.len() + (1 << 20), 0xc1);
        bytes[8..8 + 2 * CHECKED_VALUES].fill(0);
        assert_eq!(is_one_map(&bytes), Ok(true));
        bytes[8 + CHECKED_VALUES / 2] = 0xc1;
        assert!(is_one_map(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = skip_value(&bytes);
            let _ = is_one_map(&bytes);
        }
    }
}
