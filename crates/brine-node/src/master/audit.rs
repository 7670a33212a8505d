//! Audit events (`brine: {audit: true}`): who subscribed, who fired events reserved for the master, who changed which
//! key. Events that the tag policy refuses are reported in any case (`refusals`).
//!
//! The events' tags are below `brine/`, which no minion can fire. An API in a process of its own also makes its
//! users' audit events here, and fires them on the master's bus. docs/security.md lists them.

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
/// A user of the local socket or the HTTP API may not fire an event.
const REFUSED: &str = "brine/audit/refused";
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
            Noticed::Fired { peer, tag } => master.fire(FIRED, with_tag(who(peer), &tag)),
        }
    }
}

/// Starts the audit of a bus.
pub(super) fn begin(bus: &brine_bus::BusHandle) -> mpsc::Receiver<Noticed> {
    bus.audit(tag_policy::is_masters)
}

/// What a user of the local socket or the HTTP API does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// Begins to read events.
    Reads,
    /// Fires an event with this tag.
    Fires(&'a str),
    /// May not fire an event with this tag; without one, may fire none.
    IsRefused(Option<&'a str>),
}

/// The event of what a user does, if an audit reports it. `who` says which user.
#[must_use]
pub fn of_user(mut who: Map, act: Act<'_>) -> Option<(&'static str, Map)> {
    match act {
        Act::Reads => {
            who.insert("to", "bus");
            Some((SUBSCRIBED, who))
        }
        Act::Fires(tag) => tag_policy::is_masters(tag).then(|| (FIRED, with_tag(who, tag))),
        Act::IsRefused(Some(tag)) => Some((REFUSED, with_tag(who, tag))),
        Act::IsRefused(None) => Some((REFUSED, who)),
    }
}

impl Context {
    /// A user of the local socket or the HTTP API does something.
    pub(super) fn audit_user(&self, who: Map, act: Act<'_>) {
        if self.options.audit
            && let Some((tag, data)) = of_user(who, act)
        {
            self.fire(tag, data);
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

fn with_tag(mut who: Map, tag: &str) -> Map {
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
