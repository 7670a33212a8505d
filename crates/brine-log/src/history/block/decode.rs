//! Reads blocks, in which any byte may be wrong.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::{
    About, BlockError, BlockEvent, DELIVERY, Head, MAX_BLOCK_BYTES, ORIGIN, SENDER, VERSION,
};
use crate::position::{Millis, Seq};
use crate::segment::{self, FRAME_OVERHEAD_BYTES, Framings, SOURCE_BYTES, Segment};

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
        let sources = events.iter().map(|event| event.source());
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
            writer.append(event.event, event.tag_bytes, event.at, &event.source());
        }
        writer.publish();
        Ok(ReadSegment {
            segment: Arc::new(segment),
            is_ordinary,
        })
    }

    /// Takes a segment back when nobody reads it any more, so that its memory is reused.
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
    pub(super) fn check(raw: &'d [u8]) -> Result<Self, BlockError> {
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

/// Reverses the encoder's zigzag: small numbers become small differences in either direction.
const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}
