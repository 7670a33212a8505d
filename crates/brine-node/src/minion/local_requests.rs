//! Requests to the minion from local programs and from its own functions.
//!
//! Programs fire the same events on the minion's bus as on Salt's: `fire_master` sends an event to the master,
//! `__master_req_channel_payload/…` a request. Under `ipc_mode: tcp`, where every user of the machine can write to
//! the bus, the latter is refused. Functions run for callers over the local socket ([`run_call`]), where the kernel
//! says who calls; no event runs a function. Facts: `docs/protocol/ipc.md` §8, `docs/protocol/network.md` §9.1.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brine_bus::client::EventRef;
use brine_log::EventCursor;
use brine_wire::event::FIRE_MASTER;
use brine_wire::network::{Jid, field, minion_event};
use brine_wire::{Map, Value};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use super::Node;
use super::beacons_and_schedule::{self, MANAGE_BEACONS, MANAGE_SCHEDULE};
use super::forward::Item;
use super::standing::Standing;
use crate::call::{LogRecord, wanted_log};
use crate::functions::{Answer, Call, HostError, HostRequest, Outcome};
use crate::node_bus::{self, since_epoch};

/// How Salt's own child processes send requests.
const REQUEST: &str = "__master_req_channel_payload/";
const REQUEST_RETURN: &str = "__master_req_channel_return/";
/// What functions fire to send the grains to the masters again, or to fetch the minion's pillar again.
const REFRESHES: [&str; 2] = ["pillar_refresh", "grains_refresh"];
const REFRESHED: &str = "/salt/minion/minion_pillar_refresh_complete";
/// What functions fire to have modules loaded again: ours reload by themselves.
const MODULE_REFRESH: &str = "module_refresh";
const MODULES_REFRESHED: &str = "/salt/minion/minion_mod_refresh_complete";
/// The functions that send the master an event; a local caller is told whether the master has it.
const SENDING: [&str; 2] = ["event.send", "event.fire_master"];
/// Python's number of that log level.
const WARNING: i64 = 30;
/// How long a function waits for that.
const REFRESHED_WITHIN: Duration = Duration::from_secs(5);

/// Reads requests from the minion's bus, for ever.
pub(super) async fn follow_bus(node: Arc<Node>, events: EventCursor) {
    node_bus::serve_requests(events, is_for_the_minion, |event| take(&node, event)).await;
}

fn is_for_the_minion(tag: &[u8]) -> bool {
    let own = [FIRE_MASTER, MANAGE_BEACONS, MANAGE_SCHEDULE, MODULE_REFRESH];
    let mut own = own.into_iter().chain(REFRESHES);
    own.any(|own| own.as_bytes() == tag) || tag.starts_with(REQUEST.as_bytes())
}

fn take(node: &Arc<Node>, event: EventRef<'_>) {
    let Ok(Value::Map(data)) = event.decode() else {
        return;
    };
    match event.tag() {
        FIRE_MASTER => send_up(node, &data),
        request @ (MANAGE_BEACONS | MANAGE_SCHEDULE) => {
            if let Some((tag, answer)) = beacons_and_schedule::answer(request, &data) {
                node.fire(&tag, answer);
            }
        }
        MODULE_REFRESH => {
            if data.get("notify").is_some_and(Value::is_true) {
                node.fire(MODULES_REFRESHED, Map::from_iter([("complete", true)]));
            }
        }
        tag if REFRESHES.contains(&tag) => node.refreshes.wanted.notify_one(),
        tag => payload(node, tag, data),
    }
}

/// `__master_req_channel_payload/…`
fn payload(node: &Arc<Node>, tag: &str, data: Map) {
    if let Some(rest) = tag.strip_prefix(REQUEST) {
        let uuid = rest.split('/').next().unwrap_or_default().to_owned();
        if node.options.bus_is_open_to_all {
            let refusal = Map::from_iter([("error", node_bus::OPEN_TO_EVERYBODY)]);
            return node.fire(&format!("{REQUEST_RETURN}{uuid}"), refusal);
        }
        node.tasks.spawn(request(node.clone(), uuid, data));
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
        (_, None) => return tracing::warn!("fire_master without a tag or events ignored"),
    }
    if !node.send_up(&load) {
        tracing::error!("event lost: the queue for the master is full");
    }
}

/// Sends a request to the master and fires the answer on the minion's bus.
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

/// Runs a function for a local program: `fun`, `arg`, `kwarg`, `jid`, `log_level` (Python's number) for what its module
/// logs, and `return` if the master is to have the result too.
pub(super) async fn run_call(node: &Node, data: &Map) -> Map {
    let jid = field::text(data, "jid")
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
    let fun = field::text(data, "fun").unwrap_or_default().to_owned();
    let mut about: Map = [
        ("fun", fun.as_str()),
        ("jid", jid.as_str()),
        ("tgt", "salt-call"),
    ]
    .into_iter()
    .collect();
    about.insert("pid", i64::from(std::process::id()));
    node.jobs.begins(&jid, about);
    let log = wanted_log(data);
    let mut outcome = node
        .functions
        .run(Call {
            fun: fun.clone(),
            args: list("arg"),
            kwargs: map("kwarg"),
            publication: map("pub"),
            jid: jid.clone(),
            master: node.connected_master().map(|master| master.name()),
            log: log.clone(),
        })
        .await;
    node.jobs.ends(&jid);
    let notice = match SENDING.contains(&fun.as_str()) {
        true => after_sending(node, &mut outcome).await,
        false => None,
    };
    if data.get("return").is_some_and(Value::is_true) {
        let queued = node.send_up(&outcome.call_return(&node.options.id, &fun, list("fun_args")));
        if !queued {
            tracing::error!(fun, "return lost: the queue for the master is full");
        }
    }
    let mut answer = answer(outcome, &jid);
    if let Some(log) = log {
        let mut records = log.take();
        if log.level() <= WARNING {
            records.extend(notice.map(|notice| LogRecord {
                level: WARNING,
                text: notice.to_owned(),
            }));
        }
        let records = records.iter().map(LogRecord::to_value);
        answer.insert("log", records.collect::<Vec<_>>());
    }
    answer
}

/// What there is to say of an event that a function has just queued: a master that is connected takes it at once, or
/// says what it has against the minion's key. Then the function's True is none.
async fn after_sending(node: &Node, outcome: &mut Outcome) -> Option<&'static str> {
    if outcome.ret != Value::Bool(true) {
        return node.standings.best().notice();
    }
    let is_taken = node.all_sent().await;
    match node.standings.best() {
        Standing::Rejected => {
            outcome.ret = Value::Bool(false);
            Some(
                "not sent: the master has rejected this minion's key; this event is kept, and goes if the key is \
                 accepted again",
            )
        }
        Standing::Good if !is_taken => Some("kept for the master, which has not taken it yet"),
        standing => standing.notice(),
    }
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

/// Requests to refresh the pillar: one at a time, however many events ask for it.
#[derive(Default)]
pub(super) struct Refreshes {
    wanted: Notify,
    /// The functions that wait here. Those of Salt's wait for the event.
    waiting: Mutex<Vec<Answer<()>>>,
}

impl Refreshes {
    fn waiting(&self) -> MutexGuard<'_, Vec<Answer<()>>> {
        // A list that is only pushed to and taken is whole even after a panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refreshes the pillar whenever an event asks for it, for ever.
pub(super) async fn serve_refreshes(node: Arc<Node>) {
    loop {
        node.refreshes.wanted.notified().await;
        // Whoever asks from here on is served by the next refresh.
        let waiting = std::mem::take(&mut *node.refreshes.waiting());
        // So that a target by a new grain selects the minion when the function has returned.
        let refreshed = timeout(REFRESHED_WITHIN, refresh_pillar(&node)).await;
        let data = Map::from_iter([("complete", refreshed.is_ok())]);
        node.fire(REFRESHED, data);
        for answer in waiting {
            let _ = answer.send(Ok(()));
        }
    }
}

/// Takes a fresh pillar from every master, which gets to know the minion's grains by it.
async fn refresh_pillar(node: &Node) {
    for client in node.masters() {
        let grains = Map::clone(&node.functions.grains());
        match client.pillar(grains).await {
            Ok(pillar) => node.functions.set_pillar(pillar),
            Err(error) => tracing::warn!(master = %client.master().host, "no new pillar: {error}"),
        }
    }
}

/// Answers requests of the minion's functions.
pub(super) async fn serve_functions(node: Arc<Node>, mut requests: mpsc::Receiver<HostRequest>) {
    while let Some(request) = requests.recv().await {
        match request {
            HostRequest::Fire { tag, data, answer } => {
                if REFRESHES.contains(&tag.as_str()) {
                    node.refreshes.waiting().push(answer);
                    node.fire(&tag, data);
                } else {
                    let fired = node.bus.fire(&tag, data).map(drop).map_err(HostError::from);
                    let _ = answer.send(fired);
                }
            }
            HostRequest::SendEvent { answer, .. }
                if node.standings.best() == Standing::Rejected =>
            {
                let _ = answer.send(Err(HostError::NoMaster {
                    why: "the master has rejected this minion's key".to_owned(),
                }));
            }
            HostRequest::SendEvent { load, answer } => {
                let sent = node.send_up(&with_id(&node, load));
                let full = || HostError::NoMaster {
                    why: "the queue for the master is full".to_owned(),
                };
                let _ = answer.send(sent.then_some(()).ok_or_else(full));
            }
            HostRequest::Master { load, answer } => {
                let asking = node.clone();
                node.tasks.spawn(async move {
                    let _ = answer.send(ask(&asking, load).await);
                });
            }
            HostRequest::Running { answer } => {
                let _ = answer.send(Ok(node.jobs.known()));
            }
            HostRequest::Kill { jid, answer } => {
                let ended = node.jobs.remove(&jid) || node.functions.cancel(&jid);
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
    let Some(client) = node.any_master() else {
        return Err(no_master("the minion is not connected to any".to_owned()));
    };
    client
        .request(load)
        .await
        .map_err(|error| no_master(error.to_string()))
}
