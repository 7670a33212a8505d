//! The envelope of an event: its tag, the tag end, and one msgpack map of data.
//!
//! An [`Envelope`] borrows the event's bytes and proves that they are well formed (the data as far
//! as [`scan::is_one_map`] looks); they stay undecoded until somebody asks for them. Facts: `docs/protocol/ipc.md` §4.

use crate::scan::{self, ScanError};

/// What separates an event's tag and its data.
pub const TAG_END: &[u8] = b"\n\n";

/// A well-formed event, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    tag: &'a str,
    data: &'a [u8],
}

/// Why bytes are not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// No blank line ends the tag.
    #[error("no blank line ends the tag in {bytes} bytes")]
    NoTagEnd {
        /// The length of what came.
        bytes: usize,
    },
    /// There is nothing before the tag end.
    #[error("the tag is empty")]
    EmptyTag,
    /// The tag is not text.
    #[error("the tag is not UTF-8 at byte {at}")]
    TagNotUtf8 {
        /// The first byte of the tag that is not UTF-8.
        at: usize,
    },
    /// What follows the tag end is not exactly one msgpack map.
    #[error("the tag is not followed by exactly one msgpack map")]
    DataNotOneMap,
    /// The data are not msgpack.
    #[error("invalid msgpack after the tag: {0}")]
    DataNotMsgpack(#[from] ScanError),
}

impl<'a> Envelope<'a> {
    /// Checks an event and finds its parts. The tag ends at the first blank line.
    ///
    /// # Errors
    /// [`EnvelopeError`] names the first rule the bytes break.
    pub fn parse(event: &'a [u8]) -> Result<Self, EnvelopeError> {
        let end = tag_end(event).ok_or(EnvelopeError::NoTagEnd { bytes: event.len() })?;
        let (tag, rest) = event.split_at(end);
        if tag.is_empty() {
            return Err(EnvelopeError::EmptyTag);
        }
        let tag = core::str::from_utf8(tag).map_err(|error| EnvelopeError::TagNotUtf8 {
            at: error.valid_up_to(),
        })?;
        let data = &rest[TAG_END.len()..];
        if scan::is_one_map(data)? {
            Ok(Self { tag, data })
        } else {
            Err(EnvelopeError::DataNotOneMap)
        }
    }

    /// The tag.
    #[must_use]
    pub const fn tag(&self) -> &'a str {
        self.tag
    }

    /// The data: the bytes of one msgpack map.
    #[must_use]
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// Where the first blank line begins. Tags are short and hold no line feed, so looking at each
/// line feed beats a search for two.
fn tag_end(event: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', event).find(|&at| event.get(at + 1) == Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tag_and_data() {
        let event = Envelope::parse(b"salt/auth\n\n\x81\xa1a\x01").unwrap();
        assert_eq!(
            (event.tag(), event.data()),
            ("salt/auth", &b"\x81\xa1a\x01"[..])
        );
    }

    #[test]
    fn the_first_blank_line_ends_the_tag() {
        let event = Envelope::parse(b"t\n\n\x81\xa1a\xa2\n\n").unwrap();
        assert_eq!(event.tag(), "t");
    }

    #[test]
    fn names_the_rule_that_is_broken() {
        let check = |bytes: &[u8]| Envelope::parse(bytes).unwrap_err();
        assert_eq!(check(b""), EnvelopeError::NoTagEnd { bytes: 0 });
        assert_eq!(check(b"tag\n\x80"), EnvelopeError::NoTagEnd { bytes: 5 });
        assert_eq!(check(b"\n\n\x80"), EnvelopeError::EmptyTag);
        assert_eq!(check(b"a\xff\n\n\x80"), EnvelopeError::TagNotUtf8 { at: 1 });
        for data in [
            &b""[..],
            b"\x90",
            b"\x01",
            b"\x80\x80",
            b"\x81\xa1a",
            b"\xa1x",
        ] {
            let mut event = b"t\n\n".to_vec();
            event.extend_from_slice(data);
            assert_eq!(check(&event), EnvelopeError::DataNotOneMap, "{data:02x?}");
        }
        assert!(matches!(
            check(b"t\n\n\x81\xa1a\xc1"),
            EnvelopeError::DataNotMsgpack(_)
        ));
    }
}
