//! The stored form of a segment: a block.
//!
//! A block holds what a segment holds, except for the frames: those are rebuilt from the events, so that every event
//! is at the same offset as it was in memory. It is one zstd frame with a checksum over a table of the events and the
//! concatenated events. `docs/history.md` describes the format; `encode` writes it, `decode` reads it. This module
//! does not know where blocks are kept.

mod decode;
mod encode;

use brine_wire::frame::MAX_FRAME_BYTES;

pub use self::decode::{Decoded, Decoder};
pub(crate) use self::decode::{ORDINARY_BYTES, ReadSegment};
pub use self::encode::{Effort, Encoder};
use crate::position::{Millis, Seq};
use crate::source::{self, Origin, Source};

/// A run of consecutive events as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What is known of it without reading its events.
    pub head: Head,
    /// Which tags may be in it; [`TagQuery`](super::TagQuery) reads it.
    pub tags: Vec<u8>,
    /// The events, compressed.
    pub data: Vec<u8>,
}

/// What is known of a block without reading its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The first event.
    pub first: Seq,
    /// The last event.
    pub last: Seq,
    /// When the first of its events was received.
    pub since: Millis,
    /// The latest time at which an event of this or any earlier block was received. It never goes back, as clocks do,
    /// so that it can be searched.
    pub until: Millis,
    /// How many events can be read: those that were never stored, or removed since, are not counted.
    pub events: u64,
    /// The readable events in bytes, before compression.
    pub event_bytes: u64,
    /// Whether it is a whole segment. The newest segment is stored as runs until it is full; then
    /// one block replaces them.
    pub sealed: bool,
    /// Which rules of retention have removed events from it; 0 for none.
    pub pruned: u64,
}

impl Head {
    const fn empty(first: Seq, after: Millis) -> Self {
        Self {
            first,
            last: first,
            since: after,
            until: after,
            events: 0,
            event_bytes: 0,
            sealed: false,
            pruned: 0,
        }
    }
}

/// An event on its way into a block, or out of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEvent<'a> {
    /// When the log took it in.
    pub at: Millis,
    /// Tag, tag end and data; empty if the event is not stored and only its number is taken.
    pub event: &'a [u8],
    /// How many bytes of it the tag takes.
    pub tag_bytes: usize,
    /// What is known of how it came.
    pub about: About<'a>,
}

/// What is known of how an event came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// Who fired it, as authenticated.
    pub sender: Option<&'a str>,
    /// The master on whose bus it was fired first.
    pub origin: Option<&'a str>,
    /// What a delivery that is repeated is recognised by: of an event of another master, its position there.
    pub delivery: Option<&'a [u8]>,
}

impl<'a> BlockEvent<'a> {
    /// The tag of an event that retention has removed; `None` for any other. It stands where programs that do not know of
    /// that expect the master of an event's origin, without a position: they read an event that is not stored.
    #[must_use]
    pub fn removed(&self) -> Option<&'a str> {
        let is_left = self.event.is_empty() && self.about.delivery.is_none();
        self.about.origin.filter(|_| is_left)
    }

    /// The same as the log keeps it.
    pub(crate) fn source(&self) -> Source<'a> {
        match self.event {
            // See `Segment::removed`.
            [] => Source {
                sender: self.removed(),
                origin: None,
            },
            _ => self.about.source(),
        }
    }
}

impl<'a> About<'a> {
    /// The same as the log keeps it.
    #[must_use]
    pub fn source(&self) -> Source<'a> {
        let position = self.delivery.and_then(source::decode_position);
        Source {
            sender: self.sender,
            origin: (self.origin.zip(position))
                .and_then(|(master, position)| Origin::new(master, position)),
        }
    }
}

/// Why a block cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It does not decompress, or its checksum does not fit.
    #[error("its data cannot be decompressed: {reason}")]
    Compression {
        /// What the decompressor says.
        reason: String,
    },
    /// It says that it is larger than any block is.
    #[error("expected at most {limit} bytes, found {bytes}")]
    TooLarge {
        /// What it says, in bytes.
        bytes: u64,
        /// The most there is.
        limit: u64,
    },
    /// It is of a newer version of the format.
    #[error("expected block version {VERSION}, found {version}")]
    Version {
        /// Its version.
        version: u8,
    },
    /// Its table does not fit its bytes.
    #[error("invalid block: expected {expected}")]
    Malformed {
        /// What should have been there.
        expected: &'static str,
    },
    /// It is not the block its head describes.
    #[error("expected events {}..={}, found {} from {}", .head.first, .head.last, .events, .first)]
    WrongHead {
        /// What was asked for.
        head: Head,
        /// The first event in it.
        first: Seq,
        /// How many events are in it.
        events: u64,
    },
}

/// The version of the layout.
const VERSION: u8 = 1;
/// The most a block holds before compression: the largest event there may be, its table entry, and
/// what else a segment may hold.
const MAX_BLOCK_BYTES: u64 = MAX_FRAME_BYTES as u64 + (1 << 20);
/// Bits of an event's flags: which fields of [`About`] follow.
const SENDER: u8 = 1;
const ORIGIN: u8 = 2;
const DELIVERY: u8 = 4;

/// What must hold for any bytes: they are refused, or are events that encode to a block of the
/// same events. The body of a fuzz target.
#[doc(hidden)]
pub fn fuzz_block(data: &[u8]) {
    let mut decoder = Decoder::new().expect("memory for a decoder");
    // As stored, and as if the checksum had let them through.
    if let Ok(decoded) = decoder.decode(data) {
        check_again(&decoded);
    }
    if let Ok(decoded) = Decoded::check(data) {
        check_again(&decoded);
    }
}

fn check_again(decoded: &Decoded<'_>) {
    let mut encoder = Encoder::new().expect("memory for an encoder");
    let block = encoder
        .encode(decoded.first(), decoded.iter(), Millis(0), Effort::Fast)
        .expect("no larger than what was decoded");
    let mut decoder = Decoder::new().expect("memory for a decoder");
    let again = decoder.decode(&block.data).expect("what was encoded");
    again.check_head(&block.head).expect("its own head");
    assert_eq!(again.events(), decoded.events());
    assert!(again.iter().eq(decoded.iter()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::Framings;

    #[derive(Debug, Clone)]
    struct Owned {
        at: u64,
        event: Vec<u8>,
        tag_bytes: usize,
        sender: Option<String>,
        origin: Option<String>,
        delivery: Option<Vec<u8>>,
    }

    fn owned() -> impl Strategy<Value = Owned> {
        let event = proptest::collection::vec(any::<u8>(), 0..200);
        let time = prop_oneof![1_700_000_000_000u64..1_700_000_100_000, any::<u64>()];
        let fields = (
            any::<Option<String>>(),
            any::<Option<String>>(),
            any::<Option<Vec<u8>>>(),
        );
        (event, any::<prop::sample::Index>(), time, fields).prop_map(
            |(event, tag, at, (sender, origin, delivery))| Owned {
                at,
                tag_bytes: tag.index(event.len() + 1),
                event,
                sender,
                origin,
                delivery,
            },
        )
    }

    fn borrowed(event: &Owned) -> BlockEvent<'_> {
        BlockEvent {
            at: Millis(event.at),
            event: &event.event,
            tag_bytes: event.tag_bytes,
            about: About {
                sender: event.sender.as_deref(),
                origin: event.origin.as_deref(),
                delivery: event.delivery.as_deref(),
            },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_block_holds_what_was_put_in(
            first in 1u64..u64::MAX / 2,
            events in proptest::collection::vec(owned(), 1..60),
        ) {
            let mut encoder = Encoder::new().unwrap();
            let block = encoder
                .encode(Seq(first), events.iter().map(borrowed), Millis(0), Effort::Ordinary)
                .unwrap();
            let mut decoder = Decoder::new().unwrap();
            let decoded = decoder.decode(&block.data).unwrap();
            decoded.check_head(&block.head).unwrap();
            prop_assert!(decoded.iter().eq(events.iter().map(borrowed)));
            prop_assert_eq!(block.head.last.0, first + events.len() as u64 - 1);
            let latest = events.iter().map(|event| event.at).max();
            prop_assert_eq!(Some(block.head.until.0), latest);
        }

        #[test]
        fn any_bytes_are_refused_or_are_a_block(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_block(&bytes);
            fuzz_block(&[&[VERSION][..], &bytes].concat());
        }
    }

    #[test]
    fn what_a_search_once_found_stays_mended() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/block");
        let inputs = std::fs::read_dir(corpus).unwrap();
        let replayed =
            inputs.map(|input| fuzz_block(&std::fs::read(input.unwrap().path()).unwrap()));
        assert!(replayed.count() > 5);
    }

    fn block(events: u64) -> Block {
        let texts: Vec<String> = (0..events)
            .map(|nth| format!("some/tag/{nth}\n\n\u{1}{nth}"))
            .collect();
        let events = texts.iter().zip(0u64..).map(|(text, nth)| BlockEvent {
            at: Millis(1000 + nth),
            event: text.as_bytes(),
            tag_bytes: text.find('\n').unwrap(),
            about: About::default(),
        });
        let mut encoder = Encoder::new().unwrap();
        encoder
            .encode(Seq(7), events, Millis(0), Effort::Ordinary)
            .unwrap()
    }

    #[test]
    fn a_changed_or_missing_byte_never_changes_an_event() {
        let block = block(20);
        let (mut whole, mut decoder) = (Decoder::new().unwrap(), Decoder::new().unwrap());
        let events = whole.decode(&block.data).unwrap();
        for at in 0..block.data.len() {
            let mut damaged = block.data.clone();
            damaged[at] ^= 0x10;
            // Some bits of a zstd frame mean nothing.
            if let Ok(read) = decoder.decode(&damaged) {
                assert!(read.iter().eq(events.iter()), "byte {at}");
            }
            assert!(decoder.decode(&block.data[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_segment_has_its_events_where_they_were() {
        let block = block(30);
        let mut decoder = Decoder::new().unwrap();
        for framings in [Framings::Bare, Framings::Prefixed, Framings::Both] {
            let read = decoder.segment(&block.head, &block.data, framings);
            let ReadSegment { segment, .. } = read.unwrap();
            assert_eq!(segment.events(), 30);
            let event = segment.event(29).unwrap();
            assert_eq!((event.seq, event.at), (Seq(36), Millis(1029)));
            assert_eq!(&event.event[..event.tag_bytes], b"some/tag/29");
        }
        let mut other = block.head;
        other.first.0 += 1;
        let read = decoder.segment(&other, &block.data, Framings::Bare);
        assert!(matches!(read, Err(BlockError::WrongHead { .. })));
    }

    #[test]
    fn a_block_that_claims_to_be_huge_is_refused_before_memory_is_taken() {
        // A zstd frame header with a content size of 2^40.
        let mut claim = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        claim.extend_from_slice(&(1u64 << 40).to_le_bytes());
        let read = Decoder::new().unwrap().decode(&claim).map(|_| ());
        assert!(matches!(read, Err(BlockError::TooLarge { bytes, .. }) if bytes == 1 << 40));
    }
}
