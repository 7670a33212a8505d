//! Events on their way into a bus, without the socket.
//!
//! An [`Outbox`] holds whole frames and knows how much of them was written, so that many events go out in one write.
//! After a connection breaks in the middle of a frame, it sends that whole frame again: every bus discards half a
//! frame, so nothing arrives twice. Facts: `docs/protocol/ipc.md` §1, §3.

use brine_wire::frame::{Framing, encode_frame};

/// Frames to write.
#[derive(Debug)]
pub struct Outbox {
    framing: Framing,
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<usize>,
    written: usize,
}

/// Memory kept for the next batch, in bytes.
const KEPT_BYTES: usize = 1024 * 1024;

impl Outbox {
    /// Nothing to write.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self {
            framing,
            bytes: Vec::new(),
            ends: Vec::new(),
            written: 0,
        }
    }

    /// Queues one encoded event.
    pub fn push(&mut self, event: &[u8]) {
        encode_frame(self.framing, event, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The bytes to write next.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Says how many of [`Outbox::unwritten`] were written.
    ///
    /// # Panics
    /// When that is more than there were.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        assert!(
            self.written <= self.bytes.len(),
            "more written than there was"
        );
        if self.written == self.bytes.len() {
            self.clear();
        }
    }

    /// The connection is over: a frame of which only a part was written is written as a whole on
    /// the next one.
    pub fn restart(&mut self) {
        let whole = self.ends.partition_point(|&end| end <= self.written);
        self.written = whole.checked_sub(1).map_or(0, |last| self.ends[last]);
    }

    /// How many events are not written as a whole.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.ends.len() - self.ends.partition_point(|&end| end <= self.written)
    }

    /// Whether everything was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes back the event queued last, if nothing of it was written.
    pub fn take_back(&mut self) {
        let end = self
            .ends
            .len()
            .checked_sub(2)
            .map_or(0, |before| self.ends[before]);
        if self.written <= end {
            self.ends.pop();
            self.bytes.truncate(end);
        }
        if self.written == self.bytes.len() {
            self.clear();
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_BYTES / size_of::<usize>());
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::frame::Decoder;

    fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::new(1 << 20);
        let mut events = Vec::new();
        while let Some(frame) = decoder.next(bytes).unwrap() {
            events.push(frame.event.to_vec());
            bytes = &bytes[frame.length..];
        }
        assert!(bytes.is_empty());
        events
    }

    #[test]
    fn writes_whole_frames_in_order() {
        for framing in [Framing::Bare, Framing::Prefixed] {
            let mut outbox = Outbox::new(framing);
            outbox.push(b"one");
            outbox.push(b"two");
            assert_eq!(frames(outbox.unwritten()), [b"one", b"two"]);
            outbox.wrote(outbox.unwritten().len());
            assert!(outbox.is_empty());
        }
    }

    /// Wherever the connection breaks, what was written as a whole is not written again and the
    /// rest begins at a frame.
    #[test]
    fn resumes_at_the_frame_that_was_cut() {
        let events: [&[u8]; 3] = [b"one", b"four", b""];
        let mut whole = Outbox::new(Framing::Prefixed);
        events.iter().for_each(|event| whole.push(event));
        let ends = whole.ends.clone();
        for cut in 0..whole.bytes.len() {
            let mut outbox = Outbox::new(Framing::Prefixed);
            events.iter().for_each(|event| outbox.push(event));
            outbox.wrote(cut);
            outbox.restart();
            let gone = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(outbox.unsent(), events.len() - gone, "cut at {cut}");
            assert_eq!(frames(outbox.unwritten()), events[gone..], "cut at {cut}");
        }
    }

    #[test]
    fn an_event_can_be_taken_back_until_a_byte_of_it_is_written() {
        let mut outbox = Outbox::new(Framing::Bare);
        outbox.push(b"one");
        outbox.push(b"two");
        outbox.take_back();
        assert_eq!(frames(outbox.unwritten()), [b"one"]);
        outbox.wrote(1);
        outbox.take_back();
        assert_eq!(outbox.unsent(), 1);
        outbox.restart();
        outbox.take_back();
        assert!(outbox.is_empty());
    }
}
