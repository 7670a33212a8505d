//! A minion's connections to both of a master's ports over ZeroMQ, with libzmq.
//!
//! Each has a thread of its own. One request at a time, as real daemons send them, so that a
//! minion's events arrive in the order fired.

mod requester;
mod subscription;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brine_wire::network::tcp::{Decoder, FrameError, MAX_VALUES};
use zmq::{DONTWAIT, Socket};

pub use self::requester::{RequestError, Requester};
pub use self::subscription::{Subscription, Topics};
use crate::listener::Keepalive;

/// How the sockets are set up; fields are named as Salt's options.
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

    /// The master's endpoint, preceded by the source address and a semicolon if there is one.
    fn endpoint(&self) -> String {
        let master = endpoint(&self.master, self.port);
        let Some((ip, port)) = self.source else {
            return master;
        };
        let own = endpoint(&ip.to_string(), port);
        master.replace("tcp://", &format!("{own};"))
    }

    /// A socket that is not connected yet.
    fn socket(&self, context: &zmq::Context, kind: zmq::SocketType) -> Result<Socket, OpenError> {
        let socket = context.socket(kind)?;
        socket.set_linger(0)?;
        socket.set_ipv6(self.ipv6 || self.master.contains(':'))?;
        socket.set_maxmsgsize(i64::try_from(self.max_message_bytes).unwrap_or(i64::MAX))?;
        socket.set_reconnect_ivl(millis(self.recon_default))?;
        socket.set_reconnect_ivl_max(millis(self.recon_max))?;
        keep_alive(&socket, self.keepalive)?;
        Ok(socket)
    }

    fn connect_to(&self, socket: &Socket) -> Result<(), OpenError> {
        let endpoint = self.endpoint();
        let connected = socket.connect(&endpoint);
        connected.map_err(|source| OpenError::Endpoint { endpoint, source })
    }
}

fn keep_alive(socket: &Socket, keepalive: Option<Keepalive>) -> zmq::Result<()> {
    let Some(keepalive) = keepalive else {
        return socket.set_tcp_keepalive(0);
    };
    let seconds = |time: Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    socket.set_tcp_keepalive(1)?;
    socket.set_tcp_keepalive_idle(seconds(keepalive.idle))?;
    if let Some(interval) = keepalive.interval {
        socket.set_tcp_keepalive_intvl(seconds(interval))?;
    }
    if let Some(count) = keepalive.count {
        socket.set_tcp_keepalive_cnt(i32::try_from(count).unwrap_or(i32::MAX))?;
    }
    Ok(())
}

/// A connection cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// libzmq refuses an address.
    #[error("{endpoint}: {source}")]
    Endpoint {
        /// Which.
        endpoint: String,
        /// libzmq's error.
        source: zmq::Error,
    },
    /// libzmq refuses a socket or an option.
    #[error("libzmq: {0}")]
    Socket(#[from] zmq::Error),
    /// The system gives no thread or descriptor.
    #[error(transparent)]
    System(#[from] std::io::Error),
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

/// Checks a message against the limits of clear messages before it is decoded: each decoded value takes about 70 bytes
/// of memory.
fn check_values(message: &[u8]) -> Result<(), FrameError> {
    Decoder::of_value(message.len(), MAX_VALUES)
        .next(message)
        .map(drop)
}

/// The events that libzmq reports of a connection: the end of its handshake, and its loss.
const EVENTS: i32 =
    zmq::SocketEvent::HANDSHAKE_SUCCEEDED as i32 | zmq::SocketEvent::DISCONNECTED as i32;

/// A socket on which libzmq reports events of another's connections.
fn monitor(context: &zmq::Context, socket: &Socket) -> zmq::Result<Socket> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let endpoint = format!(
        "inproc://connections-{}",
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    socket.monitor(&endpoint, EVENTS)?;
    let monitor = context.socket(zmq::PAIR)?;
    monitor.connect(&endpoint)?;
    Ok(monitor)
}

/// The next event of a monitor, if any: whether there is a connection now. An event begins with two bytes of its
/// number.
fn connection_event(monitor: &Socket) -> Option<bool> {
    let event = monitor.recv_multipart(DONTWAIT).ok()?;
    let number = event.first().and_then(|frame| frame.first_chunk::<2>())?;
    let number = i32::from(u16::from_ne_bytes(*number));
    Some(number == zmq::SocketEvent::HANDSHAKE_SUCCEEDED as i32)
}
