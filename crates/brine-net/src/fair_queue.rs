//! A bounded queue that serves addresses in turn, so that an address that sends too much delays only itself.
//!
//! For work that costs the master more than it costs the sender. When the queue is full, the newest item of the
//! address that has most is dropped, not the new item.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::quota::holder;

/// A queue between tasks that add items and threads that wait for them.
#[derive(Debug)]
pub struct FairQueue<T> {
    max_items: usize,
    max_bytes: usize,
    /// Locked for a look-up only.
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    by_address: HashMap<Option<IpAddr>, VecDeque<(usize, T)>>,
    /// The addresses that have items, in the order of their turns.
    turns: VecDeque<Option<IpAddr>>,
    items: usize,
    bytes: usize,
    is_closed: bool,
}

impl<T> FairQueue<T> {
    /// A queue with limits for the number of items and their total size in bytes.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            max_items: max_items.max(1),
            max_bytes,
            state: Mutex::new(State {
                by_address: HashMap::new(),
                turns: VecDeque::new(),
                items: 0,
                bytes: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Adds an item of `bytes` bytes from an address; an IPv6 /64 network counts as one address. Returns the items that
    /// were dropped for it, perhaps the item itself.
    #[must_use]
    pub fn push(&self, address: Option<IpAddr>, bytes: usize, item: T) -> Vec<T> {
        let mut state = self.lock();
        state.add(address.map(holder), bytes, item);
        let mut dropped = Vec::new();
        while state.items > self.max_items || (state.bytes > self.max_bytes && state.items > 0) {
            dropped.extend(state.drop_newest_of_largest());
        }
        self.changed.notify_one();
        dropped
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(item) = state.take_next() {
                return Some(item);
            }
            state = (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends all waits, and drops the waiting items.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.by_address.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn add(&mut self, address: Option<IpAddr>, bytes: usize, item: T) {
        let own = self.by_address.entry(address).or_default();
        if own.is_empty() {
            self.turns.push_back(address);
        }
        own.push_back((bytes, item));
        self.items += 1;
        self.bytes += bytes;
    }

    fn take_next(&mut self) -> Option<T> {
        let address = self.turns.pop_front()?;
        let own = self.by_address.get_mut(&address)?;
        let (bytes, item) = own.pop_front()?;
        if own.is_empty() {
            self.by_address.remove(&address);
        } else {
            self.turns.push_back(address);
        }
        self.items -= 1;
        self.bytes -= bytes;
        Some(item)
    }

    fn drop_newest_of_largest(&mut self) -> Option<T> {
        // Of two with as many items, the one whose newest is larger.
        let share = |own: &VecDeque<(usize, T)>| (own.len(), own.back().map(|(bytes, _)| *bytes));
        let (address, own) = (self.by_address.iter_mut()).max_by_key(|(_, own)| share(own))?;
        let address = *address;
        let (bytes, item) = own.pop_back()?;
        if own.is_empty() {
            self.by_address.remove(&address);
            self.turns.retain(|other| *other != address);
        }
        self.items -= 1;
        self.bytes -= bytes;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn addresses_are_served_in_turn() {
        let queue = FairQueue::new(100, 1000);
        for n in 0..50 {
            assert!(queue.push(address(1), 1, n).is_empty());
        }
        assert!(queue.push(address(2), 1, 100).is_empty());
        assert!(queue.push(address(3), 1, 200).is_empty());
        let first: Vec<_> = (0..5).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [0, 100, 200, 1, 2]);
    }

    #[test]
    fn a_full_queue_drops_the_newest_of_the_address_that_has_most() {
        let queue = FairQueue::new(4, 10);
        for n in 0..4 {
            assert!(queue.push(address(1), 1, n).is_empty());
        }
        assert_eq!(queue.push(address(2), 1, 100), [3]);
        assert_eq!(queue.push(address(1), 1, 4), [4]);
        // By bytes too: an item that is too large for the queue displaces others only briefly.
        assert_eq!(queue.push(address(2), 9, 101), [2, 101]);
        let left: Vec<_> = (0..3).filter_map(|_| queue.pop()).collect();
        assert_eq!(left, [0, 100, 1]);
    }

    #[test]
    fn closing_ends_the_wait() {
        let queue = FairQueue::<u32>::new(4, 10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pop());
            queue.close();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
