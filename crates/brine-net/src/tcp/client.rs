//! The minion's ends of both ports over tcp.
//!
//! One request at a time, as real daemons send them, so that a minion's events arrive in the order
//! fired. Whoever waits decides when to try again ([`crate::backoff`]).

use std::io;
use std::time::Duration;

use brine_wire::network::publish::{Publish, PublishError};
use brine_wire::network::tcp;
use brine_wire::{Map, Value};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::{Reader, send};
use super::{Keepalive, prepare};
use crate::crypto::{self, NoRandom};

pub use super::connection::ConnectionError;

/// The largest message taken from a master, in bytes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection could not be made or is over. The request may have arrived.
    #[error("request to {address}: {source}")]
    Connection {
        /// The master.
        address: String,
        /// Why.
        source: ConnectionError,
    },
    /// No reply in time. The request may have arrived.
    #[error("expected a reply of {address} within {after:?}, found none")]
    NoReply {
        /// The master.
        address: String,
        /// The time it had.
        after: Duration,
    },
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

/// Sends requests to a master; connects when it must.
#[derive(Debug)]
pub struct Requester {
    /// Host and port, as [`ToSocketAddrs`] takes them.
    address: String,
    /// Held while a request waits for its reply: one at a time.
    connection: Mutex<Option<Connection>>,
}

struct Connection {
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Connection")
    }
}

impl Requester {
    /// A requester for the master at `address` (`host:port`).
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            connection: Mutex::default(),
        }
    }

    /// Sends a payload and waits for its reply. Dropping the future gives up the connection, so
    /// that no reply is taken for another's.
    ///
    /// # Errors
    /// [`RequestError`]; the next request connects again.
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        let mut slot = self.connection.lock().await;
        // Out of the slot while it is in use: what is dropped half-way is not used again.
        let connection = slot.take();
        let exchanged = timeout(wait, self.exchange(connection, payload)).await;
        let (reply, connection) = exchanged.map_err(|_| RequestError::NoReply {
            address: self.address.clone(),
            after: wait,
        })??;
        *slot = Some(connection);
        Ok(reply)
    }

    async fn exchange(
        &self,
        connection: Option<Connection>,
        payload: &Value,
    ) -> Result<(Value, Connection), RequestError> {
        let mid = message_id()?;
        let head: Map = [("mid", mid)].into_iter().collect();
        let bytes = tcp::encode(&head, payload);
        let exchange = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(&self.address).await?,
            };
            send(&mut connection.writer, &bytes, Duration::from_secs(60)).await?;
            loop {
                let message = connection.reader.next().await?;
                if message.head == head {
                    return Ok((message.body, connection));
                }
            }
        };
        exchange.await.map_err(|source| RequestError::Connection {
            address: self.address.clone(),
            source,
        })
    }
}

impl Connection {
    async fn open(address: impl ToSocketAddrs) -> Result<Self, ConnectionError> {
        let stream = connect(address).await?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: Reader::new(reader, MAX_MESSAGE_BYTES, Duration::from_secs(60)),
            writer,
        })
    }
}

async fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream, Keepalive::MINION)?;
    Ok(stream)
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

/// Why there are no more publishes: connect again after a while.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The connection.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The master sends something else.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Subscription {
    /// Connects to the publish port at `address` (`host:port`) and identifies the minion.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn open(address: &str, identification: &Value) -> Result<Self, SubscriptionError> {
        let mut connection = Connection::open(address).await?;
        let bytes = tcp::encode(&Map::new(), identification);
        send(&mut connection.writer, &bytes, Duration::from_secs(60)).await?;
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
