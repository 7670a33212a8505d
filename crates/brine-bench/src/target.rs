//! Where a bus is and how to open connections to it.

use core::time::Duration;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use brine_wire::compat::Compat;

use crate::dialect::{Dialect, Hello};

/// A bus to load.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where subscribers connect.
    pub publish: Endpoint,
    /// Where publishers connect.
    pub pull: Endpoint,
    /// What is spoken there.
    pub dialect: Dialect,
    /// The process whose time and memory are counted. `None`: the one that listens, where the
    /// kernel says so (UNIX sockets).
    pub process: Option<u32>,
}

impl Target {
    /// The bus of a Salt master, by its socket directory.
    #[must_use]
    pub fn salt_in(sock_dir: &Path, compat: Compat) -> Self {
        Self {
            publish: Endpoint::Unix(sock_dir.join("master_event_pub.ipc")),
            pull: Endpoint::Unix(sock_dir.join("master_event_pull.ipc")),
            dialect: Dialect::salt(compat),
            process: None,
        }
    }

    /// Opens a subscriber's connection; subscribed when this returns, if the protocol answers.
    ///
    /// # Errors
    /// What connecting or the handshake gives; after 10 s without answer [`io::ErrorKind::WouldBlock`].
    pub fn subscriber(&self) -> io::Result<OwnedFd> {
        self.publish.connect(self.dialect.subscriber_hello)
    }

    /// Opens a publisher's connection.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn publisher(&self) -> io::Result<OwnedFd> {
        self.pull.connect(self.dialect.publisher_hello)
    }
}

/// The address of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A UNIX stream socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(out),
            Self::Tcp(address) => address.fmt(out),
        }
    }
}

impl Endpoint {
    fn connect(&self, hello: Hello) -> io::Result<OwnedFd> {
        const ANSWER_WITHIN: Duration = Duration::from_secs(10);
        /// A publisher that a hanging bus holds up looks this often whether the run is over.
        const LOOK_UP_EVERY: Duration = Duration::from_millis(200);
        match self {
            Self::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                stream.set_write_timeout(Some(LOOK_UP_EVERY))?;
                greet(&mut stream, hello)?;
                Ok(stream.into())
            }
            Self::Tcp(address) => {
                let mut stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_WITHIN))?;
                stream.set_write_timeout(Some(LOOK_UP_EVERY))?;
                greet(&mut stream, hello)?;
                Ok(stream.into())
            }
        }
    }
}

fn greet(stream: &mut (impl Read + Write), hello: Hello) -> io::Result<()> {
    stream.write_all(hello.send)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Byte by byte: what comes after the answer belongs to the deliveries.
    while !answer.ends_with(hello.answer_ends) {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(())
}
