//! What a master does for itself from time to time: key rotation, presence.
//!
//! Facts: `docs/protocol/network.md` §7.2, §11.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use brine_net::channel::Presence;
use brine_net::keys::dropfile;
use brine_wire::compat::Series;
use brine_wire::network::{MinionId, events};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::connected;
use super::publish::Publishing;
use crate::options::Transport;

/// How often old jobs are removed.
const CLEANING: Duration = Duration::from_secs(3600);

/// Looks every `loop_interval` until `shutdown`.
pub(super) async fn run(
    master: Arc<Publishing>,
    mut presence: mpsc::Receiver<Presence>,
    shutdown: impl Future<Output = ()>,
) {
    let mut ticks = interval(master.options.loop_interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rotated = Instant::now();
    let mut present = Vec::new();
    let mut cleanings = interval(CLEANING);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                look(&master, &mut rotated);
                look_who_is_there(&master, &mut present);
            }
            _ = cleanings.tick() => clean_jobs(&master),
            Some(change) = presence.recv() => tell(&master, &change),
            () = &mut shutdown => return,
        }
    }
}

/// Replaces the shared key if somebody asked for it, or 3006 would by now.
fn look(master: &Publishing, rotated: &mut Instant) {
    let options = &master.options;
    let asked = match dropfile::take(&options.cachedir, &options.id, options.compat()) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::warn!(%error, "cannot look for a request to replace the shared key");
            false
        }
    };
    let session = options.channel.publish_session;
    let is_old = !session.is_zero() && rotated.elapsed() > session;
    let is_due = is_old && options.compat().series() == Series::S3006;
    if !asked && !is_due {
        return;
    }
    match master.channel.rotate() {
        Ok(()) => {
            *rotated = Instant::now();
            master.fire(events::ROTATE, events::rotated());
            if options.ping_on_rotate {
                master.ping_all();
            }
        }
        Err(error) => tracing::error!(%error, "shared key not replaced"),
    }
}

/// Removes old jobs, now and then: a walk over all of them.
fn clean_jobs(master: &Arc<Publishing>) {
    let jobs = master.jobs.clone();
    tokio::task::spawn_blocking(move || {
        let removed = jobs.clean(SystemTime::now());
        if removed > 0 {
            tracing::debug!(removed, "old jobs removed");
        }
    });
}

/// Over zeromq nobody says who comes and goes: it is looked for.
fn look_who_is_there(master: &Publishing, before: &mut Vec<MinionId>) {
    if !master.options.presence_events || master.options.transport != Transport::ZeroMq {
        return;
    }
    let now = master.present();
    let (new, lost) = connected::changes(before, &now);
    if !new.is_empty() || !lost.is_empty() {
        master.fire(
            events::PRESENCE_CHANGE,
            events::presence_change(&new, &lost),
        );
    }
    master.fire(events::PRESENCE_PRESENT, events::presence_present(&now));
    *before = now;
}

fn tell(master: &Publishing, change: &Presence) {
    if !master.options.presence_events {
        return;
    }
    let present = master.present();
    let (new, lost): (&[MinionId], &[MinionId]) = match change {
        Presence::Identified(id) => (std::slice::from_ref(id), &[]),
        Presence::Gone(id) => (&[], std::slice::from_ref(id)),
    };
    master.fire(events::PRESENCE_CHANGE, events::presence_change(new, lost));
    master.fire(events::PRESENCE_PRESENT, events::presence_present(&present));
}
