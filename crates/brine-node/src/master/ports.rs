//! A master's two ports, whichever transport they speak.

use std::sync::Arc;

use brine_net::channel::{Handler, Limits, Presence, Publication};
use brine_net::master::MasterChannel;
use brine_net::tcp::Listener;
use brine_net::tls::{TlsError, TlsOptions, TlsServer};
use brine_net::{tcp, zeromq};
use brine_wire::Value;
use brine_wire::network::MinionId;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::options::MasterOptions;
use crate::closing;
use crate::options::Transport;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The address is not free, or not ours.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// libzmq refuses.
    #[error(transparent)]
    ZeroMq(#[from] zeromq::OpenError),
    /// `ssl` cannot be followed.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The open ports. What comes in waits until [`Ports::serve`].
pub(super) struct Ports {
    pub(super) ret_port: u16,
    pub(super) publish_port: u16,
    pub(super) publisher: Publisher,
    kind: Kind,
}

enum Kind {
    ZeroMq(zeromq::server::Bound),
    Tcp(Box<Listeners>),
}

struct Listeners {
    ret: Listener,
    publish: Listener,
    limits: Limits,
    subscribers: tcp::publish::Publisher,
}

/// The way to publish; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Publisher {
    ZeroMq(zeromq::server::Publisher),
    Tcp(tcp::publish::Publisher),
}

impl Publisher {
    /// Sends to whom it is for; `false` if it could go to nobody at all.
    pub(super) fn publish(&self, publication: Publication) -> bool {
        match self {
            Self::ZeroMq(publisher) => publisher.publish(publication).is_ok(),
            Self::Tcp(publisher) => {
                let lost = publisher.publish(&publication);
                if lost > 0 {
                    tracing::warn!(lost, "subscribers that do not read lost a publish");
                }
                true
            }
        }
    }

    /// The minions whose publish connection is known to be theirs (tcp).
    pub(super) fn present(&self) -> Option<Vec<MinionId>> {
        match self {
            Self::ZeroMq(_) => None,
            Self::Tcp(publisher) => Some(publisher.present()),
        }
    }
}

impl Ports {
    /// Binds both ports.
    pub(super) fn open(options: &MasterOptions) -> Result<Self, PortError> {
        let limits = Limits {
            publish_queue: options.pub_hwm,
            ..Limits::default()
        };
        let kind = match options.transport {
            Transport::ZeroMq => Kind::ZeroMq(zeromq::server::Bound::bind(&zeromq_config(
                options, limits,
            ))?),
            Transport::Tcp => {
                let tls = TlsOptions::from_option(options.opts.get("ssl"))?
                    .map(|ssl| ssl.server(options.compat()))
                    .transpose()?;
                Kind::Tcp(Box::new(Listeners {
                    ret: listen(options, options.ret_port, tls.clone())?,
                    publish: listen(options, options.channel.publish_port, tls)?,
                    limits,
                    subscribers: tcp::publish::Publisher::default(),
                }))
            }
        };
        let (ret_port, publish_port, publisher) = match &kind {
            Kind::ZeroMq(bound) => (
                bound.ports.ret_port,
                bound.ports.publish_port,
                Publisher::ZeroMq(bound.ports.publisher.clone()),
            ),
            Kind::Tcp(listeners) => (
                port(&listeners.ret, options.ret_port),
                port(&listeners.publish, options.channel.publish_port),
                Publisher::Tcp(listeners.subscribers.clone()),
            ),
        };
        Ok(Self {
            ret_port,
            publish_port,
            publisher,
            kind,
        })
    }

    /// Hands requests to `handler` and tells `presence` who comes and goes (tcp), until `closing` says so.
    pub(super) async fn serve(
        self,
        channel: Arc<MasterChannel>,
        handler: Handler,
        presence: mpsc::Sender<Presence>,
        closing: watch::Receiver<bool>,
    ) {
        match self.kind {
            Kind::ZeroMq(bound) => match bound.serve(handler) {
                // Its thread serves; dropping it closes the ports.
                Ok(_server) => closing::told(closing).await,
                Err(error) => tracing::error!(%error, "the ports are not served: no thread"),
            },
            Kind::Tcp(listeners) => {
                let mut tasks = JoinSet::new();
                tasks.spawn(tcp::requests::serve(
                    listeners.ret,
                    listeners.limits.clone(),
                    handler,
                    closing::told(closing.clone()),
                ));
                tasks.spawn(tcp::publish::serve(
                    listeners.publish,
                    listeners.limits,
                    listeners.subscribers,
                    Arc::new(move |body: &Value| channel.identify(body)),
                    presence,
                    closing::told(closing),
                ));
                while tasks.join_next().await.is_some() {}
            }
        }
    }
}

fn zeromq_config(options: &MasterOptions, limits: Limits) -> zeromq::server::ServerConfig {
    zeromq::server::ServerConfig {
        interface: options.interface.clone(),
        ret_port: options.ret_port,
        publish_port: options.channel.publish_port,
        ipv6: options.ipv6,
        zmq_backlog: options.zmq_backlog,
        zmq_filtering: options.zmq_filtering,
        order_masters: options.order_masters,
        heartbeat: zeromq::Heartbeat::default(),
        limits,
    }
}

fn listen(
    options: &MasterOptions,
    port: u16,
    tls: Option<TlsServer>,
) -> Result<Listener, PortError> {
    let host = match options.interface.trim_matches(['[', ']']) {
        "*" | "0.0.0.0" if options.ipv6 => "::",
        "*" => "0.0.0.0",
        host => host,
    };
    let bind = || -> std::io::Result<TcpListener> {
        let host = host.parse().map_err(std::io::Error::other)?;
        let address = std::net::SocketAddr::new(host, port);
        let socket = if address.is_ipv6() {
            TcpSocket::new_v6()?
        } else {
            TcpSocket::new_v4()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let bound = bind().map_err(|source| PortError::Bind {
        address: format!("{host} port {port}"),
        source,
    })?;
    let mut listener = Listener::from(bound);
    listener.tls = tls;
    Ok(listener)
}

fn port(listener: &Listener, wanted: u16) -> u16 {
    listener
        .local_addr()
        .map_or(wanted, |address| address.port())
}
