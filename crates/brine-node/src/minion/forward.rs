//! Events and returns for a master: sent in order, kept in a [`Spool`] until the master has them.
//!
//! One queue and one task per uplink. A request leaves the queue when a master has acknowledged it, and no other
//! overtakes it. Waiting events are sent together in one request, as Salt sends beacons, since for a master a request
//! costs more than an event. Facts: `docs/protocol/network.md` §9, §15.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_wire::compat::StampStyle;
use brine_wire::network::delivery::Delivery;
use brine_wire::network::{MinionId, events, job_return, minion_event};
use brine_wire::{Map, Value, msgpack, stamp};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::Node;
use super::master_client::{MasterClient, PendingRequest, RequestError};
use super::options::MinionOptions;
use super::sign_in_loop::{ConnectError, log};
use super::spool::{
    Body, Directory, Dropped, Full, Id, Memory, Spool, SpoolLimits, Store, Waiting,
};
use super::standing::Standing;
use crate::node_bus::since_epoch;

/// The bytes one master's queue may hold if it is in memory.
const MEMORY_BYTES: u64 = 64 << 20;
/// How long what was pushed may wait for the master before it is brought to the disk.
const SYNC_AFTER: Duration = Duration::from_millis(50);
/// The most events in one request, and the bytes they may be: a real master fires them in about a second.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
/// The first wait before a request is retried, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long the answer of a master may take after the minion has turned to another.
const LATE_ANSWER: Duration = Duration::from_secs(2);
/// How long a local program waits for a master that is connected to take its event. Salt's `salt-call` signs in and
/// waits, too.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// How many answers of a master to one request may be unusable before it is given up.
const UNUSABLE_ANSWERS: u32 = 10;

/// Requests for one master, in order.
#[derive(Debug)]
pub(super) struct Queue {
    /// Held for a push or a look, which writes to the system's memory or reads a segment; never across an await.
    state: Mutex<State>,
    changed: Notify,
    /// Something was written that is not on the disk yet.
    written: Notify,
    sent: watch::Sender<Sent>,
    id: MinionId,
}

/// What a master has of this start's requests.
#[derive(Debug, Default)]
struct Sent {
    /// The number of the last one.
    last: u64,
    /// It has not taken one in time, and none since.
    is_late: bool,
}

#[derive(Debug)]
struct State {
    spool: Spool<Box<dyn Store>>,
    /// What only this process knows about its own requests, by number.
    live: HashMap<u64, Live>,
    refused: u64,
}

#[derive(Debug)]
struct Live {
    /// Where the master's answer goes.
    answer: Option<oneshot::Sender<Value>>,
    /// The master that waits for it, whichever master the minion is connected to by then.
    asked_by: Option<MasterClient>,
}

/// A request for the queue.
#[derive(Debug)]
pub(super) struct Item {
    load: Map,
    live: Live,
}

impl Item {
    pub(super) const fn new(load: Map) -> Self {
        let live = Live {
            answer: None,
            asked_by: None,
        };
        Self { load, live }
    }

    /// With the answer sent to `answer`. It ends with this process.
    pub(super) fn answered_to(mut self, answer: oneshot::Sender<Value>) -> Self {
        self.live.answer = Some(answer);
        self
    }

    /// As an answer that `master` waits for.
    pub(super) fn asked_by(mut self, master: MasterClient) -> Self {
        self.live.asked_by = Some(master);
        self
    }
}

/// The next request to send, and which items of the queue it holds.
#[derive(Debug)]
struct Next {
    load: Map,
    first: Id,
    through: Id,
    count: usize,
    /// When the first was pushed.
    since: Duration,
    asked_by: Option<MasterClient>,
}

/// The time as requests have it.
fn seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

impl Queue {
    /// The queue for a master, on disk unless the options say otherwise. `name` tells it from those for others.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub(super) fn open(options: &MinionOptions, name: &str) -> io::Result<Self> {
        let store: Box<dyn Store> = match &options.spool.directory {
            Some(directory) => Box::new(Directory::open(&directory.join(name))?),
            None => Box::new(Memory::default()),
        };
        let limits = match options.spool.directory {
            Some(_) => options.spool.limits,
            None => SpoolLimits {
                max_bytes: options.spool.limits.max_bytes.min(MEMORY_BYTES),
                ..options.spool.limits
            },
        };
        Self::on(store, limits, &options.id)
    }

    fn on(store: Box<dyn Store>, limits: SpoolLimits, id: &MinionId) -> io::Result<Self> {
        // It only needs to be a number that nobody has used: from the system's random numbers, or from the time if
        // there are none.
        let boot = brine_net::crypto::random::<8>()
            .map_or_else(|_| since_epoch().as_nanos() as u64, u64::from_be_bytes);
        let spool = Spool::open(store, limits, boot)?;
        let waiting = spool.len();
        if waiting > 0 {
            tracing::info!(
                waiting,
                "events and returns of an earlier run are queued for the master"
            );
        }
        Ok(Self {
            state: Mutex::new(State {
                spool,
                live: HashMap::new(),
                refused: 0,
            }),
            changed: Notify::new(),
            written: Notify::new(),
            sent: watch::Sender::default(),
            id: id.clone(),
        })
    }

    /// Puts a request at the end.
    pub(super) fn push(&self, item: Item) -> Result<(), Full> {
        let Item { load, live } = item;
        let mut packed = Vec::new();
        msgpack::encode_map(&load, &mut packed);
        let body = match live.answer {
            Some(_) => Body::Asked(packed),
            None => Body::Request(packed),
        };
        {
            let mut state = self.state();
            match state.spool.push(body, since_epoch()) {
                Ok(id) if live.answer.is_some() || live.asked_by.is_some() => {
                    state.live.insert(id.number, live);
                }
                Ok(_) => {}
                Err(full) => {
                    state.refused += 1;
                    if state.refused.is_power_of_two() {
                        let refused = state.refused;
                        tracing::error!(refused, error = %full, "new events and returns for the master are lost");
                    }
                    return Err(full);
                }
            }
        }
        self.changed.notify_one();
        self.written.notify_one();
        Ok(())
    }

    /// Waits a moment until a master has all that has been pushed; whether it has. For a master that was late already,
    /// nobody waits.
    pub(super) async fn is_all_sent(&self) -> bool {
        let last = self.state().spool.last();
        let mut sent = self.sent.subscribe();
        let taken = sent.wait_for(|sent| sent.last >= last || sent.is_late);
        match timeout(TAKEN_WITHIN, taken).await {
            // The sender is this queue.
            Ok(sent) => sent.is_ok_and(|sent| sent.last >= last),
            Err(_) => {
                self.sent.send_modify(|sent| sent.is_late = true);
                false
            }
        }
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.state().spool.len()
    }

    /// The next request, which stays in the queue: the first item, with the events behind it that may be sent in the
    /// same request, at most `most`.
    async fn front(&self, most: usize) -> Next {
        loop {
            let changed = self.changed.notified();
            let first = self.state().spool.first(most, BATCH_BYTES, since_epoch());
            match first {
                Ok(waiting) => match self.next(waiting) {
                    Some(next) => return next,
                    None => changed.await,
                },
                Err(error) => {
                    tracing::error!(%error, "cannot read the queue for the master; trying again");
                    sleep(RETRY.1).await;
                }
            }
        }
    }

    /// The request for the records at the front.
    fn next(&self, waiting: Vec<Waiting>) -> Option<Next> {
        let (first, since) = waiting.first().map(|first| (first.id, first.at))?;
        let alone = |load| Next {
            load,
            first,
            through: first,
            count: 1,
            since,
            asked_by: None,
        };
        let mut loads = Vec::new();
        let mut through = first;
        for Waiting { id, body, .. } in waiting {
            let load = match body {
                Body::Dropped(dropped) => return Some(alone(self.report(&dropped))),
                Body::Request(bytes) | Body::Asked(bytes) => match msgpack::decode(&bytes) {
                    Ok(Value::Map(load)) => load,
                    // Nothing else is pushed; were it damaged, its digest would not fit.
                    _ => Map::new(),
                },
            };
            let may_be_batched = minion_event::may_be_batched(&load);
            if id == first && !may_be_batched {
                let live = self.state();
                let live = live
                    .live
                    .get(&first.number)
                    .filter(|_| live.spool.is_own(first));
                let asked_by = live.and_then(|live| live.asked_by.clone());
                return Some(Next {
                    asked_by,
                    ..alone(load)
                });
            }
            if !may_be_batched {
                break;
            }
            loads.push(load);
            through = id;
        }
        match loads.len() {
            1 => loads.pop().map(alone),
            count => Some(Next {
                load: minion_event::batch(loads, seconds()),
                first,
                through,
                count,
                since,
                asked_by: None,
            }),
        }
    }

    /// The event that says what is missing.
    fn report(&self, dropped: &Dropped) -> Map {
        let stamp = |time| Value::from(stamp::format(time, StampStyle::Utc));
        let mut data = Map::new();
        data.insert("count", dropped.count);
        data.insert("reason", dropped.reason.word());
        data.insert("from", stamp(dropped.from));
        data.insert("to", stamp(dropped.to));
        for (name, id) in [("first", dropped.first), ("last", dropped.last)] {
            data.insert(name, format!("{:x}-{}", id.boot, id.number));
        }
        let mut load: Map = [("id", self.id.as_str()), ("cmd", minion_event::CMD)]
            .into_iter()
            .collect();
        load.insert("pretag", Value::Nil);
        load.insert("data", data);
        load.insert("tag", events::spool_dropped_tag(&self.id));
        load
    }

    /// Removes what a master has acknowledged.
    fn acknowledge(&self, next: &Next, answer: &Value) {
        let done: Vec<Live> = {
            let mut state = self.state();
            state.spool.acknowledge(next.through);
            let is_own = state.spool.is_own(next.through);
            self.sent.send_modify(|sent| {
                sent.is_late = false;
                if is_own {
                    sent.last = next.through.number;
                }
            });
            match state.spool.is_own(next.through) {
                true => (next.first.number..=next.through.number)
                    .filter_map(|number| state.live.remove(&number))
                    .collect(),
                false => Vec::new(),
            }
        };
        for reply_to in done.into_iter().filter_map(|live| live.answer) {
            let _ = reply_to.send(answer.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings to the disk what was pushed and is still there after a moment, for ever. What a master takes at once costs
/// no sync.
pub(super) async fn sync(queue: Arc<Queue>) {
    loop {
        queue.written.notified().await;
        sleep(SYNC_AFTER).await;
        let job = {
            let mut state = queue.state();
            if state.spool.len() == 0 {
                continue;
            }
            state.spool.unsynced()
        };
        let synced = match job {
            Ok(job) => spawn_blocking(job).await.unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = synced {
            tracing::warn!(%error, "cannot sync the queue for the master to disk: it would not survive a crash of this machine");
        }
    }
}

/// Sends an uplink's queue to whichever of its masters the minion is connected to, for ever.
pub(super) async fn run(node: Arc<Node>, uplink: usize) {
    let (queue, options) = (&node.queues[uplink], &node.options);
    let mut up = node.up[uplink].subscribe();
    let heard = |heard: Result<(), &ConnectError>, client: &MasterClient| {
        let standing = heard.map_or_else(ConnectError::standing, |()| Standing::Good);
        let is_new = node.standings.set(uplink, standing);
        if let (true, Err(error)) = (is_new, heard) {
            log(client, error);
        }
    };
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    // A signature belongs to one event, and is part of it.
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
        let answer = match deliver(&next, options, &mut up, &mut retry, &heard).await {
            Delivered::Taken(answer) => answer,
            Delivered::Refused if count > 1 => {
                alone = count;
                continue;
            }
            Delivered::Refused => Value::Nil,
            Delivered::TooOld => {
                // Nothing may be left to learn more from: the next event is not refused.
                let _ = node.standings.set(uplink, Standing::Good);
                continue;
            }
            Delivered::Ending => return,
        };
        queue.acknowledge(&next, &answer);
        alone = alone.saturating_sub(count);
    }
}

/// The outcome of sending a request.
enum Delivered {
    /// A master has it.
    Taken(Value),
    /// A master answers but does not accept it; what is behind it must not wait for ever.
    Refused,
    /// It has waited longer than it may.
    TooOld,
    /// The minion is ending.
    Ending,
}

/// Sends one request, as often as it takes. `heard` is told whether the master has let the minion in.
async fn deliver(
    next: &Next,
    options: &MinionOptions,
    up: &mut watch::Receiver<Option<MasterClient>>,
    retry: &mut Backoff,
    heard: &impl Fn(Result<(), &ConnectError>, &MasterClient),
) -> Delivered {
    let is_return = next.load.get("cmd") == Some(&job_return::CMD.into());
    let delivery = Delivery {
        boot: next.first.boot,
        first: next.first.number,
        last: next.through.number,
    };
    let mut pending = PendingRequest::new(next.load.clone()).with_delivery(delivery);
    let (mut failed, mut unusable) = (0, 0);
    loop {
        let client = match up.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            Err(_) => return Delivered::Ending,
        };
        let max_age = options.spool.limits.max_age;
        if max_age.is_some_and(|age| since_epoch() > next.since + age) {
            return Delivered::TooOld;
        }
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
                if to.is(&client) {
                    heard(Ok(()), to);
                }
                return Delivered::Taken(answer);
            }
            Err(RequestError::Reply(error)) if unusable >= UNUSABLE_ANSWERS => {
                tracing::error!(%error, "request dropped: the master's answers to it cannot be used");
                return Delivered::Refused;
            }
            Err(error) if error.is_too_large() => {
                tracing::error!(%error, "request dropped: too large for the master");
                return Delivered::Refused;
            }
            Err(_) if !to.is(&client) => {}
            Err(RequestError::SignInError(error)) => {
                heard(Err(&ConnectError::SignIn(error)), to);
                sleep(retry.wait().saturating_sub(began.elapsed())).await;
            }
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

    fn queue() -> Queue {
        let limits = SpoolLimits {
            max_age: None,
            ..SpoolLimits::default()
        };
        let id = MinionId::parse("m1").unwrap();
        Queue::on(Box::new(Memory::default()), limits, &id).unwrap()
    }

    #[tokio::test]
    async fn what_is_pushed_comes_out_in_order_once_acknowledged() {
        let queue = queue();
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
            let next = queue.front(BATCH).await;
            queue.acknowledge(&next, &Value::Nil);
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
        let queue = queue();
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

        assert_eq!(queue.front(2).await.count, 2);
        assert_eq!(queue.front(1).await.load, event(0, 1));
        let next = queue.front(BATCH).await;
        assert_eq!(tags(&next.load), ["tag/0", "tag/1", "tag/2"]);
        assert_eq!((next.first.number, next.through.number), (1, 3));
        queue.acknowledge(&next, &Value::Nil);
        let next = queue.front(BATCH).await;
        assert_eq!(next.load, ret);
        queue.acknowledge(&next, &Value::Nil);
        let next = queue.front(BATCH).await;
        assert_eq!(next.load, event(4, 1));
        queue.acknowledge(&next, &7.into());
        assert_eq!(answered.await, Ok(7.into()));
        assert_eq!(queue.front(BATCH).await.load, event(5, 1));
    }

    #[tokio::test]
    async fn a_request_is_bounded_and_one_large_event_goes_all_the_same() {
        let queue = queue();
        queue.push(Item::new(event(0, 2 * BATCH_BYTES))).unwrap();
        for n in 1..=BATCH + 1 {
            queue.push(Item::new(event(n, 1))).unwrap();
        }
        let next = queue.front(BATCH).await;
        assert_eq!(next.load, event(0, 2 * BATCH_BYTES));
        queue.acknowledge(&next, &Value::Nil);
        assert_eq!(queue.front(BATCH).await.count, BATCH);
    }

    #[tokio::test]
    async fn what_did_not_fit_is_an_event_in_its_place() {
        let limits = SpoolLimits {
            max_bytes: 1000,
            max_age: None,
        };
        let id = MinionId::parse("m1").unwrap();
        let queue = Queue::on(Box::new(Memory::default()), limits, &id).unwrap();
        assert!(queue.push(Item::new(event(1, 500))).is_ok());
        assert!(queue.push(Item::new(event(2, 500))).is_err());
        let next = queue.front(BATCH).await;
        queue.acknowledge(&next, &Value::Nil);
        let next = queue.front(BATCH).await;
        assert_eq!(next.load.get("tag"), Some(&"brine/spool/m1/dropped".into()));
        let data = next.load.get("data").and_then(Value::as_map).unwrap();
        assert_eq!(data.get("count"), Some(&1.into()));
        assert_eq!(data.get("reason"), Some(&"full".into()));
        queue.acknowledge(&next, &Value::Nil);
        assert_eq!(queue.len(), 0);
    }
}
