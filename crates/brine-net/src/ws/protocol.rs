//! WebSockets as Salt's transport uses them: the opening handshake, then one binary message for each payload. No I/O.
//!
//! Headers of frames and of HTTP are read and written by `tungstenite`. Messages are put together here, so that the
//! size of one that is arriving is known, and limited, before it has arrived. Facts: `docs/protocol/network.md` §2.3.

use std::io::Cursor;

use tungstenite::handshake::client::{self, generate_key};
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::{derive_accept_key, server};
use tungstenite::http::StatusCode;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::crypto;

/// The longest handshake, in bytes. Salt's have 300.
const MAX_HANDSHAKE_BYTES: usize = 8 * 1024;
/// The longest payload of a ping or close frame, in bytes (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: u64 = 125;
/// The text message that ends a connection of Salt's, as a close frame does.
const CLOSE: &[u8] = b"close";
/// The code of a close frame: the message before it was too large.
const TOO_BIG: u16 = 1009;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WsError {
    /// Neither a handshake nor a frame.
    #[error("invalid WebSocket handshake: {0}")]
    NotWebSocket(#[from] Box<tungstenite::Error>),
    /// The handshake has no end.
    #[error("handshake of more than {MAX_HANDSHAKE_BYTES} bytes")]
    LongHandshake,
    /// The other side does not want to speak WebSocket, or not with us.
    #[error("the WebSocket was refused: HTTP {status}")]
    Refused {
        /// The status of its answer.
        status: u16,
    },
    /// The answer to the handshake is not one to ours.
    #[error("the answer to the WebSocket handshake has the wrong Sec-WebSocket-Accept")]
    WrongAccept,
    /// A frame that may not be, or not here.
    #[error("invalid WebSocket frame: {reason}")]
    Frame {
        /// What is wrong.
        reason: &'static str,
    },
    /// A message over the limit.
    #[error("message of {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size, as far as it is known.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// The other side takes no message of the size of ours.
    #[error("the other side refuses a message of this size")]
    RefusedAsTooLarge,
}

impl From<tungstenite::Error> for WsError {
    fn from(error: tungstenite::Error) -> Self {
        Self::NotWebSocket(Box::new(error))
    }
}

/// What comes next on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that anybody need know.
    Nothing,
    /// The handshake is done. The server sends these bytes.
    Opened(Vec<u8>),
    /// These bytes are to be sent back.
    Reply(Vec<u8>),
    /// The other side ends the connection. These bytes are the last to be sent.
    Close(Vec<u8>),
    /// A message.
    Message(Vec<u8>),
}

/// Which end this is. Clients mask what they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

/// Reads one end of a connection from bytes that its caller buffers.
#[derive(Debug)]
pub(super) struct Decoder {
    end: End,
    state: State,
    max_bytes: usize,
    /// The known size of the frame at the start of the buffer.
    frame_bytes: usize,
    /// What has come of a message in several frames, and its kind.
    message: Option<(Data, Vec<u8>)>,
}

#[derive(Debug)]
enum State {
    AwaitRequest,
    AwaitResponse { accept: String },
    Open,
}

impl Decoder {
    /// For a server's connection.
    pub(super) const fn server(max_bytes: usize) -> Self {
        Self::new(End::Server, State::AwaitRequest, max_bytes)
    }

    /// For a client's connection, with the handshake that it begins with.
    pub(super) fn client(host: &str, path: &str, max_bytes: usize) -> (Self, Vec<u8>) {
        let key = generate_key();
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        let accept = derive_accept_key(key.as_bytes());
        let state = State::AwaitResponse { accept };
        (
            Self::new(End::Client, state, max_bytes),
            handshake.into_bytes(),
        )
    }

    const fn new(end: End, state: State, max_bytes: usize) -> Self {
        Self {
            end,
            state,
            max_bytes,
            frame_bytes: 0,
            message: None,
        }
    }

    /// Sets another limit, for the message under way too.
    pub(super) const fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// How many bytes of the unfinished message are known to be needed.
    pub(super) fn wanted(&self) -> usize {
        self.kept().saturating_add(self.frame_bytes)
    }

    /// How many bytes have come of a message in several frames.
    fn kept(&self) -> usize {
        self.message.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// What is at the start of `buffer`, and how many of its bytes that took; `None` if it is incomplete.
    ///
    /// # Errors
    /// [`WsError`].
    pub(super) fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Step)>, WsError> {
        let opened = match &self.state {
            State::Open => return self.frame(buffer),
            State::AwaitRequest => answer(buffer)?,
            State::AwaitResponse { accept } => check_answer(buffer, accept)?,
        };
        match opened {
            Some(_) => self.state = State::Open,
            None if buffer.len() > MAX_HANDSHAKE_BYTES => return Err(WsError::LongHandshake),
            None => {}
        }
        Ok(opened)
    }

    fn frame(&mut self, buffer: &[u8]) -> Result<Option<(usize, Step)>, WsError> {
        let mut at = Cursor::new(buffer);
        let Some((header, length)) = FrameHeader::parse(&mut at)? else {
            return Ok(None);
        };
        self.check(&header, length)?;
        let (Ok(start), Ok(length)) = (usize::try_from(at.position()), usize::try_from(length))
        else {
            return Err(invalid("its length is beyond this machine's"));
        };
        self.frame_bytes = start + length;
        let Some(payload) = buffer.get(start..start + length) else {
            return Ok(None);
        };
        self.frame_bytes = 0;
        let step = match header.opcode {
            OpCode::Control(Control::Ping) => {
                let payload = unmasked(&header, payload);
                Step::Reply(encode(OpCode::Control(Control::Pong), payload, self.end))
            }
            OpCode::Control(Control::Close) => {
                let payload = unmasked(&header, payload);
                if payload.starts_with(&TOO_BIG.to_be_bytes()) {
                    return Err(WsError::RefusedAsTooLarge);
                }
                self.close(payload)
            }
            OpCode::Control(_) => Step::Nothing,
            OpCode::Data(kind) => self.part(&header, kind, payload),
        };
        Ok(Some((start + length, step)))
    }

    /// Refuses a frame by its header.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), WsError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(invalid("it needs an extension"));
        }
        if header.mask.is_some() != (self.end == End::Server) {
            return Err(invalid("clients mask what they send, servers do not"));
        }
        let OpCode::Data(kind) = header.opcode else {
            return match header.is_final && length <= MAX_CONTROL_BYTES {
                true => Ok(()),
                false => Err(invalid("a ping or close of this size")),
            };
        };
        if (kind == Data::Continue) != self.message.is_some() {
            return Err(invalid("the parts of a message are not in order"));
        }
        let bytes = length.saturating_add(self.kept() as u64);
        match bytes > self.max_bytes as u64 {
            true => Err(WsError::TooLarge {
                bytes,
                limit: self.max_bytes,
            }),
            false => Ok(()),
        }
    }

    fn part(&mut self, header: &FrameHeader, kind: Data, payload: &[u8]) -> Step {
        let (kind, mut message) = self.message.take().unwrap_or((kind, Vec::new()));
        let begun = message.len();
        message.extend_from_slice(payload);
        unmask(header, &mut message[begun..]);
        if !header.is_final {
            self.message = Some((kind, message));
            return Step::Nothing;
        }
        match kind {
            Data::Binary => Step::Message(message),
            _ if message == CLOSE => self.close(Vec::new()),
            _ => Step::Nothing,
        }
    }

    fn close(&self, payload: Vec<u8>) -> Step {
        Step::Close(encode(OpCode::Control(Control::Close), payload, self.end))
    }
}

const fn invalid(reason: &'static str) -> WsError {
    WsError::Frame { reason }
}

/// The answer to a client's handshake. Paths are not looked at: Salt's clients ask for `/` and `/ws`.
fn answer(buffer: &[u8]) -> Result<Option<(usize, Step)>, WsError> {
    let Some((length, request)) = server::Request::try_parse(buffer)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    server::write_response(&mut bytes, &server::create_response(&request)?)?;
    Ok(Some((length, Step::Opened(bytes))))
}

/// Checks a server's answer to our handshake.
fn check_answer(buffer: &[u8], accept: &str) -> Result<Option<(usize, Step)>, WsError> {
    let Some((length, response)) = client::Response::try_parse(buffer)? else {
        return Ok(None);
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        return Err(WsError::Refused { status });
    }
    match response.headers().get("sec-websocket-accept") {
        Some(found) if found == accept => Ok(Some((length, Step::Opened(Vec::new())))),
        _ => Err(WsError::WrongAccept),
    }
}

/// A message as one end sends it.
pub(super) fn encode_message(message: Vec<u8>, end: End) -> Vec<u8> {
    encode(OpCode::Data(Data::Binary), message, end)
}

fn encode(opcode: OpCode, payload: Vec<u8>, end: End) -> Vec<u8> {
    let mask = match end {
        // A mask keeps web pages from speaking to proxies in a client's name, and nothing secret.
        End::Client => Some(crypto::random().unwrap_or_default()),
        End::Server => None,
    };
    let header = FrameHeader {
        is_final: true,
        opcode,
        mask,
        ..FrameHeader::default()
    };
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    let written = Frame::from_payload(header, payload.into()).format(&mut bytes);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    bytes
}

fn unmasked(header: &FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    unmask(header, &mut payload);
    payload
}

fn unmask(header: &FrameHeader, payload: &mut [u8]) {
    if let Some(mask) = header.mask {
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// What is found in a connection's bytes does not depend on how they are cut, and no more is kept than is allowed. The
/// first byte is how many come at a time.
pub fn fuzz_websocket(bytes: &[u8]) {
    const MAX_BYTES: usize = 4096;
    let Some((&piece, stream)) = bytes.split_first() else {
        return;
    };
    let found = |end, state: State, piece: usize| {
        let mut decoder = Decoder::new(end, state, MAX_BYTES);
        let (mut found, mut start) = (Vec::new(), 0);
        for end in (0..stream.len()).step_by(piece).map(|at| at + piece) {
            loop {
                match decoder.next(&stream[start..end.min(stream.len())]) {
                    Ok(Some((length, step))) => {
                        start += length;
                        // Answers of clients have masks at random.
                        found.push(std::mem::discriminant(&step));
                    }
                    Ok(None) => break,
                    Err(_) => return (found, true),
                }
                assert!(decoder.wanted() <= MAX_BYTES + 14 + 125);
            }
        }
        (found, false)
    };
    for end in [End::Server, End::Client] {
        let whole = found(end, State::Open, stream.len().max(1));
        assert_eq!(found(end, State::Open, usize::from(piece).max(1)), whole);
    }
    let await_response = || State::AwaitResponse {
        accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(),
    };
    let _ = found(End::Server, State::AwaitRequest, usize::from(piece).max(1));
    let _ = found(End::Client, await_response(), usize::from(piece).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends, after their handshakes.
    fn opened(max_bytes: usize) -> (Decoder, Decoder) {
        let (mut client, request) = Decoder::client("master:4506", "/", max_bytes);
        let mut server = Decoder::server(max_bytes);
        let Ok(Some((length, Step::Opened(response)))) = server.next(&request) else {
            panic!("the handshake is not answered");
        };
        assert_eq!(length, request.len());
        let answered = client.next(&response).unwrap();
        assert_eq!(answered, Some((response.len(), Step::Opened(Vec::new()))));
        (client, server)
    }

    /// All steps of a stream that comes in pieces.
    fn steps(decoder: &mut Decoder, stream: &[u8], piece: usize) -> Vec<Step> {
        let (mut steps, mut start, mut end) = (Vec::new(), 0, 0);
        while end < stream.len() {
            end = (end + piece).min(stream.len());
            while let Some((length, step)) = decoder.next(&stream[start..end]).unwrap() {
                start += length;
                steps.push(step);
            }
        }
        steps
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[first, length], payload].concat()
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        for piece in [1, 7, 100_000] {
            for size in [0, 125, 126, 65_535, 65_536] {
                let (mut client, mut server) = opened(1 << 20);
                let message = vec![7; size];
                for (end, decoder) in [(End::Client, &mut server), (End::Server, &mut client)] {
                    let bytes = encode_message(message.clone(), end).repeat(2);
                    let found = steps(decoder, &bytes, piece);
                    let expected = [0, 1].map(|_| Step::Message(message.clone()));
                    assert_eq!(found, expected, "{size} bytes in pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn what_is_between_the_parts_of_a_message_does_not_end_it() {
        let (mut client, _) = opened(100);
        let stream = [
            frame(0x02, b"in "),
            frame(0x89, b"ping"),
            frame(0x00, b"three "),
            frame(0x8a, b""),
            frame(0x80, b"parts"),
        ];
        let found = steps(&mut client, &stream.concat(), 3);
        let [Step::Nothing, Step::Reply(pong), rest @ ..] = &found[..] else {
            panic!("{found:?}");
        };
        let mut server = opened(100).1;
        assert!(matches!(server.next(pong), Ok(Some((_, Step::Nothing)))));
        let whole = Step::Message(b"in three parts".to_vec());
        assert_eq!(rest, [Step::Nothing, Step::Nothing, whole]);
    }

    #[test]
    fn a_close_is_answered_and_text_is_left_out() {
        for close in [frame(0x88, b"\x03\xe8"), frame(0x81, b"close")] {
            let (mut client, _) = opened(100);
            let stream = [frame(0x81, b"hello"), close].concat();
            let found = steps(&mut client, &stream, 100);
            let [Step::Nothing, Step::Close(answer)] = &found[..] else {
                panic!("{found:?}");
            };
            let mut server = opened(100).1;
            let answered = server.next(answer);
            assert!(
                matches!(answered, Ok(Some((_, Step::Close(_))))),
                "{answered:?}"
            );
        }
        let (mut client, _) = opened(100);
        let refused = client.next(&frame(0x88, b"\x03\xf1Message size exceeds limit"));
        assert!(matches!(refused, Err(WsError::RefusedAsTooLarge)));
    }

    #[test]
    fn sizes_are_refused_by_their_header() {
        let (mut client, _) = opened(1000);
        let huge = b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(matches!(
            client.next(huge),
            Err(WsError::TooLarge { limit: 1000, .. })
        ));
        let (mut client, _) = opened(200);
        assert_eq!(client.wanted(), 0);
        client.next(&frame(0x02, &[0; 120])).unwrap();
        assert_eq!(client.wanted(), 120);
        let next = frame(0x80, &[0; 80]);
        assert!(matches!(client.next(&next[..10]), Ok(None)));
        assert_eq!(client.wanted(), 120 + next.len());
        let over = frame(0x80, &[0; 81]);
        assert!(matches!(
            client.next(&over[..2]),
            Err(WsError::TooLarge { bytes: 201, .. })
        ));
    }

    #[test]
    fn frames_that_may_not_be_are_refused() {
        for (at_server, bytes) in [
            (true, frame(0x82, b"not masked")),
            (false, b"\x82\x81\0\0\0\0x".to_vec()),
            (false, frame(0xc2, b"compressed")),
            (false, frame(0x83, b"")),
            (false, frame(0x80, b"part of nothing")),
            (false, frame(0x09, b"a ping in parts")),
            (false, b"\x89\x7e\x00\x7e".to_vec()),
            (false, [frame(0x02, b"a"), frame(0x02, b"b")].concat()),
        ] {
            let (client, server) = opened(100);
            let mut decoder = if at_server { server } else { client };
            let mut rest = &bytes[..];
            let refused = loop {
                match decoder.next(rest) {
                    Ok(Some((length, _))) => rest = &rest[length..],
                    refused => break refused,
                }
            };
            assert!(refused.is_err(), "{bytes:x?}: {refused:?}");
        }
    }

    #[test]
    fn handshakes_that_are_none_are_refused() {
        let mut endless = b"GET / HTTP/1.1\r\n".to_vec();
        endless.resize(MAX_HANDSHAKE_BYTES + 1, b'x');
        for bytes in [
            &b"\x82\xa4head"[..],
            b"\xff\0\0\0\0\0\0\0\x01\x7f",
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &endless,
        ] {
            let refused = Decoder::server(100).next(bytes);
            assert!(refused.is_err(), "{refused:?}");
        }
        for answer in [
            &b"HTTP/1.1 403 Forbidden\r\n\r\n"[..],
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: another\r\n\r\n",
            b"\x82\x81\xa4body",
        ] {
            let (mut client, _) = Decoder::client("master:4506", "/", 100);
            assert!(client.next(answer).is_err());
        }
    }
}
