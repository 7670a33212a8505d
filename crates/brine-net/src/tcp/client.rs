//! A minion's connections to both of a master's ports over tcp.
//!
//! One request at a time, as real daemons send them, so that a minion's events arrive in the order
//! fired. The caller decides when to try again ([`crate::backoff`]).

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brine_wire::network::publish::{Publish, PublishError};
use brine_wire::network::tcp;
use brine_wire::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Messages;
use crate::connection::{Reader, send};
use crate::crypto::{self, NoRandom};
use crate::dial::{Addresses, dial};
use crate::listener::Keepalive;
use crate::stream::{self, Incoming, Outgoing};
use crate::tls::TlsClient;

pub use crate::connection::ConnectionError;

/// The largest message accepted from a master, in bytes.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// The largest reply accepted from a master that has not proved its key, in bytes. The reply to a sign-in has about
/// 2 KiB.
pub const MAX_UNTRUSTED_BYTES: usize = 64 * 1024;

/// A request got no reply.
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
    #[error("no reply from {address} within {after:?}")]
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

/// A master's address and how to connect to it; fields are named as Salt's options.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Host and port: `name:4506`, `10.0.0.1:4506`, `[::1]:4506`.
    pub address: String,
    /// Our own end: `source_ip`, and `source_ret_port` or `source_publish_port` (0 for any).
    pub source: Option<(IpAddr, u16)>,
    /// `tcp_keepalive` and its times; `None` for off.
    pub keepalive: Option<Keepalive>,
    /// `ssl`; `None` for no TLS.
    pub tls: Option<TlsClient>,
    /// The time limit for connecting and for the TLS handshake.
    pub io_timeout: Duration,
}

impl<A: Into<String>> From<A> for Destination {
    /// Without TLS, with Salt's defaults.
    fn from(address: A) -> Self {
        Self {
            address: address.into(),
            source: None,
            keepalive: Some(Keepalive::MINION),
            tls: None,
            io_timeout: Duration::from_secs(60),
        }
    }
}

/// Sends requests to a master; connects when necessary.
#[derive(Debug)]
pub struct Requester {
    master: Box<Destination>,
    trusted: AtomicBool,
    /// Locked while a request waits for its reply: one at a time.
    connection: Mutex<Option<Box<Connection>>>,
}

struct Connection {
    reader: Reader<Incoming, Messages>,
    writer: Outgoing,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Connection")
    }
}

impl Requester {
    /// A requester for a master: `host:port`, or a [`Destination`] with more details.
    #[must_use]
    pub fn new(master: impl Into<Destination>) -> Self {
        Self {
            master: Box::new(master.into()),
            trusted: AtomicBool::new(true),
            connection: Mutex::default(),
        }
    }

    /// For a master that has not proved its key: replies are limited to [`MAX_UNTRUSTED_BYTES`] until
    /// [`Requester::trust`].
    #[must_use]
    pub fn untrusted(self) -> Self {
        self.trusted.store(false, Ordering::Relaxed);
        self
    }

    /// The master has proved its key.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    fn max_bytes(&self) -> usize {
        match self.trusted.load(Ordering::Relaxed) {
            true => MAX_MESSAGE_BYTES,
            false => MAX_UNTRUSTED_BYTES,
        }
    }

    /// Sends a payload and waits for its reply. Dropping the future drops the connection, so that no later request
    /// gets this reply.
    ///
    /// # Errors
    /// [`RequestError`]; the next request connects again.
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        let mut slot = self.connection.lock().await;
        // Taken out while in use: a connection dropped half-way must not be used again.
        let connection = slot.take();
        let exchanged = timeout(wait, self.exchange(connection, payload)).await;
        let (reply, connection) = exchanged.map_err(|_| RequestError::NoReply {
            address: self.master.address.clone(),
            after: wait,
        })??;
        *slot = Some(connection);
        Ok(reply)
    }

    async fn exchange(
        &self,
        connection: Option<Box<Connection>>,
        payload: &Value,
    ) -> Result<(Value, Box<Connection>), RequestError> {
        let mid = message_id()?;
        let head: Map = [("mid", mid)].into_iter().collect();
        let bytes = tcp::encode(&head, payload);
        let exchange = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Box::new(Connection::open(&self.master).await?),
            };
            let decoder = connection.reader.decoder_mut();
            decoder.set_max_bytes(self.max_bytes());
            send(&mut connection.writer, &bytes, Duration::from_secs(60)).await?;
            loop {
                let message = connection.reader.next().await?;
                if message.head == head {
                    return Ok((message.body, connection));
                }
            }
        };
        exchange.await.map_err(|source| RequestError::Connection {
            address: self.master.address.clone(),
            source,
        })
    }
}

impl Connection {
    async fn open(master: &Destination) -> Result<Self, ConnectionError> {
        let connecting = timeout(master.io_timeout, connect(master));
        let connected = connecting.await.map_err(io::Error::from)?;
        let (reader, writer) = connected?;
        Ok(Self {
            reader: Reader::new(
                reader,
                Messages::new(MAX_MESSAGE_BYTES),
                Duration::from_secs(60),
            ),
            writer,
        })
    }
}

async fn connect(master: &Destination) -> io::Result<(Incoming, Outgoing)> {
    let stream = dial(
        &master.address,
        Addresses::All,
        master.source,
        master.keepalive,
    )
    .await?;
    let Some(tls) = &master.tls else {
        return Ok(stream::plain(stream));
    };
    let host = (master.address.rsplit_once(':')).map_or(master.address.as_str(), |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    Ok(stream::within_tls(
        tls.connect(host, stream, master.io_timeout).await?,
    ))
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
