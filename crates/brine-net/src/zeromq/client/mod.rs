//! A minion's connections to both of a master's ports over ZeroMQ.
//!
//! Each is carried by a task of its own, which connects again when it must. One request at a time, as real daemons send
//! them, so that a minion's events arrive in the order fired. What a master may have us keep is limited before it
//! arrives. Facts: `docs/protocol/network.md` §2.1.

mod connection;
mod requester;
mod subscription;

use std::net::IpAddr;
use std::time::Duration;

pub use self::requester::{RequestError, Requester};
pub use self::subscription::{Subscription, Topics};
use crate::listener::Keepalive;

/// How to connect; fields are named as Salt's options.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The master's name or address.
    pub master: String,
    /// The port to connect to.
    pub port: u16,
    /// Connect over IPv6 too.
    pub ipv6: bool,
    /// Our own end: `source_ip`, and `source_ret_port` or `source_publish_port` (0 for any).
    pub source: Option<(IpAddr, u16)>,
    /// `tcp_keepalive` and its times; `None` for off.
    pub keepalive: Option<Keepalive>,
    /// The first wait before connecting again.
    pub recon_default: Duration,
    /// The longest such wait.
    pub recon_max: Duration,
    /// The largest message accepted, in bytes.
    pub max_message_bytes: usize,
}

impl ClientConfig {
    /// Salt's defaults for requests.
    #[must_use]
    pub fn requests(master: impl Into<String>, port: u16) -> Self {
        Self {
            master: master.into(),
            port,
            ipv6: false,
            source: None,
            keepalive: Some(Keepalive::MINION),
            recon_default: Duration::from_millis(100),
            recon_max: Duration::from_secs(5),
            max_message_bytes: 256 * 1024 * 1024,
        }
    }

    /// Salt's defaults for publishes.
    #[must_use]
    pub fn publishes(master: impl Into<String>, port: u16) -> Self {
        Self {
            recon_default: Duration::from_secs(1),
            recon_max: Duration::from_secs(10),
            ..Self::requests(master, port)
        }
    }

    /// `host:port`, with brackets where an IPv6 address needs them.
    fn address(&self) -> String {
        let (host, port) = (&self.master, self.port);
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// The wait that follows this one.
    fn next_wait(&self, wait: Duration) -> Duration {
        (wait * 2).min(self.recon_max.max(self.recon_default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let config = ClientConfig::publishes("::1", 4505);
        assert_eq!(config.address(), "[::1]:4505");
        let mut wait = config.recon_default;
        let waits: Vec<_> = (0..5)
            .map(|_| {
                wait = config.next_wait(wait);
                wait.as_secs()
            })
            .collect();
        assert_eq!(waits, [2, 4, 8, 10, 10]);
    }
}
