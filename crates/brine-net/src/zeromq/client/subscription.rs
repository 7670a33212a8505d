//! A subscription to a master's publishes, read by a thread that owns the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use brine_wire::network::MinionId;
use brine_wire::network::publish::{BROADCAST, Publish, SYNDIC};
use tokio::sync::{mpsc, watch};
use zmq::{DONTWAIT, POLLIN, PollItem, Socket};

use super::{ClientConfig, OpenError, check_values, connection_event, monitor};
use crate::crypto;
use crate::zeromq::wake::Wake;

/// The topics of a subscription.
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
        self.publishes.close(); // wakes the thread if it waits for room
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
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
