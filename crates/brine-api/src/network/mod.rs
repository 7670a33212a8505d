//! The network listener: connections over TCP, limits on their number, and HTTP on them.
//!
//! `router` handles the requests. A handler may answer with a response, or take over the whole connection
//! (`connection`): a subscriber that listens for days then needs neither the buffers nor the task of an HTTP
//! connection.

mod connection;
mod handshakes;
mod tls;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::handshakes::Handshakes;
pub use self::tls::{Tls, TlsError, TlsFiles};
use crate::accept::pause;
use crate::connection::Io;
use crate::limits::{Held, Holder, Limits};
use crate::rest::RestState;
use crate::seldom::Seldom;

/// What the log calls this listener.
const LISTENER: &str = "HTTP API";
/// How long streams have to write what is left, once the listener closes.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// How long a rejected connection has to take the answer.
const TURNING_AWAY: Duration = Duration::from_secs(1);

/// Serves bound sockets until `shutdown` is done; then lets streams write what the log holds, and returns.
/// Dropping the future cuts all connections.
///
/// # Errors
/// When a socket cannot be registered with the runtime.
pub async fn serve(
    socket: std::net::TcpListener,
    tls: Option<Tls>,
    state: Arc<RestState>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let limits = &state.options.limits;
    let server = Arc::new(Server {
        limits: Limits::new(limits.connections, limits.connections_per_address),
        handshakes: Handshakes::new(limits.handshakes),
        state,
        tls,
        closing: watch::Sender::new(false),
    });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let tended = Arc::clone(&server.state);
    let mut tending = pin!(tended.sessions.tend(tended.operator.as_ref()));
    let mut looks = interval(tls::LOOK_AGAIN);
    let (warned, full) = (Seldom::default(), Seldom::default());
    loop {
        tokio::select! {
            () = &mut tending => {} // never done
            _ = looks.tick(), if server.tls.is_some() => {
                if let Some(tls) = &server.tls {
                    tls.reload();
                }
            }
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    match server.limits.enter(Holder::of(peer.ip())) {
                        Some(held) => connections.spawn(Arc::clone(&server).serve(stream, peer, held)),
                        None => {
                            if full.may_be_told() {
                                let limits = &server.state.options.limits;
                                tracing::warn!(
                                    %peer, per_address = limits.connections_per_address, total = limits.connections,
                                    "HTTP API: too many connections; more are answered 503. The limit of open files decides how many \
                                     there may be: raise it (LimitNOFILE of the unit, ulimit -n)"
                                );
                            }
                            connections.spawn(turn_away(stream, peer))
                        }
                    };
                }
                Err(error) => pause(LISTENER, &error, &warned).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    server.state.api().shut_down();
    server.state.streams.shut_down();
    server.closing.send_replace(true);
    let all_closed = async {
        while connections.join_next().await.is_some() {}
        server.state.streams.ended().await;
    };
    let _ = timeout(CLOSING_TIME, all_closed).await; // whoever does not read by now is cut off
    Ok(())
}

/// What all connections share.
struct Server {
    state: Arc<RestState>,
    tls: Option<Tls>,
    limits: Limits,
    handshakes: Arc<Handshakes>,
    closing: watch::Sender<bool>,
}

impl Server {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, held: Held) {
        let _ = stream.set_nodelay(true); // only delays answers
        let Some(tls) = &self.tls else {
            return self.serve_http1(Io::Left(stream), peer, held).await;
        };
        let under_way = self.handshakes.begin(Holder::of(peer.ip()));
        let handshake = tls.acceptor().accept(stream);
        let handshake = timeout(self.state.options.limits.head_timeout, handshake);
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = under_way.must_end() => {
                return tracing::debug!(%peer, "TLS handshake ended to make room for another");
            }
        };
        drop(under_way);
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, err = %error, "no TLS"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = Io::Right(Box::new(stream));
        match is_http2 {
            true => {
                let closing = self.closing.subscribe();
                connection::serve_http2(io, peer, held, &self.state, closing).await;
            }
            false => self.serve_http1(io, peer, held).await,
        }
    }

    async fn serve_http1(&self, io: Io, peer: SocketAddr, held: Held) {
        connection::serve(io, peer, held, &self.state, self.closing.subscribe()).await;
    }
}

/// Says that there are too many connections, without reading anything.
async fn turn_away(mut stream: TcpStream, peer: SocketAddr) {
    tracing::debug!(%peer, "HTTP API: too many connections");
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\
        connection: close\r\n\r\n";
    let _ = timeout(TURNING_AWAY, stream.write_all(ANSWER)).await;
}
