//! An event as a reader gets it: its bytes, its tag, and its data, decoded on demand.
//!
//! Less strict than `brine_wire`'s `Envelope`, which is the bus's check: a reader accepts what real Salt buses pass
//! on, including an empty tag and data that is not a map. Facts: `docs/protocol/ipc.md` §4, §5, §8.

use brine_wire::Value;
use brine_wire::envelope::TAG_END;
use brine_wire::msgpack::{self, DecodeError};
use brine_wire::scan::skip_value;

/// One event, borrowed from the buffer it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRef<'a> {
    bytes: &'a [u8],
    tag: &'a str,
}

impl<'a> EventRef<'a> {
    /// Finds the tag. `None` if there is no tag end or the tag is not UTF-8; does not look at the data.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let tag_bytes =
            memchr::memchr_iter(b'\n', bytes).find(|&at| bytes[at..].starts_with(TAG_END))?;
        Self::with_tag(bytes, tag_bytes)
    }

    #[inline]
    pub(crate) fn with_tag(bytes: &'a [u8], tag_bytes: usize) -> Option<Self> {
        let tag = std::str::from_utf8(bytes.get(..tag_bytes)?).ok()?;
        Some(Self { bytes, tag })
    }

    /// The tag.
    #[must_use]
    pub const fn tag(self) -> &'a str {
        self.tag
    }

    /// The data: one msgpack value, a map unless somebody fired something odd.
    #[must_use]
    #[inline]
    pub fn data(self) -> &'a [u8] {
        &self.bytes[self.tag.len() + TAG_END.len()..]
    }

    /// The data, decoded as Salt decodes them.
    ///
    /// # Errors
    /// [`DecodeError`] when Salt would call the event malformed.
    pub fn decode(self) -> Result<Value, DecodeError> {
        msgpack::decode(self.data())
    }

    /// The whole event: tag, tag end, data.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the data are exactly one msgpack value.
    pub(crate) fn has_one_value(self) -> bool {
        let data = self.data();
        skip_value(data) == Ok(Some(data.len()))
    }

    /// An owned copy.
    #[must_use]
    pub fn to_event(self) -> Event {
        Event {
            bytes: self.bytes.into(),
            tag_bytes: self.tag.len(),
        }
    }
}

/// One event, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    bytes: Box<[u8]>,
    tag_bytes: usize,
}

impl Event {
    /// The event, borrowed.
    #[must_use]
    pub fn to_ref(&self) -> EventRef<'_> {
        EventRef::with_tag(&self.bytes, self.tag_bytes)
            .expect("an event is made only from an EventRef, whose tag is UTF-8")
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.to_ref().tag()
    }

    /// The data: one msgpack value, a map unless somebody fired something odd.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.tag_bytes + TAG_END.len()..]
    }

    /// The data, decoded as Salt decodes them.
    ///
    /// # Errors
    /// [`DecodeError`] when Salt would call the event malformed.
    pub fn decode(&self) -> Result<Value, DecodeError> {
        msgpack::decode(self.data())
    }

    /// The whole event: tag, tag end, data.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole event's bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Box<[u8]> {
        self.bytes
    }
}
