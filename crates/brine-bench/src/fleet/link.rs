//! One minion's way to the master, over either transport.
//!
//! Over tcp every minion has connections of its own, as real ones have. libzmq's sockets are heavy
//! (threads, and a few hundred KiB each), so over ZeroMQ minions share them: what the master gets
//! to see is fewer connections with the same requests.

use std::sync::Arc;
use std::time::Duration;

use brine_net::minion::Session;
use brine_net::zeromq::client::{ClientConfig, Topics};
use brine_net::{tcp, zeromq};
use brine_wire::Value;
use brine_wire::network::publish::Publish;

use super::{FleetError, FleetOptions};

/// How the fleet talks to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `transport: tcp`.
    Tcp,
    /// `transport: zeromq`.
    ZeroMq,
}

impl Transport {
    /// Salt's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::ZeroMq => "zeromq",
        }
    }
}

/// The most sockets of one kind over ZeroMQ.
pub(super) const MOST_ZEROMQ: usize = 128;

/// Where requests go.
pub(super) enum Link {
    Tcp(tcp::client::Requester),
    ZeroMq(Arc<zeromq::client::Requester>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Tcp(#[from] tcp::client::RequestError),
    #[error(transparent)]
    ZeroMq(#[from] zeromq::client::RequestError),
}

impl Link {
    pub(super) async fn request(
        &self,
        payload: &Value,
        wait: Duration,
    ) -> Result<Value, LinkError> {
        Ok(match self {
            Self::Tcp(requester) => requester.request(payload, wait).await?,
            Self::ZeroMq(requester) => requester.request(payload, wait).await?,
        })
    }
}

/// Opens links.
pub(super) struct Links {
    master: String,
    port: u16,
    transport: Transport,
    shared: Vec<Arc<zeromq::client::Requester>>,
    opened: usize,
}

impl Links {
    pub(super) fn new(options: &FleetOptions) -> Self {
        Self {
            master: options.master.clone(),
            port: options.ret_port,
            transport: options.transport,
            shared: Vec::new(),
            opened: 0,
        }
    }

    pub(super) fn open(&mut self) -> Result<Link, FleetError> {
        if self.transport == Transport::Tcp {
            let address = host_and_port(&self.master, self.port);
            return Ok(Link::Tcp(tcp::client::Requester::new(address)));
        }
        if self.shared.len() < MOST_ZEROMQ {
            let config = ClientConfig::requests(&self.master, self.port);
            let requester = zeromq::client::Requester::open(config)?;
            self.shared.push(Arc::new(requester));
        }
        let link = self.shared[self.opened % self.shared.len()].clone();
        self.opened += 1;
        Ok(Link::ZeroMq(link))
    }
}

/// A subscription, of one minion (tcp) or several (ZeroMQ).
pub(super) enum Subscription {
    Tcp(tcp::client::Subscription),
    ZeroMq(zeromq::client::Subscription),
}

impl Subscription {
    /// Subscribes; `None` if the master does not take it.
    pub(super) async fn open(options: &FleetOptions, session: &Session) -> Option<Self> {
        let port = options.publish_port.unwrap_or(session.publish_port());
        match options.transport {
            Transport::Tcp => {
                let address = host_and_port(&options.master, port);
                let identification = session.identification().ok()?;
                let opened = tcp::client::Subscription::open(&address, &identification).await;
                opened.ok().map(Self::Tcp)
            }
            Transport::ZeroMq => {
                let config = ClientConfig::publishes(&options.master, port);
                let opened = zeromq::client::Subscription::open(&config, &Topics::All);
                opened.ok().map(Self::ZeroMq)
            }
        }
    }

    /// The next publish; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Publish> {
        match self {
            Self::Tcp(subscription) => subscription.next().await.ok(),
            Self::ZeroMq(subscription) => subscription.next().await,
        }
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
