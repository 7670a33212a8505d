//! Requests to a master one at a time, over a connection that is opened when it is needed.
//!
//! Real daemons send them so, and a minion's events arrive in the order fired. The caller decides when to try again
//! ([`crate::backoff`]). What the bytes look like is known to the transport ([`Exchange`]).

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brine_wire::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::connection::ConnectionError;
use crate::dial::{Addresses, dial};
use crate::listener::Keepalive;
use crate::stream::{self, Incoming, Outgoing};
use crate::tls::TlsClient;

/// The largest message accepted from a master, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// The largest reply accepted from a master that has not proved its key, in bytes. The reply to a sign-in has about
/// 2 KiB.
pub const MAX_UNTRUSTED_BYTES: usize = 64 * 1024;

/// For one message to arrive or to be sent. Replies have a time limit of their own.
pub(crate) const IO_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// The time limit for connecting and for the handshakes.
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

impl Destination {
    /// Connects, within TLS if it is set.
    pub(crate) async fn connect(&self) -> Result<(Incoming, Outgoing), ConnectionError> {
        let connected = timeout(self.io_timeout, self.connect_patiently()).await;
        Ok(connected.map_err(io::Error::from)??)
    }

    async fn connect_patiently(&self) -> io::Result<(Incoming, Outgoing)> {
        let stream = dial(&self.address, Addresses::All, self.source, self.keepalive).await?;
        let Some(tls) = &self.tls else {
            return Ok(stream::plain(stream));
        };
        let host = (self.address.rsplit_once(':')).map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        let stream = tls.connect(host, stream, self.io_timeout).await?;
        Ok(stream::within_tls(stream))
    }
}

/// A connection of one transport that carries one request at a time.
pub trait Exchange: Sized + Send {
    /// Connects, ready for the first request.
    fn open(master: &Destination) -> impl Future<Output = Result<Self, ConnectionError>> + Send;

    /// Sends a request and waits for its reply, of at most `max_bytes`.
    fn exchange(
        &mut self,
        payload: &Value,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Value, ConnectionError>> + Send;
}

/// Sends requests to a master; connects when necessary.
#[derive(Debug)]
pub struct Requester<C> {
    master: Box<Destination>,
    trusted: AtomicBool,
    /// Locked while a request waits for its reply: one at a time.
    connection: Mutex<Option<Box<C>>>,
}

impl<C: Exchange> Requester<C> {
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
        let address = || self.master.address.clone();
        let (reply, connection) = exchanged
            .map_err(|_| RequestError::NoReply {
                address: address(),
                after: wait,
            })?
            .map_err(|source| RequestError::Connection {
                address: address(),
                source,
            })?;
        *slot = Some(connection);
        Ok(reply)
    }

    async fn exchange(
        &self,
        connection: Option<Box<C>>,
        payload: &Value,
    ) -> Result<(Value, Box<C>), ConnectionError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Box::new(C::open(&self.master).await?),
        };
        let reply = connection.exchange(payload, self.max_bytes()).await?;
        Ok((reply, connection))
    }
}
