//! Programs on a bus that speak its bytes and nothing of Salt: what they send is up to the test.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use brine_wire::envelope::Envelope;
use brine_wire::frame::{Decoder, Framing, MAX_FRAME_BYTES, encode_frame};

use crate::process::DEADLINE;

/// An event with a tag and one number.
pub(crate) fn event(tag: &str, n: u32) -> Vec<u8> {
    let mut event = format!("{tag}\n\n").into_bytes();
    event.extend_from_slice(b"\x81\xa1n\xce");
    event.extend_from_slice(&n.to_be_bytes());
    event
}

/// The frame of an event.
pub(crate) fn frame(framing: Framing, event: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(framing, event, &mut frame);
    frame
}

/// A publisher that writes any bytes.
#[derive(Debug)]
pub(crate) struct Publisher(UnixStream);

impl Publisher {
    pub(crate) fn connect(pull: &Path) -> Self {
        Self::from(UnixStream::connect(pull).unwrap())
    }

    /// Writes as much as is taken; a bus that has closed the connection takes no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        match self.0.write_all(bytes) {
            Ok(()) => true,
            Err(error) if is_closed(error.kind()) => false,
            Err(error) => panic!("the bus neither reads nor closes: {error}"),
        }
    }

    pub(crate) fn fire(&mut self, tag: &str, n: u32) -> bool {
        self.send(&frame(Framing::Prefixed, &event(tag, n)))
    }

    /// Waits until the bus closes the connection.
    pub(crate) fn wait_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("a bus never writes to a publisher"),
            Err(error) => is_closed(error.kind()),
        }
    }

    /// Whether it is closed by now.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let closed = self.wait_closed();
        self.0.set_nonblocking(false).unwrap();
        closed
    }
}

impl From<UnixStream> for Publisher {
    fn from(stream: UnixStream) -> Self {
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// A subscriber that checks every frame it reads.
#[derive(Debug)]
pub(crate) struct Subscriber {
    stream: UnixStream,
    framing: Framing,
    decoder: Decoder,
    bytes: Vec<u8>,
    read: usize,
}

impl Subscriber {
    pub(crate) fn connect(publish: &Path, framing: Framing) -> Self {
        Self::new(UnixStream::connect(publish).unwrap(), framing)
    }

    pub(crate) fn new(stream: UnixStream, framing: Framing) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            framing,
            decoder: Decoder::new(MAX_FRAME_BYTES),
            bytes: Vec::new(),
            read: 0,
        }
    }

    /// The next event, tag and data; `None` when the bus has closed the connection.
    pub(crate) fn next(&mut self) -> Option<(String, Vec<u8>)> {
        loop {
            if let Some(frame) = self.decoder.next(&self.bytes[self.read..]).unwrap() {
                assert_eq!(self.decoder.framing(), Some(self.framing));
                let event = Envelope::parse(frame.event).unwrap();
                let event = (event.tag().to_owned(), event.data().to_vec());
                self.read += frame.length;
                return Some(event);
            }
            self.bytes.drain(..std::mem::take(&mut self.read));
            let mut more = vec![0; 256 << 10];
            match self.stream.read(&mut more) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&more[..count]),
                Err(error) if is_closed(error.kind()) => return None,
                Err(error) => panic!("no event within {DEADLINE:?}: {error}"),
            }
        }
    }

    /// Fires until it hears something: a subscriber hears what is fired after the bus has accepted
    /// it, which it is not told.
    pub(crate) fn wait_accepted(&mut self, pull: &Path) {
        let mut publisher = Publisher::connect(pull);
        self.stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut byte = [0];
        for attempt in 0.. {
            assert!(attempt < 6000, "the bus does not accept");
            assert!(publisher.fire("are you there", attempt));
            if self.stream.read(&mut byte).is_ok() {
                self.bytes.push(byte[0]);
                break;
            }
        }
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    }

    /// The number in the next event of a tag; others are passed over.
    pub(crate) fn next_of(&mut self, wanted: &str) -> Option<u32> {
        loop {
            let (tag, data) = self.next()?;
            if tag == wanted {
                return Some(number(&data));
            }
        }
    }
}

/// The number in the data of [`event`].
pub(crate) fn number(data: &[u8]) -> u32 {
    u32::from_be_bytes(data[data.len() - 4..].try_into().unwrap())
}
