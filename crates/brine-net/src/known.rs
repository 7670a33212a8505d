//! Addresses from which an accepted minion or a local client has sent a request.
//!
//! When there is not enough of something for all strangers, theirs come first: a minion that connects again is a
//! stranger until it has authenticated. Knowing an address permits nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most addresses remembered, about 50 bytes each. Beyond it the older half is forgotten.
const MOST: usize = 65_536;

/// The known addresses; clones share them. An IPv6 /64 network counts as one address.
#[derive(Debug, Clone, Default)]
pub struct KnownAddresses(Arc<Mutex<Known>>);

/// Locked for a look-up.
#[derive(Debug, Default)]
struct Known {
    /// When each was seen last, by a count of sightings.
    seen: HashMap<IpAddr, u64>,
    count: u64,
}

impl KnownAddresses {
    /// An accepted minion or a local client is there.
    pub fn note(&self, address: IpAddr) {
        let mut known = self.lock();
        known.count += 1;
        let now = known.count;
        known.seen.insert(holder(address), now);
        if known.seen.len() > MOST {
            let mut times: Vec<u64> = known.seen.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            known.seen.retain(|_, seen| *seen >= middle);
        }
    }

    /// Whether one has been there, or it is this machine.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = holder(address);
        address.is_loopback() || self.lock().seen.contains_key(&address)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The unit of counting: an IPv4 address, or an IPv6 /64 network, since one host may use all of its addresses; this
/// machine is one, whichever of its many loopback addresses is used.
pub(crate) const fn holder(address: IpAddr) -> IpAddr {
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) if address.is_loopback() => HERE,
            Some(address) => IpAddr::V4(address),
            None if address.is_loopback() => HERE,
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        },
        IpAddr::V4(address) if address.is_loopback() => HERE,
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_is_forgotten_when_there_are_too_many() {
        let known = KnownAddresses::default();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        for n in 1..=MOST {
            known.note(address(n));
        }
        known.note(address(1));
        assert!(known.contains(address(2)));
        known.note(address(MOST + 1));
        assert!(!known.contains(address(2)));
        for kept in [1, MOST, MOST + 1] {
            assert!(known.contains(address(kept)), "{kept}");
        }
        assert!(known.lock().seen.len() <= MOST / 2 + 1);
        assert!(known.contains([127, 0, 0, 1].into()));
    }
}
