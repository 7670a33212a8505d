//! The minion's ends of both ports over ZeroMQ, with libzmq.
//!
//! Each has a thread of its own. One request at a time, as real daemons send them, so that a
//! minion's events arrive in the order fired.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brine_wire::network::publish::{BROADCAST, Publish, SYNDIC};
use brine_wire::network::tcp::{Decoder, FrameError, MAX_VALUES};
use brine_wire::network::{MinionId, payload};
use brine_wire::{Value, msgpack};
use tokio::sync::{mpsc, oneshot, watch};
use zmq::{DONTWAIT, POLLIN, PollItem, Socket};

use super::wake::Wake;
use crate::crypto;
use crate::listener::Keepalive;
use crate::tcp::client::MAX_UNTRUSTED_BYTES;

/// What the sockets are like; Salt's options of the same names.
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
    /// The largest message taken, in bytes.
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

    /// With our own end before a semicolon, where it is given.
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

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply in time. The request may have arrived.
    #[error("no reply from {master} within {after:?}")]
    NoReply {
        /// The master.
        master: String,
        /// The time it had.
        after: Duration,
    },
    /// The reply is not msgpack.
    #[error("expected a reply: {0}")]
    NotMsgpack(#[from] msgpack::DecodeError),
    /// The reply is too large, or too deep.
    #[error("reply refused: {0}")]
    Limits(#[from] FrameError),
    /// The connection ended before the reply. The request may have arrived.
    #[error("the connection to {master} was lost before its reply")]
    Lost {
        /// The master.
        master: String,
    },
    /// libzmq failed, or the requester's thread is gone.
    #[error("the connection to {master} cannot be used")]
    Gone {
        /// The master.
        master: String,
    },
}

/// Sends requests to a master; libzmq connects, and connects again, by itself.
#[derive(Debug)]
pub struct Requester {
    jobs: mpsc::Sender<Job>,
    master: String,
    trusted: AtomicBool,
}

struct Job {
    bytes: Vec<u8>,
    wait: Duration,
    reply: oneshot::Sender<Outcome>,
}

enum Outcome {
    Reply(Vec<u8>),
    Late,
    Lost,
    Failed,
}

impl Requester {
    /// Opens a requester. Succeeds whether or not the master is there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: ClientConfig) -> Result<Self, OpenError> {
        let context = zmq::Context::new();
        // Once here, so that the caller learns of a wrong address.
        let connection = Connection::open(&config, &context)?;
        let (jobs, waiting) = mpsc::channel(1);
        let master = config.master.clone();
        // Ends when its requester is dropped: the channel closes.
        std::thread::Builder::new()
            .name("brine-zmq-req".into())
            .spawn(move || run_requests(&config, &context, connection, waiting))?;
        Ok(Self {
            jobs,
            master,
            trusted: AtomicBool::new(true),
        })
    }

    /// The same for a master that has yet to prove its key: its replies may have [`MAX_UNTRUSTED_BYTES`] until
    /// [`Requester::trust`].
    #[must_use]
    pub fn untrusted(self) -> Self {
        self.trusted.store(false, Ordering::Relaxed);
        self
    }

    /// The master has proved its key.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    fn read(&self, reply: &[u8]) -> Result<Value, RequestError> {
        if reply.len() > MAX_UNTRUSTED_BYTES && !self.trusted.load(Ordering::Relaxed) {
            let declared = reply.len();
            return Err(RequestError::Limits(FrameError::TooLarge {
                declared,
                limit: MAX_UNTRUSTED_BYTES,
            }));
        }
        check_values(reply)?;
        Ok(msgpack::decode_network(reply)?)
    }

    /// Sends a payload and waits for its reply. Dropping the future gives the request up; whether
    /// it arrives is not known then.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        let (reply, replied) = oneshot::channel();
        let bytes = payload::clear_reply(payload);
        let gone = || RequestError::Gone {
            master: self.master.clone(),
        };
        let job = Job { bytes, wait, reply };
        self.jobs.send(job).await.map_err(|_| gone())?;
        match replied.await.map_err(|_| gone())? {
            Outcome::Reply(bytes) => self.read(&bytes),
            Outcome::Late => Err(RequestError::NoReply {
                master: self.master.clone(),
                after: wait,
            }),
            Outcome::Lost => Err(RequestError::Lost {
                master: self.master.clone(),
            }),
            Outcome::Failed => Err(gone()),
        }
    }
}

fn run_requests(
    config: &ClientConfig,
    context: &zmq::Context,
    connection: Connection,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut connection = Some(connection);
    while let Some(job) = jobs.blocking_recv() {
        let Some(open) = connection
            .take()
            .or_else(|| Connection::open(config, context).ok())
        else {
            let _ = job.reply.send(Outcome::Failed);
            continue;
        };
        let outcome = open.exchange(&job);
        // A socket that waits for a reply can send nothing else: only after one it is used again.
        if matches!(outcome, Outcome::Reply(_)) {
            connection = Some(open);
        }
        let _ = job.reply.send(outcome);
    }
}

/// Whether a message keeps the limits that all messages in clear have, before it is decoded: a value takes some 70
/// bytes of memory then.
fn check_values(message: &[u8]) -> Result<(), FrameError> {
    Decoder::of_value(message.len(), MAX_VALUES)
        .next(message)
        .map(drop)
}

/// How often to check whether the caller still waits.
const LOOK: Duration = Duration::from_millis(50);

/// A socket for requests, and what libzmq reports of its connection.
struct Connection {
    socket: Socket,
    monitor: Socket,
}

impl Connection {
    fn open(config: &ClientConfig, context: &zmq::Context) -> Result<Self, OpenError> {
        let socket = config.socket(context, zmq::REQ)?;
        // What is sent before there is a connection may be lost with the next one, silently.
        socket.set_immediate(true)?;
        let monitor = monitor(context, &socket)?;
        config.connect_to(&socket)?;
        Ok(Self { socket, monitor })
    }

    fn exchange(&self, job: &Job) -> Outcome {
        let due = Instant::now() + job.wait;
        let mut outcome = self.wait(job, due, zmq::POLLOUT, &mut || {
            self.is_lost(); // connections before this request
            false
        });
        if outcome.is_none() {
            self.is_lost();
            if self.socket.send(&job.bytes[..], DONTWAIT).is_err() {
                return Outcome::Lost;
            }
            outcome = self.wait(job, due, POLLIN, &mut || self.is_lost());
        }
        outcome.unwrap_or_else(|| {
            let received = self.socket.recv_multipart(DONTWAIT).ok();
            let reply = received.and_then(|frames| frames.into_iter().next_back());
            reply.map_or(Outcome::Failed, Outcome::Reply)
        })
    }

    /// Waits until the socket is ready; `None` then.
    fn wait(
        &self,
        job: &Job,
        due: Instant,
        ready: zmq::PollEvents,
        is_lost: &mut dyn FnMut() -> bool,
    ) -> Option<Outcome> {
        while !job.reply.is_closed() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wait = i64::try_from(left.min(LOOK).as_millis().max(1)).unwrap_or(1);
            let mut items = [
                self.socket.as_poll_item(ready),
                self.monitor.as_poll_item(POLLIN),
            ];
            match zmq::poll(&mut items, wait) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(_) => return Some(Outcome::Failed),
            }
            if items[0].get_revents().contains(ready) {
                return None;
            }
            if is_lost() {
                return Some(Outcome::Lost);
            }
        }
        Some(Outcome::Late)
    }

    /// Whether libzmq has reported a lost connection since the last call.
    fn is_lost(&self) -> bool {
        let mut lost = false;
        while let Some(is_connected) = connection_event(&self.monitor) {
            lost |= !is_connected;
        }
        lost
    }
}

/// What a subscriber asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// Everything.
    All,
    /// What is for this minion or everybody (`zmq_filtering`).
    Minion(MinionId),
    /// What is for syndics or everybody (`zmq_filtering`).
    Syndic,
}

impl Topics {
    fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec![String::new()],
            Self::Minion(id) => vec![BROADCAST.into(), crypto::topic(id)],
            Self::Syndic => vec![SYNDIC.into(), BROADCAST.into()],
        }
    }
}

/// A subscription to a master's publishes. libzmq connects, and connects again, by itself.
#[derive(Debug)]
pub struct Subscription {
    publishes: mpsc::Receiver<Publish>,
    stop: Arc<AtomicBool>,
    wake: Wake,
    /// Whether there is a connection, as libzmq reports.
    connected: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Subscription {
    /// Opens a subscription. Succeeds whether or not the master is there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &ClientConfig, topics: &Topics) -> Result<Self, OpenError> {
        let context = zmq::Context::new();
        let socket = config.socket(&context, zmq::SUB)?;
        let names = topics.names();
        for name in &names {
            socket.set_subscribe(name.as_bytes())?;
        }
        // Before it connects, so that nothing is missed.
        let monitor = monitor(&context, &socket)?;
        config.connect_to(&socket)?;
        let (connection, connected) = watch::channel(false);
        let (sender, publishes) = mpsc::channel(100);
        let (stop, wake) = (Arc::new(AtomicBool::new(false)), Wake::new()?);
        let thread = Subscriber {
            socket,
            monitor,
            connection,
            topics: names,
            publishes: sender,
            stop: stop.clone(),
            wake: wake.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("brine-zmq-sub".into())
            .spawn(move || thread.run())?;
        Ok(Self {
            publishes,
            stop,
            wake,
            connected,
            thread: Some(thread),
        })
    }

    /// Whether there is a connection to the master: from the end of its handshake until it is lost.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// The next publish; `None` when libzmq has failed for good. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Publish> {
        self.publishes.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.publishes.close(); // or the thread might wait for room
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
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

struct Subscriber {
    socket: Socket,
    monitor: Socket,
    connection: watch::Sender<bool>,
    topics: Vec<String>,
    publishes: mpsc::Sender<Publish>,
    stop: Arc<AtomicBool>,
    wake: Wake,
}

impl Subscriber {
    fn run(self) {
        while !self.stop.load(Ordering::Acquire) {
            let mut items = [
                PollItem::from_fd(self.wake.fd(), POLLIN),
                self.socket.as_poll_item(POLLIN),
                self.monitor.as_poll_item(POLLIN),
            ];
            match zmq::poll(&mut items, -1) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(err) => return tracing::error!(%err, "the subscription is closed"),
            }
            self.watch_connection();
            while let Ok(frames) = self.socket.recv_multipart(DONTWAIT) {
                let Some(publish) = self.read(&frames) else {
                    continue;
                };
                if self.publishes.blocking_send(publish).is_err() {
                    return;
                }
            }
        }
    }

    fn watch_connection(&self) {
        while let Some(is_connected) = connection_event(&self.monitor) {
            self.connection.send_replace(is_connected);
        }
    }

    /// A publish of one frame, or of two if the topic is one subscribed to: libzmq compares prefixes
    /// only.
    fn read(&self, frames: &[Vec<u8>]) -> Option<Publish> {
        let bytes = match frames {
            [bytes] => bytes,
            [topic, bytes] => {
                let ours = |name: &String| name.is_empty() || name.as_bytes() == topic;
                self.topics.iter().any(ours).then_some(bytes)?
            }
            _ => return None,
        };
        check_values(bytes).ok()?;
        Publish::parse(bytes).ok()
    }
}
