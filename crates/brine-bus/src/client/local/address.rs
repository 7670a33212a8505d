//! Where a local socket is.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::address::Endpoint;

/// Where a local socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A UNIX socket.
    Socket(PathBuf),
    /// A file that names a loopback port and its token (`ipc_mode: tcp`).
    TokenFile(PathBuf),
}

impl LocalAddress {
    /// The socket, or the file of the token.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Socket(path) | Self::TokenFile(path) => path,
        }
    }

    /// Where to connect now, and the token to send there. A bus that restarts writes another port and token, so the
    /// file is read for each connection.
    ///
    /// If the file does not exist, or this user may not read it, returns its own path: connecting to that fails for
    /// the same reason, which is then explained as for a socket.
    pub(super) fn resolve(&self) -> (Endpoint, Option<String>) {
        let Self::TokenFile(path) = self else {
            return (Endpoint::Path(self.path().to_owned()), None);
        };
        match read_token(path) {
            Ok((port, token)) => (Endpoint::Tcp(port), Some(token)),
            Err(_) => (Endpoint::Path(path.clone()), None),
        }
    }
}

fn read_token(path: &Path) -> io::Result<(SocketAddr, String)> {
    let line = fs::read_to_string(path)?;
    let parts = line.trim_end().split_once(' ');
    let parts = parts.and_then(|(address, token)| {
        let address: SocketAddr = address.parse().ok()?;
        let is_token = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        (address.ip().is_loopback() && is_token).then(|| (address, token.to_owned()))
    });
    parts.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
