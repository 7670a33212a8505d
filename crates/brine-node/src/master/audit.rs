//! Audit events (`brine: {audit: true}`): who subscribed, who fired what belongs to the master, which key changed by
//! whom. What the tag policy refuses minions is reported anyway (`refusals`).
//!
//! The events' tags are below `brine/`, which no minion can fire. docs/security.md lists them.

use std::future::Future;
use std::sync::Arc;

use brine_bus::{Noticed, Peer};
use brine_wire::Map;
use brine_wire::network::{MinionId, tag_policy};
use tokio::sync::mpsc;

use super::context::Context;

/// Somebody has subscribed: to the bus, or a minion to the publish port.
const SUBSCRIBED: &str = "brine/audit/subscribed";
/// A program on this machine has fired an event whose tag belongs to the master.
const FIRED: &str = "brine/audit/fired";
/// A minion's key has been accepted, rejected or deleted.
pub const KEY: &str = "brine/audit/key";

/// The longest tag that is repeated, in bytes.
const MAX_TAG: usize = 256;

/// Fires what the bus notices, until `shutdown`.
pub(super) async fn run(
    master: Arc<Context>,
    mut noticed: mpsc::Receiver<Noticed>,
    shutdown: impl Future<Output = ()>,
) {
    tokio::pin!(shutdown);
    loop {
        let next = tokio::select! {
            Some(next) = noticed.recv() => next,
            () = &mut shutdown => return,
        };
        match next {
            Noticed::Subscribed(peer) => {
                let mut data = who(peer);
                data.insert("to", "bus");
                master.fire(SUBSCRIBED, data);
            }
            Noticed::Fired { peer, tag } => master.fire(FIRED, fired(who(peer), &tag)),
        }
    }
}

/// Starts the audit of a bus.
pub(super) fn begin(bus: &brine_bus::BusHandle) -> mpsc::Receiver<Noticed> {
    bus.audit(tag_policy::is_masters)
}

impl Context {
    /// A user of the local socket or the HTTP API begins to read events.
    pub(super) fn audit_reader(&self, mut who: Map) {
        if self.options.audit {
            who.insert("to", "bus");
            self.fire(SUBSCRIBED, who);
        }
    }

    /// Such a user fires an event.
    pub(super) fn audit_fired(&self, who: Map, tag: &str) {
        if self.options.audit && tag_policy::is_masters(tag) {
            self.fire(FIRED, fired(who, tag));
        }
    }

    /// A minion has identified itself on the publish port.
    pub(super) fn audit_minion(&self, id: &MinionId) {
        if self.options.audit {
            let data = [("to", "publish port"), ("id", id.as_str())];
            self.fire(SUBSCRIBED, data.into_iter().collect());
        }
    }

    /// A key has changed: by a user, or by its own minion.
    pub(super) fn audit_key(&self, id: &str, act: &str, by: &str, user: &str) {
        if self.options.audit {
            self.fire(KEY, key_data(id, act, by, user));
        }
    }
}

/// The data of [`KEY`].
#[must_use]
pub fn key_data(id: &str, act: &str, by: &str, user: &str) -> Map {
    let data = [("id", id), ("act", act), ("by", by), ("user", user)];
    data.into_iter().collect()
}

fn fired(mut who: Map, tag: &str) -> Map {
    let end = (0..=tag.len().min(MAX_TAG)).rfind(|at| tag.is_char_boundary(*at));
    who.insert("tag", &tag[..end.unwrap_or(0)]);
    who
}

fn who(peer: Peer) -> Map {
    let mut data = Map::new();
    match peer {
        Peer::Process { pid, uid } => {
            data.insert("pid", pid);
            data.insert("uid", u64::from(uid));
        }
        Peer::Address(address) => data.insert("address", address.to_string()),
        Peer::Unknown => {}
    }
    data
}
