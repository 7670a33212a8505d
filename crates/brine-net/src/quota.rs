//! Limits the connections of peers that have not authenticated, and the memory of their large messages.
//!
//! A new connection is never refused because of others: when there is no room, the oldest connection of the address
//! that holds most is closed, one from which no minion has ever authenticated before any other. So a stranger that opens
//! thousands takes room only from its own address, and strangers with thousands of addresses from each other. Local
//! peers have a quota of their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::fair_queue::Lane;
use crate::known::{KnownAddresses, holder};
use crate::limits::{Limits, UNIT};
use crate::turns::Sender;

/// How long a new connection waits at once for another to be admitted, before one is closed for it.
const WAIT: Duration = Duration::from_millis(1);
/// The most such waits in a row.
const MAX_WAITS: usize = 64;

/// Counts the connections of one kind, by address.
#[derive(Debug)]
pub(crate) struct Quota {
    per_address: usize,
    /// Of this machine.
    local: usize,
    together: usize,
    known: KnownAddresses,
    /// What a message may have without counting, in bytes, by standing.
    free_bytes: [usize; 2],
    /// Locked for a look-up, never across an await.
    holders: Mutex<Holders>,
    /// For large messages, in units of [`UNIT`]: one half for known addresses, one for all others.
    large: [Arc<Semaphore>; 2],
    /// A slot has become free.
    freed: Notify,
    /// How often new connections may wait for that.
    waits: AtomicUsize,
}

#[derive(Debug, Default)]
struct Holders {
    by_address: HashMap<IpAddr, Connections>,
    /// Who must make room first: the last, by standing, number of connections and age of the oldest. Without local peers.
    order: BTreeSet<(Standing, usize, Reverse<u64>, IpAddr)>,
    /// Without local connections.
    together: usize,
    next: u64,
}

#[derive(Debug)]
struct Connections {
    standing: Standing,
    /// The oldest has the smallest number.
    connections: BTreeMap<u64, Eviction>,
}

/// Whether a minion has authenticated from an address before its first connection in this quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Known,
    Unknown,
}

/// Signals a connection that it must make room for another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Eviction(Arc<Notify>);

impl Eviction {
    /// Tells the connection to end.
    pub(crate) fn request(&self) {
        self.0.notify_one();
    }

    /// Waits until the connection must end.
    pub(crate) async fn requested(&self) {
        self.0.notified().await;
    }
}

/// A connection's share of a quota; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    quota: Arc<Quota>,
    address: IpAddr,
    standing: Standing,
    number: u64,
    /// What has been done in this turn ([`crate::turns`]), in steps.
    used: Arc<AtomicUsize>,
}

/// A connection's turns. It is a stranger's as long as its slot is held.
#[derive(Debug, Clone)]
pub(crate) struct SlotTurns(Weak<AtomicUsize>);

/// How many messages of a handshake a stranger may send in one turn. They cost a few microseconds each, and a turn more.
const STEPS: usize = 4;

impl SlotTurns {
    /// Begins a turn; `false` if the connection needs none any more.
    pub(crate) fn begin(&self) -> bool {
        let used = self.0.upgrade();
        used.is_some_and(|used| {
            used.store(0, Relaxed);
            true
        })
    }

    /// Comes before each message: those of a handshake share a turn. Dropping the future loses nothing.
    pub(crate) async fn use_step(&self) {
        self.take(1).await;
    }

    /// Comes before each answer, which no other shares a turn with. Dropping the future loses nothing.
    pub(crate) async fn use_one(&self) {
        self.take(STEPS).await;
    }

    /// A message was no handshake's: nothing else has room in this turn.
    pub(crate) fn use_up(&self) {
        if let Some(used) = self.0.upgrade() {
            used.store(STEPS, Relaxed);
        }
    }

    async fn take(&self, steps: usize) {
        let is_full = |used: &Arc<AtomicUsize>| used.load(Relaxed) >= STEPS;
        if self.0.upgrade().as_ref().is_some_and(is_full) {
            // In the turn that comes then, it is empty.
            yield_now().await;
        }
        if let Some(used) = self.0.upgrade() {
            used.fetch_add(steps, Relaxed);
        }
    }
}

impl Quota {
    /// For connections that have not authenticated.
    pub(crate) fn of_strangers(limits: &Limits) -> Arc<Self> {
        Self::new(
            limits,
            [limits.strangers_per_address; 2],
            limits.strangers,
            limits.large_message_bytes,
        )
    }

    /// For subscribers over ZeroMQ, which never identify themselves.
    pub(crate) fn of_subscribers(limits: &Limits) -> Arc<Self> {
        Self::new(
            limits,
            [limits.subscribers_per_address, limits.local_subscribers],
            limits.subscribers,
            0,
        )
    }

    fn new(
        limits: &Limits,
        [per_address, local]: [usize; 2],
        together: usize,
        large_bytes: usize,
    ) -> Arc<Self> {
        let large = || Arc::new(Semaphore::new(large_bytes / 2 / UNIT));
        Arc::new(Self {
            known: limits.known.clone(),
            free_bytes: [limits.max_stranger_bytes, limits.max_stranger_bytes / 8],
            per_address: per_address.max(1),
            local: local.max(1),
            together: together.max(1),
            holders: Mutex::default(),
            large: [large(), large()],
            freed: Notify::new(),
            waits: AtomicUsize::new(MAX_WAITS),
        })
    }

    /// Comes before [`Self::enter`]: waits a little for room rather than let a connection be closed that has just sent
    /// what authenticates it. A master that restarts accepts minions faster than it reads what they say. Each wait is paid
    /// for by a connection that was admitted before, so that strangers who only connect delay nobody.
    pub(crate) async fn wait_for_room(&self, address: IpAddr) {
        let address = holder(address);
        loop {
            let freed = self.freed.notified();
            let is_full = self.lock().fullest(self, address).is_some();
            let spend = |waits: usize| waits.checked_sub(1);
            if !is_full || (self.waits.fetch_update(Relaxed, Relaxed, spend)).is_err() {
                return;
            }
            let _ = timeout(WAIT, freed).await; // looks again
        }
    }

    /// A slot for a connection from an address. Another connection is closed for it if there is no room.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, eviction: Eviction) -> Slot {
        let address = holder(address);
        let standing = match self.known.contains(address) {
            true => Standing::Known,
            false => Standing::Unknown,
        };
        let mut holders = self.lock();
        if let Some(fullest) = holders.fullest(self, address) {
            holders.evict_oldest(fullest);
        }
        let number = holders.add(address, standing, eviction);
        Slot {
            quota: self.clone(),
            address,
            standing,
            number,
            used: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Gives the slot back: its connection has shown what it is. From an address of minions, another may wait for that.
    pub(crate) fn admit(self) {
        if self.quota.known.contains(self.address) {
            let earn = |waits: usize| (waits < MAX_WAITS).then_some(waits + 1);
            let _ = self.quota.waits.fetch_update(Relaxed, Relaxed, earn); // as many as there may be
        }
    }

    pub(crate) fn turns(&self) -> SlotTurns {
        SlotTurns(Arc::downgrade(&self.used))
    }

    /// In whose turn the connection is polled.
    pub(crate) const fn sender(&self) -> Sender {
        Sender {
            address: self.address,
            lane: match self.standing {
                Standing::Known => Lane::Known,
                Standing::Unknown => Lane::Unknown,
            },
        }
    }

    /// How many bytes a message may have without being counted.
    pub(crate) fn free_bytes(&self) -> usize {
        self.quota.free_bytes[self.standing as usize]
    }

    /// Grows the share to fit a message of this many bytes; `false` if the quota does not allow it.
    pub(crate) fn extend(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
        let before = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(before);
        let Ok(missing) = u32::try_from(missing) else {
            return false;
        };
        let large = self.quota.large[self.standing as usize].clone();
        let Ok(more) = large.try_acquire_many_owned(missing) else {
            return false;
        };
        match held {
            Some(room) => room.merge(more),
            None => *held = Some(more),
        }
        true
    }
}

impl Holders {
    fn add(&mut self, address: IpAddr, standing: Standing, eviction: Eviction) -> u64 {
        self.next += 1;
        let number = self.next;
        self.change(address, |holders| {
            let holder = holders.by_address.entry(address).or_insert(Connections {
                standing,
                connections: BTreeMap::new(),
            });
            holder.connections.insert(number, eviction);
        });
        number
    }

    /// Changes the connections of an address, and its place in the order.
    fn change<T>(&mut self, address: IpAddr, change: impl FnOnce(&mut Self) -> T) -> T {
        let place = |holders: &Self| {
            let holder = holders.by_address.get(&address);
            let holder = holder.filter(|_| !address.is_loopback())?;
            let oldest = holder.connections.first_key_value();
            let oldest = Reverse(oldest.map_or(0, |(number, _)| *number));
            Some((holder.standing, holder.connections.len(), oldest, address))
        };
        if let Some(before) = place(self) {
            self.order.remove(&before);
            self.together -= before.1;
        }
        let changed = change(self);
        if (self.by_address.get(&address)).is_some_and(|holder| holder.connections.is_empty()) {
            self.by_address.remove(&address);
        }
        if let Some(after) = place(self) {
            self.together += after.1;
            self.order.insert(after);
        }
        changed
    }

    /// The address that must make room before another connection of `address` has any.
    fn fullest(&self, quota: &Quota, address: IpAddr) -> Option<IpAddr> {
        let own = (self.by_address.get(&address)).map_or(0, |holder| holder.connections.len());
        let most = match address.is_loopback() {
            true => quota.local,
            false => quota.per_address,
        };
        if own >= most {
            return Some(address);
        }
        let is_full = !address.is_loopback() && self.together >= quota.together;
        let (.., largest) = self.order.last().filter(|_| is_full)?;
        Some(*largest)
    }

    fn evict_oldest(&mut self, address: IpAddr) {
        let oldest = self.change(address, |holders| {
            let holder = holders.by_address.get_mut(&address);
            holder.and_then(|holder| holder.connections.pop_first())
        });
        if let Some((_, eviction)) = oldest {
            tracing::debug!(%address, "a connection is closed to make room for another");
            eviction.request();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (address, number) = (self.address, self.number);
        self.quota.lock().change(address, |holders| {
            let holder = holders.by_address.get_mut(&address);
            holder.and_then(|holder| holder.connections.remove(&number))
        });
        self.quota.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(per_address: usize, together: usize) -> Arc<Quota> {
        Quota::of_strangers(&Limits {
            strangers_per_address: per_address,
            strangers: together,
            ..Limits::default()
        })
    }

    fn enter(quota: &Arc<Quota>, address: &str) -> (Slot, Eviction) {
        let eviction = Eviction::default();
        let slot = quota.enter(address.parse().unwrap(), eviction.clone());
        (slot, eviction)
    }

    async fn is_evicted((_, eviction): &(Slot, Eviction)) -> bool {
        timeout(Duration::ZERO, eviction.requested()).await.is_ok()
    }

    #[tokio::test]
    async fn a_new_connection_replaces_the_oldest_of_the_address_that_holds_most() {
        let quota = quota(3, 4);
        let greedy: Vec<_> = (0..3).map(|_| enter(&quota, "10.0.0.1")).collect();
        let other = enter(&quota, "10.0.0.2");
        let newcomer = enter(&quota, "10.0.0.3");
        assert!(is_evicted(&greedy[0]).await);
        assert!(!is_evicted(&greedy[1]).await);
        let again = enter(&quota, "10.0.0.1");
        assert!(is_evicted(&greedy[1]).await);
        for kept in [&greedy[2], &other, &newcomer, &again] {
            assert!(!is_evicted(kept).await);
        }
        assert_eq!(quota.lock().together, 4);
        drop((greedy, other, newcomer, again));
        assert_eq!(quota.lock().together, 0);
        assert!(quota.lock().by_address.is_empty());
    }

    #[tokio::test]
    async fn one_address_has_so_many_and_an_ipv6_network_is_one() {
        let quota = quota(2, 100);
        let first = enter(&quota, "2001:db8::1");
        let second = enter(&quota, "2001:db8::ffff:1");
        let elsewhere = enter(&quota, "2001:db8:0:1::1");
        let third = enter(&quota, "2001:db8:0:0:1234::");
        assert!(is_evicted(&first).await);
        assert!(!is_evicted(&second).await && !is_evicted(&elsewhere).await);
        assert!(!is_evicted(&third).await);
        assert_eq!(
            holder("::ffff:10.0.0.1".parse().unwrap()),
            IpAddr::from([10, 0, 0, 1])
        );
    }

    #[tokio::test]
    async fn peers_on_this_machine_have_room_of_their_own() {
        let quota = quota(2, 2);
        let own = [enter(&quota, "127.0.0.1"), enter(&quota, "::1")];
        let strangers: Vec<_> = (1..9)
            .map(|n| enter(&quota, &format!("10.0.0.{n}")))
            .collect();
        for one in &own {
            assert!(!is_evicted(one).await);
        }
        assert_eq!(quota.lock().together, 2);
        // All of its addresses count as one.
        let more = enter(&quota, "127.0.0.77");
        assert!(!is_evicted(strangers.last().unwrap()).await && !is_evicted(&more).await);
        assert!(is_evicted(&own[0]).await && !is_evicted(&own[1]).await);
    }

    #[tokio::test]
    async fn addresses_of_minions_are_the_last_to_make_room() {
        let limits = Limits {
            strangers: 4,
            ..Limits::default()
        };
        limits.known.note("10.0.0.1".parse().unwrap());
        let quota = Quota::of_strangers(&limits);
        let known: Vec<_> = (0..2).map(|_| enter(&quota, "10.0.0.1")).collect();
        let strangers: Vec<_> = (2..20)
            .map(|n| enter(&quota, &format!("10.0.0.{n}")))
            .collect();
        for one in &known {
            assert!(!is_evicted(one).await);
        }
        let again = enter(&quota, "10.0.0.1");
        let [.., older, newer] = &strangers[..] else {
            panic!()
        };
        assert!(is_evicted(older).await && !is_evicted(newer).await && !is_evicted(&again).await);
        assert_eq!(quota.lock().together, 4);
    }

    #[tokio::test]
    async fn messages_of_a_handshake_share_a_turn_and_others_do_not() {
        let (slot, _) = enter(&quota(1, 1), "10.0.0.1");
        let turns = slot.turns();
        let has_room = async || {
            tokio::select! {
                biased;
                () = turns.use_step() => true,
                () = std::future::ready(()) => false,
            }
        };
        for _ in 0..2 {
            assert!(turns.begin());
            for _ in 0..STEPS {
                assert!(has_room().await);
            }
            assert!(!has_room().await);
        }
        assert!(turns.begin());
        assert!(has_room().await);
        turns.use_up();
        assert!(!has_room().await);
        assert!(turns.begin());
        turns.use_one().await;
        assert!(!has_room().await);
        // Whoever is no stranger any more has room without end.
        drop(slot);
        assert!(!turns.begin());
        for _ in 0..3 * STEPS {
            assert!(has_room().await);
            turns.use_one().await;
        }
    }

    #[test]
    fn room_grows_with_its_message_and_comes_back() {
        let limits = Limits {
            large_message_bytes: 20 * UNIT,
            ..Limits::default()
        };
        limits.known.note("10.0.0.9".parse().unwrap());
        let quota = Quota::of_strangers(&limits);
        let [(slot, _), (known, _)] =
            ["10.0.0.1", "10.0.0.9"].map(|address| enter(&quota, address));
        let (mut one, mut other) = (None, None);
        assert!(slot.extend(&mut one, UNIT));
        assert!(slot.extend(&mut one, 6 * UNIT));
        assert!(slot.extend(&mut one, 5 * UNIT));
        assert!(!slot.extend(&mut other, 4 * UNIT + 1));
        assert!(slot.extend(&mut other, 4 * UNIT));
        // What is not counted is less where no minion has ever been.
        assert_eq!(slot.free_bytes(), limits.max_stranger_bytes / 8);
        assert_eq!(known.free_bytes(), limits.max_stranger_bytes);
        // What is left for known addresses is nobody else's.
        assert!(known.extend(&mut None, 10 * UNIT));
        drop(one);
        assert!(slot.extend(&mut other, 10 * UNIT));
        assert!(!slot.extend(&mut None, usize::MAX));
    }
}
