//! What programs on the minion's machine, and functions in it, ask of the minion.
//!
//! Programs fire on the minion's bus: `fire_master` to send an event up, Salt's
//! `__master_req_channel_payload/…` to send a request up, and our `brine/call/…` to run a function here.
//! Facts: `docs/protocol/ipc.md` §8, `docs/protocol/network.md` §9.1.

use std::sync::Arc;

use brine_bus::client::EventRef;
use brine_wire::event::FIRE_MASTER;
use brine_wire::network::{Jid, field, minion_event};
use brine_wire::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::Node;
use super::forward::Item;
use crate::functions::{Call, HostError, HostRequest, Outcome};
use crate::node_bus::{self, since_epoch};

/// Salt's own way for its children to send requests.
const REQUEST: &str = "__master_req_channel_payload/";
const REQUEST_RETURN: &str = "__master_req_channel_return/";
/// Ours, to run a function in the minion.
const CALL: &str = "brine/call/";

/// Reads the minion's bus for what is meant for the minion, for ever.
pub(super) async fn follow_bus(node: Arc<Node>) {
    let events = node.bus.follow();
    node_bus::serve_requests(events, is_for_the_minion, |event| take(&node, event)).await;
}

fn is_for_the_minion(tag: &[u8]) -> bool {
    tag == FIRE_MASTER.as_bytes()
        || tag.starts_with(REQUEST.as_bytes())
        || tag.starts_with(CALL.as_bytes())
}

fn take(node: &Arc<Node>, event: EventRef<'_>) {
    let Ok(Value::Map(data)) = event.decode() else {
        return;
    };
    if event.tag() == FIRE_MASTER {
        send_up(node, &data);
    } else if let Some(rest) = event.tag().strip_prefix(REQUEST) {
        let uuid = rest.split('/').next().unwrap_or_default().to_owned();
        tokio::spawn(request(node.clone(), uuid, data));
    } else if let Some(uuid) = event.tag().strip_prefix(CALL)
        && !uuid.contains('/')
    {
        tokio::spawn(call(node.clone(), uuid.to_owned(), data));
    }
}

/// `fire_master`: one event, or a list of them.
fn send_up(node: &Node, data: &Map) {
    let mut load: Map = [("id", node.options.id.as_str()), ("cmd", minion_event::CMD)]
        .into_iter()
        .collect();
    load.insert("pretag", data.get("pretag").cloned().unwrap_or(Value::Nil));
    match (data.get("events"), field::text(data, "tag")) {
        (Some(events @ Value::Array(items)), _) if !items.is_empty() => {
            load.insert("events", events.clone())
        }
        (_, Some(tag)) => {
            let inner = data.get("data").filter(|data| data.is_true());
            load.insert("data", inner.cloned().unwrap_or_else(|| Map::new().into()));
            load.insert("tag", tag);
        }
        (_, None) => return tracing::warn!("fire_master: expected a tag or events, found neither"),
    }
    if !node.send_up(&load) {
        tracing::error!("event not sent: no room in the queue for the master");
    }
}

/// Sends a request up and fires its answer.
async fn request(node: Arc<Node>, uuid: String, load: Map) {
    let mut load = load;
    load.remove("_stamp");
    let (answer, answered) = oneshot::channel();
    let mut data = Map::new();
    let pushed = node
        .queues
        .first()
        .map(|queue| queue.push(Item::new(load).answered_to(answer)));
    match pushed {
        Some(Ok(())) => match answered.await {
            Ok(ret) => data.insert("ret", ret),
            Err(_) => data.insert("error", "the minion is ending"),
        },
        Some(Err(error)) => data.insert("error", error.to_string()),
        None => data.insert("error", "this minion has no master"),
    }
    node.fire(&format!("{REQUEST_RETURN}{uuid}"), data);
}

/// Runs a function for a local program and fires what came of it.
async fn call(node: Arc<Node>, uuid: String, data: Map) {
    let jid = field::text(&data, "jid")
        .map_or_else(|| Jid::at(since_epoch()).as_str().to_owned(), str::to_owned);
    let list = |key| match data.get(key) {
        Some(Value::Array(values)) => values.clone(),
        _ => Vec::new(),
    };
    let map = |key| {
        data.get(key)
            .and_then(Value::as_map)
            .cloned()
            .unwrap_or_default()
    };
    let fun = field::text(&data, "fun").unwrap_or_default().to_owned();
    let mut about: Map = [
        ("fun", fun.as_str()),
        ("jid", jid.as_str()),
        ("tgt", "salt-call"),
    ]
    .into_iter()
    .collect();
    about.insert("pid", i64::from(std::process::id()));
    node.jobs.begins(&jid, about);
    let outcome = node
        .functions
        .run(Call {
            fun: fun.clone(),
            args: list("arg"),
            kwargs: map("kwarg"),
            publication: map("pub"),
            jid: jid.clone(),
        })
        .await;
    node.jobs.ends(&jid);
    if data.get("return").is_some_and(Value::is_true) {
        let told = node.send_up(&outcome.call_return(&node.options.id, &fun, list("fun_args")));
        if !told {
            tracing::error!(fun, "return lost: no room in the queue for the master");
        }
    }
    node.fire(&format!("{CALL}{uuid}/ret"), answer(outcome, &jid));
}

fn answer(outcome: Outcome, jid: &str) -> Map {
    let mut data = Map::new();
    data.insert("return", outcome.ret);
    data.insert("retcode", outcome.retcode);
    data.insert("success", outcome.success);
    if let Some(out) = outcome.out {
        data.insert("out", out);
    }
    data.insert("jid", jid);
    data
}

/// Answers functions that ask their minion.
pub(super) async fn serve_functions(node: Arc<Node>, mut requests: mpsc::Receiver<HostRequest>) {
    while let Some(request) = requests.recv().await {
        match request {
            HostRequest::Fire { tag, data, answer } => {
                let _ = answer.send(node.bus.fire(&tag, data).map(drop).map_err(HostError::from));
            }
            HostRequest::SendEvent { load, answer } => {
                let sent = node.send_up(&with_id(&node, load));
                let full = || HostError::NoMaster {
                    why: "the queue for the master is full".to_owned(),
                };
                let _ = answer.send(sent.then_some(()).ok_or_else(full));
            }
            HostRequest::Master { load, answer } => {
                let node = node.clone();
                tokio::spawn(async move {
                    let _ = answer.send(ask(&node, load).await);
                });
            }
            HostRequest::Running { answer } => {
                let _ = answer.send(Ok(node.jobs.known()));
            }
            HostRequest::Kill { jid, answer } => {
                let ended = node.jobs.forget(&jid) || node.functions.cancel(&jid);
                let _ = answer.send(Ok(ended));
            }
        }
    }
}

/// The load of an event in Salt's order of keys: the id first.
fn with_id(node: &Node, load: Map) -> Map {
    let mut ordered: Map = [("id", node.options.id.as_str())].into_iter().collect();
    for (key, value) in load {
        ordered.insert(key, value);
    }
    ordered
}

async fn ask(node: &Node, load: Map) -> Result<Value, HostError> {
    let no_master = |why: String| HostError::NoMaster { why };
    let Some(link) = node.any_master() else {
        return Err(no_master("the minion is not in with any".to_owned()));
    };
    link.request(load)
        .await
        .map_err(|error| no_master(error.to_string()))
}
