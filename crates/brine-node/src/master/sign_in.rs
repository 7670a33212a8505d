//! Sign-ins, apart from everything else: each costs RSA operations of some milliseconds in all.
//!
//! As many threads as there are cores, and a bounded queue before them. A sign-in that finds it full is
//! answered at once as a bad load, and comes again: strangers cannot make the master hold more.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::SystemTime;

use brine_net::channel::Incoming;
use brine_wire::Map;
use brine_wire::network::{events, payload};
use tokio::sync::mpsc;

use super::publish::Publishing;

/// Sign-ins that wait for a thread.
const WAITING: usize = 16_384;

/// The way to the threads.
pub(super) struct SignIns(mpsc::Sender<(Incoming, Map)>);

impl SignIns {
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

    /// Hands a sign-in on.
    pub(super) fn hand_on(&self, incoming: Incoming, load: Map) {
        // Dropped unanswered is answered as a bad load.
        let _ = self.0.try_send((incoming, load));
    }
}

fn work(master: &Publishing, waiting: &Mutex<mpsc::Receiver<(Incoming, Map)>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some((incoming, load)) = next else {
            return;
        };
        sign_in(master, incoming, &load);
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
