//! The publish port over tcp.
//!
//! Subscribers say who they are; what is for some minions goes to their connections, and to those
//! that have not said so yet. A subscriber that reads slowly loses what its queue does not hold and
//! delays nobody.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use brine_wire::network::{MinionId, tcp};
use brine_wire::{Map, Value};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Listener;
use super::connection::{ConnectionError, Reader, send};
use super::stream::{Incoming, Outgoing};
use crate::channel::{Audience, Limits, Presence, Publication};
use crate::quota::{Place, Quota};
use crate::tls::TlsServer;

/// Says whose an identification is.
pub type Identify = Arc<dyn Fn(&Value) -> Option<MinionId> + Send + Sync>;

/// The subscribers of one port; cheap to clone.
#[derive(Clone, Default)]
pub struct Publisher {
    /// Held for a look-up or a round of non-blocking sends, never across an await.
    subscribers: Arc<Mutex<Subscribers>>,
}

#[derive(Default)]
struct Subscribers {
    next: u64,
    by_connection: HashMap<u64, Subscriber>,
}

struct Subscriber {
    id: Option<MinionId>,
    queue: mpsc::Sender<Arc<[u8]>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Publisher")
    }
}

impl Publisher {
    /// Sends to whom it is for; how many subscribers lost it, since they do not read.
    #[must_use]
    pub fn publish(&self, publication: &Publication) -> usize {
        let body = Value::Bin(publication.payload.to_vec());
        let frame: Arc<[u8]> = tcp::encode(&Map::new(), &body).into();
        let named: HashSet<&MinionId> = match &publication.audience {
            Audience::Everyone => HashSet::new(),
            Audience::Minions(ids) => ids.iter().collect(),
        };
        let Ok(subscribers) = self.subscribers.lock() else {
            return 0;
        };
        let mut lost = 0;
        for subscriber in subscribers.by_connection.values() {
            let wanted = match &subscriber.id {
                Some(id) => named.is_empty() || named.contains(id),
                None => true,
            };
            if wanted && subscriber.queue.try_send(frame.clone()).is_err() {
                lost += 1;
            }
        }
        lost
    }

    /// The minions that are connected, each once.
    #[must_use]
    pub fn present(&self) -> Vec<MinionId> {
        let Ok(subscribers) = self.subscribers.lock() else {
            return Vec::new();
        };
        let mut ids: Vec<_> = (subscribers.by_connection.values())
            .filter_map(|subscriber| subscriber.id.clone())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn enter(&self, queue: mpsc::Sender<Arc<[u8]>>) -> u64 {
        let Ok(mut subscribers) = self.subscribers.lock() else {
            return 0;
        };
        subscribers.next += 1;
        let number = subscribers.next;
        let subscriber = Subscriber { id: None, queue };
        subscribers.by_connection.insert(number, subscriber);
        number
    }

    fn identify(&self, connection: u64, id: &MinionId) {
        if let Ok(mut subscribers) = self.subscribers.lock()
            && let Some(subscriber) = subscribers.by_connection.get_mut(&connection)
        {
            subscriber.id = Some(id.clone());
        }
    }

    fn leave(&self, connection: u64) {
        if let Ok(mut subscribers) = self.subscribers.lock() {
            subscribers.by_connection.remove(&connection);
        }
    }
}

/// Takes subscribers until `shutdown`, and tells who comes and goes.
pub async fn serve(
    listener: impl Into<Listener>,
    limits: Limits,
    publisher: Publisher,
    identify: Identify,
    presence: mpsc::Sender<Presence>,
    shutdown: impl Future<Output = ()>,
) {
    let listener = listener.into();
    let quota = Quota::new(&limits);
    let limits = Arc::new(limits);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        let Some(place) = quota.enter(peer.ip()) else {
            tracing::debug!(%peer, "too many subscribers that have not said who they are; closed");
            continue;
        };
        let subscription = Subscription {
            publisher: publisher.clone(),
            identify: identify.clone(),
            presence: presence.clone(),
            limits: limits.clone(),
            place: Some(place),
            id: None,
        };
        let tls = listener.tls.clone();
        connections.spawn(async move {
            if let Err(err) = subscription.run(stream, tls).await {
                tracing::debug!(%peer, %err, "publish connection closed");
            }
        });
    }
}

struct Subscription {
    publisher: Publisher,
    identify: Identify,
    presence: mpsc::Sender<Presence>,
    limits: Arc<Limits>,
    place: Option<Place>,
    id: Option<MinionId>,
}

impl Subscription {
    async fn run(
        mut self,
        stream: TcpStream,
        tls: Option<TlsServer>,
    ) -> Result<(), ConnectionError> {
        let stream = super::open(stream, tls.as_ref(), self.limits.identification).await?;
        let (queue, publications) = mpsc::channel(self.limits.publish_queue);
        let connection = self.publisher.enter(queue);
        let ended = self.deliver(stream, connection, publications).await;
        self.publisher.leave(connection);
        if let Some(id) = self.id {
            let _ = self.presence.send(Presence::Gone(id)).await;
        }
        ended
    }

    async fn deliver(
        &mut self,
        (reader, mut writer): (Incoming, Outgoing),
        connection: u64,
        mut publications: mpsc::Receiver<Arc<[u8]>>,
    ) -> Result<(), ConnectionError> {
        let patience = self.limits.patience;
        let mut reader = Reader::new(reader, self.limits.max_stranger_bytes, patience);
        let deadline = Instant::now() + self.limits.identification;
        loop {
            tokio::select! {
                Some(frame) = publications.recv() => {
                    send(&mut writer, &frame, patience).await?;
                }
                read = reader.advance() => match read {
                    Ok(Some(message)) => self.read(connection, &message.body).await,
                    Ok(None) => {}
                    Err(ConnectionError::Closed) => return Ok(()),
                    Err(error) => return Err(error),
                },
                () = sleep_until(deadline), if self.id.is_none() => {
                    return Err(ConnectionError::TooSlow { after: self.limits.identification });
                }
            }
        }
    }

    /// The first right identification counts.
    async fn read(&mut self, connection: u64, body: &Value) {
        if self.id.is_some() {
            return;
        }
        if let Some(id) = (self.identify)(body) {
            self.publisher.identify(connection, &id);
            self.place = None;
            self.id = Some(id.clone());
            let _ = self.presence.send(Presence::Identified(id)).await;
        }
    }
}
