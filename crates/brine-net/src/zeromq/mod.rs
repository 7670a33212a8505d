//! The ZeroMQ transport, both sides, over libzmq.
//!
//! A libzmq socket belongs to one thread: each server and each client end has one of its own, which
//! sleeps in `zmq::poll` and is woken through a descriptor. Facts: `docs/protocol/network.md` §2.1.

pub mod client;
pub mod server;
mod wake;

use std::time::Duration;

/// Why an end cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// libzmq refuses an address.
    #[error("{endpoint}: {source}")]
    Endpoint {
        /// Which.
        endpoint: String,
        /// What it says.
        source: zmq::Error,
    },
    /// libzmq refuses a socket or an option.
    #[error("libzmq: {0}")]
    Socket(#[from] zmq::Error),
    /// No thread or descriptor.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Heartbeats that we ask for; those of others libzmq answers by itself.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Between two (`zmq_heartbeat_ivl`); zero for none.
    pub interval: Duration,
    /// Within which something must come (`zmq_heartbeat_timeout`).
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A duration as libzmq's options take it.
fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// `tcp://host:port`, with brackets where an IPv6 address needs them.
fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("tcp://[{host}]:{port}")
    } else {
        format!("tcp://{host}:{port}")
    }
}
