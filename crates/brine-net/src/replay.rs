//! Which requests were seen before: the last nonces of each accepted minion.
//!
//! A repeated request is not always an attack: a minion that got no reply sends the same bytes
//! again. So it is told, not refused; whoever acts on requests answers a repeated one without
//! acting twice. What is older than the memory is for `request_server_ttl` to refuse.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use brine_wire::network::{MinionId, Nonce};

/// How many nonces are kept per minion: 32 bytes each, for accepted minions only.
const KEPT: usize = 64;

/// Whether a request was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was not, as far as is remembered. Also of requests without a nonce.
    First,
    /// It was.
    Again,
}

/// The nonces of all minions.
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<HashMap<MinionId, VecDeque<Nonce>>>);

impl Nonces {
    /// Remembers the nonce of a minion whose request was authentic.
    pub(crate) fn see(&self, id: &MinionId, nonce: Option<&Nonce>) -> Seen {
        let (Some(nonce), Ok(mut minions)) = (nonce, self.0.lock()) else {
            return Seen::First;
        };
        if !minions.contains_key(id) {
            minions.insert(id.clone(), VecDeque::new());
        }
        let Some(nonces) = minions.get_mut(id) else {
            return Seen::First;
        };
        if nonces.contains(nonce) {
            return Seen::Again;
        }
        if nonces.len() == KEPT {
            nonces.pop_front();
        }
        nonces.push_back(*nonce);
        Seen::First
    }

    /// Forgets a minion whose key is gone.
    pub(crate) fn forget(&self, id: &MinionId) {
        if let Ok(mut minions) = self.0.lock() {
            minions.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_nonces_are_known_again() {
        let nonces = Nonces::default();
        let id = MinionId::parse("m1").unwrap();
        let nonce = |number: u8| Nonce::from_random([number; 16]);
        for number in 0..100 {
            assert_eq!(nonces.see(&id, Some(&nonce(number))), Seen::First);
            assert_eq!(nonces.see(&id, Some(&nonce(number))), Seen::Again);
        }
        assert_eq!(nonces.see(&id, Some(&nonce(50))), Seen::Again);
        assert_eq!(nonces.see(&id, Some(&nonce(0))), Seen::First);
        assert_eq!(nonces.see(&id, None), Seen::First);
        let other = MinionId::parse("m2").unwrap();
        assert_eq!(nonces.see(&other, Some(&nonce(50))), Seen::First);
        nonces.forget(&id);
        assert_eq!(nonces.see(&id, Some(&nonce(50))), Seen::First);
    }
}
