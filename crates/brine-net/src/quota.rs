//! How many strangers there are, per address and together, and what their large messages take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::channel::Limits;

/// Counts strangers.
#[derive(Debug)]
pub(crate) struct Quota {
    per_address: usize,
    together: usize,
    /// Counted up and down only.
    strangers: Mutex<Counts>,
    /// In units of [`UNIT`].
    large: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<IpAddr, usize>,
    together: usize,
}

const UNIT: usize = 1024;

/// A stranger's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    quota: Arc<Quota>,
    address: IpAddr,
}

impl Quota {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            per_address: limits.strangers_per_address,
            together: limits.strangers,
            strangers: Mutex::default(),
            large: Arc::new(Semaphore::new(limits.large_message_bytes / UNIT)),
        })
    }

    /// A place for a stranger from an address, if there is one left.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.strangers.lock().ok()?;
        let own = counts.by_address.get(&address).copied().unwrap_or(0);
        if own >= self.per_address || counts.together >= self.together {
            return None;
        }
        counts.by_address.insert(address, own + 1);
        counts.together += 1;
        Some(Place {
            quota: self.clone(),
            address,
        })
    }

    /// Makes the room held enough for a message of this many bytes; `false` if so much is not left.
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
}

impl Drop for Place {
    fn drop(&mut self) {
        let Ok(mut counts) = self.quota.strangers.lock() else {
            return;
        };
        counts.together -= 1;
        if let Some(own) = counts.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_address_and_together() {
        let quota = Quota::new(&Limits {
            strangers_per_address: 2,
            strangers: 3,
            ..Limits::default()
        });
        let [one, other] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let first = quota.enter(one).unwrap();
        let _second = quota.enter(one).unwrap();
        assert!(quota.enter(one).is_none());
        let _third = quota.enter(other).unwrap();
        assert!(quota.enter(other).is_none());
        drop(first);
        assert!(quota.enter(other).is_some());
        assert_eq!(quota.strangers.lock().unwrap().by_address.len(), 2);
    }

    #[test]
    fn room_grows_with_its_message_and_comes_back() {
        let quota = Quota::new(&Limits {
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
