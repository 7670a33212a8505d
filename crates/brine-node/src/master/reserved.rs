//! The ids of jobs from the moment they are permitted until the job cache has them: of two users who choose the same id
//! at the same time one is refused.

use std::sync::{Mutex, MutexGuard, PoisonError};

use brine_wire::network::Jid;

/// Ids, each with its user. One user may have several jobs of an id, as in a batch.
#[derive(Debug, Default)]
pub struct Reserved(Mutex<Vec<(Jid, String)>>);

/// An id that no other user may take as long as this lives; nothing for a job whose id the master chooses.
#[derive(Debug)]
pub struct Reservation<'r> {
    among: &'r Reserved,
    id: Option<(Jid, String)>,
}

impl Reserved {
    /// Reserves an id for a user; `None` if another user has it and this one is not the master.
    #[must_use]
    pub fn reserve(
        &self,
        jid: Option<&Jid>,
        user: &str,
        is_master: bool,
    ) -> Option<Reservation<'_>> {
        let id = jid.map(|jid| (jid.clone(), user.to_owned()));
        if let Some(id) = &id {
            let mut all = self.lock();
            let mut others = all
                .iter()
                .filter(|other| other.0 == id.0 && other.1 != id.1);
            if !is_master && others.next().is_some() {
                return None;
            }
            all.push(id.clone());
        }
        Some(Reservation { among: self, id })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Jid, String)>> {
        // Whole after every operation, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let Some(id) = &self.id else {
            return;
        };
        let mut all = self.among.lock();
        if let Some(at) = all.iter().position(|other| other == id) {
            all.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_users_at_the_same_time_one_gets_an_id() {
        let (reserved, jid) = (
            Reserved::default(),
            Jid::parse("20260101000000000001").unwrap(),
        );
        let reserve = |user, is_master| reserved.reserve(Some(&jid), user, is_master);
        let anns = [reserve("ann", false), reserve("ann", false)];
        assert!(anns.iter().all(Option::is_some), "a batch");
        assert!(reserve("bob", false).is_none());
        assert!(reserve("root", true).is_some());
        assert!(reserved.reserve(None, "bob", false).is_some());
        let [first, second] = anns;
        drop(first);
        assert!(reserve("bob", false).is_none());
        drop(second);
        assert!(reserve("bob", false).is_some());
        assert!(reserved.lock().is_empty());
    }
}
