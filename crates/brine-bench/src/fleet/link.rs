//! One minion's way to the master, over either transport.
//!
//! Every minion has connections of its own, as real ones have, unless open files are too few for that: then minions
//! share those for requests, and the master sees fewer connections with the same requests.

use std::sync::Arc;

use brine_net::client::{Requester, Subscription};
use brine_net::minion::Session;
use brine_net::zeromq::client::{ClientConfig, Topics};
use brine_net::{tcp, zeromq};

use super::FleetOptions;

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

/// Where requests go; cheap to clone.
pub(super) type Link = Arc<Requester>;

/// Opens links.
pub(super) struct Links {
    master: String,
    port: u16,
    transport: Transport,
    /// The most there may be.
    most: usize,
    opened: Vec<Link>,
    given: usize,
}

impl Links {
    pub(super) fn new(options: &FleetOptions) -> Self {
        Self {
            master: options.master.clone(),
            port: options.ret_port,
            transport: options.transport,
            most: options.requesters.max(1),
            opened: Vec::new(),
            given: 0,
        }
    }

    /// A way for one more minion: its own, or when there are as many as there may be, another's too.
    pub(super) fn open(&mut self) -> Link {
        if self.opened.len() < self.most {
            let requester = match self.transport {
                Transport::Tcp => {
                    let address = host_and_port(&self.master, self.port);
                    Requester::Tcp(tcp::client::Requester::new(address))
                }
                Transport::ZeroMq => {
                    let config = ClientConfig::requests(&self.master, self.port);
                    Requester::ZeroMq(zeromq::client::Requester::open(config))
                }
            };
            self.opened.push(Arc::new(requester));
        }
        let link = self.opened[self.given % self.opened.len()].clone();
        self.given += 1;
        link
    }
}

/// Subscribes one minion; `None` if the master refuses it.
pub(super) async fn subscribe(options: &FleetOptions, session: &Session) -> Option<Subscription> {
    let port = options.publish_port.unwrap_or(session.publish_port());
    match options.transport {
        Transport::Tcp => {
            let address = host_and_port(&options.master, port);
            let identification = session.identification().ok()?;
            let opened = tcp::client::Subscription::open(&address, &identification).await;
            opened.ok().map(Subscription::Tcp)
        }
        Transport::ZeroMq => {
            let config = ClientConfig::publishes(&options.master, port);
            let opened = zeromq::client::Subscription::open(config, &Topics::All);
            Some(Subscription::ZeroMq(opened))
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
