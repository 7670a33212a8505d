//! The subscribers of a publish port, each with its queue.
//!
//! A slow subscriber loses what its queue cannot hold and delays nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// The subscribers of one port, with a state of type `S` for each.
pub(crate) struct Subscribers<S> {
    /// Locked for a look-up or a round of non-blocking sends, never across an await.
    state: Mutex<State<S>>,
}

struct State<S> {
    next: u64,
    by_connection: HashMap<u64, Subscriber<S>>,
}

struct Subscriber<S> {
    about: S,
    queue: mpsc::Sender<Arc<[u8]>>,
}

impl<S> Default for Subscribers<S> {
    fn default() -> Self {
        let state = State {
            next: 0,
            by_connection: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
        }
    }
}

impl<S: Default> Subscribers<S> {
    /// Adds a subscriber with the default state and a queue for `messages`. It is removed when the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>, queue: usize) -> (Entry<S>, mpsc::Receiver<Arc<[u8]>>) {
        let (queue, messages) = mpsc::channel(queue);
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let about = S::default();
        (state.by_connection).insert(number, Subscriber { about, queue });
        let entry = Entry {
            subscribers: self.clone(),
            number,
        };
        (entry, messages)
    }
}

impl<S> Subscribers<S> {
    /// Adds to each queue the message that `choose` picks; returns how many subscribers had no room.
    pub(crate) fn publish(&self, mut choose: impl FnMut(&S, &mut Vec<Arc<[u8]>>)) -> usize {
        let state = self.state();
        let (mut chosen, mut lost) = (Vec::new(), 0);
        for subscriber in state.by_connection.values() {
            choose(&subscriber.about, &mut chosen);
            let failed = chosen
                .drain(..)
                .filter(|message| subscriber.queue.try_send(message.clone()).is_err());
            lost += usize::from(failed.count() > 0);
        }
        lost
    }

    /// Collects what `look` finds in each subscriber's state.
    pub(crate) fn find<T>(&self, look: impl Fn(&S) -> Option<T>) -> Vec<T> {
        let state = self.state();
        let known = state.by_connection.values();
        known
            .filter_map(|subscriber| look(&subscriber.about))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber's entry; removed when dropped.
pub(crate) struct Entry<S> {
    subscribers: Arc<Subscribers<S>>,
    number: u64,
}

impl<S> Entry<S> {
    /// Changes its state.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut S) -> T) -> Option<T> {
        let mut state = self.subscribers.state();
        let subscriber = state.by_connection.get_mut(&self.number)?;
        Some(change(&mut subscriber.about))
    }
}

impl<S> Drop for Entry<S> {
    fn drop(&mut self) {
        self.subscribers.state().by_connection.remove(&self.number);
    }
}
