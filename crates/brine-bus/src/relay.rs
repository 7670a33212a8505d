//! Events that are published here for another bus: they wait until that bus has taken them, and come back as its
//! subscribers see them.
//!
//! A bus that has joined another appends nothing itself. Events from its publishers and its local socket go into this
//! queue; [`join`](crate::join) writes them to the other bus, and reads them back into the log with that bus's own
//! events. A caller that wants to know its event's number waits for that. This module knows no sockets.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_log::Seq;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// The size of the queue, in bytes, above which publishers are not read until the other bus takes some.
const FULL: usize = 4 << 20;
/// How long an event may take to come back.
const ECHO: Duration = Duration::from_secs(10);

/// The way of events to the bus that was joined; clones are the same one.
#[derive(Clone, Default)]
pub struct Relay(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Held for a push or a pop.
    queue: Mutex<Queue>,
    added: Notify,
    taken: Notify,
    /// False while nobody may write to the other bus, or it is not running: callers that wait for an answer then get
    /// an error.
    is_open: AtomicBool,
    /// The callers that wait for events; `waiting` counts them, so that an event for which nobody waits takes no lock.
    expected: Mutex<Waiting>,
    waiting: AtomicUsize,
}

/// The callers that wait for each event, in the order in which they began.
type Waiting = HashMap<Box<[u8]>, VecDeque<oneshot::Sender<Seq>>>;

#[derive(Default)]
struct Queue {
    events: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Why an event that was fired for another bus has no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// There is no connection to that bus; the event was not fired.
    #[error("not connected to the bus that was joined; the event was not fired, try again later")]
    NotConnected,
    /// It was fired and has not come back.
    #[error(
        "the event was fired and has not come back from the bus within {} seconds; it may still",
        ECHO.as_secs()
    )]
    NoEcho,
}

impl Relay {
    /// Queues an event: tag, tag end, data.
    pub fn push(&self, event: Vec<u8>) {
        {
            let mut queue = self.queue();
            queue.bytes += event.len();
            queue.events.push_back(event);
        }
        self.0.added.notify_one();
    }

    /// Fires events and waits until they have come back: their numbers in the log, in the order given. If the future
    /// is dropped, it is unknown which were fired.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn fire(&self, events: Vec<Vec<u8>>) -> Result<Vec<Seq>, RelayError> {
        if !self.0.is_open.load(Ordering::Relaxed) {
            return Err(RelayError::NotConnected);
        }
        let expected: Vec<_> = events.iter().map(|event| self.expect(event)).collect();
        for event in events {
            self.push(event);
        }
        let come_back = async {
            let mut seqs = Vec::with_capacity(expected.len());
            for mut expected in expected {
                seqs.push(expected.seq().await.ok_or(RelayError::NoEcho)?);
            }
            Ok(seqs)
        };
        timeout(ECHO, come_back)
            .await
            .unwrap_or(Err(RelayError::NoEcho))
    }

    /// Whether so much waits that publishers should not be read.
    pub(crate) fn is_full(&self) -> bool {
        self.queue().bytes > FULL
    }

    /// Waits until it is not full. Dropping the future loses nothing.
    pub(crate) async fn has_room(&self) {
        loop {
            let taken = self.0.taken.notified();
            let mut taken = std::pin::pin!(taken);
            taken.as_mut().enable();
            if !self.is_full() {
                return;
            }
            taken.await;
        }
    }

    /// Says whether the other bus is there to write to.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Relaxed);
    }

    /// From now on waits for this event to come back.
    pub(crate) fn expect(&self, event: &[u8]) -> Expected {
        let (sender, seq) = oneshot::channel();
        self.expected()
            .entry(event.into())
            .or_default()
            .push_back(sender);
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        Expected {
            relay: self.clone(),
            event: event.into(),
            seq,
        }
    }

    /// Whether anybody waits for an event.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// This event has come, with this number.
    pub(crate) fn seen(&self, event: &[u8], seq: Seq) {
        let mut expected = self.expected();
        if let Some(waiting) = expected.get_mut(event) {
            // Of two that are the same, the first waits for the first.
            while let Some(sender) = waiting.pop_front() {
                if sender.send(seq).is_ok() {
                    break;
                }
            }
            if waiting.is_empty() {
                expected.remove(event);
            }
        }
    }

    /// Takes all that waits, up to a number of bytes but at least one event. Waits for the first. Dropping the
    /// future loses nothing.
    pub(crate) async fn take(&self, most: usize) -> Vec<Vec<u8>> {
        loop {
            let added = self.0.added.notified();
            let taken = self.try_take(most);
            if !taken.is_empty() {
                self.0.taken.notify_waiters();
                return taken;
            }
            added.await;
        }
    }

    fn try_take(&self, most: usize) -> Vec<Vec<u8>> {
        let mut queue = self.queue();
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.events.front() {
            if !events.is_empty() && bytes + next.len() > most {
                break;
            }
            bytes += next.len();
            events.extend(queue.events.pop_front());
        }
        queue.bytes -= bytes;
        events
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, Waiting> {
        let expected = &self.0.expected;
        expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Relay").finish_non_exhaustive()
    }
}

/// Somebody waits for an event to come back; not any more when this is dropped.
pub(crate) struct Expected {
    relay: Relay,
    event: Box<[u8]>,
    seq: oneshot::Receiver<Seq>,
}

impl Expected {
    /// The event's number; `None` if it cannot be known any more. Dropping the future loses nothing.
    pub(crate) async fn seq(&mut self) -> Option<Seq> {
        (&mut self.seq).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.seq.close();
        self.relay.0.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut expected = self.relay.expected();
        if let Some(waiting) = expected.get_mut(&self.event) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                expected.remove(&self.event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_taken_in_order_and_a_large_one_alone() {
        let relay = Relay::default();
        for event in [vec![1; 10], vec![2; 10], vec![3; 100], vec![4; 10]] {
            relay.push(event);
        }
        assert_eq!(relay.take(20).await, [vec![1; 10], vec![2; 10]]);
        assert_eq!(relay.take(20).await, [vec![3; 100]]);
        assert_eq!(relay.take(20).await, [vec![4; 10]]);
    }

    #[tokio::test]
    async fn whoever_fires_gets_the_number_with_which_the_event_comes_back() {
        let relay = Relay::default();
        let fire = |text: &str| relay.fire(vec![text.into(), text.into()]);
        assert_eq!(fire("a").await, Err(RelayError::NotConnected));
        relay.set_open(true);
        let come_back = async {
            let events = relay.take(100).await;
            assert!(relay.is_awaited());
            relay.seen(b"another", Seq(1));
            for (event, seq) in events.iter().zip(7..) {
                relay.seen(event, Seq(seq));
            }
            relay.seen(b"a", Seq(9));
        };
        let (fired, ()) = tokio::join!(fire("a"), come_back);
        assert_eq!(fired, Ok(vec![Seq(7), Seq(8)]));
        assert!(!relay.is_awaited());
        assert!(relay.expected().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_does_not_come_back_is_told_and_forgotten() {
        let relay = Relay::default();
        relay.set_open(true);
        let fired = relay.fire(vec![b"a".to_vec()]).await;
        assert_eq!(fired, Err(RelayError::NoEcho));
        assert!(relay.expected().is_empty() && !relay.is_awaited());
    }

    #[tokio::test]
    async fn publishers_wait_while_it_is_full() {
        let relay = Relay::default();
        relay.push(vec![0; FULL + 1]);
        assert!(relay.is_full());
        tokio::join!(relay.has_room(), relay.take(1));
        assert!(!relay.is_full());
    }
}
