//! A master's two ports, whichever transport they speak.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use brine_net::channel::{Handler, Limits, Presence, Publication};
use brine_net::master::MasterChannel;
use brine_net::tcp::Listener;
use brine_net::tls::{TlsError, TlsOptions, TlsServer};
use brine_net::{tcp, zeromq};
use brine_wire::Value;
use brine_wire::network::MinionId;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

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
    /// Bound, and closed until it listens.
    publish: TcpSocket,
    tls: Option<TlsServer>,
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
                    ret: listener(bind(options, options.ret_port)?, tls.clone())?,
                    publish: bind(options, options.channel.publish_port)?,
                    tls,
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
                port(listeners.ret.local_addr(), options.ret_port),
                port(listeners.publish.local_addr(), options.channel.publish_port),
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

    /// Hands requests to `handler` and tells `presence` who comes and goes (tcp), until `closing` says so. Over tcp
    /// the publish port opens `late` by so much.
    pub(super) async fn serve(
        self,
        channel: Arc<MasterChannel>,
        handler: Handler,
        presence: mpsc::Sender<Presence>,
        late: Duration,
        closing: watch::Receiver<bool>,
    ) {
        match self.kind {
            Kind::ZeroMq(bound) => match bound.serve(handler) {
                // Its thread serves; dropping it closes the ports.
                Ok(_server) => closing::told(closing).await,
                Err(error) => tracing::error!(%error, "the ports are not served: no thread"),
            },
            Kind::Tcp(listeners) => {
                let Listeners {
                    ret,
                    publish,
                    tls,
                    limits,
                    subscribers,
                } = *listeners;
                let mut tasks = JoinSet::new();
                tasks.spawn(tcp::requests::serve(
                    ret,
                    limits.clone(),
                    handler,
                    closing::told(closing.clone()),
                ));
                tasks.spawn(async move {
                    tokio::select! {
                        () = sleep(late) => {}
                        () = closing::told(closing.clone()) => return,
                    }
                    let publish = match listener(publish, tls) {
                        Ok(publish) => publish,
                        Err(error) => return tracing::error!(%error, "nobody can subscribe"),
                    };
                    tcp::publish::serve(
                        publish,
                        limits,
                        subscribers,
                        Arc::new(move |body: &Value| channel.identify(body)),
                        presence,
                        closing::told(closing),
                    )
                    .await;
                });
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

fn bind(options: &MasterOptions, port: u16) -> Result<TcpSocket, PortError> {
    let host = match options.interface.trim_matches(['[', ']']) {
        "*" | "0.0.0.0" if options.ipv6 => "::",
        "*" => "0.0.0.0",
        host => host,
    };
    let bind = || -> std::io::Result<TcpSocket> {
        let host = host.parse().map_err(std::io::Error::other)?;
        let address = SocketAddr::new(host, port);
        let socket = if address.is_ipv6() {
            TcpSocket::new_v6()?
        } else {
            TcpSocket::new_v4()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bind().map_err(|source| PortError::Bind {
        address: format!("{host} port {port}"),
        source,
    })
}

fn listener(socket: TcpSocket, tls: Option<TlsServer>) -> Result<Listener, PortError> {
    let address = socket.local_addr();
    let listening = socket.listen(BACKLOG).map_err(|source| PortError::Bind {
        address: address.map_or_else(|_| String::new(), |address| address.to_string()),
        source,
    })?;
    let mut listener = Listener::from(listening);
    listener.tls = tls;
    Ok(listener)
}

fn port(address: std::io::Result<SocketAddr>, wanted: u16) -> u16 {
    address.map_or(wanted, |address| address.port())
}
