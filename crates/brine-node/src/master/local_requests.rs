//! Jobs that programs on the master's machine ask for over its bus: `brine/publish/<number>`, answered by
//! `brine/publish/<number>/ret`.
//!
//! Who may write to the bus is the master's own user, so that no key is asked for; the load is that of
//! Salt's clear `publish`. Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_bus::client::EventRef;
use brine_log::EventCursor;
use brine_wire::network::field;
use brine_wire::{Map, Value};

use super::publish::Publishing;
use crate::node_bus;

const PUBLISH: &str = "brine/publish/";

/// Reads the master's bus for what is meant for the master, for ever.
pub(super) async fn follow_bus(master: Arc<Publishing>, events: EventCursor) {
    let wanted = |tag: &[u8]| tag.starts_with(PUBLISH.as_bytes());
    node_bus::serve_requests(events, wanted, |event| take(&master, event)).await;
}

fn take(master: &Publishing, event: EventRef<'_>) {
    let Some(number) = event.tag().strip_prefix(PUBLISH) else {
        return;
    };
    // The answers go over the same bus.
    if number.contains('/') {
        return;
    }
    let answer = match event.decode() {
        Ok(Value::Map(load)) => publish(master, &load),
        _ => refusal("SaltInvocationError", "expected the load of a publish"),
    };
    master.fire(&format!("{PUBLISH}{number}/ret"), answer);
}

fn publish(master: &Publishing, load: &Map) -> Map {
    let Some(user) = field::text(load, "user") else {
        return refusal("SaltInvocationError", "expected a user, found none");
    };
    let mut load = load.clone();
    // The bus's own mark is no part of the job.
    load.remove("_stamp");
    let reply = master.publish_as(&load, user);
    let answer = reply.as_map().and_then(|reply| reply.get("load"));
    let Some(answer) = answer.and_then(Value::as_map) else {
        return refusal("SaltInvocationError", "expected a fun and a tgt");
    };
    ["jid", "minions", "missing"]
        .into_iter()
        .map(|key| (key, answer.get(key).cloned().unwrap_or(Value::Nil)))
        .collect()
}

fn refusal(name: &str, message: &str) -> Map {
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    [("error", error)].into_iter().collect()
}
