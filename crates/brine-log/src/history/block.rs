//! The stored form of a segment: a block.
//!
//! A block holds what a segment holds, and no frames: those are made again from the events, so that
//! every event lies at the same byte as it did in memory. It is one zstd frame with a checksum over
//! a table of the events and their bytes after one another. `docs/history.md` describes the format.
//! This file knows nothing of where blocks are kept.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::MAX_FRAME_BYTES;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, get_frame_content_size};

use crate::position::{Millis, Seq};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, SOURCE_BYTES, Segment};
use crate::source::{self, Origin, Source};
use crate::tags::TagsOfBlock;

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
    /// When the first of its events was taken in.
    pub since: Millis,
    /// The latest time at which an event of this or any earlier block was taken in. It never goes
    /// back, as clocks do, so that it can be searched.
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
    #[error("its data do not decompress: {reason}")]
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
    #[error("expected {expected}, found the end of the block or something else")]
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

/// The version of the layout below.
const VERSION: u8 = 1;
/// The most a block holds before compression: the largest event there may be, its table entry, and
/// what else a segment may hold.
const MAX_BLOCK_BYTES: u64 = MAX_FRAME_BYTES as u64 + (1 << 20);
/// Bits of an event's flags: which fields of [`About`] follow.
const SENDER: u8 = 1;
const ORIGIN: u8 = 2;
const DELIVERY: u8 = 4;

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For blocks that stay.
    Ordinary,
    /// While events arrive faster than they are written: about twice as fast, a third larger.
    Fast,
}

/// Makes blocks; keeps its memory from one to the next.
pub struct Encoder {
    compressor: Compressor<'static>,
    effort: Effort,
    head: Head,
    count: u64,
    previous: Millis,
    table: Vec<u8>,
    bodies: Vec<u8>,
    tags: TagsOfBlock,
    /// Before and after compression: used again, since new memory costs as much as filling it.
    raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl Encoder {
    /// An encoder.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(level(Effort::Ordinary))?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self {
            compressor,
            effort: Effort::Ordinary,
            head: Head::empty(Seq(0), Millis(0)),
            count: 0,
            previous: Millis(0),
            table: Vec::new(),
            bodies: Vec::new(),
            tags: TagsOfBlock::default(),
            raw: Vec::new(),
            compressed: Vec::new(),
        })
    }

    /// A block of these events, of which there is at least one and the first is number `first`.
    /// `after` is the `until` of the block before it.
    ///
    /// # Errors
    /// As [`Encoder::finish`].
    pub fn encode<'a>(
        &mut self,
        first: Seq,
        events: impl Iterator<Item = BlockEvent<'a>>,
        after: Millis,
        effort: Effort,
    ) -> io::Result<Block> {
        self.begin(first, after);
        for event in events {
            self.push(&event);
        }
        self.finish(effort)
    }

    /// Begins a block whose first event is number `first`. `after` is the `until` of the block
    /// before it.
    pub fn begin(&mut self, first: Seq, after: Millis) {
        self.head = Head::empty(first, after);
        self.count = 0;
        self.previous = Millis(0);
        self.table.clear();
        self.bodies.clear();
        self.tags.clear();
    }

    /// Adds the next event.
    pub fn push(&mut self, event: &BlockEvent<'_>) {
        let head = &mut self.head;
        if self.count == 0 {
            head.since = event.at;
        }
        head.until = head.until.max(event.at);
        head.events += u64::from(!event.event.is_empty());
        head.event_bytes += event.event.len() as u64;
        let since_previous = event.at.0.wrapping_sub(self.previous.0);
        self.previous = event.at;
        self.count += 1;
        self.put_entry(event, since_previous);
        self.bodies.extend_from_slice(event.event);
        if let Some(tag) = event.event.get(..event.tag_bytes)
            && !event.event.is_empty()
        {
            self.tags.push(tag);
        }
    }

    /// The block of the events since [`Encoder::begin`]: at least one.
    ///
    /// # Errors
    /// When there is no memory for it, or the events are more than a block holds.
    pub fn finish(&mut self, effort: Effort) -> io::Result<Block> {
        let raw = &mut self.raw;
        raw.clear();
        raw.push(VERSION);
        put(raw, self.head.first.0);
        put(raw, self.count);
        raw.extend_from_slice(&self.table);
        raw.extend_from_slice(&self.bodies);
        if raw.len() as u64 > MAX_BLOCK_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.effort != effort {
            self.compressor.set_compression_level(level(effort))?;
            self.effort = effort;
        }
        self.compressed.clear();
        self.compressed.reserve(compress_bound(raw.len()));
        self.compressor
            .compress_to_buffer(raw.as_slice(), &mut self.compressed)?;
        let data = self.compressed.as_slice().to_vec();
        // One large event must not stay in memory for good.
        for buffer in [&mut self.bodies, &mut self.raw, &mut self.compressed] {
            buffer.clear();
            buffer.shrink_to(1 << 20);
        }
        self.head.last = Seq(self.head.first.0 + self.count.saturating_sub(1));
        Ok(Block {
            head: self.head,
            tags: self.tags.finish(),
            data,
        })
    }

    /// The bytes of the events since [`Encoder::begin`].
    #[must_use]
    pub fn event_bytes(&self) -> u64 {
        self.head.event_bytes
    }

    fn put_entry(&mut self, event: &BlockEvent<'_>, since_previous: u64) {
        let table = &mut self.table;
        put(table, event.event.len() as u64);
        put(table, event.tag_bytes as u64);
        put(table, zigzag(since_previous));
        let About {
            sender,
            origin,
            delivery,
        } = event.about;
        let fields = [
            (SENDER, sender.map(str::as_bytes)),
            (ORIGIN, origin.map(str::as_bytes)),
            (DELIVERY, delivery),
        ];
        let present = fields.iter().filter(|(_, field)| field.is_some());
        table.push(present.map(|(bit, _)| bit).sum());
        for field in fields.iter().filter_map(|(_, field)| *field) {
            put(table, field.len() as u64);
            table.extend_from_slice(field);
        }
    }
}

/// Zstd's levels. Measured on job returns: level 1 takes 2 ns a byte and leaves a seventh, level
/// -4 takes 1 ns and leaves a fifth.
const fn level(effort: Effort) -> i32 {
    match effort {
        Effort::Ordinary => 1,
        Effort::Fast => -4,
    }
}

/// Reads blocks; keeps its memory from one to the next.
pub struct Decoder {
    decompressor: Decompressor<'static>,
    raw: Vec<u8>,
    /// A segment whose memory is used again.
    spare: Option<Segment>,
}

/// The events of a block.
pub struct Decoded<'d> {
    first: Seq,
    count: u64,
    raw: &'d [u8],
    table: Range<usize>,
}

impl Decoder {
    /// A decoder.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            raw: Vec::new(),
            spare: None,
        })
    }

    /// The events in `data`, which may be any bytes. A block of ordinary size is read into the same
    /// memory as the one before.
    ///
    /// # Errors
    /// [`BlockError`] when they are not a block.
    pub fn decode(&mut self, data: &[u8]) -> Result<Decoded<'_>, BlockError> {
        let bytes = get_frame_content_size(data).ok().flatten();
        let bytes = bytes.ok_or(BlockError::Malformed {
            expected: "a zstd frame that says how large it is",
        })?;
        if bytes > MAX_BLOCK_BYTES {
            let limit = MAX_BLOCK_BYTES;
            return Err(BlockError::TooLarge { bytes, limit });
        }
        self.raw.clear();
        self.raw.shrink_to(1 << 20);
        self.raw
            .reserve(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.decompressor
            .decompress_to_buffer(data, &mut self.raw)
            .map_err(|error| BlockError::Compression {
                reason: error.to_string(),
            })?;
        Decoded::check(&self.raw)
    }

    /// The events of a stored block as the segment they were.
    ///
    /// # Errors
    /// [`BlockError`] when its data are not what its head says.
    pub(crate) fn segment(
        &mut self,
        head: &Head,
        data: &[u8],
        framings: Framings,
    ) -> Result<ReadSegment, BlockError> {
        let mut spare = self.spare.take();
        let events = self.decode(data)?;
        events.check_head(head)?;
        let count = usize::try_from(events.count).expect("each has an entry in memory");
        let bytes = events.body_bytes() + count * FRAME_OVERHEAD_BYTES;
        let is_ordinary =
            bytes <= SPARE_BYTES && count <= SPARE_EVENTS && framings == Framings::Bare;
        let sources = events.iter().map(|event| event.about.source());
        let source_bytes: usize = sources.map(|source| source.encoded_bytes()).sum();
        let is_ordinary = is_ordinary && source_bytes <= SOURCE_BYTES;
        let spare = spare.take_if(|_| is_ordinary);
        let recycled = spare.and_then(|spare| spare.recycle(events.first));
        let (mut writer, segment) = recycled.unwrap_or_else(|| {
            let (bytes, count) = match is_ordinary {
                true => (SPARE_BYTES, SPARE_EVENTS),
                false => (bytes, count),
            };
            let source_bytes = SOURCE_BYTES.max(source_bytes);
            segment::channel(events.first, framings, bytes, count, source_bytes)
        });
        for event in events.iter() {
            writer.append(
                event.event,
                event.tag_bytes,
                event.at,
                &event.about.source(),
            );
        }
        writer.publish();
        Ok(ReadSegment {
            segment: Arc::new(segment),
            is_ordinary,
        })
    }

    /// Takes a segment back when nobody reads it any more, so that its memory is used again.
    pub(crate) fn give_back(&mut self, read: ReadSegment) {
        if read.is_ordinary {
            self.spare = Arc::into_inner(read.segment);
        }
    }
}

/// A segment read from the store.
pub(crate) struct ReadSegment {
    pub(crate) segment: Arc<Segment>,
    /// Whether its memory is as large as most need.
    is_ordinary: bool,
}

/// The memory of a segment as most blocks need it: bytes of frames, and events.
const SPARE_BYTES: usize = 384 << 10;
const SPARE_EVENTS: usize = 4096;
/// All of that together, about.
pub(crate) const ORDINARY_BYTES: usize = SPARE_BYTES + SPARE_EVENTS * 24;

impl<'d> Decoded<'d> {
    /// Reads the whole table once, so that nothing can go wrong later.
    fn check(raw: &'d [u8]) -> Result<Self, BlockError> {
        let mut rest = raw;
        let version = byte(&mut rest, "a version")?;
        if version != VERSION {
            return Err(BlockError::Version { version });
        }
        let first = number(&mut rest, "the first sequence number")?;
        let count = number(&mut rest, "the number of events")?;
        let start = raw.len() - rest.len();
        let mut bodies: u64 = 0;
        for _ in 0..count {
            let entry = Entry::read(&mut rest)?;
            bodies = bodies.saturating_add(entry.event_bytes);
        }
        if count == 0 || first.checked_add(count).is_none() {
            return Err(BlockError::Malformed {
                expected: "at least one event",
            });
        }
        if bodies != rest.len() as u64 {
            return Err(BlockError::Malformed {
                expected: "as many bytes as the events have",
            });
        }
        Ok(Self {
            first: Seq(first),
            count,
            raw,
            table: start..raw.len() - rest.len(),
        })
    }

    /// Whether this is the block that a head describes.
    ///
    /// # Errors
    /// [`BlockError::WrongHead`] if not.
    pub fn check_head(&self, head: &Head) -> Result<(), BlockError> {
        let last = self.first.0 + (self.count - 1);
        if (self.first, Seq(last)) == (head.first, head.last) {
            return Ok(());
        }
        Err(BlockError::WrongHead {
            head: *head,
            first: self.first,
            events: self.count,
        })
    }

    /// The number of the first event.
    #[must_use]
    pub const fn first(&self) -> Seq {
        self.first
    }

    /// How many events there are, with those that have no bytes.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.count
    }

    fn body_bytes(&self) -> usize {
        self.raw.len() - self.table.end
    }

    /// The events, in order.
    pub fn iter(&self) -> impl Iterator<Item = BlockEvent<'d>> + use<'d> {
        let mut table = &self.raw[self.table.clone()];
        let mut bodies = &self.raw[self.table.end..];
        let mut previous = Millis(0);
        std::iter::from_fn(move || {
            // The table was read to its end before.
            let entry = Entry::read(&mut table).ok()?;
            let bytes = usize::try_from(entry.event_bytes).ok()?;
            let (event, rest) = bodies.split_at_checked(bytes)?;
            bodies = rest;
            previous = Millis(previous.0.wrapping_add(entry.after));
            Some(BlockEvent {
                at: previous,
                event,
                tag_bytes: usize::try_from(entry.tag_bytes).ok()?,
                about: entry.about,
            })
        })
    }
}

/// What the table says of one event.
struct Entry<'d> {
    event_bytes: u64,
    tag_bytes: u64,
    /// Since the event before, in milliseconds; a clock set back wraps around.
    after: u64,
    about: About<'d>,
}

impl<'d> Entry<'d> {
    fn read(rest: &mut &'d [u8]) -> Result<Self, BlockError> {
        let event_bytes = number(rest, "an event's length")?;
        let tag_bytes = number(rest, "a tag's length")?;
        if tag_bytes > event_bytes {
            return Err(BlockError::Malformed {
                expected: "a tag within its event",
            });
        }
        let after = unzigzag(number(rest, "a time")?);
        let flags = byte(rest, "flags")?;
        let mut about = About::default();
        if flags & SENDER != 0 {
            about.sender = Some(text(rest, "a sender")?);
        }
        if flags & ORIGIN != 0 {
            about.origin = Some(text(rest, "an origin")?);
        }
        if flags & DELIVERY != 0 {
            about.delivery = Some(bytes(rest, "a delivery id")?);
        }
        if flags & !(SENDER | ORIGIN | DELIVERY) != 0 {
            return Err(BlockError::Malformed {
                expected: "known flags",
            });
        }
        Ok(Self {
            event_bytes,
            tag_bytes,
            after,
            about,
        })
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(rest: &mut &[u8], expected: &'static str) -> Result<u64, BlockError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(rest, expected)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(BlockError::Malformed { expected })
}

fn byte(rest: &mut &[u8], expected: &'static str) -> Result<u8, BlockError> {
    let (byte, after) = rest
        .split_first()
        .ok_or(BlockError::Malformed { expected })?;
    *rest = after;
    Ok(*byte)
}

fn bytes<'d>(rest: &mut &'d [u8], expected: &'static str) -> Result<&'d [u8], BlockError> {
    let length = number(rest, expected)?;
    let length = usize::try_from(length).map_err(|_| BlockError::Malformed { expected })?;
    let (bytes, after) = rest
        .split_at_checked(length)
        .ok_or(BlockError::Malformed { expected })?;
    *rest = after;
    Ok(bytes)
}

fn text<'d>(rest: &mut &'d [u8], expected: &'static str) -> Result<&'d str, BlockError> {
    let bytes = bytes(rest, expected)?;
    std::str::from_utf8(bytes).map_err(|_| BlockError::Malformed { expected })
}

/// Small differences in either direction as small numbers.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ (difference.cast_signed() >> 63).cast_unsigned()
}

const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

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
        .encode(decoded.first, decoded.iter(), Millis(0), Effort::Fast)
        .expect("no larger than what was decoded");
    let mut decoder = Decoder::new().expect("memory for a decoder");
    let again = decoder.decode(&block.data).expect("what was encoded");
    again.check_head(&block.head).expect("its own head");
    assert_eq!(again.count, decoded.count);
    assert!(again.iter().eq(decoded.iter()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
