//! A bounded queue that serves senders in turn, so that one that sends too much delays only itself.
//!
//! For work that costs the master more than it costs the sender. Senders from whose address a minion has authenticated
//! before are served every other time, however many others there are. When the queue is full, the newest item of the
//! sender that has most is dropped, not the new item.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who is served first, and who makes room last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Senders that are known.
    Known,
    /// All others.
    Unknown,
}

/// A queue between tasks that add items of senders `K`, and threads that wait for them.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    max_items: usize,
    max_bytes: usize,
    /// Locked for a look-up only.
    state: Mutex<State<K, T>>,
    /// Wakes who waits for an item of a known sender, and who waits for any.
    added: [Condvar; 2],
}

#[derive(Debug)]
struct State<K, T> {
    by_sender: HashMap<K, Sender<T>>,
    /// The senders that have items, in the order of their turns, by lane.
    turns: [BTreeMap<u64, K>; 2],
    next_turn: u64,
    /// The lane served last.
    last: Lane,
    /// Who makes room first: the last.
    order: BTreeSet<Share<K>>,
    items: usize,
    bytes: usize,
    is_closed: bool,
    /// The threads that wait, by what they wait for.
    waiting: [Waiting; 2],
}

/// What a thread waits for.
#[derive(Debug, Clone, Copy)]
enum For {
    Known,
    Any,
}

/// Threads that wait for the same.
#[derive(Debug, Clone, Copy, Default)]
struct Waiting {
    threads: usize,
    /// How many of them have been called, and are not up yet.
    called: usize,
}

#[derive(Debug)]
struct Sender<T> {
    lane: Lane,
    turn: u64,
    items: VecDeque<(usize, T)>,
}

/// By lane, number of items and size of the newest.
type Share<K> = (Lane, usize, usize, K);

impl<K: Clone + Debug + Eq + Hash + Ord, T> FairQueue<K, T> {
    /// A queue with limits for the number of items and their total size in bytes.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            max_items: max_items.max(1),
            max_bytes,
            state: Mutex::new(State {
                by_sender: HashMap::new(),
                turns: Default::default(),
                next_turn: 0,
                last: Lane::Unknown,
                order: BTreeSet::new(),
                items: 0,
                bytes: 0,
                is_closed: false,
                waiting: Default::default(),
            }),
            added: Default::default(),
        }
    }

    /// Adds an item of `bytes` bytes. Returns the items that were dropped for it, perhaps the item itself; a queue that
    /// is closed takes none.
    #[must_use]
    pub fn push(&self, sender: &K, lane: Lane, bytes: usize, item: T) -> Vec<T> {
        let mut state = self.lock();
        if state.is_closed {
            return vec![item];
        }
        let lane = state.add(sender, lane, bytes, item);
        let mut dropped = Vec::new();
        while state.items > self.max_items || (state.bytes > self.max_bytes && state.items > 0) {
            dropped.extend(state.drop_newest_of_largest());
        }
        // One thread for an item: a second one would find nothing.
        let fit: &[For] = match lane {
            Lane::Known => &[For::Known, For::Any],
            Lane::Unknown => &[For::Any],
        };
        let called = fit.iter().find(|what| state.call(**what));
        // A thread that is woken while the lock is held would have to wait for it at once.
        drop(state);
        if let Some(called) = called {
            self.added[*called as usize].notify_one();
        }
        dropped
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub fn pop(&self) -> Option<T> {
        self.wait_for(For::Any, State::take_next)
    }

    /// Waits for the next item of a known sender; `None` once the queue is closed. Threads that call nothing else are
    /// never busy with a stranger's item when a known sender comes.
    pub fn pop_known(&self) -> Option<T> {
        self.wait_for(For::Known, |state| state.take_next_of(Lane::Known))
    }

    /// Whether no item waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().items == 0
    }

    /// The next item, if there is one.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().take_next()
    }

    /// The next item of a known sender, if there is one.
    pub fn try_pop_known(&self) -> Option<T> {
        self.lock().take_next_of(Lane::Known)
    }

    fn wait_for(&self, what: For, take: impl Fn(&mut State<K, T>) -> Option<T>) -> Option<T> {
        let (added, what) = (&self.added[what as usize], what as usize);
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(item) = take(&mut state) {
                return Some(item);
            }
            state.waiting[what].threads += 1;
            let is_asleep =
                |state: &mut State<K, T>| state.waiting[what].called == 0 && !state.is_closed;
            state = added
                .wait_while(state, is_asleep)
                .unwrap_or_else(PoisonError::into_inner);
            let waiting = &mut state.waiting[what];
            waiting.threads -= 1;
            waiting.called = waiting.called.saturating_sub(1);
        }
    }

    /// Ends all waits, and drops the waiting items.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        // Dropped after the lock is released: dropping an item may do anything.
        let dropped = std::mem::take(&mut state.by_sender);
        state.turns = Default::default();
        state.order.clear();
        (state.items, state.bytes) = (0, 0);
        drop(state);
        for added in &self.added {
            added.notify_all();
        }
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Debug + Eq + Hash + Ord, T> State<K, T> {
    /// The lane the item is in: that of the sender's other items, if it has any.
    fn add(&mut self, sender: &K, lane: Lane, bytes: usize, item: T) -> Lane {
        self.items += 1;
        self.bytes += bytes;
        if !self.by_sender.contains_key(sender) {
            let turn = self.queue_up(lane, sender);
            let own = Sender {
                lane,
                turn,
                items: VecDeque::new(),
            };
            self.by_sender.insert(sender.clone(), own);
        }
        let added = self.change(sender, |own| {
            own.items.push_back((bytes, item));
            own.lane
        });
        added.unwrap_or(lane)
    }

    /// Calls a thread that waits for this; `false` if there is none.
    fn call(&mut self, what: For) -> bool {
        let waiting = &mut self.waiting[what as usize];
        let is_there = waiting.called < waiting.threads;
        waiting.called += usize::from(is_there);
        is_there
    }

    fn take_next(&mut self) -> Option<T> {
        let lanes = match self.last {
            Lane::Known => [Lane::Unknown, Lane::Known],
            Lane::Unknown => [Lane::Known, Lane::Unknown],
        };
        let has_turns = |lane: &Lane| !self.turns[*lane as usize].is_empty();
        let lane = lanes.into_iter().find(has_turns)?;
        self.last = lane;
        self.take_next_of(lane)
    }

    fn take_next_of(&mut self, lane: Lane) -> Option<T> {
        let (_, sender) = self.turns[lane as usize].first_key_value()?;
        let sender = sender.clone();
        let item = self.change(&sender, |own| own.items.pop_front()).flatten();
        self.end_turn(&sender);
        self.taken(item)
    }

    fn drop_newest_of_largest(&mut self) -> Option<T> {
        let (.., sender) = self.order.last()?.clone();
        let item = self.change(&sender, |own| own.items.pop_back()).flatten();
        self.taken(item)
    }

    /// Gives the last turn of its lane to a sender.
    fn queue_up(&mut self, lane: Lane, sender: &K) -> u64 {
        self.next_turn += 1;
        let turn = self.next_turn;
        self.turns[lane as usize].insert(turn, sender.clone());
        turn
    }

    /// Whoever was served waits for another turn, if it has more.
    fn end_turn(&mut self, sender: &K) {
        let Some((lane, turn)) = self.by_sender.get(sender).map(|own| (own.lane, own.turn)) else {
            return;
        };
        self.turns[lane as usize].remove(&turn);
        let turn = self.queue_up(lane, sender);
        if let Some(own) = self.by_sender.get_mut(sender) {
            own.turn = turn;
        }
    }

    fn taken(&mut self, item: Option<(usize, T)>) -> Option<T> {
        let (bytes, item) = item?;
        self.items -= 1;
        self.bytes -= bytes;
        Some(item)
    }

    /// Changes the items of a sender, and its place in the order. A sender without items is forgotten.
    fn change<R>(&mut self, sender: &K, change: impl FnOnce(&mut Sender<T>) -> R) -> Option<R> {
        if let Some(before) = self.share(sender) {
            self.order.remove(&before);
        }
        let own = self.by_sender.get_mut(sender)?;
        let changed = change(own);
        let (lane, turn) = (own.lane, own.turn);
        if let Some(after) = self.share(sender) {
            self.order.insert(after);
        } else {
            self.turns[lane as usize].remove(&turn);
            self.by_sender.remove(sender);
        }
        Some(changed)
    }

    fn share(&self, sender: &K) -> Option<Share<K>> {
        let own = self.by_sender.get(sender)?;
        let (newest, _) = own.items.back()?;
        Some((own.lane, own.items.len(), *newest, sender.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Unknown;

    #[test]
    fn addresses_are_served_in_turn() {
        let queue = FairQueue::new(100, 1000);
        for n in 0..50 {
            assert!(queue.push(&1, LANE, 1, n).is_empty());
        }
        assert!(queue.push(&2, LANE, 1, 100).is_empty());
        assert!(queue.push(&3, LANE, 1, 200).is_empty());
        let first: Vec<_> = (0..5).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [0, 100, 200, 1, 2]);
    }

    #[test]
    fn whoever_is_known_is_served_every_other_time() {
        let queue = FairQueue::new(1000, 10_000);
        for stranger in 0..500 {
            assert!(queue.push(&stranger, LANE, 1, stranger).is_empty());
        }
        for n in 0..2 {
            assert!(queue.push(&1000, Lane::Known, 1, 1000 + n).is_empty());
        }
        let first: Vec<_> = (0..5).filter_map(|_| queue.pop()).collect();
        assert_eq!(first, [1000, 0, 1001, 1, 2]);
    }

    #[test]
    fn a_full_queue_drops_the_newest_of_the_address_that_has_most() {
        let queue = FairQueue::new(4, 10);
        for n in 0..4 {
            assert!(queue.push(&1, LANE, 1, n).is_empty());
        }
        assert_eq!(queue.push(&2, LANE, 1, 100), [3]);
        assert_eq!(queue.push(&1, LANE, 1, 4), [4]);
        // By bytes too: an item that is too large for the queue displaces others only briefly.
        assert_eq!(queue.push(&2, LANE, 9, 101), [2, 101]);
        let left: Vec<_> = (0..3).filter_map(|_| queue.pop()).collect();
        assert_eq!(left, [0, 100, 1]);
    }

    #[test]
    fn strangers_make_room_before_those_who_are_known() {
        let queue = FairQueue::new(4, 10);
        for n in 0..3 {
            assert!(queue.push(&1, Lane::Known, 1, n).is_empty());
        }
        assert!(queue.push(&2, LANE, 1, 100).is_empty());
        assert_eq!(queue.push(&3, LANE, 1, 200), [200]);
        assert_eq!(queue.push(&1, Lane::Known, 1, 3), [100]);
        let left: Vec<_> = (0..4).filter_map(|_| queue.pop()).collect();
        assert_eq!(left, [0, 1, 2, 3]);
    }

    #[test]
    fn a_thread_for_known_senders_takes_nothing_of_others() {
        let queue = FairQueue::new(10, 10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pop_known());
            assert!(queue.push(&1, LANE, 1, 10).is_empty());
            assert!(queue.push(&2, Lane::Known, 1, 20).is_empty());
            assert_eq!(waiting.join().unwrap(), Some(20));
        });
        assert_eq!(queue.try_pop_known(), None);
        assert!(queue.push(&2, Lane::Known, 1, 30).is_empty());
        assert_eq!(queue.try_pop_known(), Some(30));
        assert_eq!(queue.try_pop_known(), None);
        assert_eq!(queue.try_pop(), Some(10));
        assert_eq!(queue.try_pop(), None);
    }

    #[test]
    fn an_item_behind_others_of_its_sender_is_taken_whatever_it_is_added_as() {
        let queue = FairQueue::new(10, 10);
        std::thread::scope(|scope| {
            let known = scope.spawn(|| queue.pop_known());
            let any = scope.spawn(|| queue.pop());
            assert!(queue.push(&1, LANE, 1, 10).is_empty());
            assert!(queue.push(&1, Lane::Known, 1, 11).is_empty());
            assert_eq!(any.join().unwrap(), Some(10));
            // If the first was taken before the second came, that is a known sender's, for either of these.
            let second = queue.try_pop();
            queue.close();
            assert_eq!(second.or(known.join().unwrap()), Some(11));
        });
    }

    #[test]
    fn closing_ends_the_wait_and_takes_nothing_any_more() {
        let queue = FairQueue::<u8, u32>::new(4, 10);
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| queue.pop()),
                scope.spawn(|| queue.pop_known()),
            ];
            queue.close();
            for one in waiting {
                assert_eq!(one.join().unwrap(), None);
            }
        });
        assert_eq!(queue.push(&1, LANE, 1, 7), [7]);
        assert_eq!(queue.try_pop(), None);
    }
}
