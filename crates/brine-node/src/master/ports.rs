//! A master's two ports, whichever transport they speak.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use brine_net::channel::{Handler, Limits, Presence, Publication};
use brine_net::listener::Listener;
use brine_net::master::MasterChannel;
use brine_net::tls::{TlsError, TlsServer};
use brine_net::zeromq::publish::Topics;
use brine_net::{tcp, ws, zeromq};
use brine_wire::Value;
use brine_wire::network::MinionId;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::options::MasterOptions;
use crate::options::Transport;
use crate::shutdown;

/// Connections that may wait to be accepted; over ZeroMQ it is `zmq_backlog`.
const BACKLOG: u32 = 4096;

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The address is in use or not one of this machine's.
    #[error("option {option}: cannot listen at {address}: {source}")]
    Bind {
        /// Which of the two ports, or `interface`.
        option: &'static str,
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates or keys of `ssl` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The bound ports. Connections wait until [`Ports::serve`].
pub(super) struct Ports {
    pub(super) ret_port: u16,
    pub(super) publish_port: u16,
    pub(super) publisher: Publisher,
    ret: Listener,
    /// Bound, and closed until it listens.
    publish: TcpSocket,
    backlog: u32,
    /// Not with ZeroMQ.
    tls: Option<TlsServer>,
    limits: Limits,
}

/// Publishes to subscribed minions; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Publisher {
    ZeroMq(zeromq::publish::Publisher),
    Tcp(tcp::publish::Publisher),
    Ws(ws::publish::Publisher),
}

impl Publisher {
    /// Sends to the subscribers it is for.
    pub(super) fn publish(&self, publication: &Publication) {
        let lost = match self {
            Self::ZeroMq(publisher) => publisher.publish(publication),
            Self::Tcp(publisher) => publisher.publish(publication),
            Self::Ws(publisher) => publisher.publish(publication),
        };
        if lost > 0 {
            tracing::warn!(
                lost,
                "a publish was dropped for subscribers that do not read"
            );
        }
    }

    /// The minions whose publish connection is known to be theirs (tcp).
    pub(super) fn present(&self) -> Option<Vec<MinionId>> {
        match self {
            Self::ZeroMq(_) | Self::Ws(_) => None,
            Self::Tcp(publisher) => Some(publisher.present()),
        }
    }
}

impl Ports {
    /// Binds both ports.
    pub(super) fn open(options: &MasterOptions) -> Result<Self, PortError> {
        let (publisher, backlog) = match options.transport {
            Transport::ZeroMq => {
                let topics = Topics {
                    filtering: options.zmq_filtering,
                    syndics: options.order_masters,
                };
                let publisher = zeromq::publish::Publisher::new(topics);
                (Publisher::ZeroMq(publisher), options.zmq_backlog)
            }
            Transport::Tcp => (Publisher::Tcp(Default::default()), BACKLOG),
            Transport::Ws => (Publisher::Ws(Default::default()), BACKLOG),
        };
        // Options with ZeroMQ have none.
        let ssl = options.ssl.as_ref();
        let tls = ssl.map(|ssl| ssl.server(options.compat())).transpose()?;
        let ret = bind(options, RET_PORT, options.ret_port)?;
        let ret = listener(ret, RET_PORT, backlog, tls.clone())?;
        let publish = bind(options, PUBLISH_PORT, options.channel.publish_port)?;
        Ok(Self {
            ret_port: port(ret.local_addr(), options.ret_port),
            publish_port: port(publish.local_addr(), options.channel.publish_port),
            publisher,
            ret,
            publish,
            backlog,
            tls,
            limits: Limits {
                publish_queue: options.pub_hwm,
                ..Limits::for_this_process()
            },
        })
    }

    /// Passes requests to `handler` and connecting and leaving minions to `presence` (tcp), until `closing` is set.
    /// The publish port opens after `late`.
    pub(super) async fn serve(
        self,
        channel: Arc<MasterChannel>,
        handler: Handler,
        presence: mpsc::Sender<Presence>,
        late: Duration,
        closing: watch::Receiver<bool>,
    ) {
        let (ret, limits) = (self.ret, self.limits.clone());
        let publisher = self.publisher;
        let mut tasks = JoinSet::new();
        let over = shutdown::requested(closing.clone());
        match publisher {
            Publisher::ZeroMq(_) => {
                tasks.spawn(zeromq::serve_requests(ret, limits, handler, over));
            }
            Publisher::Tcp(_) => {
                tasks.spawn(tcp::serve_requests(ret, limits, handler, over));
            }
            Publisher::Ws(_) => {
                tasks.spawn(ws::serve_requests(ret, limits, handler, over));
            }
        }
        tasks.spawn(async move {
            tokio::select! {
                () = sleep(late) => {}
                () = shutdown::requested(closing.clone()) => return,
            }
            let publish = match listener(self.publish, PUBLISH_PORT, self.backlog, self.tls) {
                Ok(publish) => publish,
                Err(error) => return tracing::error!(%error, "cannot listen on the publish port: no minion can subscribe"),
            };
            let (limits, over) = (self.limits, shutdown::requested(closing));
            match publisher {
                Publisher::ZeroMq(subscribers) => {
                    zeromq::publish::serve(publish, limits, subscribers, over).await;
                }
                Publisher::Ws(subscribers) => {
                    ws::publish::serve(publish, limits, subscribers, over).await;
                }
                Publisher::Tcp(subscribers) => {
                    let identify = Arc::new(move |body: &Value| channel.identify(body));
                    tcp::publish::serve(publish, limits, subscribers, identify, presence, over)
                        .await;
                }
            }
        });
        while tasks.join_next().await.is_some() {}
    }
}

const INTERFACE: &str = "interface";
const RET_PORT: &str = "ret_port";
const PUBLISH_PORT: &str = "publish_port";

fn bind(options: &MasterOptions, option: &'static str, port: u16) -> Result<TcpSocket, PortError> {
    let address = SocketAddr::new(options.interface, port);
    let bind = || -> std::io::Result<TcpSocket> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bind().map_err(|source| PortError::Bind {
        option: match source.kind() {
            ErrorKind::AddrNotAvailable => INTERFACE,
            _ => option,
        },
        address: format!("{} port {port}", options.interface),
        source,
    })
}

fn listener(
    socket: TcpSocket,
    option: &'static str,
    backlog: u32,
    tls: Option<TlsServer>,
) -> Result<Listener, PortError> {
    let address = socket.local_addr();
    let listening = socket.listen(backlog).map_err(|source| PortError::Bind {
        option,
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
