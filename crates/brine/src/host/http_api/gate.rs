//! Logins on their way to a master beside this process. A master of Salt limits neither failures nor how many logins it
//! checks at a time, and a check takes one of the few processes with which it also answers minions.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use brine_api::rest::OperatorError;
use brine_auth::{Attempts, Login, network_of};
use tokio::sync::{Semaphore, oneshot};

use super::own::BUSY;

/// How many a master checks at a time: one of Salt has five processes for everything, unless `worker_threads` says otherwise.
const AT_A_TIME: usize = 2;
/// How many logins may wait or be checked, of all addresses.
const MOST: usize = 128;
/// The same of one address.
const MOST_OF_ADDRESS: usize = 32;

/// Who logs in: a user from an address.
type Who = (IpAddr, String);

/// Where logins wait.
#[derive(Default)]
pub(super) struct Gate {
    attempts: Attempts,
    checks: Arc<Checks>,
    under_way: Mutex<Vec<UnderWay>>,
}

/// Logins of one user from one address.
struct UnderWay {
    who: Who,
    count: usize,
    /// One is checked at a time: the failures of those before it count.
    turn: Arc<Semaphore>,
}

/// A login that waits or is checked. Dropping it makes room.
struct Entered<'g> {
    gate: &'g Gate,
    who: Who,
    turn: Arc<Semaphore>,
}

impl Gate {
    /// Asks the master something that it checks a login for, unless too many logins of its user or address have failed
    /// or wait.
    pub(super) async fn pass<T>(
        &self,
        login: &Login,
        from: IpAddr,
        asked: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        let user = login.username.as_str();
        let limited = || match self.attempts.wait(Some(from), user, Instant::now()) {
            Some(wait) => Err(OperatorError::TooMany { wait }),
            None => Ok(()),
        };
        // Whoever must wait anyway takes no room.
        limited()?;
        let busy = || OperatorError::TooMany { wait: BUSY };
        let entered = self
            .enter((network_of(from), user.to_owned()))
            .ok_or_else(busy)?;
        // It is never closed.
        let _turn = entered.turn.acquire().await.map_err(|_| busy())?;
        let _check = self.checks.turn_of(entered.who.0).await.ok_or_else(busy)?;
        limited()?;
        let done = asked.await;
        match done {
            Ok(_) => self.attempts.succeeded(Some(from), user, Instant::now()),
            Err(OperatorError::NotAuthenticated(_)) => {
                self.attempts.failed(Some(from), user, Instant::now());
            }
            // Of some refusals a master does not look at the login.
            Err(_) => {}
        }
        done
    }

    /// Counts one more, if there is room.
    fn enter(&self, who: Who) -> Option<Entered<'_>> {
        let mut under_way = self.lock();
        let counts = under_way.iter();
        let (all, of_address) = counts.fold((0, 0), |(all, of_address), logins| {
            let is_theirs = logins.who.0 == who.0;
            (
                all + logins.count,
                of_address + usize::from(is_theirs) * logins.count,
            )
        });
        if all >= MOST || of_address >= MOST_OF_ADDRESS {
            return None;
        }
        let known = under_way.iter_mut().find(|logins| logins.who == who);
        let turn = match known {
            Some(logins) => {
                logins.count += 1;
                Arc::clone(&logins.turn)
            }
            None => {
                let turn = Arc::new(Semaphore::new(1));
                under_way.push(UnderWay {
                    who: who.clone(),
                    count: 1,
                    turn: Arc::clone(&turn),
                });
                turn
            }
        };
        Some(Entered {
            gate: self,
            who,
            turn,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnderWay>> {
        // Whole after every operation, whoever panicked.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the master checks at a time. Addresses take turns: one with many logins makes no other wait for all of them.
struct Checks(Mutex<Queue>);

struct Queue {
    free: usize,
    /// Those who wait, by address; the address at the front is next.
    waiting: VecDeque<(IpAddr, VecDeque<oneshot::Sender<Check>>)>,
}

/// A check under way. Dropping it lets the next begin, also when whoever waited for it has given up.
struct Check(Arc<Checks>);

impl Default for Checks {
    fn default() -> Self {
        Self(Mutex::new(Queue {
            free: AT_A_TIME,
            waiting: VecDeque::new(),
        }))
    }
}

impl Checks {
    /// Waits until it is the turn of an address.
    async fn turn_of(self: &Arc<Self>, address: IpAddr) -> Option<Check> {
        let turn = {
            let mut queue = self.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Some(Check(Arc::clone(self)));
            }
            let (sender, turn) = oneshot::channel();
            match queue.waiting.iter_mut().find(|(of, _)| *of == address) {
                Some((_, theirs)) => theirs.push_back(sender),
                None => queue.waiting.push_back((address, [sender].into())),
            }
            turn
        };
        turn.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Whole after every operation, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whoever is next; `None` leaves a place free.
    fn next(&mut self) -> Option<oneshot::Sender<Check>> {
        while let Some((address, mut theirs)) = self.waiting.pop_front() {
            let next = theirs.pop_front();
            if !theirs.is_empty() {
                self.waiting.push_back((address, theirs));
            }
            // Those who gave up are passed over.
            if let Some(next) = next.filter(|next| !next.is_closed()) {
                return Some(next);
            }
        }
        self.free += 1;
        None
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        let next = self.0.lock().next();
        if let Some(next) = next {
            // One that is not taken is dropped, and so passed on.
            let _ = next.send(Self(Arc::clone(&self.0)));
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut under_way = self.gate.lock();
        if let Some(at) = under_way.iter().position(|logins| logins.who == self.who) {
            under_way[at].count -= 1;
            if under_way[at].count == 0 {
                under_way.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use brine_wire::Map;
    use tokio::task::JoinSet;

    use super::*;

    fn login(user: &str) -> Login {
        let fields = [("username", user), ("password", "x"), ("eauth", "pam")];
        Login::from_map(&fields.into_iter().collect::<Map>()).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// What a master sees: how many logins, and how many at a time at most.
    #[derive(Default)]
    struct Master {
        asked: AtomicUsize,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Master {
        async fn check(&self, is_right: bool) -> Result<(), OperatorError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            match is_right {
                true => Ok(()),
                false => Err(OperatorError::NotAuthenticated("wrong".to_owned())),
            }
        }
    }

    /// The results of so many logins at the same time, each of a user and an address.
    async fn all(
        logins: impl IntoIterator<Item = (String, IpAddr)>,
        is_right: bool,
    ) -> (Arc<Gate>, Arc<Master>, Vec<Result<(), OperatorError>>) {
        let (gate, master) = (Arc::<Gate>::default(), Arc::<Master>::default());
        let mut tasks = JoinSet::new();
        for (user, from) in logins {
            let (gate, master) = (Arc::clone(&gate), Arc::clone(&master));
            tasks
                .spawn(async move { gate.pass(&login(&user), from, master.check(is_right)).await });
        }
        let results = tasks.join_all().await;
        (gate, master, results)
    }

    fn refused(results: &[Result<(), OperatorError>]) -> usize {
        let refused = |result: &&Result<_, _>| matches!(result, Err(OperatorError::TooMany { .. }));
        results.iter().filter(refused).count()
    }

    #[tokio::test]
    async fn forty_wrong_passwords_at_once_are_ten_for_the_master() {
        let logins = (0..40).map(|_| ("fred".to_owned(), address(1)));
        let (gate, master, results) = all(logins, false).await;
        assert_eq!(master.asked.load(Ordering::SeqCst), 10);
        assert_eq!(refused(&results), 30);
        assert!(gate.lock().is_empty());
    }

    #[tokio::test]
    async fn a_master_checks_two_at_a_time_whoever_asks() {
        let logins = (0..60).map(|user| (format!("user{user}"), address(user / 20)));
        let (_, master, results) = all(logins, true).await;
        assert_eq!(master.asked.load(Ordering::SeqCst), 60);
        assert_eq!(master.most.load(Ordering::SeqCst), AT_A_TIME);
        assert_eq!(refused(&results), 0);
    }

    #[tokio::test]
    async fn one_address_makes_no_other_wait_for_all_its_logins() {
        let (gate, order) = (Arc::<Gate>::default(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        for (user, from) in (0..20).map(|user| (user, 1)).chain([(20, 2), (21, 3)]) {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.spawn(async move {
                let asked = async {
                    order.lock().unwrap().push(from);
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    Ok(())
                };
                let user = login(&format!("user{user}"));
                gate.pass(&user, address(from), asked).await
            });
        }
        tasks.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order[..6], [1, 1, 1, 2, 3, 1]);
        assert_eq!(order.len(), 22);
        assert_eq!(gate.checks.lock().free, AT_A_TIME);
    }

    #[tokio::test]
    async fn so_many_of_an_address_and_so_many_of_all_may_wait() {
        let of_one = (0..40).map(|user| (format!("user{user}"), address(1)));
        let (_, _, results) = all(of_one, true).await;
        assert_eq!(refused(&results), 40 - MOST_OF_ADDRESS);
        let of_many = (0..200).map(|user| (format!("user{user}"), address(user / 20)));
        let (_, _, results) = all(of_many, true).await;
        assert_eq!(refused(&results), 200 - MOST);
    }

    #[tokio::test]
    async fn whoever_gives_up_makes_room() {
        let gate = Gate::default();
        let login = login("fred");
        let never = std::future::pending::<Result<(), OperatorError>>();
        tokio::select! {
            biased;
            _ = gate.pass(&login, address(1), never) => unreachable!("it waits for ever"),
            () = tokio::task::yield_now() => {}
        }
        assert!(gate.lock().is_empty());
        assert_eq!(gate.checks.lock().free, AT_A_TIME);
        gate.pass(&login, address(1), async { Ok(()) })
            .await
            .unwrap();
    }
}
