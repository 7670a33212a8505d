//! Sign-ins and pillars, apart from everything else: each costs RSA operations of some milliseconds in all.
//!
//! As many threads as there are cores, and a bounded queue before them. What finds it full is answered at once
//! as a bad load, and comes again: strangers cannot make the master hold more.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::SystemTime;

use brine_net::channel::Incoming;
use brine_net::master::Request;
use brine_net::replay::Seen;
use brine_wire::network::{MinionId, events, payload};
use brine_wire::{Map, Value};
use tokio::sync::mpsc;

use super::publish::Publishing;

/// Requests that wait for a thread.
const WAITING: usize = 16_384;

/// What the threads do.
pub(super) enum Work {
    /// A clear `_auth`.
    SignIn(Incoming, Map),
    /// A `_pillar` of an accepted minion.
    Pillar(Incoming, Box<Request>),
}

/// The way to the threads.
pub(super) struct RsaThreads(mpsc::Sender<Work>);

impl RsaThreads {
    /// Starts the threads; they end when this is dropped.
    pub(super) fn start(master: &Arc<Publishing>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            let (master, receiver) = (master.clone(), receiver.clone());
            tokio::task::spawn_blocking(move || work(&master, &receiver));
        }
        Self(sender)
    }

    /// Hands a request on.
    pub(super) fn hand_on(&self, work: Work) {
        // Dropped unanswered is answered as a bad load.
        let _ = self.0.try_send(work);
    }
}

fn work(master: &Arc<Publishing>, waiting: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        match next {
            Some(Work::SignIn(incoming, load)) => sign_in(master, incoming, &load),
            Some(Work::Pillar(incoming, request)) => answer_pillar(master, incoming, &request),
            None => return,
        }
    }
}

fn sign_in(master: &Publishing, incoming: Incoming, load: &Map) {
    let seats = master.seats(load);
    match master.channel.sign_in(load, seats, SystemTime::now()) {
        Ok(done) => {
            // Told before it is answered: what the minion does next comes after it on the bus.
            if let Some(event) = done.event.filter(|_| master.options.auth_events) {
                master.fire(events::AUTH, event);
            }
            incoming.answer(done.reply);
        }
        Err(error) => {
            tracing::error!(%error, "sign-in not answered: the master's own files");
            incoming.answer(payload::HANDLER_FAILED.into());
        }
    }
}

fn answer_pillar(master: &Publishing, incoming: Incoming, request: &Request) {
    let id = request.minion.id();
    // Told before it is answered, as a sign-in is.
    if master.options.minion_data_cache && request.seen == Seen::First {
        if let Some(Value::Map(grains)) = request.load.fields.get("grains") {
            keep_grains(master, id, grains);
        }
        if master.options.minion_data_cache_events {
            let (tag, data) = events::data_refreshed(id);
            master.fire(&tag, data);
        }
    }
    match master.channel.seal_pillar(request, Map::new()) {
        Ok(answer) => incoming.answer(answer),
        Err(error) => {
            tracing::warn!(%error, %id, "pillar not sent");
            incoming.answer(payload::HANDLER_FAILED.into());
        }
    }
}

/// Keeps what a minion shows of itself, for targets.
fn keep_grains(master: &Publishing, id: &MinionId, grains: &Map) {
    if !master.minions.set(id, grains.clone()) {
        return;
    }
    let (minions, id) = (master.minions.clone(), id.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = minions.write(&id) {
            tracing::warn!(%error, %id, "grains not kept on disk");
        }
    });
}
