//! How many connections there may be, in total and for each user or address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whom a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A user of this machine.
    User(u32),
    /// Everybody who connects over the loopback port.
    Port,
    /// An address of the network; of IPv6 its /64, which is one customer's.
    Address(IpAddr),
}

impl Holder {
    /// Whom a connection from an address counts for.
    pub(crate) fn of(address: IpAddr) -> Self {
        const INTERFACE: u128 = u64::MAX as u128;
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !INTERFACE).into()),
            IpAddr::V4(address) => IpAddr::V4(address),
        })
    }
}

/// Connections under way.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    most: usize,
    most_per_holder: usize,
    held: Arc<Mutex<HashMap<Holder, usize>>>,
}

/// A connection's share, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    limits: Limits,
    holder: Holder,
}

impl Limits {
    pub(crate) fn new(most: usize, most_per_holder: usize) -> Self {
        Self {
            most,
            most_per_holder,
            held: Arc::default(),
        }
    }

    /// Counts a connection; `None` when there are too many. One user's connections cannot take those
    /// that are left for others: a quarter of all is for users who have none yet.
    pub(crate) fn enter(&self, holder: Holder) -> Option<Held> {
        let mut held = self.lock();
        let all: usize = held.values().sum();
        let own = held.get(&holder).copied().unwrap_or(0);
        let room = if own == 0 {
            self.most
        } else {
            self.most - self.most / 4
        };
        if own >= self.most_per_holder || all >= room {
            return None;
        }
        held.insert(holder, own + 1);
        drop(held);
        Some(Held {
            limits: self.clone(),
            holder,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        // The counts are consistent even if a thread panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.limits.lock();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_all_connections() {
        let limits = Limits::new(8, 4);
        let enter = |uid| limits.enter(Holder::User(uid));
        let mut held: Vec<_> = (0..4).map(|_| enter(1).unwrap()).collect();
        assert!(enter(1).is_none());
        held.extend((0..2).map(|_| enter(2).unwrap()));
        assert!(enter(2).is_none(), "a quarter is for users who have none");
        assert!(enter(3).is_some());
        held.remove(0);
        assert!(enter(1).is_some());
        drop(held);
        assert!(limits.lock().is_empty());
    }

    #[test]
    fn one_customer_of_ipv6_is_one_holder() {
        let of = |text: &str| Holder::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
