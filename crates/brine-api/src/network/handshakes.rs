//! How many handshakes of TLS are under way.
//!
//! The library keeps up to 64 KiB of a client's messages until its handshake is done, and a client that has shown
//! nothing yet may stop within it. So these connections are counted apart from all others, and a new one is never
//! refused because of them: the oldest of the address that has most makes room.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::Holder;

/// The handshakes under way.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    /// Locked for a look.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    together: usize,
    /// The oldest of each has the smallest number.
    by_holder: HashMap<Holder, BTreeMap<u64, Arc<Notify>>>,
}

/// A handshake under way; no longer counted when dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    handshakes: Arc<Handshakes>,
    holder: Holder,
    number: u64,
    ended: Arc<Notify>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            state: Mutex::default(),
        })
    }

    /// Counts a new handshake. At the limit, the oldest of the address that has most must end.
    pub(super) fn begin(self: &Arc<Self>, holder: Holder) -> UnderWay {
        let mut state = self.lock();
        if state.together >= self.most {
            state.end_oldest_of_largest();
        }
        state.next += 1;
        state.together += 1;
        let (number, ended) = (state.next, Arc::new(Notify::new()));
        let own = state.by_holder.entry(holder).or_default();
        own.insert(number, Arc::clone(&ended));
        UnderWay {
            handshakes: Arc::clone(self),
            holder,
            number,
            ended,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole after every operation, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Costs a look at each address, and there are at most as many addresses as handshakes.
    fn end_oldest_of_largest(&mut self) {
        let largest = (self.by_holder.iter()).max_by_key(|(_, own)| own.len());
        let oldest = largest.and_then(|(holder, own)| Some((*holder, *own.first_key_value()?.0)));
        if let Some((holder, number)) = oldest
            && let Some(ended) = self.remove(holder, number)
        {
            ended.notify_one();
        }
    }

    fn remove(&mut self, holder: Holder, number: u64) -> Option<Arc<Notify>> {
        let own = self.by_holder.get_mut(&holder)?;
        let removed = own.remove(&number)?;
        if own.is_empty() {
            self.by_holder.remove(&holder);
        }
        self.together -= 1;
        Some(removed)
    }
}

impl UnderWay {
    /// Waits until the handshake must make room for another.
    pub(super) async fn must_end(&self) {
        self.ended.notified().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.handshakes.lock().remove(self.holder, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn must_end(under_way: &UnderWay) -> bool {
        let waiting = std::pin::pin!(under_way.must_end());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        waiting.poll(&mut context).is_ready()
    }

    #[test]
    fn the_oldest_of_the_address_that_has_most_makes_room() {
        let handshakes = Handshakes::new(4);
        let begin = |user| handshakes.begin(Holder::User(user));
        let other = begin(2);
        let mut own: Vec<_> = (0..3).map(|_| begin(1)).collect();
        own.push(begin(1));
        let third = begin(3);
        assert_eq!(
            own.iter().map(must_end).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(!must_end(&other) && !must_end(&third));
        // The two that must end are counted out already; dropping them counts them out no second time.
        own.drain(..2);
        assert_eq!(handshakes.lock().together, 4);
        drop((own, other, third));
        assert!(handshakes.lock().by_holder.is_empty());
        assert_eq!(handshakes.lock().together, 0);
    }
}
