//! How many connections there may be, in all and of each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::ApiConfig;

/// Whom a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A user of this machine.
    User(u32),
    /// Whoever comes over the loopback port.
    Port,
}

/// Connections under way.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    most: usize,
    most_per_holder: usize,
    held: Arc<Mutex<HashMap<Holder, usize>>>,
}

/// A connection's share, given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    limits: Limits,
    holder: Holder,
}

impl Limits {
    pub(super) fn new(config: &ApiConfig) -> Self {
        Self {
            most: config.connections,
            most_per_holder: config.connections_per_user,
            held: Arc::default(),
        }
    }

    /// Counts a connection; `None` when there are too many. One user's connections cannot take those
    /// that are left for others: a quarter of all is for users who have none yet.
    pub(super) fn enter(&self, holder: Holder) -> Option<Held> {
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
        // Counts are whole whoever panicked.
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
        let limits = Limits::new(&ApiConfig {
            connections: 8,
            connections_per_user: 4,
            ..ApiConfig::default()
        });
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
}
