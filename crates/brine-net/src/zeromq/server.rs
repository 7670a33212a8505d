//! The master's two ports over ZeroMQ: one thread that owns a ROUTER and a PUB.
//!
//! Requests go to a handler on that thread, and answers come back to it from wherever they are made.
//! libzmq cannot close one peer of a ROUTER, so that limits here are on what is read, not on connections.

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use brine_wire::Value;
use brine_wire::msgpack;
use brine_wire::network::payload;
use brine_wire::network::publish::{BROADCAST, SYNDIC};
use brine_wire::network::tcp::Decoder;
use zmq::{DONTWAIT, Message, POLLIN, PollItem, SNDMORE, Socket};

use super::wake::Wake;
use super::{Heartbeat, OpenError, endpoint, millis};
use crate::channel::{Audience, Handler, Incoming, Limits, Peer, Publication};
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

/// Where two bound ports are, and the way to publish.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Where requests are taken.
    pub ret_port: u16,
    /// Where publishes go out.
    pub publish_port: u16,
    /// How.
    pub publisher: Publisher,
}

/// A master's two ports, bound. What comes in waits until it is served.
pub struct Bound {
    /// Where they are.
    pub ports: Ports,
    router: Socket,
    publish: Socket,
    ordered: Receiver<Order>,
    filtering: bool,
    syndics: bool,
    max_bytes: usize,
}

/// A master's two ports, served. They close when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where they are.
    pub ports: Ports,
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

impl Bound {
    /// Binds both ports.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn bind(config: &ServerConfig) -> Result<Self, OpenError> {
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
        let wake = Wake::new()?;
        Ok(Self {
            ports: Ports {
                ret_port,
                publish_port,
                publisher: Publisher { orders, wake },
            },
            router,
            publish,
            ordered,
            filtering: config.zmq_filtering,
            syndics: config.order_masters,
            max_bytes: config.limits.max_message_bytes,
        })
    }

    /// Begins to take requests, on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn serve(self, handler: Handler) -> io::Result<Server> {
        let ports = self.ports.clone();
        let thread = Thread {
            bound: self,
            handler,
        };
        let thread = std::thread::Builder::new()
            .name("brine-zmq".into())
            .spawn(move || thread.run())?;
        Ok(Server {
            ports,
            thread: Some(thread),
        })
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Bound").field(&self.ports).finish()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.ports.publisher.orders.send(Order::Stop);
        self.ports.publisher.wake.wake();
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
    bound: Bound,
    handler: Handler,
}

impl Thread {
    fn run(self) {
        let Bound { router, ports, .. } = &self.bound;
        loop {
            let mut items = [
                PollItem::from_fd(ports.publisher.wake.fd(), POLLIN),
                router.as_poll_item(POLLIN),
            ];
            match zmq::poll(&mut items, -1) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(err) => {
                    tracing::error!(%err, "the ZeroMQ ports are closed");
                    return;
                }
            }
            self.read();
            // Before the orders are looked at: one that comes later wakes again.
            ports.publisher.wake.clear();
            if !self.obey() {
                return;
            }
        }
    }

    /// Sends what waits; `false` if the server is to end.
    fn obey(&self) -> bool {
        while let Ok(order) = self.bound.ordered.try_recv() {
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
        let _ = (self.bound.router).send_multipart(frames.chain([body.as_slice()]), DONTWAIT);
    }

    fn send(&self, publication: &Publication) {
        let topics: Vec<String> = match &publication.audience {
            _ if !self.bound.filtering => {
                let _ = self.bound.publish.send(&publication.payload[..], DONTWAIT);
                return;
            }
            Audience::Minions(ids) if !ids.is_empty() => {
                let syndic = self.bound.syndics.then(|| SYNDIC.to_owned());
                ids.iter().map(crypto::topic).chain(syndic).collect()
            }
            _ => vec![BROADCAST.to_owned()],
        };
        for topic in topics {
            if self.bound.publish.send(&topic, DONTWAIT | SNDMORE).is_ok() {
                let _ = self.bound.publish.send(&publication.payload[..], DONTWAIT);
            }
        }
    }

    fn read(&self) {
        for _ in 0..TURN {
            match self.receive() {
                Ok(Some(incoming)) => (self.handler)(incoming),
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
            let frame = self.bound.router.recv_msg(DONTWAIT)?;
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
        let way_back = self.bound.ports.publisher.clone();
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
        let length = Decoder::new(self.bound.max_bytes).next(body).ok()??;
        (length == body.len()).then_some(())?;
        msgpack::decode_network(body).ok()
    }
}
