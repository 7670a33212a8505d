//! The system calls of a client: connect, read, write, none of which blocks.
//!
//! One descriptor type for UNIX and TCP sockets hides the difference from everything above. Reads and writes that
//! would block return [`Progress::Later`]; the shells wait.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

/// What a read or write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// So many bytes; never 0.
    Bytes(usize),
    /// It would have to wait.
    Later,
    /// The connection is over.
    Over,
}

/// Connects to a UNIX socket. Never waits: a full backlog is [`io::ErrorKind::WouldBlock`].
pub(super) fn connect_path(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Connects to a TCP socket within `timeout`.
pub(super) fn connect_tcp(address: &SocketAddr, timeout: Duration) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(address, timeout.max(Duration::from_millis(1)))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// Reads what is there.
pub(super) fn read(socket: impl AsFd, room: &mut [u8]) -> io::Result<Progress> {
    loop {
        return match recv(&socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Progress::Over),
            Ok((_, bytes)) => Ok(Progress::Bytes(bytes)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Progress::Later),
            Err(error) => Err(error.into()),
        };
    }
}

/// Writes what there is room for, without a signal if the other end is gone.
pub(super) fn write(socket: impl AsFd, bytes: &[u8]) -> io::Result<Progress> {
    loop {
        return match send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(bytes) => Ok(Progress::Bytes(bytes)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Progress::Later),
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(Progress::Over),
            Err(error) => Err(error.into()),
        };
    }
}

/// Whether the other end of a connection that is only written to is gone. On a UNIX socket the
/// next write would fail; on TCP its bytes would be lost first.
pub(super) fn is_over(socket: impl AsFd) -> bool {
    let mut byte = [0];
    match recv(socket, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((_, bytes)) => bytes == 0,
        Err(error) => error != Errno::AGAIN && error != Errno::INTR,
    }
}
