//! Connects to a master's port, for any transport.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::listener::{Keepalive, set_options};

/// Which addresses of a name to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// All, in the resolver's order.
    All,
    /// IPv4 alone.
    V4,
}

/// Connects to `host:port`, from `source` if there is one; tries the addresses of a name one after the other.
pub(crate) async fn dial(
    address: &str,
    addresses: Addresses,
    source: Option<(IpAddr, u16)>,
    keepalive: Option<Keepalive>,
) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host(address).await? {
        if addresses == Addresses::V4 && address.is_ipv6() {
            continue;
        }
        match connect(address, source).await {
            Ok(stream) => {
                set_options(&stream, keepalive)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr, source: Option<(IpAddr, u16)>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some((ip, port)) = source {
        // A fixed source port stays in use until the kernel forgets the previous connection.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(ip, port))?;
    }
    socket.connect(address).await
}
