//! Events that a minion sends about itself: that it has started, and its pings.
//!
//! Facts: `docs/protocol/network.md` §11.

use brine_wire::network::{events, minion_event};
use brine_wire::{Map, Value};

use super::Node;
use super::master_client::{MasterClient, RequestError};

/// Sends the start events, ahead of everything that waits in the queue. One that the master refuses is given up.
///
/// # Errors
/// The master did not take one. Reactors wait for it, so it must come: the minion has to connect again.
pub(super) async fn send_start_events(
    node: &Node,
    client: &MasterClient,
) -> Result<(), RequestError> {
    let id = &node.options.id;
    let text = format!("Minion {id} started at {}", asctime());
    let mut tags = vec![events::start_tag(id)];
    if node.options.enable_legacy_startup_events {
        tags.insert(0, "minion_start".to_owned());
    }
    for tag in tags {
        let mut load = event(node, &tag, &text);
        if !node.options.start_event_grains.is_empty() {
            let wanted = &node.options.start_event_grains;
            let grains = node.functions.grains();
            let shown = wanted
                .iter()
                .filter_map(|name| Some((name.as_str(), grains.get(name)?.clone())));
            load.insert("grains", shown.collect::<Map>());
        }
        match client.request(load).await {
            Ok(_) => {}
            Err(error) if matches!(error, RequestError::Reply(_)) || error.is_too_large() => {
                tracing::warn!(%error, tag, "the master refuses the start event");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The load of an event whose data is `text`.
pub(super) fn event(node: &Node, tag: &str, text: &str) -> Map {
    let mut load: Map = [("id", node.options.id.as_str()), ("cmd", minion_event::CMD)]
        .into_iter()
        .collect();
    load.insert("pretag", Value::Nil);
    load.insert("data", text);
    load.insert("tag", tag);
    load
}

/// The time as C's `asctime` writes it.
fn asctime() -> String {
    crate::clock::asctime(crate::node_bus::since_epoch())
}
