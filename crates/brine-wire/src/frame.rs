//! Frames: how events follow each other on the sockets of the local bus.
//!
//! A frame is a msgpack map `{"head": {}, "body": <event>}`, written *bare* or *prefixed* with its
//! length. The [`Decoder`] cuts frames out of bytes that its caller buffers; it accepts every form
//! Salt's programs send and hands out the event inside. It does not look into the event.
//! Facts: `docs/protocol/ipc.md` §1, §3.

use alloc::vec::Vec;

use crate::scan::{self, ScanError, big_endian};

/// The largest frame real Salt buffers, in bytes: what is larger never reached anybody.
pub const MAX_FRAME_BYTES: usize = 100 * 1024 * 1024;

/// How frames are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One map after the other, nothing between.
    Bare,
    /// Four bytes of big-endian length before each map.
    Prefixed,
}

impl Framing {
    /// Tells the framing from the first byte of a connection. Unambiguous, since a length below
    /// 2 GiB begins with a byte below `0x80` and a map never does.
    #[must_use]
    pub const fn detect(first: u8) -> Option<Self> {
        match first {
            0x80..=0x8f | 0xde | 0xdf => Some(Self::Bare),
            0x00..=0x7f => Some(Self::Prefixed),
            _ => None,
        }
    }

    const fn prefix_bytes(self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Prefixed => 4,
        }
    }
}

/// One frame, borrowed from the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event inside: tag, tag end, data. Not checked.
    pub event: &'a [u8],
    /// How many bytes of the buffer the frame takes.
    pub length: usize,
}

/// Why a connection's bytes are not frames. After any of these the connection is over, since
/// there is no telling where the next frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first byte begins neither a map nor a length.
    #[error("expected a frame (a msgpack map, or its length), found byte 0x{first:02x}")]
    NotAFrame {
        /// The byte.
        first: u8,
    },
    /// The frame's declared length is above the limit.
    #[error("expected a frame of at most {limit} bytes, found one that declares {declared}")]
    TooLarge {
        /// The length it declares, in bytes.
        declared: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A length of zero.
    #[error("expected a frame, found a length of 0")]
    Empty,
    /// The prefix is followed by something else than a map.
    #[error("expected a msgpack map in the frame, found byte 0x{marker:02x}")]
    NotAMap {
        /// The byte.
        marker: u8,
    },
    /// The map is not as long as its prefix declares.
    #[error("the prefix declares a map of {declared} bytes, but the map has another length")]
    LengthMismatch {
        /// The declared length, in bytes.
        declared: usize,
    },
    /// The map has no `body`.
    #[error("the frame has no body")]
    NoBody,
    /// `body` is neither bytes nor text.
    #[error("the body is not bytes: it begins with byte 0x{marker:02x}")]
    BodyNotBytes {
        /// The byte the body begins with.
        marker: u8,
    },
    /// The fields beside the body are far larger than any program sends.
    #[error("the frame has more than {MAX_OVERHEAD_BYTES} bytes beside the body")]
    Overhead,
    /// The map is not msgpack.
    #[error("invalid msgpack in the frame: {0}")]
    NotMsgpack(#[from] ScanError),
}

/// Keys, `head` and unknown pairs of one frame may take this many bytes together. Real programs
/// send twelve; the bound keeps a frame that arrives byte by byte from being scanned at length
/// again and again.
const MAX_OVERHEAD_BYTES: usize = 16 * 1024;

/// Cuts frames out of the bytes of one connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    max_frame_bytes: usize,
    framing: Option<Framing>,
    wanted: usize,
}

impl Decoder {
    /// A decoder for a connection whose first byte shows its framing. Frames over
    /// `max_frame_bytes` are refused by their header.
    #[must_use]
    pub const fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            framing: None,
            wanted: 1,
        }
    }

    /// The framing, once the first byte has come.
    #[must_use]
    pub const fn framing(&self) -> Option<Framing> {
        self.framing
    }

    /// How many bytes from the start of the unfinished frame are known to be needed before
    /// [`Decoder::next`] can find another frame. At most the frame limit plus its prefix.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// The frame that `bytes` begin with, `None` if it is not complete. The caller drops
    /// [`Frame::length`] bytes before it asks for the next.
    ///
    /// # Errors
    /// [`FrameError`]: the bytes are no frame; the connection is over.
    #[inline]
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let framing = match self.framing {
            Some(framing) => framing,
            None => *self
                .framing
                .insert(Framing::detect(first).ok_or(FrameError::NotAFrame { first })?),
        };
        let found = match canonical(framing, bytes) {
            Some((event_at, length)) => self
                .within_limit(length - framing.prefix_bytes())?
                .or_need(bytes, length, event_at),
            None => self.unusual(framing, bytes)?,
        };
        match found {
            Found::Frame { event, length } => {
                self.wanted = 1;
                Ok(Some(Frame { event, length }))
            }
            Found::Need(wanted) => {
                self.wanted = wanted;
                Ok(None)
            }
        }
    }

    fn within_limit(&self, declared: usize) -> Result<WithinLimit, FrameError> {
        if declared > self.max_frame_bytes {
            return Err(FrameError::TooLarge {
                declared,
                limit: self.max_frame_bytes,
            });
        }
        Ok(WithinLimit)
    }

    /// Any frame that is not in the canonical form: other order, other widths, more keys.
    #[cold]
    fn unusual<'a>(&self, framing: Framing, bytes: &'a [u8]) -> Result<Found<'a>, FrameError> {
        let prefix = framing.prefix_bytes();
        let map = match framing {
            Framing::Bare => bytes,
            Framing::Prefixed => {
                let Some(declared) = big_endian(bytes, 0, prefix) else {
                    return Ok(Found::Need(prefix));
                };
                self.within_limit(declared)?;
                if declared == 0 {
                    return Err(FrameError::Empty);
                }
                match bytes.get(prefix..prefix + declared) {
                    Some(map) => map,
                    None => return Ok(Found::Need(prefix + declared)),
                }
            }
        };
        match parse_map(map)? {
            Parsed::Whole { event, length } if framing == Framing::Bare || length == map.len() => {
                self.within_limit(length)?;
                Ok(Found::Frame {
                    event,
                    length: prefix + length,
                })
            }
            Parsed::AtLeast(length) if framing == Framing::Bare => {
                self.within_limit(length)?;
                Ok(Found::Need(length))
            }
            _ => Err(FrameError::LengthMismatch {
                declared: map.len(),
            }),
        }
    }
}

/// Proof that a length was checked against the limit.
struct WithinLimit;

impl WithinLimit {
    fn or_need(self, bytes: &[u8], length: usize, event_at: usize) -> Found<'_> {
        match bytes.get(event_at..length) {
            Some(event) => Found::Frame { event, length },
            None => Found::Need(length),
        }
    }
}

enum Found<'a> {
    Frame { event: &'a [u8], length: usize },
    Need(usize),
}

/// `{"head": {}, "body": ` as every real program begins a frame.
const CANONICAL: &[u8; 12] = b"\x82\xa4head\x80\xa4body";

/// Where the event begins and the frame ends, if the bytes begin with the one header all real
/// clients write and, when prefixed, the prefix fits it.
#[inline]
fn canonical(framing: Framing, bytes: &[u8]) -> Option<(usize, usize)> {
    let prefix = framing.prefix_bytes();
    let header = bytes.get(prefix..)?;
    if header.get(..CANONICAL.len())? != CANONICAL {
        return None;
    }
    let at = prefix + CANONICAL.len();
    let width = match bytes.get(at)? {
        0xc4 => 1,
        0xc5 => 2,
        0xc6 => 4,
        _ => return None,
    };
    let event_at = at + 1 + width;
    let end = event_at.checked_add(big_endian(bytes, at + 1, width)?)?;
    let fits = framing == Framing::Bare || big_endian(bytes, 0, prefix)? == end - prefix;
    fits.then_some((event_at, end))
}

enum Parsed<'a> {
    Whole {
        event: &'a [u8],
        length: usize,
    },
    /// Incomplete: the map is at least this long.
    AtLeast(usize),
}

/// Reads a frame's map in any form; the last of several bodies counts, as in Python.
fn parse_map(map: &[u8]) -> Result<Parsed<'_>, FrameError> {
    let more = Ok(Parsed::AtLeast(map.len() + 1));
    let (pairs, mut at) = match map[0] {
        marker @ 0x80..=0x8f => (usize::from(marker & 0x0f), 1),
        0xde => match big_endian(map, 1, 2) {
            Some(pairs) => (pairs, 3),
            None => return more,
        },
        0xdf => match big_endian(map, 1, 4) {
            Some(pairs) => (pairs, 5),
            None => return more,
        },
        marker => return Err(FrameError::NotAMap { marker }),
    };
    let mut event = None;
    let mut body_bytes = 0;
    for _ in 0..pairs {
        let Some(key_end) = value_end(map, at)? else {
            return more;
        };
        let key = map.get(at..key_end);
        at = key_end;
        let Some(value_end) = value_end(map, at)? else {
            return more;
        };
        if key.is_some_and(is_body) {
            let (header, length) = bytes_header(map, at)?;
            body_bytes = length;
            event = Some(at + header..value_end);
        }
        at = value_end;
        if at - body_bytes > MAX_OVERHEAD_BYTES {
            return Err(FrameError::Overhead);
        }
        if at > map.len() {
            return Ok(Parsed::AtLeast(at));
        }
    }
    let event = event.ok_or(FrameError::NoBody)?;
    Ok(Parsed::Whole {
        event: &map[event],
        length: at,
    })
}

/// Where the value at `at` ends, perhaps past the end of `map`; `None` if that is not known yet.
fn value_end(map: &[u8], at: usize) -> Result<Option<usize>, FrameError> {
    let Some(value) = map.get(at..) else {
        return Ok(None);
    };
    match scan::skip_value(value)? {
        Some(length) => Ok(at.checked_add(length)),
        None if value.len() > MAX_OVERHEAD_BYTES => Err(FrameError::Overhead),
        None => Ok(None),
    }
}

/// Whether a msgpack value is the key `body`, as text or bytes of any width.
fn is_body(key: &[u8]) -> bool {
    key.ends_with(b"body")
        && matches!(
            key.strip_suffix(b"body"),
            Some([0xa4] | [0xd9 | 0xc4, 4] | [0xda | 0xc5, 0, 4] | [0xdb | 0xc6, 0, 0, 0, 4])
        )
}

/// The header and payload length of the bytes or text at `at`, whose header is known to be there.
fn bytes_header(map: &[u8], at: usize) -> Result<(usize, usize), FrameError> {
    let marker = map.get(at).copied().unwrap_or(0xc1);
    let (header, width) = match marker {
        0xa0..=0xbf => return Ok((1, usize::from(marker & 0x1f))),
        0xc4 | 0xd9 => (2, 1),
        0xc5 | 0xda => (3, 2),
        0xc6 | 0xdb => (5, 4),
        _ => return Err(FrameError::BodyNotBytes { marker }),
    };
    Ok((header, big_endian(map, at + 1, width).unwrap_or(0)))
}

/// The canonical header of a frame around an event, as every real reader takes it.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; Self::MAX_BYTES],
    length: usize,
}

impl Header {
    /// The longest header, in bytes.
    pub const MAX_BYTES: usize = 4 + CANONICAL.len() + 5;

    /// The header for an event of `event_bytes` bytes.
    ///
    /// # Panics
    /// Never for events within [`MAX_FRAME_BYTES`].
    #[must_use]
    #[inline]
    pub fn new(framing: Framing, event_bytes: usize) -> Self {
        let prefix = framing.prefix_bytes();
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[prefix..prefix + CANONICAL.len()].copy_from_slice(CANONICAL);
        let at = prefix + CANONICAL.len();
        #[allow(clippy::cast_possible_truncation)] // each arm's range fits its width
        let width = match event_bytes {
            0..=0xff => {
                bytes[at] = 0xc4;
                bytes[at + 1] = event_bytes as u8;
                1
            }
            0x100..=0xffff => {
                bytes[at] = 0xc5;
                bytes[at + 1..at + 3].copy_from_slice(&(event_bytes as u16).to_be_bytes());
                2
            }
            _ => {
                assert!(
                    event_bytes <= u32::MAX as usize,
                    "an event larger than msgpack can say"
                );
                bytes[at] = 0xc6;
                bytes[at + 1..at + 5].copy_from_slice(&(event_bytes as u32).to_be_bytes());
                4
            }
        };
        let length = at + 1 + width;
        if framing == Framing::Prefixed {
            #[allow(clippy::cast_possible_truncation)] // limited by MAX_FRAME_BYTES
            let map = (length - prefix + event_bytes) as u32;
            bytes[..prefix].copy_from_slice(&map.to_be_bytes());
        }
        Self { bytes, length }
    }

    /// The bytes to write before the event.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Appends the canonical frame around `event` to `out`.
pub fn encode_frame(framing: Framing, event: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(Header::new(framing, event.len()).as_bytes());
    out.extend_from_slice(event);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn decode_one(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
        Decoder::new(MAX_FRAME_BYTES).next(bytes)
    }

    fn prefixed(map: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(map.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(map);
        bytes
    }

    #[test]
    fn canonical_frames_come_back_at_every_header_width() {
        for size in [0, 1, 255, 256, 65_535, 65_536, 200_000] {
            for framing in [Framing::Bare, Framing::Prefixed] {
                let event = vec![b'x'; size];
                let mut bytes = Vec::new();
                encode_frame(framing, &event, &mut bytes);
                let length = bytes.len();
                bytes.extend_from_slice(b"\x82next");
                let frame = decode_one(&bytes).unwrap().unwrap();
                assert_eq!((frame.event, frame.length), (&event[..], length));
            }
        }
    }

    #[test]
    fn unusual_forms_of_a_frame_are_accepted_in_both_framings() {
        for map in [
            &b"\x82\xa4body\xc4\x01e\xa4head\x80"[..],
            b"\x81\xa4body\xc4\x01e",
            b"\x83\xa4head\x80\xa4body\xc4\x01e\xa1x\x01",
            b"\x82\xa4head\x81\xa3mid\x01\xa4body\xc4\x01e",
            b"\x82\xc4\x04head\x80\xc4\x04body\xc4\x01e",
            b"\xdf\x00\x00\x00\x02\xa4head\x80\xa4body\xc4\x01e",
            b"\xde\x00\x02\xa4head\x80\xa4body\xc4\x01e",
            b"\x82\xa4head\x80\xa4body\xa1e",
            b"\x82\xa4head\x80\xd9\x04body\xda\x00\x01e",
            b"\x82\xa4head\x80\xa4body\xc6\x00\x00\x00\x01e",
        ] {
            assert_eq!(
                decode_one(map),
                Ok(Some(Frame {
                    event: b"e",
                    length: map.len()
                }))
            );
            let bytes = prefixed(map);
            assert_eq!(
                decode_one(&bytes),
                Ok(Some(Frame {
                    event: b"e",
                    length: bytes.len()
                }))
            );
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_by_name() {
        let check = |bytes: &[u8]| decode_one(bytes).unwrap_err();
        assert_eq!(check(b"\xff"), FrameError::NotAFrame { first: 0xff });
        assert_eq!(check(b"\x00\x00\x00\x00"), FrameError::Empty);
        assert_eq!(check(&prefixed(b"\x01")), FrameError::NotAMap { marker: 1 });
        assert_eq!(check(b"\x81\xa4head\x80"), FrameError::NoBody);
        assert_eq!(check(b"\x80"), FrameError::NoBody);
        assert_eq!(
            check(b"\x81\xa4body\x80"),
            FrameError::BodyNotBytes { marker: 0x80 }
        );
        assert_eq!(
            check(b"\x81\xa4body\x07"),
            FrameError::BodyNotBytes { marker: 7 }
        );
        assert!(matches!(
            check(b"\x81\xa4body\xc1"),
            FrameError::NotMsgpack(_)
        ));
        assert_eq!(
            check(&prefixed(b"\x81\xa4body\xc4\x01e\x00")),
            FrameError::LengthMismatch { declared: 10 }
        );
        assert_eq!(
            check(&prefixed(b"\x81\xa4body\xc4\x05e")),
            FrameError::LengthMismatch { declared: 9 }
        );
    }

    #[test]
    fn too_large_a_frame_is_refused_by_its_header() {
        let mut decoder = Decoder::new(1000);
        assert!(matches!(
            decoder.next(b"\x00\x00\x03\xe9"),
            Err(FrameError::TooLarge { .. })
        ));
        let mut decoder = Decoder::new(1000);
        let header = b"\x82\xa4head\x80\xa4body\xc6\x00\x00\x10\x00";
        assert!(matches!(
            decoder.next(header),
            Err(FrameError::TooLarge { .. })
        ));
        let mut decoder = Decoder::new(1000);
        let header = b"\x82\xa4body\xc6\x00\x00\x10\x00";
        assert!(matches!(
            decoder.next(header),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn endless_overhead_is_refused() {
        let mut bytes = b"\x82\xa4head\xdd\x00\x10\x00\x00".to_vec();
        bytes.resize(bytes.len() + MAX_OVERHEAD_BYTES + 1, 0);
        assert_eq!(decode_one(&bytes), Err(FrameError::Overhead));
        let mut bytes = b"\xdf\x00\x10\x00\x00".to_vec();
        bytes.resize(bytes.len() + MAX_OVERHEAD_BYTES + 2, 0);
        assert_eq!(decode_one(&bytes), Err(FrameError::Overhead));
    }

    #[test]
    fn a_decoder_says_how_much_it_wants() {
        let mut bytes = Vec::new();
        encode_frame(Framing::Prefixed, &[b'x'; 500], &mut bytes);
        let mut decoder = Decoder::new(MAX_FRAME_BYTES);
        assert_eq!(decoder.next(&bytes[..30]), Ok(None));
        assert_eq!(decoder.wanted(), bytes.len());
    }

    #[test]
    fn a_connection_never_changes_its_framing() {
        let mut decoder = Decoder::new(MAX_FRAME_BYTES);
        let mut bytes = Vec::new();
        encode_frame(Framing::Prefixed, b"e", &mut bytes);
        assert!(decoder.next(&bytes).unwrap().is_some());
        bytes.clear();
        encode_frame(Framing::Bare, b"e", &mut bytes);
        assert!(matches!(
            decoder.next(&bytes),
            Err(FrameError::TooLarge { .. })
        ));
    }

    fn frames() -> impl Strategy<Value = (Framing, Vec<Vec<u8>>)> {
        (
            prop_oneof![Just(Framing::Bare), Just(Framing::Prefixed)],
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..8),
        )
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_gives_the_same_events((framing, events) in frames(), step in 1usize..64) {
            let mut stream = Vec::new();
            for event in &events {
                encode_frame(framing, event, &mut stream);
            }
            let mut decoder = Decoder::new(MAX_FRAME_BYTES);
            let (mut start, mut end, mut got) = (0, 0, Vec::new());
            while end < stream.len() {
                end = (end + step).min(stream.len());
                while let Some(frame) = decoder.next(&stream[start..end]).unwrap() {
                    got.push(frame.event.to_vec());
                    start += frame.length;
                }
                prop_assert!(start == end || decoder.wanted() > end - start);
            }
            prop_assert_eq!(got, events);
            prop_assert_eq!(decoder.framing(), Some(framing));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::new(1 << 20);
            let mut at = 0;
            while let Ok(Some(frame)) = decoder.next(&bytes[at..]) {
                at += frame.length;
            }
        }
    }
}
