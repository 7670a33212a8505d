//! The master's two ports over ZeroMQ: one thread that owns a ROUTER and a PUB.
//!
//! Requests leave through a bounded channel; while it is full, no more are read and they wait in
//! their senders' sockets. libzmq cannot close one peer of a ROUTER, so that limits here are on
//! what is read, not on connections.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use brine_wire::Value;
use brine_wire::msgpack;
use brine_wire::network::payload;
use brine_wire::network::publish::{BROADCAST, SYNDIC};
use brine_wire::network::tcp::Decoder;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError as Untaken;
use zmq::{DONTWAIT, Message, POLLIN, PollItem, SNDMORE, Socket};

use super::wake::Wake;
use super::{Heartbeat, OpenError, endpoint, millis};
use crate::channel::{Audience, Incoming, Limits, Peer, Publication};
use crate::crypto;

/// What the ports are like; Salt's options of the same names.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to bind; `*` for all.
    pub interface: String,
    /// The port for requests; 0 for any.
    pub ret_port: u16,
    /// The port for publishes; 0 for any.
    pub publish_port: u16,
    /// Bind IPv6 too.
    pub ipv6: bool,
    /// Connections that wait to be accepted.
    pub zmq_backlog: i32,
    /// Publish by topics, to minions that subscribe to theirs.
    pub zmq_filtering: bool,
    /// Publish to syndics too, with `zmq_filtering`.
    pub order_masters: bool,
    /// Heartbeats on both ports.
    pub heartbeat: Heartbeat,
    /// Message sizes and the queue of a subscriber.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            interface: "0.0.0.0".into(),
            ret_port: 4506,
            publish_port: 4505,
            ipv6: false,
            zmq_backlog: 1000,
            zmq_filtering: false,
            order_masters: false,
            heartbeat: Heartbeat::default(),
            limits: Limits::default(),
        }
    }
}

/// A master's two ports. They close when it is dropped.
#[derive(Debug)]
pub struct Server {
    publisher: Publisher,
    /// Where requests are taken.
    ret_port: u16,
    /// Where publishes go out.
    publish_port: u16,
    thread: Option<JoinHandle<()>>,
}

/// Publishes through a [`Server`]; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    orders: SyncSender<Order>,
    wake: Wake,
}

/// The server's thread is gone, or has more to publish than it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the publish port to take a message, found it closed or full")]
pub struct NotPublished;

/// Answers and publishes that wait for the thread.
const ORDERS: usize = 65_536;

/// How many requests are read before answers and publishes are looked at again.
const TURN: usize = 64;

/// How soon a full request channel is looked at again, in milliseconds.
const FULL_MILLIS: i64 = 2;

enum Order {
    Answer(Answered),
    Publish(Publication),
    Stop,
}

/// An answer and the frames that lead to whom it is for.
struct Answered {
    route: Vec<Vec<u8>>,
    body: Value,
}

impl Publisher {
    /// Sends to whom it is for. Subscribers that do not read lose it, which libzmq does not tell.
    ///
    /// # Errors
    /// [`NotPublished`].
    pub fn publish(&self, publication: Publication) -> Result<(), NotPublished> {
        self.order(Order::Publish(publication))
    }

    fn order(&self, order: Order) -> Result<(), NotPublished> {
        match self.orders.try_send(order) {
            Ok(()) => {
                self.wake.wake();
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(NotPublished),
        }
    }
}

impl Server {
    /// Binds both ports and begins to take requests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn bind(
        config: &ServerConfig,
        requests: mpsc::Sender<Incoming>,
    ) -> Result<Self, OpenError> {
        let context = zmq::Context::new();
        let router = context.socket(zmq::ROUTER)?;
        router.set_router_handover(true)?;
        router.set_tcp_keepalive(1)?;
        router.set_tcp_keepalive_idle(1)?;
        router.set_tcp_keepalive_cnt(3)?;
        router.set_tcp_keepalive_intvl(15)?;
        let ret_port = bind(&router, config, config.ret_port)?;
        let publish = context.socket(zmq::PUB)?;
        let publish_port = bind(&publish, config, config.publish_port)?;
        let (orders, ordered) = sync_channel(ORDERS);
        let publisher = Publisher {
            orders,
            wake: Wake::new()?,
        };
        let thread = Thread {
            router,
            publish,
            ordered,
            publisher: publisher.clone(),
            requests,
            untaken: VecDeque::new(),
            filtering: config.zmq_filtering,
            syndics: config.order_masters,
            max_bytes: config.limits.max_message_bytes,
        };
        let thread = std::thread::Builder::new()
            .name("brine-zmq".into())
            .spawn(move || thread.run())?;
        Ok(Self {
            publisher,
            ret_port,
            publish_port,
            thread: Some(thread),
        })
    }

    /// The way to publish.
    #[must_use]
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The port requests are taken at.
    #[must_use]
    pub const fn ret_port(&self) -> u16 {
        self.ret_port
    }

    /// The port publishes go out at.
    #[must_use]
    pub const fn publish_port(&self) -> u16 {
        self.publish_port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.publisher.orders.send(Order::Stop);
        self.publisher.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sets what must be set before binding, binds, and says which port it became.
fn bind(socket: &Socket, config: &ServerConfig, port: u16) -> Result<u16, OpenError> {
    let queue = i32::try_from(config.limits.publish_queue).unwrap_or(i32::MAX);
    socket.set_sndhwm(queue)?;
    socket.set_rcvhwm(queue)?;
    socket.set_linger(1)?;
    socket.set_backlog(config.zmq_backlog)?;
    socket.set_maxmsgsize(i64::try_from(config.limits.max_message_bytes).unwrap_or(i64::MAX))?;
    socket.set_handshake_ivl(millis(config.limits.identification))?;
    socket.set_ipv6(config.ipv6 || config.interface.contains(':'))?;
    if !config.heartbeat.interval.is_zero() {
        socket.set_heartbeat_ivl(millis(config.heartbeat.interval))?;
        socket.set_heartbeat_timeout(millis(config.heartbeat.timeout))?;
    }
    let endpoint = endpoint(&config.interface, port);
    let bound = || -> zmq::Result<Option<u16>> {
        socket.bind(&endpoint)?;
        let last = socket.get_last_endpoint()?.unwrap_or_default();
        Ok(last
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok()))
    };
    match bound() {
        Ok(bound) => Ok(bound.unwrap_or(port)),
        Err(source) => Err(OpenError::Endpoint { endpoint, source }),
    }
}

struct Thread {
    router: Socket,
    publish: Socket,
    ordered: Receiver<Order>,
    publisher: Publisher,
    requests: mpsc::Sender<Incoming>,
    /// A request that found the channel full: at most one.
    untaken: VecDeque<Incoming>,
    filtering: bool,
    syndics: bool,
    max_bytes: usize,
}

impl Thread {
    fn run(mut self) {
        loop {
            let may_read = self.hand_over();
            let timeout = if may_read { -1 } else { FULL_MILLIS };
            let mut items = [
                PollItem::from_fd(self.publisher.wake.fd(), POLLIN),
                self.router.as_poll_item(POLLIN),
            ];
            let polled = if may_read {
                &mut items[..]
            } else {
                &mut items[..1]
            };
            match zmq::poll(polled, timeout) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(err) => {
                    tracing::error!(%err, "the ZeroMQ ports are closed");
                    return;
                }
            }
            let readable = may_read && items[1].is_readable();
            self.publisher.wake.clear();
            if !self.obey() {
                return;
            }
            if readable {
                self.read();
            }
        }
    }

    /// Gives the request that was not taken another try; `true` if more may be read.
    fn hand_over(&mut self) -> bool {
        let Some(incoming) = self.untaken.pop_front() else {
            return true;
        };
        match self.requests.try_send(incoming) {
            Ok(()) | Err(Untaken::Closed(_)) => true,
            Err(Untaken::Full(incoming)) => {
                self.untaken.push_front(incoming);
                false
            }
        }
    }

    /// Sends what waits; `false` if the server is to end.
    fn obey(&self) -> bool {
        while let Ok(order) = self.ordered.try_recv() {
            match order {
                Order::Answer(answered) => self.answer(&answered),
                Order::Publish(publication) => self.send(&publication),
                Order::Stop => return false,
            }
        }
        true
    }

    fn answer(&self, answered: &Answered) {
        let body = payload::clear_reply(&answered.body);
        let frames = answered.route.iter().map(Vec::as_slice);
        // A peer that is gone or does not read loses its answer.
        let _ = (self.router).send_multipart(frames.chain([body.as_slice()]), DONTWAIT);
    }

    fn send(&self, publication: &Publication) {
        let topics: Vec<String> = match &publication.audience {
            _ if !self.filtering => {
                let _ = self.publish.send(&publication.payload[..], DONTWAIT);
                return;
            }
            Audience::Minions(ids) if !ids.is_empty() => {
                let syndic = self.syndics.then(|| SYNDIC.to_owned());
                ids.iter().map(crypto::topic).chain(syndic).collect()
            }
            _ => vec![BROADCAST.to_owned()],
        };
        for topic in topics {
            if self.publish.send(&topic, DONTWAIT | SNDMORE).is_ok() {
                let _ = self.publish.send(&publication.payload[..], DONTWAIT);
            }
        }
    }

    fn read(&mut self) {
        for _ in 0..TURN {
            match self.receive() {
                Ok(Some(incoming)) => match self.requests.try_send(incoming) {
                    Ok(()) | Err(Untaken::Closed(_)) => {}
                    Err(Untaken::Full(incoming)) => return self.untaken.push_back(incoming),
                },
                Ok(None) => {}
                Err(_) => return, // nothing more to read
            }
        }
    }

    /// The next request; `None` if it was none, and was answered.
    fn receive(&self) -> zmq::Result<Option<Incoming>> {
        /// Identity, delimiter, payload.
        const FRAMES: usize = 3;
        let mut frames: Vec<Message> = Vec::with_capacity(FRAMES);
        let mut more = true;
        while more {
            let frame = self.router.recv_msg(DONTWAIT)?;
            more = frame.get_more();
            if frames.len() < FRAMES {
                frames.push(frame);
            }
        }
        let Ok([identity, delimiter, mut body]) = <[Message; FRAMES]>::try_from(frames) else {
            return Ok(None); // no request of ours, and no way to answer one
        };
        let route = vec![identity.to_vec(), delimiter.to_vec()];
        let address = body.gets("Peer-Address").and_then(|text| text.parse().ok());
        let Some(value) = self.decode(&body) else {
            let body = payload::BAD_LOAD.into();
            self.answer(&Answered { route, body });
            return Ok(None);
        };
        let way_back = self.publisher.clone();
        let answer = move |body| {
            // Full or closed: the peer asks again.
            let _ = way_back.order(Order::Answer(Answered { route, body }));
        };
        Ok(Some(Incoming::new(
            Peer::new(address),
            value,
            Box::new(answer),
        )))
    }

    /// A payload, if it is one map of sensible make.
    fn decode(&self, body: &[u8]) -> Option<Value> {
        let length = Decoder::new(self.max_bytes).next(body).ok()??;
        (length == body.len()).then_some(())?;
        msgpack::decode_network(body).ok()
    }
}
