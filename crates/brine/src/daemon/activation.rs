//! A socket that the service manager has bound for this process, as `sd_listen_fds(3)` describes it.
//!
//! Such a socket outlives the process: while a service is restarted, connections wait in it instead of being refused.

use std::net::TcpListener;

use anyhow::{Context, bail};
use listenfd::ListenFd;

/// The one TCP socket that was passed to this process (`LISTEN_PID`, `LISTEN_FDS`), if any was.
///
/// To be called while there is one thread: it takes these variables out of the environment, so that child processes do
/// not believe that the socket is theirs.
pub(crate) fn passed_socket() -> anyhow::Result<Option<TcpListener>> {
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => Ok(None),
        1 => passed
            .take_tcp_listener(0)
            .context("socket activation: expected a TCP socket"),
        number => bail!(
            "socket activation: expected one socket, got {number}; one ListenStream= in the .socket unit is enough"
        ),
    }
}
