//! Events and returns for a master: sent in order, kept in memory while the master is away.
//!
//! One queue and one task per uplink. A request leaves the queue when a master has acknowledged it, and nothing
//! overtakes it. Waiting events are sent together in one request, as Salt's beacons are, since a request costs a master
//! more than an event. The queue is bounded in bytes: when it is full, new requests are refused with an error in the
//! log, and those in it stay. Facts: `docs/protocol/network.md` §9, §15.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_wire::msgpack;
use brine_wire::network::{job_return, minion_event};
use brine_wire::{Map, Value};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::master_client::{MasterClient, PendingRequest, RequestError};
use super::options::MinionOptions;
use crate::node_bus::since_epoch;

/// The bytes one master's queue may hold.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most events in one request, and the bytes they may be: a real master fires them in about a second.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
/// The first wait before a request is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long the answer of a master may take after the minion has turned to another.
const LATE_ANSWER: Duration = Duration::from_secs(2);
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

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Item {
    load: Map,
    bytes: usize,
    /// Where the master's answer goes.
    answer: Option<oneshot::Sender<Value>>,
    /// The master that waits for it, whichever master the minion is connected to by then.
    asked_by: Option<MasterClient>,
}

impl Item {
    pub(super) const fn new(load: Map) -> Self {
        Self {
            load,
            bytes: 0,
            answer: None,
            asked_by: None,
        }
    }

    /// With the answer sent to `answer`.
    pub(super) fn answered_to(mut self, answer: oneshot::Sender<Value>) -> Self {
        self.answer = Some(answer);
        self
    }

    /// As an answer that `master` waits for.
    pub(super) fn asked_by(mut self, master: MasterClient) -> Self {
        self.asked_by = Some(master);
        self
    }
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
                asked_by: first.asked_by.clone(),
            },
            count => Next {
                load: minion_event::batch(loads, seconds()),
                count,
                asked_by: None,
            },
        })
    }
}

/// The next request to send, and how many items of the queue it holds.
#[derive(Debug)]
struct Next {
    load: Map,
    count: usize,
    asked_by: Option<MasterClient>,
}

/// The time as requests have it.
fn seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// The queue has no room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue for the master is full ({MAX_BYTES} bytes); {bytes} more bytes refused")]
pub(super) struct QueueFull {
    bytes: usize,
}

impl Queue {
    /// Puts a request at the end.
    pub(super) fn push(&self, item: Item) -> Result<(), QueueFull> {
        let mut packed = Vec::new();
        msgpack::encode_map(&item.load, &mut packed);
        let bytes = packed.len();
        {
            let mut state = self.state();
            if state.bytes + bytes > MAX_BYTES {
                state.refused += 1;
                if state.refused.is_power_of_two() {
                    tracing::error!(
                        refused = state.refused,
                        "the queue for the master is full; refusing new events and returns"
                    );
                }
                return Err(QueueFull { bytes });
            }
            state.bytes += bytes;
            state.items.push_back(Item { bytes, ..item });
        }
        self.changed.notify_one();
        Ok(())
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// The next request, which stays in the queue: the first item, with the events behind it that may be sent in the
    /// same request, at most `most`.
    async fn front(&self, most: usize) -> Next {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.state().front(most) {
                return next;
            }
            changed.await;
        }
    }

    /// Removes the first `count` items, which the master has acknowledged.
    fn acknowledge(&self, count: usize, answer: &Value) {
        let done: Vec<Item> = {
            let mut state = self.state();
            let count = count.min(state.items.len());
            let done: Vec<Item> = state.items.drain(..count).collect();
            state.bytes -= done.iter().map(|item| item.bytes).sum::<usize>();
            done
        };
        for reply_to in done.into_iter().filter_map(|item| item.answer) {
            let _ = reply_to.send(answer.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the queue to whichever master the minion is connected to, for ever.
pub(super) async fn run(
    queue: Arc<Queue>,
    options: Arc<MinionOptions>,
    mut up: watch::Receiver<Option<MasterClient>>,
) {
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    // A signature is of one event, and stands in it.
    let together = if options.minion_sign_messages {
        1
    } else {
        BATCH
    };
    // How many items must be sent one by one, since the master refused them together.
    let mut alone = 0;
    loop {
        let most = if alone > 0 { 1 } else { together };
        let next = queue.front(most).await;
        let count = next.count;
        let answer = match deliver(next, &options, &mut up, &mut retry).await {
            Delivered::Taken(answer) => answer,
            Delivered::Refused if count > 1 => {
                alone = count;
                continue;
            }
            Delivered::Refused => Value::Nil,
            Delivered::Ending => return,
        };
        queue.acknowledge(count, &answer);
        alone = alone.saturating_sub(count);
    }
}

/// The outcome of sending a request.
enum Delivered {
    /// A master has it.
    Taken(Value),
    /// A master answers but does not accept it; what is behind it must not wait for ever.
    Refused,
    /// The minion is ending.
    Ending,
}

/// Sends one request, as often as it takes.
async fn deliver(
    next: Next,
    options: &MinionOptions,
    up: &mut watch::Receiver<Option<MasterClient>>,
    retry: &mut Backoff,
) -> Delivered {
    let is_return = next.load.get("cmd") == Some(&job_return::CMD.into());
    let mut pending = PendingRequest::new(next.load);
    let (mut failed, mut unusable) = (0, 0);
    loop {
        let client = match up.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            Err(_) => return Delivered::Ending,
        };
        let Some(client) = client else { continue };
        // First the master that published the job, even if the minion has left it; once, since it may be down.
        let asked_by = next.asked_by.as_ref().filter(|_| failed == 0);
        let to = asked_by.unwrap_or(&client);
        let wait = match is_return {
            true => (options.retry.returns).wait(failed, options.request_timeout),
            false => options.request_timeout,
        };
        let began = Instant::now();
        let answered = tokio::select! {
            answered = to.deliver(&mut pending, wait) => answered,
            () = another(up.clone(), &client), if asked_by.is_none() => continue,
        };
        failed += 1;
        match answered {
            Ok(answer) => {
                retry.reset();
                return Delivered::Taken(answer);
            }
            Err(RequestError::Reply(error)) if unusable >= UNUSABLE_ANSWERS => {
                tracing::error!(%error, "request dropped: the master's answers to it cannot be used");
                return Delivered::Refused;
            }
            Err(_) if !to.is(&client) => {}
            Err(error) => {
                unusable += u32::from(matches!(error, RequestError::Reply(_)));
                tracing::debug!(%error, "not acknowledged; keeping it for the master");
                sleep(retry.wait().saturating_sub(began.elapsed())).await;
            }
        }
    }
}

/// Waits until the minion has been connected to another master for a moment, in which this one may still answer.
async fn another(mut up: watch::Receiver<Option<MasterClient>>, than: &MasterClient) {
    let is_another =
        |client: &Option<MasterClient>| client.as_ref().is_some_and(|client| !client.is(than));
    if up.wait_for(is_another).await.is_err() {
        std::future::pending::<()>().await;
    }
    sleep(LATE_ANSWER).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_pushed_comes_out_in_order_once_acknowledged() {
        let queue = Queue::default();
        for n in 0..3 {
            queue
                .push(Item::new([("n", n)].into_iter().collect()))
                .unwrap();
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
            queue.push(Item::new(event(n, 1))).unwrap();
        }
        let ret: Map = [("cmd", "_return")].into_iter().collect();
        queue.push(Item::new(ret.clone())).unwrap();
        let (answer, answered) = oneshot::channel();
        queue
            .push(Item::new(event(4, 1)).answered_to(answer))
            .unwrap();
        queue.push(Item::new(event(5, 1))).unwrap();

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
        queue.push(Item::new(event(0, 2 * BATCH_BYTES))).unwrap();
        for n in 1..=BATCH + 1 {
            queue.push(Item::new(event(n, 1))).unwrap();
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
        queue.push(Item::new(large())).unwrap();
        queue.push(Item::new(large())).unwrap();
        assert!(queue.push(Item::new(large())).is_err());
        assert_eq!(queue.len(), 2);
    }
}
