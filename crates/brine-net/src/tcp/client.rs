//! A minion's connections to both of a master's ports over tcp.

use brine_wire::network::publish::{Publish, PublishError};
use brine_wire::network::tcp;
use brine_wire::{Map, Value};

use super::Messages;
use crate::connection::{Reader, send};
use crate::crypto::{self, NoRandom};
use crate::requester::{Exchange, IO_TIMEOUT, MAX_MESSAGE_BYTES};
use crate::stream::{Incoming, Outgoing};

pub use crate::connection::ConnectionError;
pub use crate::requester::{Destination, MAX_UNTRUSTED_BYTES, RequestError};

/// Sends requests to a master; connects when necessary.
pub type Requester = crate::requester::Requester<Connection>;

/// A connection to either port.
pub struct Connection {
    reader: Reader<Incoming, Messages>,
    writer: Outgoing,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Connection")
    }
}

impl Exchange for Connection {
    async fn open(master: &Destination) -> Result<Self, ConnectionError> {
        let (reader, writer) = master.connect().await?;
        let reader = Reader::new(reader, Messages::new(MAX_MESSAGE_BYTES), IO_TIMEOUT);
        Ok(Self { reader, writer })
    }

    async fn exchange(
        &mut self,
        payload: &Value,
        max_bytes: usize,
    ) -> Result<Value, ConnectionError> {
        let head: Map = [("mid", message_id()?)].into_iter().collect();
        let bytes = tcp::encode(&head, payload);
        self.reader.decoder_mut().set_max_bytes(max_bytes);
        send(&mut self.writer, &bytes, IO_TIMEOUT).await?;
        loop {
            let message = self.reader.next().await?;
            if message.head == head {
                return Ok(message.body);
            }
        }
    }
}

/// A random UUID as text.
fn message_id() -> Result<String, NoRandom> {
    let nonce = crypto::nonce()?;
    let digits = nonce.as_str();
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let parts = [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ];
    Ok(parts.join("-"))
}

/// A subscription to a master's publishes.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
}

/// The subscription ended: connect again after a while.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The connection.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The master sent something that is not a publish.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Subscription {
    /// Connects to a master's publish port (`host:port`, or a [`Destination`] with more details) and identifies the
    /// minion.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn open(
        master: impl Into<Destination>,
        identification: &Value,
    ) -> Result<Self, SubscriptionError> {
        let mut connection = Connection::open(&master.into()).await?;
        let bytes = tcp::encode(&Map::new(), identification);
        send(&mut connection.writer, &bytes, IO_TIMEOUT).await?;
        Ok(Self { connection })
    }

    /// The next publish. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn next(&mut self) -> Result<Publish, SubscriptionError> {
        let message = self.connection.reader.next().await?;
        Ok(Publish::from_value(&message.body)?)
    }
}
