//! One accepted connection, UNIX or TCP, and who is at its other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Who is at the other end, for log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    Process { pid: Option<i32>, uid: u32 },
    Address(SocketAddr),
    Unknown,
}

impl Stream {
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => stream
                .peer_cred()
                .map_or(Peer::Unknown, |peer| Peer::Process {
                    pid: peer.pid(),
                    uid: peer.uid(),
                }),
            Self::Tcp(stream) => stream.peer_addr().map_or(Peer::Unknown, Peer::Address),
        }
    }

    /// Reads what is there, at most a bufferful. Zero bytes are the end of the stream. A read that
    /// leaves room has emptied the socket, and the next waits without asking the system again.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(match self {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes what the socket takes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }

    /// Waits until the socket takes bytes again.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.writable().await,
            Self::Tcp(stream) => stream.writable().await,
        }
    }

    /// Waits until the peer has gone. What it sends meanwhile is read and thrown away.
    pub(crate) async fn closed(&self) {
        let mut discarded = [0; 1024];
        loop {
            let read = match self {
                Self::Unix(stream) => match stream.readable().await {
                    Ok(()) => stream.try_read(&mut discarded),
                    Err(error) => Err(error),
                },
                Self::Tcp(stream) => match stream.readable().await {
                    Ok(()) => stream.try_read(&mut discarded),
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(0) => return,
                // One that keeps sending must not keep the others waiting.
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process {
                pid: Some(pid),
                uid,
            } => write!(out, "pid {pid} uid {uid}"),
            Self::Process { pid: None, uid } => write!(out, "uid {uid}"),
            Self::Address(address) => address.fmt(out),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}
