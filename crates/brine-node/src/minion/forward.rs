//! What goes up to a master, in order, kept while the master is away.
//!
//! One queue and one task per master: an event leaves the queue when its master has acknowledged it, and
//! nothing overtakes it. The queue is bounded in bytes; what does not fit is refused, loudly, and what is
//! in it stays. Facts: `docs/protocol/network.md` §9, §15.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_wire::msgpack;
use brine_wire::{Map, Value};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::sleep;

use super::link::{Link, RequestError};

/// The bytes one master's queue may hold.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The first wait before a request is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How many answers of a master to one request may be unusable before it is given up.
const UNUSABLE_ANSWERS: u32 = 10;

/// Requests for one master, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Held for a push or a pop, never across an await.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    refused: u64,
}

#[derive(Debug)]
struct Item {
    load: Map,
    bytes: usize,
    answer: Option<oneshot::Sender<Value>>,
}

/// There is no room for another event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected at most {MAX_BYTES} bytes of events that wait for the master, found no room for {bytes} more"
)]
pub(super) struct QueueFull {
    bytes: usize,
}

impl Queue {
    /// Puts a request at the end. `answer` gets the master's.
    pub(super) fn push(
        &self,
        load: Map,
        answer: Option<oneshot::Sender<Value>>,
    ) -> Result<(), QueueFull> {
        let mut packed = Vec::new();
        msgpack::encode_map(&load, &mut packed);
        let bytes = packed.len();
        {
            let mut state = self.state();
            if state.bytes + bytes > MAX_BYTES {
                state.refused += 1;
                if state.refused.is_power_of_two() {
                    tracing::error!(
                        refused = state.refused,
                        "the queue for the master is full: new events are refused"
                    );
                }
                return Err(QueueFull { bytes });
            }
            state.bytes += bytes;
            state.items.push_back(Item {
                load,
                bytes,
                answer,
            });
        }
        self.changed.notify_one();
        Ok(())
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// The first, which stays where it is.
    async fn front(&self) -> Map {
        loop {
            let changed = self.changed.notified();
            if let Some(item) = self.state().items.front() {
                return item.load.clone();
            }
            changed.await;
        }
    }

    /// Takes the first out: the master has it.
    fn acknowledge(&self, answer: Value) {
        let item = {
            let mut state = self.state();
            let item = state.items.pop_front();
            state.bytes -= item.as_ref().map_or(0, |item| item.bytes);
            item
        };
        if let Some(way_back) = item.and_then(|item| item.answer) {
            let _ = way_back.send(answer);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what the queue holds to whichever master the minion is in with, for ever.
pub(super) async fn run(queue: Arc<Queue>, mut up: watch::Receiver<Option<Link>>) {
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    let mut unusable = 0;
    loop {
        let load = queue.front().await;
        let link = match up.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return,
        };
        let Some(link) = link else { continue };
        match link.request(load).await {
            Ok(answer) => {
                retry.reset();
                unusable = 0;
                queue.acknowledge(answer);
            }
            // The master is there and will not have it: what is behind it must not wait for ever.
            Err(RequestError::Reply(error)) if unusable >= UNUSABLE_ANSWERS => {
                tracing::error!(%error, "given up: the master answers this request with nothing usable");
                unusable = 0;
                queue.acknowledge(Value::Nil);
            }
            Err(error) => {
                unusable += u32::from(matches!(error, RequestError::Reply(_)));
                tracing::debug!(%error, waiting = queue.len(), "kept for the master");
                sleep(retry.wait()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_pushed_comes_out_in_order_once_acknowledged() {
        let queue = Queue::default();
        for n in 0..3 {
            queue.push([("n", n)].into_iter().collect(), None).unwrap();
        }
        for n in 0..3 {
            assert_eq!(queue.front().await.get("n"), Some(&n.into()));
            assert_eq!(queue.front().await.get("n"), Some(&n.into()));
            queue.acknowledge(Value::Nil);
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let queue = Queue::default();
        let large = || -> Map {
            [("x", "y".repeat(MAX_BYTES / 2 - 100))]
                .into_iter()
                .collect()
        };
        queue.push(large(), None).unwrap();
        queue.push(large(), None).unwrap();
        assert!(queue.push(large(), None).is_err());
        assert_eq!(queue.len(), 2);
    }
}
