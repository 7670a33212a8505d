//! Where an event came from: who fired it, and on which master's bus it was fired first.
//!
//! Stored beside the event, since an event's own tag and data are only its sender's claim. This module does not know
//! how events travel between masters.

use crate::position::{LogId, Position, Seq};

/// The longest name that is kept, in bytes: more than any minion's or master's id has.
pub(crate) const MAX_NAME: usize = 255;
/// A position's bytes.
const POSITION_BYTES: usize = 16;

/// How an event came into this log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Source<'a> {
    /// Who fired it, as authenticated: the id of a minion. `None` for programs of a master's machine.
    pub sender: Option<&'a str>,
    /// Where it was fired first; `None` if that was here.
    pub origin: Option<Origin<'a>>,
}

/// Where an event of another master's bus was fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    master: &'a str,
    position: Position,
}

impl<'a> Origin<'a> {
    /// An origin; `None` if no log keeps a name like that: it is empty or has more than 255 bytes.
    #[must_use]
    pub fn new(master: &'a str, position: Position) -> Option<Self> {
        (1..=MAX_NAME)
            .contains(&master.len())
            .then_some(Self { master, position })
    }

    /// The master's id.
    #[must_use]
    pub const fn master(&self) -> &'a str {
        self.master
    }

    /// The event's position in that master's log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl<'a> Source<'a> {
    /// Whether a program of this machine fired it here: most events have no sender and no origin.
    pub(crate) const fn is_local(&self) -> bool {
        self.sender.is_none() && self.origin.is_none()
    }

    /// The bytes that [`Source::encode`] makes at most.
    pub(crate) fn encoded_bytes(&self) -> usize {
        let sender = self.sender.map_or(0, |sender| sender.len().min(MAX_NAME));
        match self.origin {
            Some(origin) => sender + 1 + origin.master.len() + 1 + POSITION_BYTES + 1,
            None => sender + usize::from(sender > 0),
        }
    }

    /// Hands pieces to `put` that can be found by their end. Of an event of this log that is its sender's name and the
    /// name's length; nothing, if it has none. A length of zero says that the origin is before it: the sender, its
    /// length, the master, its length, the position.
    pub(crate) fn encode(&self, mut put: impl FnMut(&[u8])) {
        let sender = self.sender.filter(|sender| sender.len() <= MAX_NAME);
        let sender = sender.unwrap_or_default();
        // Both fit: names are at most 255 bytes long.
        let length = |name: &str| [u8::try_from(name.len()).unwrap_or(u8::MAX)];
        let Some(origin) = self.origin else {
            if !sender.is_empty() {
                put(sender.as_bytes());
                put(&length(sender));
            }
            return;
        };
        put(sender.as_bytes());
        put(&length(sender));
        put(origin.master.as_bytes());
        put(&length(origin.master));
        put(&encode_position(origin.position));
        put(&[0]);
    }

    /// What ends at the end of these bytes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (last, rest) = bytes.split_last()?;
        if *last > 0 {
            let sender = name_before(rest, *last)?.1;
            return Some(Self {
                sender: Some(sender),
                origin: None,
            });
        }
        let (rest, position) = rest.split_at_checked(rest.len().checked_sub(POSITION_BYTES)?)?;
        let (length, rest) = rest.split_last()?;
        let (rest, master) = name_before(rest, *length)?;
        let (length, rest) = rest.split_last()?;
        let sender = name_before(rest, *length)?.1;
        Some(Self {
            sender: Some(sender).filter(|sender| !sender.is_empty()),
            origin: Origin::new(master, decode_position(position)?),
        })
    }
}

/// The name of this length at the end of the bytes, and what is before it.
fn name_before(bytes: &[u8], length: u8) -> Option<(&[u8], &str)> {
    let (rest, name) = bytes.split_at_checked(bytes.len().checked_sub(usize::from(length))?)?;
    Some((rest, std::str::from_utf8(name).ok()?))
}

/// A position as it is stored beside an event.
pub(crate) fn encode_position(position: Position) -> [u8; POSITION_BYTES] {
    let mut bytes = [0; POSITION_BYTES];
    bytes[..8].copy_from_slice(&position.log.0.to_be_bytes());
    bytes[8..].copy_from_slice(&position.seq.0.to_be_bytes());
    bytes
}

/// The position in such bytes.
pub(crate) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let bytes: &[u8; POSITION_BYTES] = bytes.try_into().ok()?;
    let (log, seq) = bytes.split_at(8);
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    Some(Position {
        log: LogId(number(log)?),
        seq: Seq(number(seq)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(source: &Source<'_>) -> Vec<u8> {
        // Something is before it.
        let mut bytes = b"other".to_vec();
        source.encode(|piece| bytes.extend_from_slice(piece));
        assert_eq!(bytes.len() - 5, source.encoded_bytes());
        bytes
    }

    #[test]
    fn a_source_is_read_as_it_was_written() {
        let position = Position {
            log: LogId(u64::MAX - 1),
            seq: Seq(1 << 40),
        };
        let long = "x".repeat(255);
        let origins = [
            None,
            Origin::new("m2", position),
            Origin::new(&long, position),
        ];
        for origin in origins {
            for sender in [None, Some("web1"), Some(&long)] {
                let source = Source { sender, origin };
                let bytes = encoded(&source);
                match source == Source::default() {
                    true => assert_eq!(bytes, b"other"),
                    false => assert_eq!(Source::decode(&bytes), Some(source)),
                }
            }
        }
    }

    #[test]
    fn names_that_no_log_keeps_are_no_origins() {
        let position = Position {
            log: LogId(1),
            seq: Seq(1),
        };
        assert_eq!(Origin::new("", position), None);
        assert_eq!(Origin::new(&"x".repeat(256), position), None);
    }

    #[test]
    fn bytes_that_end_too_early_are_none() {
        assert_eq!(Source::decode(b""), None);
        for bytes in [&b"\x01"[..], b"ab\x03", b"\0", &[0; 17], &[1; 18]] {
            let source = Source::decode(bytes);
            assert!(
                source.is_none_or(|source| source.origin.is_none()),
                "{bytes:?}"
            );
        }
    }
}
