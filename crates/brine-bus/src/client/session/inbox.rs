//! The bytes that have arrived on a connection and were not handed out yet; cuts them into events.

use std::ops::Range;

use brine_wire::frame::{Decoder, FrameError, Framing};

/// The bytes of one connection that are not handed out yet: `buffer[start..end]`.
#[derive(Debug)]
pub(super) struct Inbox {
    decoder: Decoder,
    pub(super) max_frame_bytes: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What one read asks for, in bytes: more than a UNIX socket holds by default.
pub(super) const READ_BYTES: usize = 256 * 1024;

impl Inbox {
    pub(super) const fn framing(&self) -> Option<Framing> {
        self.decoder.framing()
    }

    pub(super) const fn new(max_frame_bytes: usize) -> Self {
        Self {
            decoder: Decoder::new(max_frame_bytes),
            max_frame_bytes,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// Where the next event is, if it has arrived as a whole.
    #[inline]
    pub(super) fn cut(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let unread = &self.buffer[self.start..self.end];
        // Asking the decoder only about new bytes keeps a frame that arrives in small pieces cheap.
        if unread.len() < self.decoder.wanted() {
            return Ok(None);
        }
        let Some(frame) = self.decoder.next(unread)? else {
            return Ok(None);
        };
        let begin = frame.event.as_ptr().addr() - self.buffer.as_ptr().addr();
        let event = begin..begin + frame.event.len();
        self.start += frame.length;
        Ok(Some(event))
    }

    /// Room for a good read. The buffer grows only as a frame larger than it arrives, never on the
    /// word of a header, and shrinks again behind it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > 4 * READ_BYTES {
                self.buffer = Vec::new();
            }
        }
        if self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < READ_BYTES / 2 {
                let doubled = (self.buffer.len() * 2).max(READ_BYTES);
                self.buffer.resize(doubled, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Takes note of bytes that were read into [`Self::room`].
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
        assert!(
            self.end <= self.buffer.len(),
            "more read than there is room"
        );
    }

    /// The bytes of an event that [`Self::cut`] found.
    #[inline]
    pub(super) fn event(&self, at: &Range<usize>) -> &[u8] {
        &self.buffer[at.clone()]
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }
}
