//! The members of a map or list as slices of its bytes, for readers that want one value of many.
//!
//! Iteration ends early where the bytes are malformed; nothing is decoded or allocated.

use super::{big_endian, skip_value};

/// The pairs of a msgpack map, as the bytes of key and value.
#[derive(Debug, Clone)]
pub(crate) struct MapEntries<'a>(Values<'a>);

/// The items of a msgpack array, as their bytes.
#[derive(Debug, Clone)]
pub(crate) struct ArrayItems<'a>(Values<'a>);

/// So many values one after the other.
#[derive(Debug, Clone)]
struct Values<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> MapEntries<'a> {
    /// `None` if the bytes do not begin with a map.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (count, header) = match *bytes.first()? {
            marker @ 0x80..=0x8f => (usize::from(marker & 0x0f), 1),
            0xde => (big_endian(bytes, 1, 2)?, 3),
            0xdf => (big_endian(bytes, 1, 4)?, 5),
            _ => return None,
        };
        Values::open(bytes, header, count.saturating_mul(2)).map(Self)
    }
}

impl<'a> Iterator for MapEntries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl<'a> ArrayItems<'a> {
    /// `None` if the bytes do not begin with an array.
    pub(crate) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (count, header) = match *bytes.first()? {
            marker @ 0x90..=0x9f => (usize::from(marker & 0x0f), 1),
            0xdc => (big_endian(bytes, 1, 2)?, 3),
            0xdd => (big_endian(bytes, 1, 4)?, 5),
            _ => return None,
        };
        Values::open(bytes, header, count).map(Self)
    }
}

impl<'a> Iterator for ArrayItems<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

impl<'a> Values<'a> {
    fn open(bytes: &'a [u8], header: usize, left: usize) -> Option<Self> {
        let bytes = bytes.get(header..)?;
        Some(Self { bytes, left })
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let length = skip_value(self.bytes).ok()??;
        let (value, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(value)
    }
}

/// The bytes of a text or of raw bytes; `None` for any other value.
pub(crate) fn text(value: &[u8]) -> Option<&[u8]> {
    let (header, length): (usize, usize) = match *value.first()? {
        marker @ 0xa0..=0xbf => (1, usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => (2, big_endian(value, 1, 1)?),
        0xc5 | 0xda => (3, big_endian(value, 1, 2)?),
        0xc6 | 0xdb => (5, big_endian(value, 1, 4)?),
        _ => return None,
    };
    value.get(header..header.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn members_are_slices() {
        let map = b"\x82\xa1a\x01\xa1b\x92\x02\x03";
        let pairs: Vec<_> = MapEntries::open(map).unwrap().collect();
        assert_eq!(
            pairs,
            [(&b"\xa1a"[..], &b"\x01"[..]), (b"\xa1b", b"\x92\x02\x03")]
        );
        let items: Vec<_> = ArrayItems::open(pairs[1].1).unwrap().collect();
        assert_eq!(items, [b"\x02", b"\x03"]);
        assert!(ArrayItems::open(map).is_none() && MapEntries::open(b"").is_none());
    }

    #[test]
    fn malformed_containers_end_early() {
        for bytes in [
            &b"\x82\xa1a\x01\xa1b"[..],
            b"\xdf\xff\xff\xff\xff\xa1a\x01",
            b"\x81\xc1",
        ] {
            assert!(MapEntries::open(bytes).unwrap().count() < 2, "{bytes:02x?}");
        }
    }

    #[test]
    fn texts_of_all_lengths() {
        assert_eq!(text(b"\xa2ab"), Some(&b"ab"[..]));
        assert_eq!(text(b"\xd9\x02ab"), Some(&b"ab"[..]));
        assert_eq!(text(b"\xc5\x00\x02ab"), Some(&b"ab"[..]));
        assert_eq!(text(b"\xa3ab"), None);
        assert_eq!(text(b"\x01"), None);
    }
}
