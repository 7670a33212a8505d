//! What each accepted minion and each local client holds of a master: connections, and bytes of its large messages.
//!
//! A request is charged from its first byte until it is answered, an answer until it is sent. A minion that holds too
//! much delays only itself: its further messages wait. When it has too many connections, its oldest is closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brine_wire::network::MinionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Limits, UNIT};
use crate::quota::Eviction;

/// Who is charged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// An accepted minion.
    Minion(MinionId),
    /// A local client of this user.
    Client(String),
}

/// The accounts of one port.
#[derive(Debug)]
pub(crate) struct Accounts {
    connections: usize,
    bytes: usize,
    free_bytes: usize,
    /// Locked for a look-up, never across an await.
    accounts: Mutex<HashMap<Holder, Account>>,
    /// Of all requests together, in units.
    together: Arc<Semaphore>,
}

#[derive(Debug)]
struct Account {
    /// The oldest has the smallest number.
    connections: BTreeMap<u64, Eviction>,
    next: u64,
    /// For requests, in units.
    bytes: Arc<Semaphore>,
    /// For answers, in units. Apart, since a request is charged until its answer is.
    answers: Arc<Semaphore>,
}

/// Bytes charged to an account; free again when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    own: OwnedSemaphorePermit,
    _together: Option<OwnedSemaphorePermit>,
}

impl Accounts {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections_per_minion.max(1),
            bytes: limits.bytes_per_minion.max(limits.max_message_bytes),
            free_bytes: limits.max_stranger_bytes,
            accounts: Mutex::default(),
            together: Arc::new(Semaphore::new(
                limits.minion_bytes.max(limits.max_message_bytes) / UNIT + 1,
            )),
        })
    }

    /// Adds a connection. If its holder has too many, the oldest of them is closed.
    pub(crate) fn enter(self: &Arc<Self>, holder: Holder, eviction: Eviction) -> Membership {
        let mut accounts = self.lock();
        let account = self.account(&mut accounts, &holder);
        if account.connections.len() >= self.connections
            && let Some((_, oldest)) = account.connections.pop_first()
        {
            tracing::debug!(?holder, "too many connections: the oldest is closed");
            oldest.request();
        }
        account.next += 1;
        let number = account.next;
        account.connections.insert(number, eviction);
        Membership {
            accounts: self.clone(),
            bytes: account.bytes.clone(),
            holder,
            number,
        }
    }

    /// Charges an answer of so many bytes: `Err` if the holder does not read those before it. Small ones cost nothing.
    pub(crate) fn charge_answer(
        &self,
        holder: &Holder,
        bytes: usize,
    ) -> Result<Option<Charge>, Full> {
        if bytes <= self.free_bytes {
            return Ok(None);
        }
        let answers = self.account(&mut self.lock(), holder).answers.clone();
        let own = answers.try_acquire_many_owned(self.units(bytes));
        own.map(|own| {
            Some(Charge {
                own,
                _together: None,
            })
        })
        .map_err(|_| Full)
    }

    fn account<'a>(
        &self,
        accounts: &'a mut HashMap<Holder, Account>,
        holder: &Holder,
    ) -> &'a mut Account {
        accounts.entry(holder.clone()).or_insert_with(|| Account {
            connections: BTreeMap::new(),
            next: 0,
            bytes: Arc::new(Semaphore::new(self.bytes / UNIT + 1)),
            answers: Arc::new(Semaphore::new(self.bytes / UNIT + 1)),
        })
    }

    /// At most what an account has: a message that is larger than that is refused by its size.
    fn units(&self, bytes: usize) -> u32 {
        let units = bytes.div_ceil(UNIT).min(self.bytes / UNIT);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account has no room.
#[derive(Debug)]
pub(crate) struct Full;

/// A connection of a holder; no longer counted when dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    accounts: Arc<Accounts>,
    holder: Holder,
    number: u64,
    bytes: Arc<Semaphore>,
}

impl Membership {
    /// How many bytes a message may have without being charged.
    pub(crate) fn free_bytes(&self) -> usize {
        self.accounts.free_bytes
    }

    /// Waits until a message of so many bytes has room. Dropping the future loses its place among those that wait.
    pub(crate) async fn charge(&self, bytes: usize) -> Option<Charge> {
        let units = self.accounts.units(bytes);
        // The semaphores are never closed.
        let own = self.bytes.clone().acquire_many_owned(units).await.ok()?;
        let together = self.accounts.together.clone();
        let together = together.acquire_many_owned(units).await.ok()?;
        Some(Charge {
            own,
            _together: Some(together),
        })
    }
}

impl Charge {
    /// How many bytes it is good for.
    pub(crate) fn bytes(&self) -> usize {
        self.own.num_permits().saturating_mul(UNIT)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut accounts = self.accounts.lock();
        let Some(account) = accounts.get_mut(&self.holder) else {
            return;
        };
        account.connections.remove(&self.number);
        // Whoever has something in progress keeps the account: else closing all connections would clear it.
        let whole = self.accounts.bytes / UNIT + 1;
        let is_unused = |room: &Semaphore| room.available_permits() == whole;
        if account.connections.is_empty()
            && is_unused(&account.bytes)
            && is_unused(&account.answers)
        {
            accounts.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Arc<Accounts> {
        Accounts::new(&Limits {
            connections_per_minion: 2,
            bytes_per_minion: 10 * UNIT,
            minion_bytes: 15 * UNIT,
            max_message_bytes: 10 * UNIT,
            max_stranger_bytes: UNIT,
            ..Limits::default()
        })
    }

    fn minion(name: &str) -> Holder {
        Holder::Minion(MinionId::parse(name).unwrap())
    }

    async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(std::time::Duration::ZERO, future)
            .await
            .ok()
    }

    #[tokio::test]
    async fn the_oldest_connection_of_whoever_has_too_many_is_closed() {
        let accounts = accounts();
        let evictions: Vec<_> = (0..4).map(|_| Eviction::default()).collect();
        let other = accounts.enter(minion("m2"), evictions[3].clone());
        let mut own: Vec<_> = (evictions[..3].iter())
            .map(|eviction| accounts.enter(minion("m1"), eviction.clone()))
            .collect();
        assert!(now(evictions[0].requested()).await.is_some());
        for kept in &evictions[1..] {
            assert!(now(kept.requested()).await.is_none());
        }
        own.clear();
        drop(other);
        assert!(accounts.lock().is_empty());
    }

    #[tokio::test]
    async fn a_minion_that_holds_much_waits_and_others_do_not() {
        let accounts = accounts();
        let [one, other] = ["m1", "m2"].map(|id| accounts.enter(minion(id), Eviction::default()));
        let first = now(one.charge(8 * UNIT)).await.flatten().unwrap();
        assert_eq!(first.bytes(), 8 * UNIT);
        assert!(now(one.charge(4 * UNIT)).await.is_none());
        // By what all hold together, too.
        assert!(now(other.charge(9 * UNIT)).await.is_none());
        let second = now(other.charge(6 * UNIT)).await.flatten().unwrap();
        drop(first);
        let third = now(one.charge(4 * UNIT)).await.flatten().unwrap();
        drop((second, third));
    }

    #[tokio::test]
    async fn answers_that_are_not_read_are_charged_and_leaving_clears_nothing() {
        let accounts = accounts();
        let member = accounts.enter(minion("m1"), Eviction::default());
        assert!(
            accounts
                .charge_answer(&minion("m1"), UNIT)
                .unwrap()
                .is_none()
        );
        let held = accounts.charge_answer(&minion("m1"), 9 * UNIT).unwrap();
        drop(member);
        assert!(accounts.charge_answer(&minion("m1"), 9 * UNIT).is_err());
        drop(held);
        assert!(accounts.charge_answer(&minion("m1"), 9 * UNIT).is_ok());
    }
}
