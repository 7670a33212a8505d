//! Cutting what a subscriber has read into the run's own events.
//!
//! Every delivery of a run is the same bytes but for the stamp, so the usual case is one
//! comparison and one hop: the generator must cost less per event than any bus it measures.

use crate::dialect::{Dialect, Skip};
use crate::stamp::{self, Stamp};

/// How every n-th event is compared byte by byte, not only at its head. Odd, so that it does not
/// keep step with batches.
const WHOLE_EVERY: u64 = 61;

/// The delivery that is expected, over and over.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    frame: Vec<u8>,
    stamp_at: usize,
    run: u32,
    skip: fn(&[u8]) -> Skip,
}

/// What [`Expected::cut`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Bytes dealt with; the rest is the start of something.
    pub(crate) used: usize,
    /// Events of ours whose bytes had changed.
    pub(crate) corrupt: u64,
    /// The bytes after `used` are nothing the protocol has: the connection is of no more use.
    pub(crate) nonsense: bool,
}

impl Expected {
    pub(crate) fn new(dialect: &Dialect, event: &[u8], run: u32) -> Self {
        let frame = (dialect.deliver)(event);
        let stamp_at = stamp_at(&frame);
        Self {
            frame,
            stamp_at,
            run,
            skip: dialect.skip,
        }
    }

    pub(crate) const fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Hands every whole event of ours to `each`.
    #[inline]
    pub(crate) fn cut(&self, bytes: &[u8], mut each: impl FnMut(Stamp)) -> Cut {
        let mut cut = Cut::default();
        let head = &self.frame[..self.stamp_at];
        loop {
            let rest = &bytes[cut.used..];
            if rest.len() >= self.frame.len() && rest.starts_with(head) {
                let (frame, _) = rest.split_at(self.frame.len());
                self.take(frame, &mut cut, &mut each);
                cut.used += self.frame.len();
                continue;
            }
            let known = rest.len().min(head.len());
            if rest[..known] == head[..known] {
                return cut;
            }
            match (self.skip)(rest) {
                Skip::Bytes(length) => cut.used += length,
                Skip::More => return cut,
                Skip::Wrong => {
                    cut.nonsense = true;
                    return cut;
                }
            }
        }
    }

    #[inline]
    fn take(&self, frame: &[u8], cut: &mut Cut, each: &mut impl FnMut(Stamp)) {
        let after = self.stamp_at + stamp::LEN;
        let Some(bytes) = frame[self.stamp_at..after].first_chunk() else {
            return;
        };
        let stamp = Stamp::from_bytes(bytes);
        if stamp.run != self.run {
            return;
        }
        if stamp.sequence.is_multiple_of(WHOLE_EVERY) && frame[after..] != self.frame[after..] {
            cut.corrupt += 1;
        }
        each(stamp);
    }
}

/// Where the stamp goes in a frame.
///
/// # Panics
/// If the dialect lost it: a mistake in the dialect, not in anything a bus sends.
pub(crate) fn stamp_at(frame: &[u8]) -> usize {
    frame
        .windows(stamp::LEN)
        .position(|window| window == stamp::PLACE)
        .expect("a dialect carries the event's bytes unchanged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::event;
    use brine_wire::compat::Compat;

    const RUN: u32 = 7;

    fn dialects() -> [Dialect; 2] {
        [
            Dialect::salt("3006".parse().unwrap()),
            Dialect::salt(Compat::NEWEST),
        ]
    }

    fn frame(dialect: &Dialect, sequence: u64, run: u32) -> Vec<u8> {
        let mut frame = (dialect.deliver)(&event(257));
        let at = stamp_at(&frame);
        let stamp = Stamp {
            due_ns: 1,
            sent_ns: 2,
            sequence,
            publisher: 0,
            run,
        };
        frame[at..at + stamp::LEN].copy_from_slice(&stamp.to_bytes());
        frame
    }

    fn cut(dialect: &Dialect, bytes: &[u8]) -> (Cut, Vec<u64>) {
        let expected = Expected::new(dialect, &event(257), RUN);
        let mut seen = Vec::new();
        let cut = expected.cut(bytes, |stamp| seen.push(stamp.sequence));
        (cut, seen)
    }

    #[test]
    fn the_small_event_takes_331_bytes_on_a_prefixed_wire() {
        assert_eq!(frame(&Dialect::prefixed_relay(), 0, RUN).len(), 331);
    }

    #[test]
    fn hands_out_whole_events_and_leaves_the_rest() {
        for dialect in dialects() {
            let bytes = [frame(&dialect, 0, RUN), frame(&dialect, 1, RUN)].concat();
            for end in 0..=bytes.len() {
                let (cut, seen) = cut(&dialect, &bytes[..end]);
                let whole = end / (bytes.len() / 2);
                assert_eq!(
                    cut,
                    Cut {
                        used: whole * bytes.len() / 2,
                        ..Cut::default()
                    }
                );
                assert_eq!(seen.len(), whole);
            }
        }
    }

    #[test]
    fn passes_over_other_programs_events_and_other_runs() {
        for dialect in dialects() {
            let stranger = (dialect.deliver)(b"salt/auth\n\n\x81\xa1a\x01");
            let bytes = [
                stranger,
                frame(&dialect, 5, RUN + 1),
                frame(&dialect, 6, RUN),
            ]
            .concat();
            let (cut, seen) = cut(&dialect, &bytes);
            assert_eq!((cut.used, cut.corrupt, seen), (bytes.len(), 0, vec![6]));
        }
    }

    #[test]
    fn notices_changed_bytes_and_nonsense() {
        for dialect in dialects() {
            let mut bytes = frame(&dialect, 0, RUN);
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(cut(&dialect, &bytes).0.corrupt, 1);
            assert!(cut(&dialect, b"\xc1\xc1\xc1\xc1\xc1\xc1").0.nonsense);
        }
    }
}
