//! Jobs that programs on the master's machine request over its bus: `brine/publish/<number>`, answered by
//! `brine/publish/<number>/ret`.
//!
//! Only the master's own user can write to the bus's UNIX sockets, so no key is needed; the load is that of
//! Salt's clear `publish`. Under `ipc_mode: tcp` every user can write to it, and requests are refused.
//! Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_bus::client::EventRef;
use brine_log::EventCursor;
use brine_wire::network::job::ids;
use brine_wire::network::{Jid, field};
use brine_wire::{Map, Value};

use super::access::Caller;
use super::context::Context;
use crate::job_request::JobRequest;
use crate::node_bus;

const PUBLISH: &str = "brine/publish/";

/// Reads the master's bus for such requests, for ever.
pub(super) async fn follow_bus(master: Arc<Context>, events: EventCursor) {
    let is_request = |tag: &[u8]| tag.starts_with(PUBLISH.as_bytes());
    node_bus::serve_requests(events, is_request, |event| take(&master, event)).await;
}

fn take(master: &Context, event: EventRef<'_>) {
    let Some(number) = event.tag().strip_prefix(PUBLISH) else {
        return;
    };
    // Skip our own answers, which go over the same bus.
    if number.contains('/') {
        return;
    }
    let answer = match event.decode() {
        _ if master.options.bus_is_open_to_all => {
            refusal("AuthorizationError", node_bus::OPEN_TO_EVERYBODY)
        }
        Ok(Value::Map(load)) => publish(master, &load),
        _ => refusal(
            "SaltInvocationError",
            "the load of a publish must be a mapping",
        ),
    };
    master.fire(&format!("{PUBLISH}{number}/ret"), answer);
}

fn publish(master: &Context, load: &Map) -> Map {
    let Some(user) = field::text(load, "user") else {
        return refusal(
            "SaltInvocationError",
            "the load of a publish needs a \"user\"",
        );
    };
    let Some(request) = JobRequest::from_load(load) else {
        return refusal(
            "SaltInvocationError",
            "the load of a publish needs \"fun\" and \"tgt\"",
        );
    };
    let caller = Caller::unrestricted(user.to_owned());
    match master.publish_for(&request, &caller) {
        Ok(published) => {
            let jid = published.jid.as_ref().map(Jid::as_str);
            let mut answer = Map::new();
            answer.insert("jid", jid.map_or(Value::Nil, Value::from));
            answer.insert("minions", ids(&published.minions));
            answer.insert("missing", ids(&published.missing));
            answer
        }
        Err(error) => refusal("AuthorizationError", &error.to_string()),
    }
}

fn refusal(name: &str, message: &str) -> Map {
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    [("error", error)].into_iter().collect()
}
