//! How the minion's options open its two connections to a master.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use brine_net::client::{RequestError, Requester, Subscription, SubscriptionError};
use brine_net::minion::Session;
use brine_net::tls::TlsError;
use brine_net::{crypto, tcp, ws, zeromq};
use tokio::time::timeout;

use super::masters::MasterAddress;
use super::options::MinionOptions;
use crate::options::Transport;

/// How long a minion waits for the master's publish port before it announces itself.
const SUBSCRIBE_TIME: Duration = Duration::from_secs(5);

/// Why a connection cannot be used; trying again later may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No reply, or no connection.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Certificates or keys of `ssl` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The subscription is over.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// A thread or task of ours has ended.
    #[error("the subscription to the master's publishes was closed")]
    Closed,
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] crypto::NoRandom),
}

/// A requester for a master, as the options say.
pub(super) fn requester(
    options: &MinionOptions,
    master: &MasterAddress,
) -> Result<Requester, TransportError> {
    let requester = match options.transport {
        Transport::Tcp => {
            let source = options.source_ret_port;
            let destination = destination(options, master, master.port, source)?;
            Requester::Tcp(tcp::client::Requester::new(destination))
        }
        Transport::Ws => {
            let source = options.source_ret_port;
            let destination = destination(options, master, master.port, source)?;
            Requester::Ws(ws::client::Requester::new(destination))
        }
        Transport::ZeroMq => {
            let mut config = zeromq::client::ClientConfig::requests(&master.host, master.port);
            config.ipv6 = options.ipv6;
            config.source = source(options, options.source_ret_port);
            config.keepalive = options.keepalive;
            Requester::ZeroMq(zeromq::client::Requester::open(config))
        }
    };
    Ok(requester.untrusted())
}

/// Over tcp and WebSockets. The files of `ssl` are read again each time: certificates may have been renewed.
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

/// Subscribes to a master's publishes.
pub(super) async fn subscribe(
    options: &MinionOptions,
    master: &MasterAddress,
    session: &Session,
) -> Result<Subscription, TransportError> {
    let port = (options.publish_port).unwrap_or_else(|| session.publish_port());
    Ok(match options.transport {
        Transport::Tcp => {
            let identification = session.identification()?;
            let source = options.source_publish_port;
            let destination = destination(options, master, port, source)?;
            let opened = tcp::client::Subscription::open(destination, &identification).await;
            Subscription::Tcp(opened.map_err(SubscriptionError::from)?)
        }
        Transport::Ws => {
            let source = options.source_publish_port;
            let destination = destination(options, master, port, source)?;
            let opened = ws::client::Subscription::open(destination).await;
            Subscription::Ws(opened.map_err(SubscriptionError::from)?)
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
            let subscription = zeromq::client::Subscription::open(config, &topics);
            // Jobs that follow the start event must find the subscription there. Without an answer the minion
            // continues: its events use another port.
            let mut connected = subscription.connected();
            let _ = timeout(SUBSCRIBE_TIME, connected.wait_for(|is| *is)).await;
            Subscription::ZeroMq(subscription)
        }
    })
}
