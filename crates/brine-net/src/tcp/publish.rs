//! The publish port over tcp.
//!
//! Subscribers identify themselves. A publish for some minions goes to their connections, and to those that have not
//! identified themselves yet.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use brine_wire::network::tcp::Message;
use brine_wire::network::{MinionId, tcp};
use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Messages;
use crate::channel::{Audience, Limits, Presence, Publication};
use crate::connection::{ConnectionError, Reader, send};
use crate::limits::MAX_SUBSCRIBER_BYTES;
use crate::listener::{self, Accepted, Listener};
use crate::quota::{Quota, Slot, SlotTurns};
use crate::stream::{Incoming, Outgoing};
use crate::subscribers::{Entry, Subscribers};

/// The minion that an identification proves.
pub type Identify = Arc<dyn Fn(&Value) -> Option<MinionId> + Send + Sync>;

/// The subscribers of one port; cheap to clone.
#[derive(Clone, Default)]
pub struct Publisher {
    /// Each with the minion it has identified itself as.
    subscribers: Arc<Subscribers<Option<MinionId>>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Publisher")
    }
}

impl Publisher {
    /// Sends to the audience; returns for how many subscribers it was dropped because they do not read.
    #[must_use]
    pub fn publish(&self, publication: &Publication) -> usize {
        let body = Value::Bin(publication.payload.to_vec());
        let message: Arc<[u8]> = tcp::encode(&Map::new(), &body).into();
        let named: HashSet<&MinionId> = match &publication.audience {
            Audience::Everyone => HashSet::new(),
            Audience::Minions(ids) => ids.iter().collect(),
        };
        self.subscribers.publish(|id, chosen| {
            let wanted = match id {
                Some(id) => named.is_empty() || named.contains(id),
                None => true,
            };
            if wanted {
                chosen.push(message.clone());
            }
        })
    }

    /// The minions that are connected, each once.
    #[must_use]
    pub fn present(&self) -> Vec<MinionId> {
        let mut ids = self.subscribers.find(Option::clone);
        ids.sort();
        ids.dedup();
        ids
    }
}

/// Serves subscribers until `shutdown`, and reports minions that connect and leave.
pub async fn serve(
    listener: impl Into<Listener>,
    limits: Limits,
    publisher: Publisher,
    identify: Identify,
    presence: mpsc::Sender<Presence>,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::of_strangers(&limits);
    let limits = Arc::new(limits);
    let connections = listener.into().serve(&quota, shutdown, |accepted| {
        let subscription = Subscription {
            identify: identify.clone(),
            presence: presence.clone(),
            limits: limits.clone(),
            slot: None,
            id: None,
        };
        subscription.run(publisher.clone(), accepted)
    });
    drop(connections.await); // ends them
}

struct Subscription {
    identify: Identify,
    presence: mpsc::Sender<Presence>,
    limits: Arc<Limits>,
    slot: Option<Slot>,
    id: Option<MinionId>,
}

impl Subscription {
    async fn run(
        mut self,
        publisher: Publisher,
        accepted: Accepted,
    ) -> Result<(), ConnectionError> {
        let (stream, slot) = listener::open(accepted, self.limits.identification).await?;
        let turns = slot.turns();
        self.slot = Some(slot);
        let (entry, publications) = publisher.subscribers.enter(self.limits.publish_queue);
        let ended = self.deliver(stream, turns, &entry, publications).await;
        drop(entry);
        if let Some(id) = self.id {
            let _ = self.presence.send(Presence::Gone(id)).await;
        }
        ended
    }

    async fn deliver(
        &mut self,
        (reader, mut writer): (Incoming, Outgoing),
        turns: SlotTurns,
        entry: &Entry<Option<MinionId>>,
        mut publications: mpsc::Receiver<Arc<[u8]>>,
    ) -> Result<(), ConnectionError> {
        let io_timeout = self.limits.io_timeout;
        let messages = Messages::new(MAX_SUBSCRIBER_BYTES);
        let mut reader = Reader::new(reader, messages, io_timeout).in_turns(turns.clone());
        let deadline = Instant::now() + self.limits.identification;
        loop {
            tokio::select! {
                Some(message) = publications.recv() => {
                    turns.use_one().await;
                    send(&mut writer, &message, io_timeout).await?;
                }
                read = reader.advance() => match read {
                    Ok(Some(Message { body, .. })) => {
                        turns.use_up();
                        self.read(entry, &body).await;
                    }
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

    /// The first valid identification counts.
    async fn read(&mut self, entry: &Entry<Option<MinionId>>, body: &Value) {
        if self.id.is_some() {
            return;
        }
        if let Some(id) = (self.identify)(body) {
            entry.change(|known| *known = Some(id.clone()));
            if let Some(slot) = self.slot.take() {
                slot.admit();
            }
            self.id = Some(id.clone());
            let _ = self.presence.send(Presence::Identified(id)).await;
        }
    }
}
