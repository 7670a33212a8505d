//! Writes blocks.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::{About, Block, BlockEvent, DELIVERY, Head, MAX_BLOCK_BYTES, ORIGIN, SENDER, VERSION};
use crate::position::{Millis, Seq};
use crate::tags::TagsOfBlock;

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
        let tag = match event.event {
            [] => event.removed().map(str::as_bytes),
            _ => event.event.get(..event.tag_bytes),
        };
        if let Some(tag) = tag {
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

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small differences in either direction as small numbers.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ (difference.cast_signed() >> 63).cast_unsigned()
}
