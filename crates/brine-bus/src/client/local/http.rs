//! The part of HTTP/1.1 that the local socket's client needs: writes the heads of requests, reads the heads and
//! bodies of answers. Works only on bytes; no sockets.

use brine_log::Position;

use super::Acknowledge;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// An answer that is not valid HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The head is malformed or too long.
    #[error("invalid head of an HTTP/1.1 answer")]
    BadHead,
    /// The chunks of the body are malformed.
    #[error("invalid chunk in an HTTP/1.1 body")]
    BadChunk,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) body: BodyKind,
}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    Length(u64),
    Chunked,
}

/// The head at the beginning of `bytes` and its length; `None` if more bytes are needed.
pub(super) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD {
            Err(HttpError::BadHead)
        } else {
            Ok(None)
        };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| HttpError::BadHead)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or(HttpError::BadHead)?;
    let mut body = BodyKind::Length(0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(HttpError::BadHead)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| HttpError::BadHead)?;
            body = BodyKind::Length(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(HttpError::BadHead);
            }
            body = BodyKind::Chunked;
        }
    }
    Ok(Some((Head { status, body }, end + 4)))
}

/// Takes a body out of the bytes of a connection.
#[derive(Debug)]
pub(super) struct Body {
    kind: BodyKind,
    /// What is left of the body, or of the present chunk.
    left: u64,
    state: Chunk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size,
    Data,
    /// The line end after a chunk's data.
    End,
    /// After the last chunk: its line end, without trailers.
    Last,
    Done,
}

impl Body {
    pub(super) const fn new(kind: BodyKind) -> Self {
        let (left, state) = match kind {
            BodyKind::Length(0) => (0, Chunk::Done),
            BodyKind::Length(length) => (length, Chunk::Data),
            BodyKind::Chunked => (0, Chunk::Size),
        };
        Self { kind, left, state }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == Chunk::Done
    }

    /// Moves what belongs to the body from `bytes` into `out`; gives how many bytes were used.
    pub(super) fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, HttpError> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                Chunk::Done => return Ok(used),
                Chunk::Data => {
                    let count = usize::try_from(self.left)
                        .unwrap_or(usize::MAX)
                        .min(rest.len());
                    if count == 0 {
                        return Ok(used);
                    }
                    out.extend_from_slice(&rest[..count]);
                    used += count;
                    self.left -= count as u64;
                    if self.left == 0 {
                        self.state = match self.kind {
                            BodyKind::Length(_) => Chunk::Done,
                            BodyKind::Chunked => Chunk::End,
                        };
                    }
                }
                Chunk::Size => {
                    let Some(end) = line_end(rest)? else {
                        return Ok(used);
                    };
                    let digits = std::str::from_utf8(&rest[..end]).unwrap_or_default();
                    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = u64::from_str_radix(digits, 16)
                        .ok()
                        .filter(|_| is_hexadecimal);
                    self.left = size.ok_or(HttpError::BadChunk)?;
                    self.state = if self.left == 0 {
                        Chunk::Last
                    } else {
                        Chunk::Data
                    };
                    used += end + 2;
                }
                Chunk::End | Chunk::Last => {
                    if rest.len() < 2 {
                        return Ok(used);
                    }
                    if !rest.starts_with(b"\r\n") {
                        return Err(HttpError::BadChunk);
                    }
                    used += 2;
                    self.state = if self.state == Chunk::End {
                        Chunk::Size
                    } else {
                        Chunk::Done
                    };
                }
            }
        }
    }
}

/// Where a chunk's size ends, within the few digits it has.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, HttpError> {
    const MOST: usize = 18;
    match memchr::memmem::find(&bytes[..bytes.len().min(MOST)], b"\r\n") {
        Some(end) => Ok(Some(end)),
        None if bytes.len() >= MOST => Err(HttpError::BadChunk),
        None => Ok(None),
    }
}

/// A text as a value in a query.
pub(super) fn escape(text: &str, out: &mut String) {
    use std::fmt::Write;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'*' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}"); // writing to memory does not fail
            }
        }
    }
}

/// What the head of a request says.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) resume: Option<Position>,
    /// The length of the body; `None` for one in chunks.
    pub(super) length: Option<usize>,
}

impl Request<'_> {
    /// Appends the head.
    pub(super) fn write(&self, token: Option<&str>, out: &mut Vec<u8>) {
        let Self { method, target, .. } = self;
        let body = self.length.map_or_else(
            || "transfer-encoding: chunked".to_owned(),
            |length| format!("content-length: {length}"),
        );
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: brine\r\naccept: application/x-msgpack\r\n\
             content-type: application/x-msgpack\r\n{body}\r\n"
        );
        if let Some(token) = token {
            head.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        if let Some(position) = self.resume {
            head.push_str(&format!("last-event-id: {position}\r\n"));
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
    }
}

/// Where events are fired.
pub(super) const fn fire_target(acknowledge: Acknowledge) -> &'static str {
    match acknowledge {
        Acknowledge::Durable => "/events",
        Acknowledge::Appended => "/events?durable=false",
    }
}

/// Appends bytes as a chunk of a body. They must not be empty, since an empty chunk ends the body.
pub(super) fn chunk(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends what ends a body in chunks.
pub(super) fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// What must hold for any bytes of a server: a fuzz target's body. The first byte says how many
/// bytes come at a time.
pub fn fuzz_answer(bytes: &[u8]) {
    let Some((&step, answer)) = bytes.split_first() else {
        return;
    };
    let Ok(Some((found, length))) = head(answer) else {
        return;
    };
    let read = |step: usize| {
        let (mut body, mut out, mut waiting) = (Body::new(found.body), Vec::new(), Vec::new());
        for piece in answer[length..].chunks(step.max(1)) {
            waiting.extend_from_slice(piece);
            match body.take(&waiting, &mut out) {
                Ok(used) => drop(waiting.drain(..used)),
                Err(error) => return (out, Some(error)),
            }
        }
        (out, None)
    };
    let (whole, pieces) = (read(answer.len()), read(usize::from(step)));
    assert_eq!(whole, pieces);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_bodies_are_the_same_however_they_come() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nrest";
        let (head, length) = head(answer).unwrap().unwrap();
        assert_eq!((head.status, head.body), (200, BodyKind::Chunked));
        for step in 1..20 {
            let (mut body, mut out, mut waiting) = (Body::new(head.body), Vec::new(), Vec::new());
            for piece in answer[length..].chunks(step) {
                waiting.extend_from_slice(piece);
                let used = body.take(&waiting, &mut out).unwrap();
                waiting.drain(..used);
            }
            assert!(body.is_done());
            assert_eq!(
                (out.as_slice(), waiting.as_slice()),
                (&b"hello!"[..], &b"rest"[..])
            );
        }
        let mut body = Body::new(BodyKind::Length(3));
        let mut out = Vec::new();
        assert_eq!(body.take(b"abcd", &mut out), Ok(3));
        assert!(body.is_done() && Body::new(BodyKind::Length(0)).is_done());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            &b"HTTP/1.0 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 xyz\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            b"\xff\r\n\r\n",
        ] {
            assert_eq!(head(bytes), Err(HttpError::BadHead));
        }
        assert_eq!(head(&[b'x'; MAX_HEAD + 1]), Err(HttpError::BadHead));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        for chunk in [
            &b"x\r\n"[..],
            b"\r\n",
            b"+1\r\n",
            b"1\r\nabc",
            b"00000000000000000001\r\n",
        ] {
            let error = Body::new(BodyKind::Chunked).take(chunk, &mut Vec::new());
            assert_eq!(error, Err(HttpError::BadChunk), "{chunk:?}");
        }
    }

    #[test]
    fn texts_are_escaped_for_a_query() {
        let mut out = String::new();
        escape("salt/job/*&x=é +", &mut out);
        assert_eq!(out, "salt/job/*%26x%3D%C3%A9%20%2B");
    }
}
