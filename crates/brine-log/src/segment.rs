//! A segment: a run of consecutive events in one piece of memory.
//!
//! Events are stored in it as subscribers read them, in one buffer for each framing in use, with an index entry per
//! event for readers that go event by event. A segment knows nothing of other segments.

use brine_wire::frame::{Framing, Header};

use crate::buffer::{self, Reader, Writer};
use crate::position::{Millis, Seq};
use crate::source::{Origin, Source};

/// One event as a reader finds it in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEvent<'a> {
    /// Its number.
    pub seq: Seq,
    /// When the log took it in.
    pub at: Millis,
    /// Tag, tag end and data.
    pub event: &'a [u8],
    /// How many bytes of the event the tag takes.
    pub tag_bytes: usize,
    /// Who fired it, as authenticated: the id of a minion. `None` for programs of a master's machine.
    pub sender: Option<&'a str>,
    /// Where it was fired, if that was on another master's bus.
    pub origin: Option<Origin<'a>>,
}

/// What the index keeps of an event. Offsets are those of the bare framing; a prefixed frame is
/// the bare one with four bytes before it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where its bare frame ends.
    end: u32,
    event_bytes: u32,
    tag_bytes: u32,
    /// Where its source ends among the sources; 0 for none.
    source_end: u32,
    at: Millis,
}

const PREFIX_BYTES: usize = 4;
/// An index entry as it is stored.
const ENTRY_BYTES: usize = 24;
/// The sources of one segment's events, in bytes: a sender's name once for a run of events it fired, an origin for
/// each event.
pub(crate) const SOURCE_BYTES: usize = 32 << 10;

impl Entry {
    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let number = |at: usize| {
            let field = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_le_bytes(field)
        };
        Self {
            end: number(0),
            event_bytes: number(4),
            tag_bytes: number(8),
            source_end: number(12),
            at: Millis(u64::from(number(16)) | u64::from(number(20)) << 32),
        }
    }
}

/// The lengths of a stored segment's parts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    first: Seq,
    bare: Option<usize>,
    prefixed: Option<usize>,
    sources: usize,
    events: usize,
}

impl Sizes {
    /// All parts together.
    pub(crate) fn stored_bytes(&self) -> usize {
        let frames = self.bare.unwrap_or(0) + self.prefixed.unwrap_or(0);
        frames + self.sources + self.events * ENTRY_BYTES
    }
}

/// The reading side of a segment; its memory goes when the last reader does.
pub(crate) struct Segment {
    pub(crate) first: Seq,
    bare: Option<Reader<u8>>,
    prefixed: Option<Reader<u8>>,
    sources: Reader<u8>,
    index: Reader<Entry>,
}

/// The writing side.
pub(crate) struct SegmentWriter {
    bare: Option<Writer<u8>>,
    prefixed: Option<Writer<u8>>,
    sources: Writer<u8>,
    /// The sender whose name was written last.
    last_sender: String,
    index: Writer<Entry>,
    /// Where the next bare frame begins, whether or not the bare framing is in use.
    bare_end: usize,
    event_bytes: usize,
}

/// The framings a log keeps its events in: those its subscribers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framings {
    /// Bare frames only.
    Bare,
    /// Prefixed frames only.
    Prefixed,
    /// Every event twice, once in each.
    Both,
}

/// The memory an event takes in each framing is at most this much larger than the event.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = Header::MAX_BYTES;

/// A new segment whose first event will be `first`.
pub(crate) fn channel(
    first: Seq,
    framings: Framings,
    frame_bytes: usize,
    events: usize,
    source_bytes: usize,
) -> (SegmentWriter, Segment) {
    let bytes = |used: bool| used.then(|| buffer::channel(frame_bytes)).unzip();
    let (bare_writer, bare) = bytes(framings != Framings::Prefixed);
    let (prefixed_writer, prefixed) = bytes(framings != Framings::Bare);
    let (sources_writer, sources) = buffer::channel(source_bytes);
    let (index_writer, index) = buffer::channel(events);
    let writer = SegmentWriter::new(bare_writer, prefixed_writer, sources_writer, index_writer);
    let segment = Segment {
        first,
        bare,
        prefixed,
        sources,
        index,
    };
    (writer, segment)
}

impl SegmentWriter {
    const fn new(
        bare: Option<Writer<u8>>,
        prefixed: Option<Writer<u8>>,
        sources: Writer<u8>,
        index: Writer<Entry>,
    ) -> Self {
        Self {
            bare,
            prefixed,
            sources,
            last_sender: String::new(),
            index,
            bare_end: 0,
            event_bytes: 0,
        }
    }

    /// Whether an event of this size still fits.
    #[inline]
    pub(crate) fn fits(&self, event_bytes: usize, source: &Source<'_>) -> bool {
        if !source.is_local() && self.sources.room() < source.encoded_bytes() {
            return false;
        }
        let needed = event_bytes + FRAME_OVERHEAD_BYTES;
        let fits = |writer: &Option<Writer<u8>>| writer.as_ref().is_none_or(|w| w.room() >= needed);
        self.index.room() > 0 && fits(&self.bare) && fits(&self.prefixed)
    }

    /// Appends an event that fits; readers see it after [`SegmentWriter::publish`].
    #[inline]
    pub(crate) fn append(
        &mut self,
        event: &[u8],
        tag_bytes: usize,
        at: Millis,
        source: &Source<'_>,
    ) {
        let header = Header::new(Framing::Bare, event.len());
        if let Some(bare) = &mut self.bare {
            bare.append(header.as_bytes());
            bare.append(event);
        }
        if let Some(prefixed) = &mut self.prefixed {
            prefixed.append(Header::new(Framing::Prefixed, event.len()).as_bytes());
            prefixed.append(event);
        }
        self.bare_end += header.as_bytes().len() + event.len();
        self.event_bytes += event.len();
        let narrow = |number: usize| u32::try_from(number).expect("a segment is below 4 GiB");
        let source_end = match source.is_local() {
            true => 0,
            false => self.source_end(source),
        };
        self.index.append(&[Entry {
            end: narrow(self.bare_end),
            event_bytes: narrow(event.len()),
            tag_bytes: narrow(tag_bytes),
            source_end: narrow(source_end),
            at,
        }]);
    }

    /// Writes how an event came, unless it is there already; returns where that ends. 0 if there is nothing to write.
    fn source_end(&mut self, source: &Source<'_>) -> usize {
        let sender = match (source.sender, source.origin) {
            (None, None) => return 0,
            (Some(sender), None) => sender,
            (_, Some(_)) => {
                self.last_sender.clear();
                ""
            }
        };
        let is_known = !sender.is_empty() && self.last_sender == sender;
        if !is_known {
            let before = self.sources.end();
            source.encode(|piece| self.sources.append(piece));
            if self.sources.end() == before {
                return 0;
            }
            sender.clone_into(&mut self.last_sender);
        }
        self.sources.end()
    }

    /// The events appended so far, in bytes, without their frames.
    #[inline]
    pub(crate) const fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// The frames appended so far, in bytes of the bare framing.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.bare_end
    }

    /// Shows readers everything that was appended. Frames first, so that a reader that sees an index entry finds its
    /// event.
    pub(crate) fn publish(&self) {
        self.bare.iter().for_each(Writer::publish);
        self.prefixed.iter().for_each(Writer::publish);
        self.sources.publish();
        self.index.publish();
    }
}

impl Segment {
    /// The frames published so far. A framing the log was not made for has none.
    pub(crate) fn frames(&self, framing: Framing) -> &[u8] {
        let reader = match framing {
            Framing::Bare => &self.bare,
            Framing::Prefixed => &self.prefixed,
        };
        reader.as_ref().map_or(&[], Reader::published)
    }

    /// How many events are published.
    pub(crate) fn events(&self) -> usize {
        self.index.published().len()
    }

    /// The number after its last published event.
    pub(crate) fn end(&self) -> Seq {
        Seq(self.first.0 + self.events() as u64)
    }

    /// The number of the event whose frame holds the byte at `offset`, or of the next one to come.
    pub(crate) fn seq_at(&self, framing: Framing, offset: usize) -> Seq {
        let index = self.index.published();
        let (mut low, mut high) = (0, index.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if frame_end(framing, middle, &index[middle]) <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Seq(self.first.0 + low as u64)
    }

    /// Where the frame of an event begins, or will; every event before it is published.
    pub(crate) fn offset_of(&self, framing: Framing, seq: Seq) -> usize {
        let nth = nth(self.first, seq);
        let before = nth
            .checked_sub(1)
            .and_then(|before| Some((before, self.index.published().get(before)?)));
        before.map_or(0, |(before, entry)| frame_end(framing, before, entry))
    }

    /// The first event received at `time` or later.
    pub(crate) fn since(&self, time: Millis) -> Option<Seq> {
        let nth = self
            .index
            .published()
            .iter()
            .position(|entry| entry.at >= time)?;
        Some(Seq(self.first.0 + nth as u64))
    }

    /// The `nth` event, if it is published.
    pub(crate) fn event(&self, nth: usize) -> Option<StoredEvent<'_>> {
        let entry = self.index.published().get(nth)?;
        let framing = if self.bare.is_some() {
            Framing::Bare
        } else {
            Framing::Prefixed
        };
        let end = frame_end(framing, nth, entry);
        let source = self.source(entry);
        Some(StoredEvent {
            seq: Seq(self.first.0 + nth as u64),
            at: entry.at,
            event: &self.frames(framing)[end - entry.event_bytes as usize..end],
            tag_bytes: entry.tag_bytes as usize,
            sender: source.sender,
            origin: source.origin,
        })
    }

    /// What is left of the `nth` event, if retention has removed it: its tag, and when it was received.
    pub(crate) fn removed(&self, nth: usize) -> Option<(&str, Millis)> {
        let entry = self.index.published().get(nth)?;
        if entry.event_bytes > 0 || entry.source_end == 0 {
            return None;
        }
        // The only case in which an event without bytes has a source.
        Some((self.source(entry).sender?, entry.at))
    }

    #[inline]
    fn source(&self, entry: &Entry) -> Source<'_> {
        if entry.source_end == 0 {
            return Source::default();
        }
        let sources = self.sources.published();
        let sources = sources.get(..entry.source_end as usize);
        sources.and_then(Source::decode).unwrap_or_default()
    }

    /// How long each of its parts is, now that it gets no more events.
    pub(crate) fn sizes(&self) -> Sizes {
        let bytes = |reader: &Option<Reader<u8>>| reader.as_ref().map(|r| r.published().len());
        Sizes {
            first: self.first,
            bare: bytes(&self.bare),
            prefixed: bytes(&self.prefixed),
            sources: self.sources.published().len(),
            events: self.events(),
        }
    }

    /// Its frames and sources, in the order in which they are stored.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [
            self.frames(Framing::Bare),
            self.frames(Framing::Prefixed),
            self.sources.published(),
        ]
    }

    /// Its index as it is stored, appended to `out`.
    pub(crate) fn encode_index(&self, out: &mut Vec<u8>) {
        for entry in self.index.published() {
            for field in [
                entry.end,
                entry.event_bytes,
                entry.tag_bytes,
                entry.source_end,
            ] {
                out.extend_from_slice(&field.to_le_bytes());
            }
            out.extend_from_slice(&entry.at.0.to_le_bytes());
        }
    }

    /// A segment from what was stored: its bare frames, prefixed frames, sources and index, in this
    /// order.
    /// `None` if the sizes are of something else.
    pub(crate) fn restore(sizes: Sizes, stored: &[u8]) -> Option<Self> {
        let restore = |bytes: &[u8]| {
            let (mut writer, reader) = buffer::channel(bytes.len());
            writer.append(bytes);
            writer.publish();
            reader
        };
        let (bare, rest) = stored.split_at_checked(sizes.bare.unwrap_or(0))?;
        let (prefixed, rest) = rest.split_at_checked(sizes.prefixed.unwrap_or(0))?;
        let (sources, index) = rest.split_at_checked(sizes.sources)?;
        let (entries, []) = index.as_chunks::<ENTRY_BYTES>() else {
            return None;
        };
        let (mut index_writer, index) = buffer::channel(entries.len());
        for entry in entries {
            index_writer.append(&[Entry::decode(entry)]);
        }
        index_writer.publish();
        Some(Self {
            first: sizes.first,
            bare: sizes.bare.map(|_| restore(bare)),
            prefixed: sizes.prefixed.map(|_| restore(prefixed)),
            sources: restore(sources),
            index,
        })
    }

    /// The memory it holds when full, in bytes.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let frames = [&self.bare, &self.prefixed]
            .into_iter()
            .flatten()
            .map(Reader::capacity);
        frames.sum::<usize>() + self.sources.capacity() + self.index.capacity() * size_of::<Entry>()
    }

    /// The same memory as a new segment, if this was its last user.
    pub(crate) fn recycle(self, first: Seq) -> Option<(SegmentWriter, Self)> {
        let recycle = |reader: Option<Reader<u8>>| match reader {
            Some(reader) => reader
                .recycle()
                .map(|(writer, reader)| (Some(writer), Some(reader))),
            None => Some((None, None)),
        };
        let (bare_writer, bare) = recycle(self.bare)?;
        let (prefixed_writer, prefixed) = recycle(self.prefixed)?;
        let (sources_writer, sources) = self.sources.recycle()?;
        let (index_writer, index) = self.index.recycle()?;
        let writer = SegmentWriter::new(bare_writer, prefixed_writer, sources_writer, index_writer);
        let segment = Self {
            first,
            bare,
            prefixed,
            sources,
            index,
        };
        Some((writer, segment))
    }
}

/// Which event of a segment that begins with `first` has this number.
pub(crate) fn nth(first: Seq, seq: Seq) -> usize {
    usize::try_from(seq.0 - first.0)
        .expect("a segment holds fewer events than an address can count")
}

/// Where the frame of the `nth` event ends in a framing.
fn frame_end(framing: Framing, nth: usize, entry: &Entry) -> usize {
    match framing {
        Framing::Bare => entry.end as usize,
        Framing::Prefixed => entry.end as usize + PREFIX_BYTES * (nth + 1),
    }
}
