//! ZMTP 3, the bytes of the ZeroMQ transport, as a master's two ports and a minion's connections to them speak it.
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

/// Which of the four ends of the two kinds of connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// A master's for requests: a `ROUTER` for `REQ` and `DEALER`.
    Router,
    /// A master's for publishes: a `PUB` for `SUB` and `XSUB`.
    Pub,
    /// A minion's for requests: a `REQ` for `ROUTER` and `REP`.
    Req,
    /// A minion's for publishes: a `SUB` for `PUB` and `XPUB`.
    Sub,
}

impl Socket {
    /// Our part of the handshake.
    const fn ready(self) -> &'static [u8] {
        match self {
            Self::Router => b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0",
            Self::Pub => b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB",
            Self::Req => b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x03REQ\x08Identity\0\0\0\0",
            Self::Sub => b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB",
        }
    }

    const fn suits(self, socket_type: &[u8]) -> bool {
        matches!(
            (self, socket_type),
            (Self::Router, b"REQ" | b"DEALER")
                | (Self::Pub, b"SUB" | b"XSUB")
                | (Self::Req, b"ROUTER" | b"REP")
                | (Self::Sub, b"PUB" | b"XPUB")
        )
    }

    /// Whether we are the end that connects. It sends its `READY` first: a master's ports wait for it, since libzmq
    /// closes connections on which anything follows a `READY` that it has yet to read.
    const fn connects(self) -> bool {
        matches!(self, Self::Req | Self::Sub)
    }
}

/// Why bytes are no ZMTP, or none for this socket. The connection is over after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZmtpError {
    /// Another protocol, an older version, or a mechanism that Salt does not use.
    #[error("the greeting is not one of ZMTP 3 with the mechanism NULL")]
    Greeting,
    /// The handshake's command is no `READY`.
    #[error("the first command is not READY")]
    Handshake,
    /// The other socket is not of a type that talks to ours.
    #[error("the socket type of the other side does not fit ours")]
    SocketType,
    /// Flags that mean nothing.
    #[error("invalid flags of a frame: 0x{flags:02x}")]
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
    /// A message without an empty frame before its body (requests and replies), with more than one topic before it
    /// (publishes), or with frames behind it.
    #[error("the message is not one body after one frame")]
    Message,
}

/// What a step found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing that anybody need know.
    Nothing,
    /// These bytes are to be sent back.
    Reply(Vec<u8>),
    /// The connection that we made is ready for messages.
    Ready,
    /// A request, with the frames that its reply must begin with, for [`encode_reply`]; or such a reply.
    Message {
        /// Frames as they are sent, the delimiter last.
        envelope: Vec<u8>,
        /// The payload.
        body: &'a [u8],
    },
    /// A publish.
    Publish {
        /// Its topic, if it has one (`zmq_filtering`).
        topic: Option<Vec<u8>>,
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
    socket: Socket,
    max_bytes: usize,
    state: State,
    /// The frames of a request so far, as they go back; or a publish's topic.
    envelope: Vec<u8>,
    /// The next frame is a body.
    delimited: bool,
    wanted: usize,
}

struct Frame {
    flags: u8,
    header: usize,
    length: usize,
}

impl Decoder {
    /// A decoder for a connection whose messages may have `max_bytes`.
    #[must_use]
    pub const fn new(socket: Socket, max_bytes: usize) -> Self {
        Self {
            socket,
            max_bytes,
            state: State::Greeting,
            envelope: Vec::new(),
            delimited: false,
            wanted: 1,
        }
    }

    /// Changes the limit, from the next frame on.
    pub const fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
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
            State::Traffic => match self.socket {
                Socket::Pub => subscription(content),
                Socket::Sub => self.part_of_publish(frame.flags, content)?,
                Socket::Router | Socket::Req => self.part_of_request(frame.flags, content)?,
            },
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
        let step = match self.socket.connects() {
            true => Step::Reply(self.socket.ready().to_vec()),
            false => Step::Nothing,
        };
        Ok(Some((GREETING.len(), step)))
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
        let limit = match self.socket {
            _ if self.state != State::Traffic || is_command => MAX_COMMAND,
            Socket::Pub => MAX_COMMAND,
            Socket::Sub if flags & MORE == 0 => self.max_bytes,
            Socket::Router | Socket::Req if self.delimited => self.max_bytes,
            Socket::Sub | Socket::Router | Socket::Req => MAX_ENVELOPE,
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
            if !self.socket.suits(socket_type) {
                return Err(ZmtpError::SocketType);
            }
            self.state = State::Traffic;
            return Ok(match self.socket.connects() {
                true => Step::Ready,
                false => Step::Reply(self.socket.ready().to_vec()),
            });
        }
        Ok(match (name, self.socket) {
            (b"PING", _) => Step::Reply(pong(rest)),
            (b"SUBSCRIBE", Socket::Pub) => Step::Subscribe(rest),
            (b"CANCEL", Socket::Pub) => Step::Cancel(rest),
            _ => Step::Nothing,
        })
    }

    fn part_of_request<'a>(&mut self, flags: u8, content: &'a [u8]) -> Result<Step<'a>, ZmtpError> {
        let has_more = flags & MORE != 0;
        // What is large may only come behind the delimiter, and nothing behind that.
        if self.delimited == has_more {
            return Err(ZmtpError::Message);
        }
        if self.delimited {
            self.delimited = false;
            return Ok(Step::Message {
                envelope: core::mem::take(&mut self.envelope),
                body: content,
            });
        }
        if self.socket == Socket::Req && !content.is_empty() {
            return Err(ZmtpError::Message); // a reply begins with what we sent: one empty frame
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

    fn part_of_publish<'a>(&mut self, flags: u8, content: &'a [u8]) -> Result<Step<'a>, ZmtpError> {
        if flags & MORE == 0 {
            let topic = core::mem::take(&mut self.envelope);
            let topic = core::mem::take(&mut self.delimited).then_some(topic);
            return Ok(Step::Publish {
                topic,
                body: content,
            });
        }
        if self.delimited {
            return Err(ZmtpError::Message);
        }
        self.envelope = content.to_vec();
        self.delimited = true;
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

/// A request.
#[must_use]
pub fn encode_request(body: &[u8]) -> Vec<u8> {
    encode_reply(&[MORE, 0], body)
}

/// A subscription to messages that begin so, in the form that peers of every version read.
#[must_use]
pub fn encode_subscription(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(0, &[&[1], prefix].concat(), &mut bytes);
    bytes
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
mod tests;
