//! Messages of the tcp transport: msgpack maps `{head, body}` one after the other, without lengths.
//!
//! The [`Decoder`] finds their ends in bytes that its caller buffers and remembers how far it has
//! looked, so that a message that comes byte by byte costs no more than one that comes whole.
//! Facts: `docs/protocol/network.md` §2.2.

use alloc::vec::Vec;

use rmp::Marker;

use crate::msgpack::{self, DecodeError};
use crate::scan::big_endian;
use crate::value::{Map, Value};

/// The most values in one message. What is large in real messages is one byte string; the bound
/// keeps a small message from becoming a large tree of values.
pub const MAX_VALUES: usize = 65_536;

/// The deepest nesting in a message.
pub const MAX_DEPTH: usize = 64;

/// Why bytes are no messages. The connection is over after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first byte begins no map.
    #[error("expected a message (a msgpack map), found byte 0x{first:02x}")]
    NotAMap {
        /// The byte.
        first: u8,
    },
    /// The message is or declares itself larger than the limit.
    #[error("expected a message of at most {limit} bytes, found one of {declared} or more")]
    TooLarge {
        /// The bytes it takes at least.
        declared: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many values.
    #[error("the message has more than {MAX_VALUES} values")]
    TooManyValues,
    /// Arrays or maps inside each other past [`MAX_DEPTH`].
    #[error("the message is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The byte 0xc1.
    #[error("invalid msgpack: the undefined byte 0xc1")]
    Undefined,
}

/// Finds the ends of the messages of one connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// The largest message, in bytes.
    max_bytes: usize,
    /// Offset of the next marker of the unfinished message; may lie beyond what has arrived.
    at: usize,
    values: usize,
    /// What is left to read in each open container, the innermost last.
    open: Vec<u64>,
    max_values: usize,
    max_depth: usize,
    /// Whether what comes must be a map.
    is_map: bool,
}

impl Decoder {
    /// A decoder for a connection whose messages may have `max_bytes`.
    #[must_use]
    pub const fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            at: 0,
            values: 0,
            open: Vec::new(),
            max_values: MAX_VALUES,
            max_depth: MAX_DEPTH,
            is_map: true,
        }
    }

    /// A decoder that looks whether some value, which need not be a map, keeps these limits. It follows it as deep as
    /// the reader of values does: what it does not look at, it does not count.
    #[must_use]
    pub const fn of_value(max_bytes: usize, max_values: usize) -> Self {
        let mut decoder = Self::new(max_bytes);
        decoder.max_values = max_values;
        decoder.max_depth = msgpack::MAX_DEPTH;
        decoder.is_map = false;
        decoder
    }

    /// Sets another limit, for the message under way too.
    pub const fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// How many bytes of the unfinished message are known to be needed.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        if self.values > 0 && self.open.is_empty() {
            self.at
        } else {
            self.at.saturating_add(1)
        }
    }

    /// The length of the message at the start of `buffer`, `None` if it is not whole yet. Until
    /// then `buffer` must keep its start; after it the message's bytes are to be taken off.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn next(&mut self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        loop {
            if self.values > 0 && self.open.is_empty() {
                if self.at > buffer.len() {
                    return Ok(None); // the last value's length has arrived before the value
                }
                let length = self.at;
                (self.at, self.values) = (0, 0);
                return Ok(Some(length));
            }
            if self.at >= buffer.len() || !self.step(buffer)? {
                return Ok(None);
            }
            if self.at > self.max_bytes {
                return Err(FrameError::TooLarge {
                    declared: self.at,
                    limit: self.max_bytes,
                });
            }
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
        }
    }

    /// Looks at the value at `at`; `false` if its header is not whole.
    fn step(&mut self, buffer: &[u8]) -> Result<bool, FrameError> {
        let first = buffer[self.at];
        if self.is_map && self.values == 0 && !matches!(first, 0x80..=0x8f | 0xde | 0xdf) {
            return Err(FrameError::NotAMap { first });
        }
        let Some((length, inner)) = header(buffer, self.at)? else {
            return Ok(false);
        };
        self.values += 1;
        if self.values > self.max_values {
            return Err(FrameError::TooManyValues);
        }
        if let Some(left) = self.open.last_mut() {
            *left -= 1;
        }
        if let Some(inner) = inner {
            if self.open.len() == self.max_depth {
                return Err(FrameError::TooDeep);
            }
            self.open.push(inner);
        }
        self.at = self.at.saturating_add(length);
        Ok(true)
    }
}

/// How many bytes the value at `at` takes, without what is in it, and how many values are in it if
/// it is a container. `None` if more bytes are needed.
fn header(buffer: &[u8], at: usize) -> Result<Option<(usize, Option<u64>)>, FrameError> {
    let field = |width| big_endian(buffer, at + 1, width);
    let sized = |width: usize, more: usize| {
        field(width).map(|length| ((1 + more + width).saturating_add(length), None))
    };
    let container =
        |width: usize, each: u64| field(width).map(|count| (1 + width, Some(count as u64 * each)));
    Ok(match Marker::from_u8(buffer[at]) {
        Marker::Reserved => return Err(FrameError::Undefined),
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::False | Marker::True => {
            Some((1, None))
        }
        Marker::U8 | Marker::I8 => Some((2, None)),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => Some((3, None)),
        Marker::U32 | Marker::I32 | Marker::F32 => Some((5, None)),
        Marker::U64 | Marker::I64 | Marker::F64 => Some((9, None)),
        Marker::FixExt2 => Some((4, None)),
        Marker::FixExt4 => Some((6, None)),
        Marker::FixExt8 => Some((10, None)),
        Marker::FixExt16 => Some((18, None)),
        Marker::FixStr(length) => Some((1 + usize::from(length), None)),
        Marker::Str8 | Marker::Bin8 => sized(1, 0),
        Marker::Str16 | Marker::Bin16 => sized(2, 0),
        Marker::Str32 | Marker::Bin32 => sized(4, 0),
        Marker::Ext8 => sized(1, 1),
        Marker::Ext16 => sized(2, 1),
        Marker::Ext32 => sized(4, 1),
        Marker::FixArray(count) => Some((1, Some(count.into()))),
        Marker::Array16 => container(2, 1),
        Marker::Array32 => container(4, 1),
        Marker::FixMap(count) => Some((1, Some(2 * u64::from(count)))),
        Marker::Map16 => container(2, 2),
        Marker::Map32 => container(4, 2),
    })
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `{mid}` of requests and their replies, empty on publish connections.
    pub head: Map,
    /// The payload.
    pub body: Value,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not one msgpack value.
    #[error("invalid message: {0}")]
    NotMsgpack(#[from] DecodeError),
    /// Not a map of `head`, which is a map, and `body`.
    #[error("the message is not a map of head and body")]
    NotAMessage,
}

impl Message {
    /// Reads a message whose length the [`Decoder`] found.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let Value::Map(mut map) = msgpack::decode_network(bytes)? else {
            return Err(MessageError::NotAMessage);
        };
        match (map.remove("head"), map.remove("body")) {
            (Some(Value::Map(head)), Some(body)) => Ok(Self { head, body }),
            _ => Err(MessageError::NotAMessage),
        }
    }

    /// The bytes to send.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&self.head, &self.body)
    }
}

/// The bytes of a message.
#[must_use]
pub fn encode(head: &Map, body: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(b"\x82\xa4head");
    msgpack::encode_network(&Value::Map(head.clone()), &mut bytes);
    bytes.extend_from_slice(b"\xa4body");
    msgpack::encode_network(body, &mut bytes);
    bytes
}

/// The bytes of a message whose body is packed already.
#[must_use]
pub fn encode_packed(head: &Map, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 64);
    bytes.extend_from_slice(b"\x82\xa4head");
    msgpack::encode_network(&Value::Map(head.clone()), &mut bytes);
    bytes.extend_from_slice(b"\xa4body");
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn message(body: &Value) -> Vec<u8> {
        let head: Map = [("mid", "00000000-0000-4000-8000-000000000001")]
            .into_iter()
            .collect();
        encode(&head, body)
    }

    #[test]
    fn sizes_are_refused_by_their_header() {
        let mut decoder = Decoder::new(1000);
        let bytes = b"\x82\xa4head\x80\xa4body\xdb\xff\xff\xff\xff";
        assert!(matches!(
            decoder.next(bytes),
            Err(FrameError::TooLarge { limit: 1000, .. })
        ));
        let mut decoder = Decoder::new(1 << 30);
        assert_eq!(decoder.next(b"\xdf\xff\xff\xff\xff"), Ok(None));
        let mut many = b"\x82\xa4head\x80\xa4body\xdd\xff\xff\xff\xff".to_vec();
        many.resize(many.len() + MAX_VALUES, 0xc0);
        assert_eq!(decoder.next(&many), Err(FrameError::TooManyValues));
    }

    #[test]
    fn what_is_no_map_is_refused_by_its_first_byte() {
        for first in *b"GS\x16\x00\x93\xc0" {
            assert_eq!(
                Decoder::new(10).next(&[first]),
                Err(FrameError::NotAMap { first })
            );
        }
        assert_eq!(
            Decoder::new(10).next(&[0x82, 0xc1]),
            Err(FrameError::Undefined)
        );
        let mut deep = vec![0x82, 1];
        deep.resize(100, 0x91);
        assert_eq!(Decoder::new(1000).next(&deep), Err(FrameError::TooDeep));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::Str),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bin),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                proptest::collection::btree_map(".{0,10}", inner, 0..6)
                    .prop_map(|map| { Value::Map(map.into_iter().collect()) }),
            ]
        })
    }

    proptest! {
        #[test]
        fn messages_are_found_however_they_are_cut(bodies in proptest::collection::vec(values(), 1..4), step in 1_usize..50) {
            let messages: Vec<_> = bodies.iter().map(message).collect();
            let stream = messages.concat();
            let (mut decoder, mut start, mut found) = (Decoder::new(1 << 20), 0, Vec::new());
            let mut end = 0;
            while end < stream.len() {
                end = (end + step).min(stream.len());
                while let Some(length) = decoder.next(&stream[start..end]).unwrap() {
                    found.push(stream[start..start + length].to_vec());
                    start += length;
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(1000);
            for end in 0..bytes.len() {
                if decoder.next(&bytes[..end]).map_or(true, |length| length.is_some()) {
                    break;
                }
            }
            let _ = Message::parse(&bytes);
        }
    }
}
