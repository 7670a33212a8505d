//! Polls the connections of strangers one after the other, so that they take no more than a share of the threads that
//! carry minions' events.
//!
//! What strangers send is worth nothing before they have authenticated, and costs time on the threads that read all
//! connections: TLS handshakes, decoding, answers. Without turns an event of a minion waits behind everything that
//! thousands of strangers have sent. So few strangers are polled at a time, for one message each, addresses in turn and
//! those of minions every other time; after each turn whoever is no stranger goes first. One that comes alone, as most
//! minions do that sign in, waits for nobody.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::fair_queue::{FairQueue, Lane};

/// The most connections that wait for their turns, those included that have ended meanwhile. More than strangers may
/// have, and some 200 bytes each.
const WAITING: usize = 32_768;

/// After so long without a turn a stranger takes the next one itself, if no other waits: it has cost as much time already
/// as most turns take.
const QUIET: Duration = Duration::from_micros(50);

/// The turns of the strangers at one port.
#[derive(Debug)]
pub(crate) struct Turns {
    queue: FairQueue<IpAddr, oneshot::Sender<OwnedSemaphorePermit>>,
    /// Something waits in the queue.
    waiting: Notify,
    at_once: Arc<Semaphore>,
    is_over: AtomicBool,
    began: Instant,
    /// When the last turn ended, in microseconds since then.
    last: AtomicU64,
    /// How many have ended.
    ended: AtomicU64,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) address: IpAddr,
    pub(crate) lane: Lane,
}

impl Turns {
    /// Lets so many strangers be polled at the same time.
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            queue: FairQueue::new(WAITING, usize::MAX),
            waiting: Notify::new(),
            at_once: Arc::new(Semaphore::new(at_once.max(1))),
            is_over: AtomicBool::new(false),
            began: Instant::now(),
            last: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Gives turns until it is dropped; then call [`Self::end`].
    pub(crate) async fn give(&self) -> Infallible {
        loop {
            // It is never closed.
            let Ok(permit) = self.at_once.clone().acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.queue.try_pop() {
                // Behind everything that is ready now, what has just arrived included.
                Some(turn) => {
                    if turn.send(permit).is_ok() {
                        yield_now().await;
                    }
                }
                None => {
                    drop(permit);
                    self.waiting.notified().await;
                }
            }
        }
    }

    /// From now on nobody waits for a turn.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.queue.close();
    }

    /// Runs a connection: in turns while it is a stranger's, freely afterwards. `None` if too many others wait.
    pub(crate) async fn run<F: Future>(
        &self,
        sender: Sender,
        is_stranger: impl Fn() -> bool,
        connection: F,
    ) -> Option<F::Output> {
        tokio::pin!(connection);
        while is_stranger() && !self.is_over.load(Ordering::Acquire) {
            let turn = self.next(sender).await;
            if turn.is_none() && !self.is_over.load(Ordering::Acquire) {
                return None;
            }
            let polled = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await;
            drop(turn);
            self.ended.fetch_add(1, Ordering::Relaxed);
            (self.last).store(micros(self.began.elapsed()), Ordering::Relaxed);
            if let Poll::Ready(done) = polled {
                return Some(done);
            }
            woken().await;
        }
        Some(connection.await)
    }

    async fn next(&self, sender: Sender) -> Option<OwnedSemaphorePermit> {
        if let Some(turn) = self.take_free() {
            return Some(turn);
        }
        let ended = self.ended.load(Ordering::Relaxed);
        // Behind everything that is ready now, as for a turn that is given, but without waking whoever gives them. It is
        // one stranger's that comes here: for the others the turns that have ended are more by then.
        yield_now().await;
        if self.ended.load(Ordering::Relaxed) == ended
            && self.queue.is_empty()
            && let Ok(turn) = self.at_once.clone().try_acquire_owned()
        {
            return Some(turn);
        }
        let (turn, given) = oneshot::channel();
        // Whoever is dropped for it hears of that by its channel.
        drop(self.queue.push(&sender.address, sender.lane, 1, turn));
        self.waiting.notify_one();
        given.await.ok()
    }

    fn take_free(&self) -> Option<OwnedSemaphorePermit> {
        let quiet_from = self.last.load(Ordering::Relaxed) + micros(QUIET);
        if micros(self.began.elapsed()) < quiet_from || !self.queue.is_empty() {
            return None;
        }
        self.at_once.clone().try_acquire_owned().ok()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Waits until the task is woken, by whatever it was that the connection waits for.
async fn woken() {
    let mut is_woken = false;
    poll_fn(|_| match std::mem::replace(&mut is_woken, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use tokio::task::JoinSet;

    use super::*;

    fn stranger(n: u8) -> Sender {
        Sender {
            address: [10, 0, 0, n].into(),
            lane: Lane::Unknown,
        }
    }

    /// A connection that has so many messages ready, and does something with each.
    async fn messages(count: usize, act: impl Fn()) {
        for _ in 0..count {
            act();
            yield_now().await;
        }
    }

    /// One thread, many strangers with many messages each, and a minion.
    #[tokio::test]
    async fn a_minion_waits_for_few_messages_of_strangers() {
        let turns = Arc::new(Turns::new(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut connections = JoinSet::new();
        for n in 0..200 {
            let (turns, order) = (turns.clone(), order.clone());
            let act = move || order.lock().unwrap().push("stranger");
            connections
                .spawn(async move { turns.run(stranger(n), || true, messages(20, act)).await });
        }
        let (own, order_of_minion) = (turns.clone(), order.clone());
        let act = move || order_of_minion.lock().unwrap().push("minion");
        let minion = async move { own.run(stranger(250), || false, messages(100, act)).await };
        connections.spawn(minion);
        let done = async {
            while let Some(done) = connections.join_next().await {
                assert!(done.unwrap().is_some());
            }
        };
        tokio::select! {
            () = done => {}
            _ = turns.give() => {}
        }
        let order = order.lock().unwrap();
        assert_eq!(order.len(), 200 * 20 + 100);
        let minions: Vec<_> = (0..order.len())
            .filter(|at| order[*at] == "minion")
            .collect();
        let longest = minions.windows(2).map(|pair| pair[1] - pair[0] - 1).max();
        // One, but for the runtime's own order.
        assert!(
            longest <= Some(4),
            "{longest:?} messages of strangers between two of the minion's"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn so_many_strangers_are_polled_at_a_time() {
        let turns = Arc::new(Turns::new(2));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut connections = JoinSet::new();
        for n in 0..50 {
            let (turns, now, most) = (turns.clone(), now.clone(), most.clone());
            let act = move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
            };
            connections
                .spawn(async move { turns.run(stranger(n), || true, messages(20, act)).await });
        }
        let done = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = done => {}
            _ = turns.give() => {}
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_comes_alone_waits_for_nobody() {
        let turns = Turns::new(1);
        // No turn is ever given.
        let run = |n| turns.run(stranger(n), || true, async move { n });
        tokio::time::advance(QUIET).await;
        assert_eq!(run(1).await, Some(1));
        // The next comes too soon, and gives way once.
        let soon = run(2);
        tokio::pin!(soon);
        tokio::select! {
            biased;
            _ = &mut soon => panic!("it had a turn"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(soon.await, Some(2));
        // Where another has its turn meanwhile, it queues, and others wait behind it, however late they come.
        let (soon, late) = (run(3), run(5));
        tokio::pin!(soon, late);
        tokio::select! {
            biased;
            _ = &mut soon => panic!("it had a turn"),
            () = std::future::ready(()) => {}
        }
        tokio::time::advance(QUIET).await;
        assert_eq!(run(4).await, Some(4));
        for waiting in [&mut soon, &mut late] {
            let given = tokio::time::timeout(QUIET, waiting).await;
            assert!(given.is_err(), "it had a turn");
            tokio::time::advance(QUIET).await;
        }
        tokio::select! {
            done = async { (soon.await, late.await) } => assert_eq!(done, (Some(3), Some(5))),
            _ = turns.give() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_authenticates_waits_for_no_turn_and_nobody_does_after_the_end() {
        let turns = Turns::new(1);
        // No turn is ever given, and as long as the clock stands none is taken without giving way first.
        let is_stranger = AtomicBool::new(false);
        let free = turns.run(stranger(1), || is_stranger.load(Ordering::SeqCst), async {
            7
        });
        assert_eq!(free.await, Some(7));
        let waiting = turns.run(stranger(1), || true, async { 8 });
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it had no turn"),
            () = std::future::ready(()) => {}
        }
        turns.end();
        assert_eq!(waiting.await, Some(8));
        assert_eq!(turns.run(stranger(2), || true, async { 9 }).await, Some(9));
    }
}
