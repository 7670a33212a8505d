//! A bound port and its connections, for any protocol.
//!
//! Counts unauthenticated connections as they arrive. Facts: `docs/protocol/network.md` §2.1, §2.2.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::connection::ConnectionError;
use crate::quota::{Eviction, Quota, Slot};
use crate::stream::{self, Incoming, Outgoing};
use crate::tls::TlsServer;
use crate::turns::Turns;

/// Keepalive as Salt sets it; `None` leaves a field to the system.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Option<Duration>,
    /// How many probes.
    pub count: Option<u32>,
}

impl Keepalive {
    /// What masters set on requests.
    pub const MASTER: Self = Self {
        idle: Duration::from_secs(1),
        interval: Some(Duration::from_secs(15)),
        count: Some(3),
    };
    /// What minions set.
    pub const MINION: Self = Self {
        idle: Duration::from_secs(300),
        interval: None,
        count: None,
    };
}

/// A bound port and the options of its connections.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    /// TLS from the first byte (`ssl`); `None` for none.
    pub tls: Option<TlsServer>,
    /// `None` leaves it off.
    pub keepalive: Option<Keepalive>,
}

impl From<TcpListener> for Listener {
    /// Without TLS, with a master's keepalive.
    fn from(tcp: TcpListener) -> Self {
        Self {
            tcp,
            tls: None,
            keepalive: Some(Keepalive::MASTER),
        }
    }
}

impl Listener {
    /// Where it is bound.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Runs `handle` for each connection on a task of its own until `shutdown`; returns the connections still open.
    /// A connection whose slot `quota` gives to another is closed. Those of strangers run in turns, on at most half of
    /// the runtime's threads, until their slots are dropped.
    pub(crate) async fn serve<F>(
        self,
        quota: &Arc<Quota>,
        shutdown: impl Future<Output = ()>,
        mut handle: impl FnMut(Accepted) -> F,
    ) -> JoinSet<()>
    where
        F: Future<Output = Result<(), ConnectionError>> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let turns = Arc::new(Turns::new(Handle::current().metrics().num_workers() / 2));
        let giver = turns.clone();
        let _giving = AbortOnDropHandle::new(tokio::spawn(async move { giver.give().await }));
        tokio::pin!(shutdown);
        // Linux gives accepted connections the options of the socket that listens.
        if let Err(err) = set_options(&self.tcp, self.keepalive) {
            tracing::warn!(%err, "cannot set a port's options: dead peers are noticed late");
        }
        loop {
            let (stream, peer) = tokio::select! {
                accepted = self.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut shutdown => {
                    turns.end();
                    return connections;
                }
            };
            let eviction = Eviction::default();
            quota.wait_for_room(peer.ip()).await;
            let slot = quota.enter(peer.ip(), eviction.clone());
            let (own_turns, sender) = (slot.turns(), slot.sender());
            // Boxed, or the task would have room for it three times: once for each future that takes it over.
            let connection = Box::pin(handle(Accepted {
                stream,
                peer,
                tls: self.tls.clone(),
                slot,
                eviction: eviction.clone(),
            }));
            let turns = turns.clone();
            connections.spawn(async move {
                let ended = tokio::select! {
                    ended = turns.run(sender, || own_turns.begin(), connection) => {
                        ended.unwrap_or(Err(ConnectionError::Evicted))
                    }
                    () = eviction.requested() => Err(ConnectionError::Evicted),
                };
                match ended {
                    Ok(()) | Err(ConnectionError::Closed) => {}
                    Err(err) => tracing::debug!(%peer, %err, "connection closed"),
                }
            });
        }
    }

    /// The next connection. Pauses when the system is out of descriptors.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.tcp.accept().await {
                Ok(accepted) => return accepted,
                Err(err) => {
                    tracing::warn!(%err, "cannot accept connections; retrying");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// A new connection.
pub(crate) struct Accepted {
    stream: TcpStream,
    tls: Option<TlsServer>,
    /// The peer's address.
    pub(crate) peer: SocketAddr,
    /// Its share of the quota, to be dropped once the peer has authenticated.
    pub(crate) slot: Slot,
    /// To claim a slot in another quota.
    pub(crate) eviction: Eviction,
}

/// The two halves of an accepted connection, after the handshake of TLS if there is one, and its slot.
pub(crate) async fn open(
    accepted: Accepted,
    io_timeout: Duration,
) -> io::Result<((Incoming, Outgoing), Slot)> {
    let Accepted {
        stream, tls, slot, ..
    } = accepted;
    let halves = match tls {
        None => stream::plain(stream),
        // Boxed, or every connection would have room for a handshake as long as it lives.
        Some(tls) => stream::within_tls(Box::pin(tls.accept(stream, io_timeout)).await?),
    };
    Ok((halves, slot))
}

/// Sets the options of a connection's socket, or of one that listens for connections.
pub(crate) fn set_options(socket: &impl AsFd, keepalive: Option<Keepalive>) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    let Some(keepalive) = keepalive else {
        return Ok(());
    };
    let mut options = TcpKeepalive::new().with_time(keepalive.idle);
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(count) = keepalive.count {
        options = options.with_retries(count);
    }
    socket.set_tcp_keepalive(&options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_have_the_options_of_their_port() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        set_options(&tcp, Some(Keepalive::MASTER)).unwrap();
        let peer = TcpStream::connect(tcp.local_addr().unwrap());
        let (accepted, _peer) = tokio::join!(tcp.accept(), peer);
        let (stream, _) = accepted.unwrap();
        let options = SockRef::from(&stream);
        assert!(options.tcp_nodelay().unwrap() && options.keepalive().unwrap());
        let times = (
            options.tcp_keepalive_time(),
            options.tcp_keepalive_interval(),
        );
        assert_eq!(times.0.unwrap(), Duration::from_secs(1));
        assert_eq!(times.1.unwrap(), Duration::from_secs(15));
        assert_eq!(options.tcp_keepalive_retries().unwrap(), 3);
    }
}
