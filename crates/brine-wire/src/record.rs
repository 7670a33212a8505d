//! The records of a stream on the local socket in its exact form, `application/x-msgpack`.
//!
//! A stream is msgpack arrays one after the other, each beginning with its kind. Events travel as
//! they lie in the log, neither decoded nor encoded again, so that nothing is lost and little is
//! done. The same stream as JSON lines is for eyes and for `jq`. Described in
//! `docs/local-socket.md`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::msgpack;
use crate::scan;
use crate::value::Value;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// `[0, log]`: the log that the numbers below belong to; first in every stream.
    Log {
        /// The log's identity.
        log: u64,
    },
    /// `[1, sequence, milliseconds, bytes]`: an event; with a fifth part, its sender, if that is known for certain.
    Event {
        /// Its number in the log.
        sequence: u64,
        /// When it arrived, in milliseconds since the UNIX epoch.
        at: u64,
        /// Tag, tag end and data.
        event: &'a [u8],
        /// The minion whose key it came with.
        sender: Option<&'a str>,
    },
    /// `[2, log, sequence, log, sequence, missed, reason]`: events that the reader cannot have. It had read up to the
    /// first position and goes on after the second.
    Gap {
        /// Log and sequence of the last event before it.
        from: (u64, u64),
        /// Log and sequence of the last event that is missing.
        to: (u64, u64),
        /// How many events are missing, if that can be known.
        missed: Option<u64>,
        /// Why, in a few words, if that is known.
        reason: Option<String>,
    },
    /// `[3, sequence]`: nothing new; everything up to here has been looked at.
    Heartbeat {
        /// The last event that was looked at.
        sequence: u64,
    },
    /// `[4, sequence]`: the event that was fired has this number.
    Fired {
        /// Its number in the log.
        sequence: u64,
    },
    /// `[5, code, message]`: the event was not fired, or the stream ends here.
    Refused {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// `[6, bytes]`: an event to fire, as [`crate::event::encode_event`] makes it.
    Fire {
        /// Tag, tag end and data.
        event: &'a [u8],
    },
}

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not msgpack, or not an array of a known form.
    #[error("not a record of the local socket")]
    Malformed,
    /// Longer than its reader takes.
    #[error("expected a record of at most {limit} bytes, found one of {bytes}")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
        /// What the record says of its length.
        bytes: usize,
    },
}

impl Record<'_> {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Log { log } => numbers(0, &[*log], out),
            Self::Event {
                sequence,
                at,
                event,
                sender,
            } => {
                out.extend_from_slice(&[0x94 + u8::from(sender.is_some()), 1]);
                uint(*sequence, out);
                uint(*at, out);
                bin(event, out);
                if let Some(sender) = sender {
                    msgpack::encode(&Value::from(*sender), out);
                }
            }
            Self::Gap {
                from,
                to,
                missed,
                reason,
            } => {
                out.extend_from_slice(&[0x97, 2]);
                for number in [from.0, from.1, to.0, to.1] {
                    uint(number, out);
                }
                match missed {
                    Some(missed) => uint(*missed, out),
                    None => out.push(0xc0),
                }
                let reason = reason.as_deref().map_or(Value::Nil, Value::from);
                msgpack::encode(&reason, out);
            }
            Self::Heartbeat { sequence } => numbers(3, &[*sequence], out),
            Self::Fired { sequence } => numbers(4, &[*sequence], out),
            Self::Refused { code, message } => {
                let parts = [5.into(), code.as_str().into(), message.as_str().into()];
                msgpack::encode(&Value::Array(parts.into()), out);
            }
            Self::Fire { event } => {
                out.extend_from_slice(&[0x92, 6]);
                bin(event, out);
            }
        }
    }
}

fn numbers(kind: u8, numbers: &[u64], out: &mut Vec<u8>) {
    #[allow(clippy::cast_possible_truncation)] // two at most
    out.extend_from_slice(&[0x91 + numbers.len() as u8, kind]);
    for number in numbers {
        uint(*number, out);
    }
}

fn uint(number: u64, out: &mut Vec<u8>) {
    out.push(0xcf);
    out.extend_from_slice(&number.to_be_bytes());
}

fn bin(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(0xc6);
    // The bus refuses frames long before this.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The first record in `bytes` and its length; `None` if more bytes are needed.
///
/// # Errors
/// [`RecordError`] when no continuation makes the bytes a record of at most `limit` bytes.
pub fn next(bytes: &[u8], limit: usize) -> Result<Option<(Record<'_>, usize)>, RecordError> {
    if bytes
        .first()
        .is_some_and(|marker| !matches!(marker, 0x92..=0x97))
    {
        return Err(RecordError::Malformed);
    }
    let length = match scan::skip_value(bytes) {
        Ok(Some(length)) if length <= limit => length,
        Ok(Some(length)) => {
            return Err(RecordError::TooLong {
                limit,
                bytes: length,
            });
        }
        Ok(None) if bytes.len() > limit => {
            return Err(RecordError::TooLong {
                limit,
                bytes: bytes.len(),
            });
        }
        Ok(None) => return Ok(None),
        Err(_) => return Err(RecordError::Malformed),
    };
    match bytes.get(..length) {
        Some(record) => match parse(record) {
            Some(record) => Ok(Some((record, length))),
            None => Err(RecordError::Malformed),
        },
        None => Ok(None),
    }
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let mut parts = scan::ArrayItems::open(record)?;
    let kind = *parts.next()?.first()?;
    let number = |part: &[u8]| match msgpack::decode(part) {
        Ok(Value::Int(number)) => u64::try_from(number).ok(),
        _ => None,
    };
    let bytes = |part| scan::text(part);
    let text = |part| Some(core::str::from_utf8(scan::text(part)?).ok()?.to_string());
    let record = match kind {
        0 => Record::Log {
            log: number(parts.next()?)?,
        },
        1 => Record::Event {
            sequence: number(parts.next()?)?,
            at: number(parts.next()?)?,
            event: bytes(parts.next()?)?,
            sender: match parts.next() {
                None => None,
                Some(sender) => Some(core::str::from_utf8(scan::text(sender)?).ok()?),
            },
        },
        2 => Record::Gap {
            from: (number(parts.next()?)?, number(parts.next()?)?),
            to: (number(parts.next()?)?, number(parts.next()?)?),
            missed: match parts.next()? {
                [0xc0] => None,
                missed => Some(number(missed)?),
            },
            reason: match parts.next()? {
                [0xc0] => None,
                reason => Some(text(reason)?),
            },
        },
        3 => Record::Heartbeat {
            sequence: number(parts.next()?)?,
        },
        4 => Record::Fired {
            sequence: number(parts.next()?)?,
        },
        5 => Record::Refused {
            code: text(parts.next()?)?,
            message: text(parts.next()?)?,
        },
        6 => Record::Fire {
            event: bytes(parts.next()?)?,
        },
        _ => return None,
    };
    parts.next().is_none().then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn all() -> [Record<'static>; 10] {
        [
            Record::Log { log: 0x7f3a },
            Record::Event {
                sequence: 42,
                at: 1_795_939_260_123,
                event: b"my/tag\n\n\x80",
                sender: None,
            },
            Record::Event {
                sequence: 43,
                at: 1_795_939_260_124,
                event: b"my/tag\n\n\x80",
                sender: Some("web1"),
            },
            Record::Gap {
                from: (1, 2),
                to: (1, 9),
                missed: Some(7),
                reason: Some("overrun".into()),
            },
            Record::Gap {
                from: (u64::MAX, 2),
                to: (1, 9),
                missed: None,
                reason: None,
            },
            Record::Heartbeat { sequence: 42 },
            Record::Fired { sequence: 43 },
            Record::Refused {
                code: "forbidden".into(),
                message: "no".into(),
            },
            Record::Fire {
                event: b"t\n\n\x80",
            },
            Record::Fire { event: b"" },
        ]
    }

    #[test]
    fn records_are_read_as_they_are_written_however_they_are_cut() {
        for record in all() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(next(&bytes[..cut], LIMIT), Ok(None), "{record:?} {cut}");
            }
            let length = bytes.len();
            bytes.push(0xc1);
            assert_eq!(next(&bytes, LIMIT), Ok(Some((record, length))));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [
            &b"\xc1"[..],
            b"\x80",
            b"\x92\x09\x01",
            b"\x92\x03\xff",
            b"\x93\x03\x01\x01",
            b"\x92\x06\x01",
            b"\x92\xc1",
        ] {
            assert_eq!(
                next(bytes, LIMIT),
                Err(RecordError::Malformed),
                "{bytes:02x?}"
            );
        }
        let long = b"\x92\x06\xc6\x00\x00\x10\x00";
        assert!(matches!(
            next(long, LIMIT),
            Err(RecordError::TooLong { .. })
        ));
    }
}
