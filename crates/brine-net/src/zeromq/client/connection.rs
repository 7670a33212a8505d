//! One open connection to a master's port: greeted, with both handshakes done.

use std::io;
use std::time::Duration;

use brine_wire::network::zmtp::{self, Decoder, Socket, Step};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::ClientConfig;
use crate::connection::{ConnectionError, Decode, Reader, send};
use crate::dial::{Addresses, dial};
use crate::stream::{self, Incoming, Outgoing};

/// For connecting and both handshakes (libzmq's `ZMQ_HANDSHAKE_IVL`).
const HANDSHAKE: Duration = Duration::from_secs(30);
/// For one message to arrive or to be sent. Replies have a time limit of their own.
const MESSAGE: Duration = Duration::from_secs(600);

/// What a master sends.
pub(super) enum Received {
    /// Nothing that anybody need know.
    Nothing,
    /// These bytes are to be sent back.
    Answer(Vec<u8>),
    /// The connection is ready.
    Ready,
    /// A reply, or a publish with its topic.
    Message {
        topic: Option<Vec<u8>>,
        body: Vec<u8>,
    },
}

struct Frames(Decoder);

impl Decode for Frames {
    type Item = Received;

    fn wanted(&self) -> usize {
        self.0.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Received)>, ConnectionError> {
        let Some((length, step)) = self.0.next(buffer)? else {
            return Ok(None);
        };
        let received = match step {
            Step::Reply(bytes) => Received::Answer(bytes),
            Step::Ready => Received::Ready,
            Step::Message { body, .. } => Received::Message {
                topic: None,
                body: body.to_vec(),
            },
            Step::Publish { topic, body } => Received::Message {
                topic,
                body: body.to_vec(),
            },
            Step::Nothing | Step::Subscribe(_) | Step::Cancel(_) => Received::Nothing,
        };
        Ok(Some((length, received)))
    }
}

/// A connection that is ready for messages.
pub(super) struct Connection {
    reader: Reader<Incoming, Frames>,
    writer: Outgoing,
    /// Answers to pings that have yet to be sent.
    unsent: Vec<u8>,
}

impl Connection {
    /// Connects, greets and waits until the master is ready.
    pub(super) async fn open(
        config: &ClientConfig,
        socket: Socket,
    ) -> Result<Self, ConnectionError> {
        match timeout(HANDSHAKE, Self::connect(config, socket)).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectionError::TooSlow { after: HANDSHAKE }),
        }
    }

    async fn connect(config: &ClientConfig, socket: Socket) -> Result<Self, ConnectionError> {
        let addresses = match config.ipv6 || config.master.contains(':') {
            true => Addresses::All,
            false => Addresses::V4,
        };
        let address = config.address();
        let stream = dial(&address, addresses, config.source, config.keepalive).await?;
        let (reader, mut writer) = stream::plain(stream);
        send(&mut writer, &zmtp::GREETING, HANDSHAKE).await?;
        let frames = Frames(Decoder::new(socket, config.max_message_bytes));
        let mut connection = Self {
            reader: Reader::new(reader, frames, MESSAGE),
            writer,
            unsent: Vec::new(),
        };
        while !matches!(connection.receive().await?, Received::Ready) {}
        Ok(connection)
    }

    /// Limits messages to so many bytes, from the next one on.
    pub(super) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.reader.decoder_mut().0.set_max_bytes(max_bytes);
    }

    /// Sends a whole message. If the future is dropped, the connection must be, too.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        self.send_answers().await?;
        send(&mut self.writer, message, MESSAGE).await
    }

    /// The next message, with its topic if it has one. Answers pings. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<(Option<Vec<u8>>, Vec<u8>), ConnectionError> {
        loop {
            if let Received::Message { topic, body } = self.receive().await? {
                return Ok((topic, body));
            }
        }
    }

    /// What comes next. Answers pings. Dropping the future loses nothing.
    async fn receive(&mut self) -> Result<Received, ConnectionError> {
        self.send_answers().await?;
        match self.reader.next().await? {
            Received::Answer(bytes) => {
                self.unsent.extend_from_slice(&bytes);
                self.send_answers().await?;
                Ok(Received::Nothing)
            }
            received => Ok(received),
        }
    }

    async fn send_answers(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let sent = self.writer.write(&self.unsent).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}
