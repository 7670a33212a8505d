//! A connection that a handler may take over from HTTP.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::limits::Held;

/// What a connection's bytes go over: TCP, or TLS over it.
pub(crate) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A connection that a handler has taken over: the request's head has been read, nothing of an answer has
/// been written.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection itself.
    pub(crate) io: Io,
    /// What the client has sent behind the request's head.
    pub(crate) read: Bytes,
    /// Turns true when the listener closes: write what is left and end.
    pub(crate) closing: watch::Receiver<bool>,
    /// The connection's share of its address's limit. Keep it as long as the connection.
    pub(crate) held: Held,
}

/// What happens on a connection that is taken over. The future ends with the connection, or passes it on.
pub(crate) type TakeOver =
    Box<dyn FnOnce(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
