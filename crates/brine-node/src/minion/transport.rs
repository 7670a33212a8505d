//! The minion's two connections to a master, whichever transport they speak.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use brine_net::minion::Session;
use brine_net::tls::TlsError;
use brine_net::{crypto, tcp, zeromq};
use brine_wire::Value;
use brine_wire::network::publish::Publish;

use super::options::{MasterAddress, MinionOptions};
use crate::options::Transport;

/// Why a connection cannot be used; trying again later may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No reply, or no connection.
    #[error(transparent)]
    Tcp(#[from] tcp::client::RequestError),
    /// No reply, or no connection.
    #[error(transparent)]
    ZeroMq(#[from] zeromq::client::RequestError),
    /// libzmq refuses the address.
    #[error(transparent)]
    Open(#[from] zeromq::client::OpenError),
    /// Certificates or keys of `ssl` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The subscription is over.
    #[error(transparent)]
    Subscription(#[from] tcp::client::SubscriptionError),
    /// libzmq has failed.
    #[error("expected publishes of the master, found the subscription closed")]
    Closed,
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] crypto::NoRandom),
}

/// Sends requests, one at a time.
#[derive(Debug)]
pub(super) enum Requester {
    Tcp(tcp::client::Requester),
    ZeroMq(zeromq::client::Requester),
}

impl Requester {
    pub(super) fn open(
        options: &MinionOptions,
        master: &MasterAddress,
    ) -> Result<Self, TransportError> {
        Ok(match options.transport {
            Transport::Tcp => {
                let source = options.source_ret_port;
                let destination = destination(options, master, master.port, source)?;
                Self::Tcp(tcp::client::Requester::new(destination))
            }
            Transport::ZeroMq => {
                let mut config = zeromq::client::ClientConfig::requests(&master.host, master.port);
                config.ipv6 = options.ipv6;
                config.source = source(options, options.source_ret_port);
                config.keepalive = options.keepalive;
                Self::ZeroMq(zeromq::client::Requester::open(config)?)
            }
        })
    }

    pub(super) async fn request(
        &self,
        payload: &Value,
        wait: Duration,
    ) -> Result<Value, TransportError> {
        Ok(match self {
            Self::Tcp(requester) => requester.request(payload, wait).await?,
            Self::ZeroMq(requester) => requester.request(payload, wait).await?,
        })
    }
}

/// Over tcp. The files of `ssl` are read anew each time: certificates may be renewed meanwhile.
fn destination(
    options: &MinionOptions,
    master: &MasterAddress,
    port: u16,
    source_port: u16,
) -> Result<tcp::client::Destination, TransportError> {
    let mut destination = tcp::client::Destination::from(master.with_port(port));
    destination.source = source(options, source_port);
    destination.keepalive = options.keepalive;
    destination.tls = match &options.ssl {
        Some(ssl) => Some(ssl.client()?),
        None => None,
    };
    Ok(destination)
}

/// Our own end, if the options say anything of it.
const fn source(options: &MinionOptions, port: u16) -> Option<(IpAddr, u16)> {
    match (options.source_ip, port) {
        (Some(ip), port) => Some((ip, port)),
        (None, 0) => None,
        (None, port) => Some((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)),
    }
}

/// Publishes of a master, as they come.
#[derive(Debug)]
pub enum Subscription {
    Tcp(tcp::client::Subscription),
    ZeroMq(zeromq::client::Subscription),
}

impl Subscription {
    pub(super) async fn open(
        options: &MinionOptions,
        master: &MasterAddress,
        session: &Session,
    ) -> Result<Self, TransportError> {
        let port = options
            .publish_port
            .unwrap_or_else(|| session.publish_port());
        Ok(match options.transport {
            Transport::Tcp => {
                let identification = session.identification()?;
                let source = options.source_publish_port;
                let destination = destination(options, master, port, source)?;
                Self::Tcp(tcp::client::Subscription::open(destination, &identification).await?)
            }
            Transport::ZeroMq => {
                let mut config = zeromq::client::ClientConfig::publishes(&master.host, port);
                config.ipv6 = options.ipv6;
                config.source = source(options, options.source_publish_port);
                config.keepalive = options.keepalive;
                config.recon_default = options.recon_default;
                config.recon_max = options.recon_max;
                let topics = match options.zmq_filtering {
                    true => zeromq::client::Topics::Minion(session.id().clone()),
                    false => zeromq::client::Topics::All,
                };
                Self::ZeroMq(zeromq::client::Subscription::open(&config, &topics)?)
            }
        })
    }

    /// Waits until publishes can come; over tcp they can from the start.
    pub(super) async fn ready(&self) {
        if let Self::ZeroMq(subscription) = self {
            let _ = subscription
                .connected()
                .wait_for(|connected| *connected)
                .await;
        }
    }

    /// What waits until the connection is lost, where [`Self::next`] does not report it.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let connected = match self {
            Self::Tcp(_) => None,
            Self::ZeroMq(subscription) => Some(subscription.connected()),
        };
        async move {
            match connected {
                Some(mut connected) => {
                    let _ = connected.wait_for(|connected| !connected).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until the connection has been lost and made again without [`Self::next`] reporting it.
    pub(super) fn reconnected(&self) -> impl Future<Output = ()> + use<> {
        let lost = self.lost();
        let connected = match self {
            Self::Tcp(_) => None,
            Self::ZeroMq(subscription) => Some(subscription.connected()),
        };
        async move {
            lost.await;
            if let Some(mut connected) = connected {
                let _ = connected.wait_for(|connected| *connected).await;
            }
        }
    }

    /// The next publish. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Publish, TransportError> {
        match self {
            Self::Tcp(subscription) => Ok(subscription.next().await?),
            Self::ZeroMq(subscription) => subscription.next().await.ok_or(TransportError::Closed),
        }
    }
}
