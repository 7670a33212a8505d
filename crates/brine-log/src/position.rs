//! Positions in a log that mean the same to every reader, and after a restart.
//!
//! A [`Position`] is what a reader keeps: the log's identity and the number of the last event that it has read. This
//! module knows nothing of segments, nor where a log's identity comes from.

use std::fmt;
use std::str::FromStr;

use brine_wire::decimal;

/// An event's number in the log, from 1, without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Milliseconds since the UNIX epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Which log: a number that the caller draws at random for each new log, since sequence numbers alone start again with
/// every one. As text, hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub u64);

/// Where a reader is: it has read this event of this log and all before it. As text `7f3a-42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The log the number belongs to.
    pub log: LogId,
    /// The last event read; one less than the log's first for a reader that has read none.
    pub seq: Seq,
}

/// Where a cursor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next event to come.
    Tail,
    /// With the oldest event there is.
    Oldest,
    /// With the event after this one. If events between are gone, or the position is of another
    /// log or beyond the tail, the cursor's first answer is the gap.
    After(Position),
    /// With the first event received at this time or later.
    Since(Millis),
}

/// Why a text is not a [`Position`] or a [`LogId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePositionError {
    /// It has no dash between log and sequence.
    #[error("{text:?}: expected a position such as 7f3a-42")]
    NoDash {
        /// The text.
        text: String,
    },
    /// The log's identity is not a hexadecimal number of 64 bits.
    #[error("{log:?}: expected a log's identity, a hexadecimal number such as 7f3a")]
    BadLog {
        /// The part that should have been one.
        log: String,
    },
    /// The sequence is not a decimal number of 64 bits.
    #[error("{seq:?}: expected an event's sequence number, such as 42")]
    BadSeq {
        /// The part that should have been one.
        seq: String,
    },
}

impl fmt::Display for Seq {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:x}", self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.log, self.seq)
    }
}

impl Position {
    /// Appends the position as text, as [`fmt::Display`] writes it: streams write one for each event.
    pub fn append(self, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let significant = 16 - self.log.0.max(1).leading_zeros() / 4;
        let digits = (0..significant).rev();
        out.extend(digits.map(|digit| DIGITS[(self.log.0 >> (4 * digit) & 0xf) as usize]));
        out.push(b'-');
        decimal::unsigned(self.seq.0, out);
    }
}

impl FromStr for LogId {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        // `from_str_radix` alone would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(Self).ok_or_else(|| ParsePositionError::BadLog {
            log: text.to_owned(),
        })
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (log, seq) = text
            .split_once('-')
            .ok_or_else(|| ParsePositionError::NoDash {
                text: text.to_owned(),
            })?;
        let digits = seq.bytes().all(|byte| byte.is_ascii_digit());
        let number = seq.parse().ok().filter(|_| digits);
        Ok(Self {
            log: log.parse()?,
            seq: Seq(number.ok_or_else(|| ParsePositionError::BadSeq {
                seq: seq.to_owned(),
            })?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for (log, seq, text) in [
            (0x7f3a, 42, "7f3a-42"),
            (0, 0, "0-0"),
            (u64::MAX, u64::MAX, "ffffffffffffffff-18446744073709551615"),
        ] {
            let position = Position {
                log: LogId(log),
                seq: Seq(seq),
            };
            assert_eq!(position.to_string(), text);
            let mut appended = Vec::new();
            position.append(&mut appended);
            assert_eq!(appended, text.as_bytes());
            assert_eq!(text.parse(), Ok(position));
        }
    }

    #[test]
    fn what_is_not_a_position_is_named() {
        let refused = |text: &str| text.parse::<Position>().unwrap_err();
        assert_eq!(
            refused("42"),
            ParsePositionError::NoDash { text: "42".into() }
        );
        for (text, log) in [("-42", ""), ("xyz-1", "xyz"), ("+1-1", "+1")] {
            assert_eq!(
                refused(text),
                ParsePositionError::BadLog { log: log.into() }
            );
        }
        for (text, seq) in [("1-", ""), ("1--2", "-2"), ("1-+2", "+2"), ("1-2x", "2x")] {
            assert_eq!(
                refused(text),
                ParsePositionError::BadSeq { seq: seq.into() }
            );
        }
        assert!("10000000000000000-1".parse::<Position>().is_err());
    }
}
