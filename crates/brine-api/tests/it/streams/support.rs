//! Clients of the network's streams: plain sockets whose bytes are looked at.

use std::io::{Read, Write};
use std::net::TcpStream;

use brine_log::{Incoming, Millis};
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::{Map, json};

use crate::network::{Network, TOKEN};

impl Network {
    /// Appends an event with these data.
    pub(crate) fn fire(&self, tag: &str, data: &str) {
        self.fire_at(tag, data, 1_795_939_260_000);
    }

    pub(crate) fn fire_at(&self, tag: &str, data: &str, at: u64) {
        let data = json::parse(data.as_bytes()).unwrap();
        let mut data: Map = data.as_map().unwrap().clone();
        let stamp = "2026-11-23T21:12:11.666535+00:00";
        let event = encode_event(tag, &mut data, stamp, MAX_EVENT_SIZE).unwrap();
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.state.api().log.append([incoming], Millis(at));
    }

    /// Opens `/events` with a query and further header lines.
    pub(crate) fn events(&self, query: &str, headers: &str) -> Client {
        let mut client = self.client();
        client.send(&format!(
            "GET /events?{query} HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\n{headers}\r\n"
        ));
        client
    }

    /// Everything of a stream that ends by itself.
    pub(crate) fn whole(&self, query: &str, headers: &str) -> String {
        let mut client = self.events(query, headers);
        let head = client.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        client.body_to_end()
    }

    pub(crate) fn client(&self) -> Client {
        Client {
            stream: self.connect(),
            read: Vec::new(),
            seen: Vec::new(),
        }
    }
}

/// A connection, and what was read from it and not yet looked at.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
    /// What [`Client::until`] gave.
    seen: Vec<u8>,
}

impl Client {
    pub(crate) fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()); // the server may have closed
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes); // as above
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(
                self.fill() > 0,
                "closed before {count} bytes: {}",
                self.unread()
            );
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// Reads until `end` has come and gives what came with it.
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut looked_at = 0;
        loop {
            let found = self.read[looked_at..]
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(looked_at + at + end.len());
                let taken = std::mem::replace(&mut self.read, rest);
                self.seen.extend_from_slice(&taken);
                return String::from_utf8(taken).unwrap();
            }
            looked_at = self.read.len().saturating_sub(end.len());
            assert!(self.fill() > 0, "closed before {end:?}: {}", self.unread());
        }
    }

    /// Everything that was ever read and is to come, however often [`Client::until`] looked at it.
    pub(crate) fn everything_to_end(&mut self) -> Vec<u8> {
        let rest = self.until_closed();
        self.seen.extend_from_slice(&rest);
        std::mem::take(&mut self.seen)
    }

    /// Everything until the server closes.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.read)
    }

    /// The body until its last chunk, as text; fails for one that breaks off.
    pub(crate) fn body_to_end(&mut self) -> String {
        let mut all = self.until_closed();
        let mut body = Vec::new();
        loop {
            let (size, rest) = chunk(&all).unwrap_or_else(|| panic!("no whole body: {all:?}"));
            if size == 0 {
                return String::from_utf8(body).unwrap();
            }
            body.extend_from_slice(&rest[..size]);
            all = rest[size + 2..].to_vec();
        }
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                read
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("nothing came in time: {error}; {}", self.unread()),
        }
    }

    fn unread(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// The size of the first chunk, and what follows its line.
fn chunk(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let line = bytes.windows(2).position(|end| end == b"\r\n")?;
    let size = std::str::from_utf8(&bytes[..line]).ok()?;
    Some((usize::from_str_radix(size, 16).ok()?, &bytes[line + 2..]))
}
