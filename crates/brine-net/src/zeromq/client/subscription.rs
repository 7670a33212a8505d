//! A subscription to a master's publishes, read by a task that owns the connection.

use brine_wire::network::MinionId;
use brine_wire::network::publish::{BROADCAST, Publish, SYNDIC};
use brine_wire::network::tcp::{Decoder, MAX_VALUES};
use brine_wire::network::zmtp::{self, Socket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ClientConfig;
use super::connection::Connection;
use crate::connection::ConnectionError;
use crate::crypto;

/// Publishes that may wait to be taken (libzmq's `ZMQ_RCVHWM`). Beyond it the connection is not read.
const QUEUE: usize = 1000;

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

/// A subscription to a master's publishes. Connects, and connects again, by itself.
#[derive(Debug)]
pub struct Subscription {
    publishes: mpsc::Receiver<Publish>,
    connected: watch::Receiver<bool>,
    /// Ends when it is dropped.
    _task: JoinSet<()>,
}

impl Subscription {
    /// A subscription, whether or not the master is there. Needs a tokio runtime.
    #[must_use]
    pub fn open(config: ClientConfig, topics: &Topics) -> Self {
        let (connection, connected) = watch::channel(false);
        let (sender, publishes) = mpsc::channel(QUEUE);
        let subscriber = Subscriber {
            config,
            topics: topics.names(),
            connection,
            publishes: sender,
        };
        let mut task = JoinSet::new();
        task.spawn(subscriber.run());
        Self {
            publishes,
            connected,
            _task: task,
        }
    }

    /// Whether there is a connection to the master: from the subscription until it is lost.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// The next publish; `None` when the runtime that carried the connection has ended. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Publish> {
        self.publishes.recv().await
    }
}

struct Subscriber {
    config: ClientConfig,
    topics: Vec<String>,
    connection: watch::Sender<bool>,
    publishes: mpsc::Sender<Publish>,
}

impl Subscriber {
    async fn run(self) {
        let mut wait = self.config.recon_default;
        loop {
            let ended = self.read().await;
            // After a connection that worked the first wait is the shortest again.
            if self.connection.send_replace(false) {
                wait = self.config.recon_default;
            }
            let Err(err) = ended else { return };
            tracing::debug!(master = %self.config.master, %err, "cannot connect to the publish port; retrying");
            sleep(wait).await;
            wait = self.config.next_wait(wait);
        }
    }

    /// Reads publishes until the connection ends, or nobody wants them any more (`Ok`).
    async fn read(&self) -> Result<(), ConnectionError> {
        let mut connection = Connection::open(&self.config, Socket::Sub).await?;
        for topic in &self.topics {
            let subscription = zmtp::encode_subscription(topic.as_bytes());
            connection.send(&subscription).await?;
        }
        self.connection.send_replace(true);
        loop {
            let (topic, body) = connection.next().await?;
            let Some(publish) = self.publish(topic.as_deref(), &body) else {
                continue;
            };
            if self.publishes.send(publish).await.is_err() {
                return Ok(());
            }
        }
    }

    /// A publish whose topic, if it has one, is one subscribed to: masters compare prefixes only.
    fn publish(&self, topic: Option<&[u8]>, body: &[u8]) -> Option<Publish> {
        let ours = |name: &String| name.is_empty() || Some(name.as_bytes()) == topic;
        if topic.is_some() && !self.topics.iter().any(ours) {
            return None;
        }
        // Within the limits of clear messages before it is decoded: each value takes about 70 bytes of memory.
        Decoder::of_value(body.len(), MAX_VALUES).next(body).ok()?;
        Publish::parse(body).ok()
    }
}
