//! Sign-ins and pillars on their own threads: each needs RSA operations that take some milliseconds.
//!
//! There are as many threads as cores, at least two, behind a limited queue that serves addresses in turn, those of
//! minions first: a stranger that sends thousands of requests delays nobody else. Half of the threads never serve
//! strangers, so that half of the cores stay free for minions, and a minion's sign-in never waits for those of
//! strangers. A request that the queue drops is answered as a bad load, and the minion tries again.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};

use super::context::Context;
use super::counters::SignInOutcome;
use super::sign_in_events::{self, Attempt, Verdict};
use crate::weight::weight_of_map;
use brine_net::channel::Incoming;
use brine_net::fair_queue::{FairQueue, Lane};
use brine_net::master::{Request, SignIn};
use brine_net::replay::Seen;
use brine_wire::network::{MinionId, events, payload};
use brine_wire::{Map, Value};

/// The most requests that wait for a thread.
const WAITING: usize = 16_384;

/// Their size, in bytes: of sign-ins on the wire, of pillar requests when decoded.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// The most answers that a thread sends together, while other requests wait: each by itself wakes a thread of the runtime,
/// which wakes another.
const TOGETHER: usize = 4;

/// After so long an answer that is ready waits for no other.
const HELD_BACK: Duration = Duration::from_millis(1);

/// A request for the threads.
pub(super) enum Work {
    /// A clear `_auth`.
    SignIn(Incoming, Map),
    /// A `_pillar` of an accepted minion.
    Pillar(Incoming, Box<Request>),
}

/// The queue before the threads.
pub(super) struct RsaThreads(Arc<FairQueue<Option<IpAddr>, Work>>);

impl RsaThreads {
    /// Starts the threads; they end when this is dropped.
    pub(super) fn start(master: &Arc<Context>) -> Self {
        let queue = Arc::new(FairQueue::new(WAITING, WAITING_BYTES));
        for (for_whom, count) in threads(available_parallelism().map_or(1, usize::from)) {
            for _ in 0..count {
                let (master, queue) = (master.clone(), queue.clone());
                tokio::task::spawn_blocking(move || work(&master, &queue, for_whom));
            }
        }
        Self(queue)
    }

    /// Queues a request; returns how many were dropped, this one or others. A dropped request is answered as a bad
    /// load.
    pub(super) fn hand_on(&self, work: Work) -> usize {
        let (incoming, lane) = match &work {
            Work::SignIn(incoming, _) if !incoming.peer.is_known() => (incoming, Lane::Unknown),
            Work::SignIn(incoming, _) | Work::Pillar(incoming, _) => (incoming, Lane::Known),
        };
        let bytes = match &work {
            // What was decrypted may take much more memory than room on the wire.
            Work::Pillar(incoming, request) => {
                (incoming.bytes).max(weight_of_map(&request.load.fields))
            }
            Work::SignIn(incoming, _) => incoming.bytes,
        };
        let sender = incoming.peer.network();
        self.0.push(&sender, lane, bytes, work).len()
    }
}

impl Drop for RsaThreads {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whose requests a thread takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForWhom {
    Anybody,
    Known,
}

/// How many threads there are of each kind.
const fn threads(cores: usize) -> [(ForWhom, usize); 2] {
    // Not more than half: while they have an RSA operation each, events wait for no core.
    let anybody = if cores < 2 { 1 } else { cores / 2 };
    let known = if cores < 2 { 1 } else { cores - anybody };
    [(ForWhom::Anybody, anybody), (ForWhom::Known, known)]
}

fn work(master: &Arc<Context>, queue: &FairQueue<Option<IpAddr>, Work>, for_whom: ForWhom) {
    let next_waiting = || match for_whom {
        ForWhom::Anybody => queue.try_pop(),
        ForWhom::Known => queue.try_pop_known(),
    };
    let next = || match for_whom {
        ForWhom::Anybody => queue.pop(),
        ForWhom::Known => queue.pop_known(),
    };
    let mut answers: Vec<Answer> = Vec::with_capacity(TOGETHER);
    loop {
        let are_due = match answers.first() {
            Some(first) => answers.len() >= TOGETHER || first.since.elapsed() >= HELD_BACK,
            None => true,
        };
        let waiting = if are_due { None } else { next_waiting() };
        let Some(work) = waiting.or_else(|| {
            send(master, &mut answers);
            next()
        }) else {
            return;
        };
        let (to, body) = match work {
            Work::SignIn(to, load) => sign_in(master, to, &load),
            Work::Pillar(to, request) => answer_pillar(master, to, &request),
        };
        answers.push(Answer {
            to,
            body,
            since: Instant::now(),
        });
    }
}

/// An answer that is ready, and may have fired an event that nobody was woken for.
struct Answer {
    to: Incoming,
    body: Value,
    since: Instant,
}

fn send(master: &Context, answers: &mut Vec<Answer>) {
    if !answers.is_empty() {
        // Before the answers: what minions do next is not to wait behind these events.
        master.bus.wake_readers();
    }
    for answer in answers.drain(..) {
        answer.to.answer(answer.body);
    }
}

fn sign_in(master: &Context, to: Incoming, load: &Map) -> (Incoming, Value) {
    let occupancy = master.occupancy(load);
    let body = match master.channel.sign_in(load, occupancy, SystemTime::now()) {
        Ok(done) => {
            master.counters.sign_in(outcome(&done));
            // Fired before the answer is sent, so that what the minion does next follows it on the bus.
            let (accepted, is_new) = (done.accepted.as_ref(), done.is_new);
            if let Some(event) = done.event.filter(|_| master.options.auth_events) {
                let attempt = Attempt {
                    is_known: to.peer.is_known(),
                    accepted,
                    is_new,
                };
                report(master, attempt, event);
            }
            done.reply
        }
        Err(error) => {
            master.counters.sign_in(SignInOutcome::Store);
            tracing::error!(%error, "sign-in failed: cannot read or write the master's own files");
            payload::HANDLER_FAILED.into()
        }
    };
    (to, body)
}

/// Fires the event of a sign-in, or reports that there were too many.
fn report(master: &Context, attempt: Attempt<'_>, event: Map) {
    match master.sign_in_events.judge(attempt) {
        Verdict::Fire => master.fire_quietly(events::AUTH, event),
        Verdict::LeaveOut => {}
        Verdict::Report(count) => {
            tracing::warn!(
                count,
                "too many sign-ins without an accepted key: no event for each"
            );
            let data = [("count", Value::from(count))].into_iter().collect();
            master.fire(sign_in_events::TAG, data);
        }
    }
}

fn outcome(done: &SignIn) -> SignInOutcome {
    let act = done.event.as_ref().and_then(|event| event.get("act"));
    match act.and_then(Value::as_str) {
        _ if done.accepted.is_some() => SignInOutcome::Accepted,
        None => SignInOutcome::Malformed,
        Some("pend") => SignInOutcome::Pending,
        Some("full") => SignInOutcome::Full,
        Some(_) => SignInOutcome::Rejected,
    }
}

fn answer_pillar(master: &Context, to: Incoming, request: &Request) -> (Incoming, Value) {
    let id = request.minion.id();
    // Fired before the answer is sent, as for a sign-in.
    if master.options.minion_data_cache && request.seen == Seen::First {
        if let Some(Value::Map(grains)) = request.load.fields.get("grains") {
            keep_grains(master, id, grains);
        }
        if master.options.minion_data_cache_events {
            let (tag, data) = events::data_refreshed(id);
            master.fire(&tag, data);
        }
    }
    let body = match master.channel.seal_pillar(request, Map::new()) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(%error, %id, "pillar not sent");
            payload::HANDLER_FAILED.into()
        }
    };
    (to, body)
}

/// Keeps a minion's grains, for targeting.
fn keep_grains(master: &Context, id: &MinionId, grains: &Map) {
    if !master.minions.set(id, grains.clone()) {
        return;
    }
    let (minions, id) = (master.minions.clone(), id.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = minions.write(&id) {
            tracing::warn!(%error, %id, "cannot write the grains to disk");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_at_most_half_of_the_cores() {
        for cores in 1..=64 {
            let [(ForWhom::Anybody, anybody), (ForWhom::Known, known)] = threads(cores) else {
                panic!("two kinds of threads");
            };
            assert!(anybody >= 1 && known >= 1 && anybody <= cores.div_ceil(2));
            assert_eq!(anybody + known, cores.max(2));
        }
    }
}
