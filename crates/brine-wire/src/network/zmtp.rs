//! ZMTP 3, the bytes of the ZeroMQ transport, as a master's two ports speak it to strangers.
//!
//! Both ends greet, shake hands with the mechanism `NULL`, and then send frames: commands, and messages of
//! several frames. The [`Decoder`] takes one step at a time from bytes that its caller buffers; what it keeps of
//! a message under way is bounded, and how much more it needs is known before it has come.
//! Facts: `docs/protocol/network.md` §2.1; <https://rfc.zeromq.org/spec/37/>.

use alloc::vec::Vec;

/// The greeting: signature, version 3.1, mechanism, not "as server".
pub const GREETING: [u8; 64] =
    *b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A command that asks whether the other side is there.
pub const PING: &[u8] = b"\x04\x07\x04PING\0\0";

/// The largest command, in bytes: a topic and room to spare.
const MAX_COMMAND: usize = 1024;
/// The bytes of all frames before the body of a request; real requesters send an empty one.
const MAX_ENVELOPE: usize = 512;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Which port it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Requests: a `ROUTER` for `REQ` and `DEALER`.
    Requests,
    /// Publishes: a `PUB` for `SUB` and `XSUB`.
    Publishes,
}

impl Port {
    /// Our part of the handshake.
    const fn ready(self) -> &'static [u8] {
        match self {
            Self::Requests => {
                b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0"
            }
            Self::Publishes => b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB",
        }
    }

    const fn suits(self, socket_type: &[u8]) -> bool {
        matches!(
            (self, socket_type),
            (Self::Requests, b"REQ" | b"DEALER") | (Self::Publishes, b"SUB" | b"XSUB")
        )
    }
}

/// Why bytes are no ZMTP, or none for this port. The connection is over after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// Another protocol, an older version, or a mechanism that Salt does not use.
    #[error("expected a greeting of ZMTP 3 with the mechanism NULL, found something else")]
    Greeting,
    /// The handshake's command is no `READY`.
    #[error("expected the command READY, found something else")]
    Handshake,
    /// The other socket is not of a type that talks to this port.
    #[error("expected a socket type that fits the port, found another")]
    SocketType,
    /// Flags that mean nothing.
    #[error("expected the flags of a frame, found 0x{flags:02x}")]
    Flags {
        /// What came.
        flags: u8,
    },
    /// The frame is larger than one in its place may be.
    #[error("expected a frame of at most {limit} bytes, found one of {declared}")]
    TooLarge {
        /// The size in its header.
        declared: u64,
        /// The limit.
        limit: usize,
    },
    /// A message without an empty frame before its body, or with frames behind it.
    #[error("expected an empty frame and one body, found another message")]
    NoRequest,
}

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing that anybody need know.
    Nothing,
    /// These bytes are to be sent back.
    Reply(Vec<u8>),
    /// A request, with the frames that its reply must begin with, for [`encode_reply`].
    Request {
        /// Frames as they are sent, the delimiter last.
        envelope: Vec<u8>,
        /// The payload.
        body: &'a [u8],
    },
    /// The peer wants messages that begin so.
    Subscribe(&'a [u8]),
    /// It wants them no longer.
    Cancel(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Handshake,
    Traffic,
}

/// Takes the bytes of one connection apart.
#[derive(Debug, Clone)]
pub struct Decoder {
    port: Port,
    max_bytes: usize,
    state: State,
    /// The frames of a request so far, as they go back.
    envelope: Vec<u8>,
    delimited: bool,
    wanted: usize,
}

struct Frame {
    flags: u8,
    header: usize,
    length: usize,
}

impl Decoder {
    /// A decoder for a connection whose requests may have `max_bytes`.
    #[must_use]
    pub const fn new(port: Port, max_bytes: usize) -> Self {
        Self {
            port,
            max_bytes,
            state: State::Greeting,
            envelope: Vec::new(),
            delimited: false,
            wanted: 1,
        }
    }

    /// How many bytes what is under way is known to need.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// What the start of `buffer` holds and how many bytes it takes, `None` if it is incomplete. Until then
    /// `buffer` must keep its start; after it those bytes are to be taken off.
    ///
    /// # Errors
    /// [`ZmtpError`].
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Result<Option<(usize, Step<'a>)>, ZmtpError> {
        if self.state == State::Greeting {
            return self.greeting(buffer);
        }
        let Some(frame) = self.header(buffer)? else {
            return Ok(None);
        };
        let end = frame.header.saturating_add(frame.length);
        self.wanted = end;
        let Some(content) = buffer.get(frame.header..end) else {
            return Ok(None);
        };
        self.wanted = 1;
        let step = match self.state {
            _ if frame.flags & COMMAND != 0 => self.command(content)?,
            State::Traffic if self.port == Port::Publishes => subscription(content),
            State::Traffic => self.part_of_request(frame.flags, content)?,
            State::Greeting | State::Handshake => return Err(ZmtpError::Handshake),
        };
        Ok(Some((end, step)))
    }

    /// Refuses what is none as soon as it shows.
    fn greeting<'a>(&mut self, buffer: &[u8]) -> Result<Option<(usize, Step<'a>)>, ZmtpError> {
        const ANY: core::ops::Range<usize> = 1..9;
        const MAJOR: usize = 10;
        const MECHANISM: core::ops::Range<usize> = 12..32;
        let fits = |at: usize, byte: u8| match at {
            MAJOR => byte >= GREETING[MAJOR],
            _ if at == 0 || at == 9 || MECHANISM.contains(&at) => byte == GREETING[at],
            _ => ANY.contains(&at) || at > 10,
        };
        let come = buffer.iter().take(GREETING.len()).enumerate();
        if !come.into_iter().all(|(at, &byte)| fits(at, byte)) {
            return Err(ZmtpError::Greeting);
        }
        self.wanted = GREETING.len();
        if buffer.len() < GREETING.len() {
            return Ok(None);
        }
        self.state = State::Handshake;
        self.wanted = 1;
        Ok(Some((GREETING.len(), Step::Nothing)))
    }

    /// The frame at the start, if its header has come and its size is one it may have.
    fn header(&self, buffer: &[u8]) -> Result<Option<Frame>, ZmtpError> {
        let Some(&flags) = buffer.first() else {
            return Ok(None);
        };
        let is_command = flags & COMMAND != 0;
        if flags & !(MORE | LONG | COMMAND) != 0 || (is_command && flags & MORE != 0) {
            return Err(ZmtpError::Flags { flags });
        }
        let (header, declared) = if flags & LONG == 0 {
            let Some(&length) = buffer.get(1) else {
                return Ok(None);
            };
            (2, u64::from(length))
        } else {
            let Some(length) = buffer.get(1..).and_then(|rest| rest.first_chunk::<8>()) else {
                return Ok(None);
            };
            (9, u64::from_be_bytes(*length))
        };
        let limit = match self.port {
            Port::Requests if self.state == State::Traffic && !is_command => match self.delimited {
                true => self.max_bytes,
                false => MAX_ENVELOPE,
            },
            _ => MAX_COMMAND,
        };
        match usize::try_from(declared) {
            Ok(length) if length <= limit => Ok(Some(Frame {
                flags,
                header,
                length,
            })),
            _ => Err(ZmtpError::TooLarge { declared, limit }),
        }
    }

    fn command<'a>(&mut self, content: &'a [u8]) -> Result<Step<'a>, ZmtpError> {
        let Some((name, rest)) = text(content, 1) else {
            return Err(ZmtpError::Handshake);
        };
        if self.state == State::Handshake {
            if name != b"READY" {
                return Err(ZmtpError::Handshake);
            }
            let socket_type = property(rest, b"Socket-Type").ok_or(ZmtpError::Handshake)?;
            if !self.port.suits(socket_type) {
                return Err(ZmtpError::SocketType);
            }
            self.state = State::Traffic;
            return Ok(Step::Reply(self.port.ready().to_vec()));
        }
        Ok(match (name, self.port) {
            (b"PING", _) => Step::Reply(pong(rest)),
            (b"SUBSCRIBE", Port::Publishes) => Step::Subscribe(rest),
            (b"CANCEL", Port::Publishes) => Step::Cancel(rest),
            _ => Step::Nothing,
        })
    }

    fn part_of_request<'a>(&mut self, flags: u8, content: &'a [u8]) -> Result<Step<'a>, ZmtpError> {
        let has_more = flags & MORE != 0;
        // What is large may only come behind the delimiter, and nothing behind that.
        if self.delimited == has_more {
            return Err(ZmtpError::NoRequest);
        }
        if self.delimited {
            self.delimited = false;
            return Ok(Step::Request {
                envelope: core::mem::take(&mut self.envelope),
                body: content,
            });
        }
        frame(MORE, content, &mut self.envelope);
        if self.envelope.len() > MAX_ENVELOPE {
            return Err(ZmtpError::TooLarge {
                declared: self.envelope.len() as u64,
                limit: MAX_ENVELOPE,
            });
        }
        self.delimited = content.is_empty();
        Ok(Step::Nothing)
    }
}

/// A subscription as 3.0 peers send it: a message of 1 or 0 and the topic.
const fn subscription(content: &[u8]) -> Step<'_> {
    match content {
        [1, topic @ ..] => Step::Subscribe(topic),
        [0, topic @ ..] => Step::Cancel(topic),
        _ => Step::Nothing,
    }
}

/// The answer to a `PING` of a time to live and a context that comes back.
fn pong(ping: &[u8]) -> Vec<u8> {
    const MAX_CONTEXT: usize = 16;
    let context = ping.get(2..).unwrap_or_default();
    let context = context.get(..MAX_CONTEXT).unwrap_or(context);
    let mut pong = Vec::new();
    frame(COMMAND, &[b"\x04PONG", context].concat(), &mut pong);
    pong
}

/// Bytes behind a length of `width` bytes, and what follows them.
fn text(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length
        .iter()
        .fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

/// The value of a property of a handshake; names are the same in any case.
fn property<'a>(mut properties: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    loop {
        let (name, rest) = text(properties, 1)?;
        let (value, rest) = text(rest, 4)?;
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        properties = rest;
    }
}

/// Adds a frame.
fn frame(flags: u8, content: &[u8], bytes: &mut Vec<u8>) {
    match u8::try_from(content.len()) {
        Ok(length) => bytes.extend_from_slice(&[flags, length]),
        Err(_) => {
            bytes.push(flags | LONG);
            bytes.extend_from_slice(&(content.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
}

/// A reply to a request with this envelope.
#[must_use]
pub fn encode_reply(envelope: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(envelope.len() + body.len() + 9);
    bytes.extend_from_slice(envelope);
    frame(0, body, &mut bytes);
    bytes
}

/// A publish: its payload, behind its topic if it has one (`zmq_filtering`).
#[must_use]
pub fn encode_publish(topic: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 64);
    if let Some(topic) = topic {
        frame(MORE, topic.as_bytes(), &mut bytes);
    }
    frame(0, payload, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const READY_REQ: &[u8] = b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0";
    const READY_SUB: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB";

    fn steps(decoder: &mut Decoder, mut bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, ZmtpError> {
        let mut found = Vec::new();
        while let Some((length, step)) = decoder.next(bytes)? {
            let told = match step {
                Step::Nothing => (0, Vec::new()),
                Step::Reply(bytes) => (1, bytes),
                Step::Request { envelope, body } => (2, [&envelope[..], body].concat()),
                Step::Subscribe(topic) => (3, topic.to_vec()),
                Step::Cancel(topic) => (4, topic.to_vec()),
            };
            if told.0 != 0 {
                found.push(told);
            }
            bytes = &bytes[length..];
        }
        Ok(found)
    }

    fn open(port: Port) -> Decoder {
        let mut decoder = Decoder::new(port, 10_000);
        let ready = match port {
            Port::Requests => READY_REQ,
            Port::Publishes => READY_SUB,
        };
        let found = steps(&mut decoder, &[&GREETING[..], ready].concat()).unwrap();
        assert_eq!(found, [(1, port.ready().to_vec())]);
        decoder
    }

    #[test]
    fn a_request_comes_back_behind_its_envelope() {
        let mut decoder = open(Port::Requests);
        let found = steps(&mut decoder, b"\x01\x02id\x01\x00\x00\x04body").unwrap();
        assert_eq!(found, [(2, b"\x01\x02id\x01\x00body".to_vec())]);
        assert_eq!(encode_reply(b"\x01\x00", b"yes"), b"\x01\x00\x00\x03yes");
        let large = vec![7; 300];
        let reply = encode_reply(b"\x01\x00", &large);
        assert_eq!(reply[..11], *b"\x01\x00\x02\0\0\0\0\0\0\x01\x2c");
        assert_eq!(
            steps(&mut decoder, &reply).unwrap(),
            [(2, [b"\x01\x00", &large[..]].concat())]
        );
    }

    #[test]
    fn subscriptions_are_commands_or_messages() {
        let mut decoder = open(Port::Publishes);
        let found = steps(
            &mut decoder,
            b"\x04\x0b\x09SUBSCRIBEa\x04\x08\x06CANCELa\x00\x02\x01b\x00\x02\x00b\x00\x00",
        );
        let topic = |kind, topic: &str| (kind, topic.as_bytes().to_vec());
        let expected = [topic(3, "a"), topic(4, "a"), topic(3, "b"), topic(4, "b")];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn pings_are_answered_with_their_context() {
        let mut decoder = open(Port::Requests);
        let found = steps(&mut decoder, b"\x04\x0a\x04PING\0\x05abc").unwrap();
        assert_eq!(found, [(1, b"\x04\x08\x04PONGabc".to_vec())]);
        assert_eq!(
            steps(&mut decoder, PING).unwrap(),
            [(1, b"\x04\x05\x04PONG".to_vec())]
        );
    }

    #[test]
    fn strangers_end_where_they_show_it() {
        let error = |bytes: &[u8]| steps(&mut Decoder::new(Port::Requests, 99), bytes).unwrap_err();
        assert_eq!(error(b"GET / HTTP/1.1"), ZmtpError::Greeting);
        assert_eq!(
            error(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01"),
            ZmtpError::Greeting
        );
        assert_eq!(
            error(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01CURVE"),
            ZmtpError::Greeting
        );
        let then = |bytes: &[u8]| error(&[&GREETING[..], bytes].concat());
        assert_eq!(then(READY_SUB), ZmtpError::SocketType);
        assert_eq!(then(b"\x04\x00"), ZmtpError::Handshake);
        assert_eq!(then(b"\x00\x01a"), ZmtpError::Handshake);
        assert_eq!(then(b"\x08"), ZmtpError::Flags { flags: 8 });
        assert_eq!(then(b"\x05"), ZmtpError::Flags { flags: 5 });
        let huge = b"\x06\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(matches!(
            then(huge),
            ZmtpError::TooLarge {
                limit: MAX_COMMAND,
                ..
            }
        ));
    }

    #[test]
    fn a_message_without_end_is_none() {
        let error = |bytes: &[u8]| steps(&mut open(Port::Requests), bytes).unwrap_err();
        assert_eq!(error(b"\x01\x00\x01\x01a"), ZmtpError::NoRequest);
        assert_eq!(error(b"\x00\x01a"), ZmtpError::NoRequest);
        let many = b"\x01\x01a".repeat(MAX_ENVELOPE / 3 + 1);
        assert!(matches!(
            error(&many),
            ZmtpError::TooLarge {
                limit: MAX_ENVELOPE,
                ..
            }
        ));
        let early = b"\x03\0\0\0\0\0\0\x10\0";
        assert!(matches!(
            error(early),
            ZmtpError::TooLarge {
                limit: MAX_ENVELOPE,
                ..
            }
        ));
        let body = b"\x01\x00\x02\0\0\0\0\0\0\x27\x11";
        assert!(matches!(
            error(body),
            ZmtpError::TooLarge { limit: 10_000, .. }
        ));
    }

    #[test]
    fn how_much_is_needed_is_known_from_the_header() {
        let mut decoder = open(Port::Requests);
        assert_eq!(decoder.wanted(), 1);
        assert_eq!(
            steps(&mut decoder, b"\x01\x00\x02\0\0\0\0\0\0\x20\0ab").unwrap(),
            []
        );
        assert_eq!(decoder.wanted(), 9 + 0x2000);
    }

    proptest! {
        #[test]
        fn what_comes_does_not_hang_on_how_it_is_cut(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..5),
            step in 1_usize..50,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| encode_reply(b"\x01\x00", body)).collect();
            let (mut decoder, mut start, mut end, mut found) = (open(Port::Requests), 0, 0, Vec::new());
            while end < stream.len() {
                end = (end + step).min(stream.len());
                while let Some((length, step)) = decoder.next(&stream[start..end]).unwrap() {
                    start += length;
                    if let Step::Request { body, .. } = step {
                        found.push(body.to_vec());
                    }
                }
            }
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), is_request: bool) {
            let port = if is_request { Port::Requests } else { Port::Publishes };
            let _ = steps(&mut open(port), &bytes);
            let _ = steps(&mut Decoder::new(port, 100), &bytes);
        }
    }
}
