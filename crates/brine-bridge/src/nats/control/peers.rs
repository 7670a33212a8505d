//! The other masters, as this one knows them: which are alive, and which minions they have.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// After so long without a word a master is not waited for any more.
const ALIVE: Duration = Duration::from_millis(3500);
/// Messages that are remembered, so that none is acted on twice.
const KNOWN: usize = 16_384;

/// The other masters, as this one knows them; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Peers {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Sender<PassedOn>,
}

/// One master, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its id.
    pub master: String,
    /// It was heard in the last seconds.
    pub is_alive: bool,
    /// How many minions are connected to it.
    pub minions: usize,
}

pub(super) struct Shared {
    pub(super) has_secret: bool,
    /// Held for a look or a change.
    peers: Mutex<HashMap<String, Peer>>,
    known: Mutex<Known>,
}

pub(super) struct Peer {
    pub(super) instance: u64,
    pub(super) seen: Instant,
    pub(super) present: Vec<String>,
}

#[derive(Default)]
struct Known {
    order: VecDeque<(String, u64)>,
    ids: HashSet<(String, u64)>,
}

pub(super) struct PassedOn {
    pub(super) job: Vec<u8>,
    pub(super) answers: oneshot::Sender<Vec<(String, Vec<u8>)>>,
}

impl Peers {
    /// Has the other masters that are alive publish a job to their minions; returns the answers that arrive within a
    /// second. Blocks: do not call it on a thread that others wait for.
    #[must_use]
    pub fn publish(&self, job: Vec<u8>) -> Vec<(String, Vec<u8>)> {
        if !self.shared.has_secret || self.shared.alive().is_empty() {
            return Vec::new();
        }
        let (answers, answered) = oneshot::channel();
        let passed_on = PassedOn { job, answers };
        match self.jobs.blocking_send(passed_on) {
            Ok(()) => answered.blocking_recv().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// The ids of the minions that are connected to other masters that are alive.
    #[must_use]
    pub fn present(&self) -> Vec<String> {
        let peers = self.shared.peers();
        let alive = peers.values().filter(|peer| peer.is_alive());
        let mut present: Vec<_> = alive
            .flat_map(|peer| peer.present.iter().cloned())
            .collect();
        present.sort_unstable();
        present.dedup();
        present
    }

    /// The other masters that were heard since this one started, by id.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        let peers = self.shared.peers();
        let mut status: Vec<_> = (peers.iter())
            .map(|(master, peer)| PeerStatus {
                master: master.clone(),
                is_alive: peer.is_alive(),
                minions: peer.present.len(),
            })
            .collect();
        status.sort_by(|a, b| a.master.cmp(&b.master));
        status
    }
}

impl Shared {
    pub(super) fn new(has_secret: bool) -> Self {
        Self {
            has_secret,
            peers: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// The masters that are waited for.
    pub(super) fn alive(&self) -> Vec<String> {
        let peers = self.peers();
        let alive = peers.iter().filter(|(_, peer)| peer.is_alive());
        alive.map(|(master, _)| master.clone()).collect()
    }

    /// Whether a message has not come before.
    pub(super) fn is_first(&self, from: &str, id: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let message = (from.to_owned(), id);
        if !known.ids.insert(message.clone()) {
            return false;
        }
        known.order.push_back(message);
        if known.order.len() > KNOWN
            && let Some(oldest) = known.order.pop_front()
        {
            known.ids.remove(&oldest);
        }
        true
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        // Held for a few instructions; what it guards is whole after each.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn is_alive(&self) -> bool {
        self.seen.elapsed() < ALIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_the_second_time_and_memory_is_bounded() {
        let shared = Shared::new(false);
        assert!(shared.is_first("m2", 1) && shared.is_first("m3", 1));
        assert!(!shared.is_first("m2", 1));
        for id in 0..2 * KNOWN as u64 {
            shared.is_first("m4", id);
        }
        let known = shared.known.lock().unwrap();
        assert_eq!((known.order.len(), known.ids.len()), (KNOWN, KNOWN));
    }

    #[test]
    fn nobody_is_waited_for_where_nobody_is() {
        let (jobs, _waiting) = mpsc::channel(1);
        let shared = Arc::new(Shared::new(true));
        let peers = Peers { shared, jobs };
        assert!(peers.publish(Vec::new()).is_empty() && peers.present().is_empty());
    }
}
