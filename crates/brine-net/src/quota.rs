//! Limits the connections of peers that have not authenticated, and the memory of their large messages.
//!
//! A new connection is never refused because of others: when there is no room, the oldest connection of the address
//! that holds most is closed. So a stranger that opens thousands takes room only from its own address. Local peers have
//! a quota of their own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::channel::Limits;

/// Counts the connections of one kind, by address.
#[derive(Debug)]
pub(crate) struct Quota {
    per_address: usize,
    together: usize,
    /// Locked for a look-up, never across an await.
    holders: Mutex<Holders>,
    /// In units of [`UNIT`].
    large: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Holders {
    /// The oldest connection of each has the smallest number.
    by_address: HashMap<IpAddr, BTreeMap<u64, Eviction>>,
    /// Without local connections.
    together: usize,
    next: u64,
}

const UNIT: usize = 1024;

/// Signals a connection that it must make room for another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Eviction(Arc<Notify>);

impl Eviction {
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
    number: u64,
}

impl Quota {
    /// For connections that have not authenticated.
    pub(crate) fn of_strangers(limits: &Limits) -> Arc<Self> {
        Self::new(
            limits.strangers_per_address,
            limits.strangers,
            limits.large_message_bytes,
        )
    }

    /// For subscribers over ZeroMQ, which never identify themselves.
    pub(crate) fn of_subscribers(limits: &Limits) -> Arc<Self> {
        Self::new(limits.subscribers_per_address, limits.subscribers, 0)
    }

    fn new(per_address: usize, together: usize, large_message_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            per_address: per_address.max(1),
            together: together.max(1),
            holders: Mutex::default(),
            large: Arc::new(Semaphore::new(large_message_bytes / UNIT)),
        })
    }

    /// A slot for a connection from an address. Another connection is closed for it if there is no room.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, eviction: Eviction) -> Slot {
        let address = holder(address);
        let mut holders = self.lock();
        let own = holders.by_address.get(&address).map_or(0, BTreeMap::len);
        if own >= self.per_address {
            holders.evict_oldest(address);
        } else if !address.is_loopback() && holders.together >= self.together {
            holders.evict_from_largest();
        }
        holders.next += 1;
        let number = holders.next;
        holders.together += usize::from(!address.is_loopback());
        (holders.by_address.entry(address).or_default()).insert(number, eviction);
        Slot {
            quota: self.clone(),
            address,
            number,
        }
    }

    /// Grows the share to fit a message of this many bytes; `false` if the quota does not allow it.
    pub(crate) fn extend(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
        let before = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(before);
        let Ok(missing) = u32::try_from(missing) else {
            return false;
        };
        let Ok(more) = self.large.clone().try_acquire_many_owned(missing) else {
            return false;
        };
        match held {
            Some(room) => room.merge(more),
            None => *held = Some(more),
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holders {
    fn evict_from_largest(&mut self) {
        let strangers = (self.by_address.iter()).filter(|(address, _)| !address.is_loopback());
        if let Some((address, _)) = strangers.max_by_key(|(_, connections)| connections.len()) {
            self.evict_oldest(*address);
        }
    }

    fn evict_oldest(&mut self, address: IpAddr) {
        let oldest = self.by_address.get_mut(&address);
        if let Some((_, eviction)) = oldest.and_then(BTreeMap::pop_first) {
            tracing::debug!(%address, "a connection is closed to make room for another");
            eviction.0.notify_one();
            self.removed(address);
        }
    }

    fn remove(&mut self, address: IpAddr, number: u64) {
        let connections = self.by_address.get_mut(&address);
        if connections.is_some_and(|connections| connections.remove(&number).is_some()) {
            self.removed(address);
        }
    }

    fn removed(&mut self, address: IpAddr) {
        self.together -= usize::from(!address.is_loopback());
        if (self.by_address.get(&address)).is_some_and(BTreeMap::is_empty) {
            self.by_address.remove(&address);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.quota.lock().remove(self.address, self.number);
    }
}

/// The unit of counting: an IPv4 address, or an IPv6 /64 network, since one host may use all of its addresses.
pub(crate) const fn holder(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None if address.is_loopback() => IpAddr::V6(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
        IpAddr::V4(_) => address,
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
        tokio::time::timeout(std::time::Duration::ZERO, eviction.requested())
            .await
            .is_ok()
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
        let more = enter(&quota, "127.0.0.1");
        assert!(!is_evicted(strangers.last().unwrap()).await && !is_evicted(&more).await);
    }

    #[test]
    fn room_grows_with_its_message_and_comes_back() {
        let quota = Quota::of_strangers(&Limits {
            large_message_bytes: 10 * UNIT,
            ..Limits::default()
        });
        let (mut one, mut other) = (None, None);
        assert!(quota.extend(&mut one, UNIT));
        assert!(quota.extend(&mut one, 6 * UNIT));
        assert!(quota.extend(&mut one, 5 * UNIT));
        assert!(!quota.extend(&mut other, 4 * UNIT + 1));
        assert!(quota.extend(&mut other, 4 * UNIT));
        drop(one);
        assert!(quota.extend(&mut other, 10 * UNIT));
        assert!(!quota.extend(&mut None, usize::MAX));
    }
}
