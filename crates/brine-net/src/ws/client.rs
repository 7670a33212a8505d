//! A minion's connections to both of a master's ports over WebSockets.

use brine_wire::network::payload;
use brine_wire::network::publish::Publish;
use brine_wire::network::tcp::{self, MAX_VALUES};
use brine_wire::{Value, msgpack};
use tokio::io::AsyncWriteExt as _;

use super::Messages;
use super::protocol::{Decoder, End, Step, encode_message};
use crate::connection::{ConnectionError, Reader, send};
use crate::requester::{Destination, Exchange, IO_TIMEOUT, MAX_MESSAGE_BYTES};
use crate::stream::{Incoming, Outgoing};
use crate::tcp::client::SubscriptionError;

/// What Salt's minions ask for on the request port and on the publish port.
const REQUESTS: &str = "/";
const PUBLISHES: &str = "/ws";

/// Sends requests to a master; connects when necessary.
pub type Requester = crate::requester::Requester<Connection>;

/// A connection to either port.
pub struct Connection {
    reader: Reader<Incoming, Messages>,
    writer: Outgoing,
    /// Answers to pings that have yet to be sent.
    unsent: Vec<u8>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Connection")
    }
}

impl Exchange for Connection {
    async fn open(master: &Destination) -> Result<Self, ConnectionError> {
        Self::open_at(master, REQUESTS).await
    }

    async fn exchange(
        &mut self,
        payload: &Value,
        max_bytes: usize,
    ) -> Result<Value, ConnectionError> {
        self.reader.decoder_mut().0.set_max_bytes(max_bytes);
        let message = encode_message(payload::clear_reply(payload), End::Client);
        send(&mut self.writer, &message, IO_TIMEOUT).await?;
        read(&self.next().await?)
    }
}

impl Connection {
    async fn open_at(master: &Destination, path: &str) -> Result<Self, ConnectionError> {
        let (reader, mut writer) = master.connect().await?;
        let (decoder, handshake) = Decoder::client(&master.address, path, MAX_MESSAGE_BYTES);
        send(&mut writer, &handshake, master.io_timeout).await?;
        let mut connection = Self {
            reader: Reader::new(reader, Messages(decoder), IO_TIMEOUT),
            writer,
            unsent: Vec::new(),
        };
        let opened = async {
            while !matches!(connection.reader.next().await?, Step::Opened(_)) {}
            Ok(())
        };
        let after = master.io_timeout;
        match tokio::time::timeout(after, opened).await {
            Ok(opened) => opened.map(|()| connection),
            Err(_) => Err(ConnectionError::TooSlow { after }),
        }
    }

    /// The next message. Answers pings. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Vec<u8>, ConnectionError> {
        loop {
            self.send_answers().await?;
            match self.reader.next().await? {
                Step::Message(message) => return Ok(message),
                Step::Reply(bytes) => self.unsent.extend_from_slice(&bytes),
                Step::Close(bytes) => {
                    send(&mut self.writer, &bytes, IO_TIMEOUT).await?;
                    return Err(ConnectionError::Closed);
                }
                Step::Nothing | Step::Opened(_) => {}
            }
        }
    }

    async fn send_answers(&mut self) -> Result<(), ConnectionError> {
        while !self.unsent.is_empty() {
            let sent = self.writer.write(&self.unsent).await?;
            if sent == 0 {
                return Err(ConnectionError::Closed);
            }
            self.unsent.drain(..sent);
        }
        Ok(self.writer.flush().await?)
    }
}

/// One value within the limits of clear messages: each decoded value takes about 70 bytes of memory.
fn read(message: &[u8]) -> Result<Value, ConnectionError> {
    tcp::Decoder::of_value(message.len(), MAX_VALUES).next(message)?;
    let value = msgpack::decode_network(message);
    Ok(value.map_err(tcp::MessageError::from)?)
}

/// A subscription to a master's publishes.
#[derive(Debug)]
pub struct Subscription {
    connection: Box<Connection>,
}

impl Subscription {
    /// Connects to a master's publish port (`host:port`, or a [`Destination`] with more details).
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn open(master: impl Into<Destination>) -> Result<Self, SubscriptionError> {
        let connection = Connection::open_at(&master.into(), PUBLISHES).await?;
        Ok(Self {
            connection: Box::new(connection),
        })
    }

    /// The next publish. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn next(&mut self) -> Result<Publish, SubscriptionError> {
        let message = read(&self.connection.next().await?)?;
        if let Value::Bin(packed) = &message {
            tcp::Decoder::of_value(packed.len(), MAX_VALUES)
                .next(packed)
                .map_err(ConnectionError::from)?;
        }
        Ok(Publish::from_value(&message)?)
    }
}
