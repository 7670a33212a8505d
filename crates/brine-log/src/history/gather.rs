//! Turns the events that the writer finds into runs of the newest segment, and into one block for each full segment.

use std::io;
use std::sync::Arc;

use crate::cursor::Events;
use crate::history::block::{About, Block, BlockEvent, Effort, Encoder};
use crate::history::redact::{Redactor, Stored};
use crate::position::Millis;
use crate::segment::Segment;
use crate::source::encode_position;

/// Turns events into blocks, in their order.
pub(crate) struct Gatherer {
    encoder: Encoder,
    redactor: Redactor,
    /// The latest time of any event so far.
    until: Millis,
    /// The segment of which runs were made.
    open: Option<Open>,
}

/// A segment of which a part is stored as runs.
struct Open {
    /// Kept, so that it can be encoded as a whole when it is full.
    segment: Arc<Segment>,
    /// The first event that belongs to this history.
    from: usize,
    /// The first event that is in no run.
    to: usize,
}

impl Gatherer {
    pub(crate) fn new(redact: &[String], until: Millis) -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::new()?,
            redactor: Redactor::new(redact.iter().map(String::as_str)),
            until,
            open: None,
        })
    }

    /// Adds blocks of these events to a batch; returns how many bytes of events that was.
    pub(crate) fn take(
        &mut self,
        events: &Events,
        blocks: &mut Vec<Block>,
        effort: Effort,
    ) -> io::Result<u64> {
        let segment = events.segment();
        let range = events.range();
        let mut from = range.start;
        match self.open.take() {
            Some(open) if Arc::ptr_eq(&open.segment, segment) => from = open.from,
            other => {
                self.open = other;
                self.seal(blocks)?;
            }
        }
        if events.is_sealed() {
            blocks.push(self.encode(segment, from..range.end, true, effort)?);
        } else {
            // It is encoded once more when the segment is full.
            blocks.push(self.encode(segment, range.clone(), false, Effort::Fast)?);
            self.open = Some(Open {
                segment: Arc::clone(segment),
                from,
                to: range.end,
            });
        }
        Ok(self.encoder.event_bytes())
    }

    /// Adds a block that replaces the runs of the open segment: nothing more of it will come.
    pub(crate) fn seal(&mut self, blocks: &mut Vec<Block>) -> io::Result<()> {
        if let Some(open) = self.open.take() {
            blocks.push(self.encode(&open.segment, open.from..open.to, true, Effort::Ordinary)?);
        }
        Ok(())
    }

    /// Forgets the open segment: what was made of it was not written and will not be.
    pub(crate) fn forget(&mut self) {
        self.open = None;
    }

    fn encode(
        &mut self,
        segment: &Segment,
        range: std::ops::Range<usize>,
        sealed: bool,
        effort: Effort,
    ) -> io::Result<Block> {
        let first = crate::Seq(segment.first.0 + range.start as u64);
        self.encoder.begin(first, self.until);
        for stored in range.filter_map(|nth| segment.event(nth)) {
            let (event, tag_bytes) = match self.redactor.apply(stored.event, stored.tag_bytes) {
                Stored::AsItIs => (stored.event, stored.tag_bytes),
                Stored::Redacted(event) => (event, stored.tag_bytes),
                Stored::Withheld => (&[][..], 0),
            };
            let position = stored
                .origin
                .map(|origin| encode_position(origin.position()));
            self.encoder.push(&BlockEvent {
                at: stored.at,
                event,
                tag_bytes,
                about: About {
                    sender: stored.sender,
                    origin: stored.origin.map(|origin| origin.master()),
                    delivery: position.as_ref().map(<[u8; 16]>::as_slice),
                },
            });
        }
        let mut block = self.encoder.finish(effort)?;
        block.head.sealed = sealed;
        self.until = block.head.until;
        Ok(block)
    }
}
