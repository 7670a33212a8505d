//! What goes up to a master, in order, kept while the master is away.
//!
//! One queue and one task per master: an event leaves the queue when its master has acknowledged it, and
//! nothing overtakes it. Events that have to wait travel together, as Salt's beacons do, since a master spends
//! more on a request than on an event. The queue is bounded in bytes; what does not fit is refused, loudly, and what is
//! in it stays. Facts: `docs/protocol/network.md` §9, §15.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_wire::msgpack;
use brine_wire::network::minion_event;
use brine_wire::{Map, Value};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::sleep;

use super::link::{Link, RequestError};
use crate::own_bus::since_epoch;

/// The bytes one master's queue may hold.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most events in one request, and the bytes they may be: a real master fires them in about a second.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
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

impl State {
    fn front(&self, most: usize) -> Option<Next> {
        let first = self.items.front()?;
        let mut bytes = 0;
        let together = self.items.iter().take(most).take_while(|item| {
            bytes += item.bytes;
            bytes <= BATCH_BYTES
                && item.answer.is_none()
                && minion_event::may_be_batched(&item.load)
        });
        let loads: Vec<Map> = together.map(|item| item.load.clone()).collect();
        Some(match loads.len() {
            0 | 1 => Next {
                load: first.load.clone(),
                count: 1,
            },
            count => Next {
                load: minion_event::batch(loads, seconds()),
                count,
            },
        })
    }
}

/// A request that is to go, and how many items of the queue it is.
#[derive(Debug)]
struct Next {
    load: Map,
    count: usize,
}

/// The time as requests have it.
fn seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
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

    /// What is to go next, which stays where it is: the first, and with it the events right behind that may
    /// travel in the same request, `most` at the most.
    async fn front(&self, most: usize) -> Next {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.state().front(most) {
                return next;
            }
            changed.await;
        }
    }

    /// Takes the first `count` out: the master has them.
    fn acknowledge(&self, count: usize, answer: &Value) {
        let done: Vec<Item> = {
            let mut state = self.state();
            let count = count.min(state.items.len());
            let done: Vec<Item> = state.items.drain(..count).collect();
            state.bytes -= done.iter().map(|item| item.bytes).sum::<usize>();
            done
        };
        for way_back in done.into_iter().filter_map(|item| item.answer) {
            let _ = way_back.send(answer.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what the queue holds to whichever master the minion is in with, for ever.
pub(super) async fn run(queue: Arc<Queue>, mut up: watch::Receiver<Option<Link>>) {
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    // How many items must go alone, since the master would not have them together.
    let mut alone = 0;
    loop {
        let most = if alone > 0 { 1 } else { BATCH };
        let next = queue.front(most).await;
        let answer = match deliver(&next.load, &queue, &mut up, &mut retry).await {
            Delivered::Taken(answer) => answer,
            Delivered::Refused if next.count > 1 => {
                alone = next.count;
                continue;
            }
            Delivered::Refused => Value::Nil,
            Delivered::Ending => return,
        };
        queue.acknowledge(next.count, &answer);
        alone = alone.saturating_sub(next.count);
    }
}

/// What came of a request.
enum Delivered {
    /// A master has it.
    Taken(Value),
    /// The master is there and will not have it: what is behind it must not wait for ever.
    Refused,
    /// There will be no master any more.
    Ending,
}

/// Sends one request, as often as it takes.
async fn deliver(
    load: &Map,
    queue: &Queue,
    up: &mut watch::Receiver<Option<Link>>,
    retry: &mut Backoff,
) -> Delivered {
    let mut unusable = 0;
    loop {
        let link = match up.wait_for(Option::is_some).await {
            Ok(link) => link.clone(),
            Err(_) => return Delivered::Ending,
        };
        let Some(link) = link else { continue };
        match link.request(load.clone()).await {
            Ok(answer) => {
                retry.reset();
                return Delivered::Taken(answer);
            }
            Err(RequestError::Reply(error)) if unusable >= UNUSABLE_ANSWERS => {
                tracing::error!(%error, "given up: the master answers this request with nothing usable");
                return Delivered::Refused;
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
            for _ in 0..2 {
                let next = queue.front(BATCH).await;
                assert_eq!((next.load.get("n"), next.count), (Some(&n.into()), 1));
            }
            queue.acknowledge(1, &Value::Nil);
        }
        assert_eq!(queue.len(), 0);
    }

    fn event(n: usize, bytes: usize) -> Map {
        let mut load: Map = [("id", "m1"), ("cmd", minion_event::CMD)]
            .into_iter()
            .collect();
        load.insert("pretag", Value::Nil);
        load.insert("data", "x".repeat(bytes));
        load.insert("tag", format!("tag/{n}"));
        load
    }

    fn tags(load: &Map) -> Vec<String> {
        let Some(Value::Array(items)) = load.get("events") else {
            return Vec::new();
        };
        let tags = items.iter().map(|item| item.as_map().unwrap().get("tag"));
        tags.map(|tag| tag.unwrap().as_str().unwrap().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn events_that_wait_go_together_and_nothing_overtakes_another() {
        let queue = Queue::default();
        for n in 0..3 {
            queue.push(event(n, 1), None).unwrap();
        }
        let ret: Map = [("cmd", "_return")].into_iter().collect();
        queue.push(ret.clone(), None).unwrap();
        let (answer, answered) = oneshot::channel();
        queue.push(event(4, 1), Some(answer)).unwrap();
        queue.push(event(5, 1), None).unwrap();

        let next = queue.front(BATCH).await;
        assert_eq!(tags(&next.load), ["tag/0", "tag/1", "tag/2"]);
        assert_eq!(queue.front(2).await.count, 2);
        assert_eq!(queue.front(1).await.load, event(0, 1));
        queue.acknowledge(next.count, &Value::Nil);
        assert_eq!(queue.front(BATCH).await.load, ret);
        queue.acknowledge(1, &Value::Nil);
        assert_eq!(queue.front(BATCH).await.load, event(4, 1));
        queue.acknowledge(1, &7.into());
        assert_eq!(answered.await, Ok(7.into()));
        assert_eq!(queue.front(BATCH).await.load, event(5, 1));
    }

    #[tokio::test]
    async fn a_request_is_bounded_and_one_large_event_goes_all_the_same() {
        let queue = Queue::default();
        queue.push(event(0, 2 * BATCH_BYTES), None).unwrap();
        for n in 1..=BATCH + 1 {
            queue.push(event(n, 1), None).unwrap();
        }
        let next = queue.front(BATCH).await;
        assert_eq!(next.load, event(0, 2 * BATCH_BYTES));
        queue.acknowledge(1, &Value::Nil);
        assert_eq!(queue.front(BATCH).await.count, BATCH);
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
