//! One accepted connection, UNIX or TCP, and the user at its other end.
//!
//! We do not use tokio's own streams: they ask the kernel for a wake-up whenever a socket becomes writable, which
//! happens each time a subscriber has read, and costs the bus a wake-up per subscriber and event. This type asks for
//! that only while a subscriber has lately kept a write waiting.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::registration::Registered;

#[derive(Debug)]
pub(crate) struct Stream {
    /// `None` only while its registration is being changed.
    socket: Option<Registered>,
    /// Whether the kernel wakes us when it can be written to.
    watches_writable: bool,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, as it was when it connected.
    Process {
        /// Its number.
        pid: i32,
        /// Its user's number.
        uid: u32,
    },
    /// A TCP address.
    Address(SocketAddr),
    /// The system does not say.
    Unknown,
}

impl Stream {
    /// A connected, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Registered::new(socket, Interest::READABLE)?;
        Ok(Self {
            socket: Some(socket),
            watches_writable: false,
        })
    }

    pub(crate) fn peer(&self) -> Peer {
        self.socket()
            .map_or(Peer::Unknown, |socket| Peer::of(socket.get_ref()))
    }

    /// Reads what is there, at most a bufferful. Zero bytes are the end of the stream. A read that
    /// leaves room has emptied the socket, and the next waits without asking the system again.
    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.socket()?;
        loop {
            let mut ready = ready!(socket.poll_read_ready(context))?;
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((read, _)) => {
                    if (1..buffer.len()).contains(&read) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes what the socket takes at once; `WouldBlock` when that is nothing.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |socket: &OwnedFd| Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?);
        let socket = self.socket()?;
        if self.watches_writable {
            socket.try_io(Interest::WRITABLE, write)
        } else {
            write(socket.get_ref())
        }
    }

    /// Waits until the socket takes bytes again. From here on the kernel wakes us for that, until
    /// [`Stream::forget_writable`]. Dropping the future loses nothing.
    pub(crate) async fn writable(&mut self) -> io::Result<()> {
        if !self.watches_writable {
            self.register(Interest::READABLE | Interest::WRITABLE)?;
            self.watches_writable = true;
        }
        self.socket()?.writable().await?.retain_ready();
        Ok(())
    }

    /// Has the kernel no longer wake us when the socket can be written to.
    pub(crate) fn forget_writable(&mut self) -> io::Result<()> {
        if self.watches_writable {
            self.register(Interest::READABLE)?;
            self.watches_writable = false;
        }
        Ok(())
    }

    /// Waits until the peer has gone. Reads and discards what it sends meanwhile.
    pub(crate) async fn closed(&self) {
        let mut discarded = [0; 64]; // small: every idle subscriber has one
        while std::future::poll_fn(|context| self.poll_read(context, &mut discarded))
            .await
            .is_ok_and(|read| read > 0)
        {
            // One that keeps sending must not keep the others waiting.
            tokio::task::yield_now().await;
        }
    }

    fn register(&mut self, interest: Interest) -> io::Result<()> {
        let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        self.socket = Some(Registered::new(socket.into_inner(), interest)?);
        Ok(())
    }

    fn socket(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.socket
            .as_deref()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Peer {
    /// Who is at the other end of a connected socket.
    pub(crate) fn of(socket: &OwnedFd) -> Self {
        if let Ok(Some(address)) = rustix::net::getpeername(socket)
            && let Ok(address) = SocketAddr::try_from(address)
        {
            return Self::Address(address);
        }
        rustix::net::sockopt::socket_peercred(socket).map_or(Self::Unknown, |peer| Self::Process {
            pid: peer.pid.as_raw_nonzero().get(),
            uid: peer.uid.as_raw(),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, uid } => write!(out, "pid {pid} uid {uid}"),
            Self::Address(address) => address.fmt(out),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}
