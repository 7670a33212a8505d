//! What a master does periodically: replaces the shared key, fires presence events, removes old jobs.
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

use super::context::Context;
use crate::connected;
use crate::options::Transport;

/// How often old jobs are removed.
const CLEANING: Duration = Duration::from_secs(3600);

/// Works every `loop_interval` until `shutdown`.
pub(super) async fn run(
    master: Arc<Context>,
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
                rotate_if_due(&master, &mut rotated);
                compare_presence(&master, &mut present);
            }
            _ = cleanings.tick() => clean_jobs(&master),
            Some(change) = presence.recv() => fire_presence(&master, &change),
            () = &mut shutdown => return,
        }
    }
}

/// Replaces the shared key if a request for it was dropped in `cachedir`, or if it is as old as 3006 lets it become.
fn rotate_if_due(master: &Context, rotated: &mut Instant) {
    if rotate_if_requested(master) {
        *rotated = Instant::now();
        return;
    }
    let options = &master.options;
    let session = options.channel.publish_session;
    let is_old = !session.is_zero() && rotated.elapsed() > session;
    let is_due = is_old && options.compat().series() == Series::S3006;
    if is_due && rotate(master) {
        *rotated = Instant::now();
    }
}

/// Replaces the shared key if a request for it was dropped in `cachedir`, as when a key was deleted; whether it was.
/// Called before each publish too, so that a minion without a key reads no further one.
pub(super) fn rotate_if_requested(master: &Context) -> bool {
    let options = &master.options;
    match dropfile::take(&options.cachedir, &options.id, options.compat()) {
        Ok(requested) => requested && rotate(master),
        Err(error) => {
            tracing::warn!(%error, "cannot look for a request to replace the shared key");
            false
        }
    }
}

/// Replaces the shared key, and says so on the bus; whether it was replaced.
pub(super) fn rotate(master: &Context) -> bool {
    if let Err(error) = master.channel.rotate() {
        tracing::error!(%error, "cannot replace the shared key");
        return false;
    }
    master.fire(events::ROTATE, events::rotated());
    if master.options.ping_on_rotate {
        master.ping_all();
    }
    true
}

/// Removes old jobs, on a thread that may wait: it walks over all of them.
fn clean_jobs(master: &Arc<Context>) {
    let jobs = master.jobs.clone();
    tokio::task::spawn_blocking(move || {
        let removed = jobs.clean(SystemTime::now());
        if removed > 0 {
            tracing::debug!(removed, "old jobs removed");
        }
    });
}

/// Fires presence events where connections do not say who connects: compares with the last time.
fn compare_presence(master: &Context, before: &mut Vec<MinionId>) {
    if !master.options.presence_events || master.options.transport == Transport::Tcp {
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
    let everywhere = master.present_anywhere();
    master.fire(
        events::PRESENCE_PRESENT,
        events::presence_present(&everywhere),
    );
    *before = now;
}

fn fire_presence(master: &Context, change: &Presence) {
    if let Presence::Identified(id) = change {
        master.audit_minion(id);
    }
    if !master.options.presence_events {
        return;
    }
    let present = master.present_anywhere();
    let (new, lost): (&[MinionId], &[MinionId]) = match change {
        Presence::Identified(id) => (std::slice::from_ref(id), &[]),
        Presence::Gone(id) => (&[], std::slice::from_ref(id)),
    };
    master.fire(events::PRESENCE_CHANGE, events::presence_change(new, lost));
    master.fire(events::PRESENCE_PRESENT, events::presence_present(&present));
}
