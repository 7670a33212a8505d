//! The statistics of a serving process: the parts of `GET /status`, and the values of metrics.
//!
//! They are collected when somebody reads them, off the bus's thread.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use brine_api::ApiState;
use brine_api::metrics::{HistoryFigures, MasterFigures, ReactorFigures};
use brine_bus::{BusHandle, BusStats, Peer};
use brine_log::history::{History, Status};
use brine_node::master::MasterHandle;
use brine_node::minion::MinionHandle;
use brine_reactor::Figures;
use brine_wire::{Map, Value};

use super::reactor::RunningReactor;
use crate::clock::{millis, utc_text};

/// Lets a state tell of a bus, its history and its master.
pub(crate) fn attach(
    state: &mut ApiState,
    bus: &BusHandle,
    history: Option<History>,
    master: Option<&MasterHandle>,
) {
    let handle = bus.clone();
    state
        .status
        .push(("bus", Arc::new(move || bus_status(&handle.stats()))));
    state.bus = Some(bus.clone());
    if let Some(history) = history {
        let (writer, log) = (history.clone(), Arc::clone(bus.log()));
        state.metrics.history = Some(Arc::new(move || {
            let status = writer.status();
            HistoryFigures {
                used_bytes: status.used_bytes,
                events: log.count(status.oldest..status.next),
                behind_events: log.count(status.next..log.stats().next),
                missing_events: status.missing,
                is_in_trouble: status.trouble.is_some(),
            }
        }));
        state.status.push((
            "history",
            Arc::new(move || history_status(&history.status())),
        ));
    }
    if let Some(master) = master {
        let handle = master.clone();
        state.metrics.master = Some(Arc::new(move || master_figures(&handle)));
        let handle = master.clone();
        state
            .status
            .push(("minions", Arc::new(move || minions_status(&handle))));
    }
}

/// Lets a state report what the masters say about a minion's key, and whether one is connected.
pub(crate) fn attach_minion(state: &mut ApiState, minion: MinionHandle) {
    let status = move || {
        let (standing, since) = minion.standing();
        let mut status = Map::from_iter([("key", standing.word())]);
        let since = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        if let Some(since) = since {
            status.insert("key_since", utc_text(millis(since).0));
        }
        status.insert("connected", minion.is_connected());
        status
    };
    state.status.push(("minion", Arc::new(status)));
}

/// Lets a state tell of a reactor.
pub(crate) fn attach_reactor(state: &mut ApiState, reactor: &RunningReactor) {
    let handle = reactor.handle.clone();
    state.status.push((
        "reactor",
        Arc::new(move || reactor_status(&handle.figures())),
    ));
    let handle = reactor.handle.clone();
    state.metrics.reactor = Some(Arc::new(move || {
        let Figures {
            rules,
            running,
            behind,
            counts,
        } = handle.figures();
        ReactorFigures {
            rules,
            running,
            lag_events: behind,
            events: counts.events,
            reactions: vec![
                ("done", counts.done),
                ("failed", counts.failed),
                ("uncertain", counts.uncertain),
            ],
            passed_over: vec![
                ("throttled", counts.throttled),
                ("too_old", counts.too_old),
                ("missed", counts.missed),
            ],
        }
    }));
}

/// What all rules together have done; `brine reactor ls` has each.
fn reactor_status(figures: &Figures) -> Map {
    let mut status = Map::new();
    status.insert("rules", figures.rules);
    status.insert("behind", figures.behind);
    status.insert("running", figures.running);
    for (name, count) in figures.counts.named() {
        status.insert(name, count);
    }
    status
}

fn master_figures(master: &MasterHandle) -> MasterFigures {
    let stats = master.stats();
    MasterFigures {
        requests: stats.requests.map(|(which, n)| (which.name(), n)).to_vec(),
        sign_ins: stats.sign_ins.map(|(which, n)| (which.name(), n)).to_vec(),
        jobs_published: stats.jobs_published,
        returns: stats.returns,
        minion_events: stats.minion_events,
        minion_events_refused: stats.minion_events_refused,
        connected_minions: master.connected().len(),
        keys: master.key_counts().to_vec(),
    }
}

/// Who is connected, and how many keys there are.
fn minions_status(master: &MasterHandle) -> Map {
    let mut status = Map::new();
    let connected = master.connected();
    let ids = connected.iter().map(|id| Value::from(id.as_str()));
    status.insert("connected", ids.collect::<Vec<_>>());
    for (state, count) in master.key_counts() {
        status.insert(state, Value::Int(count as i128));
    }
    status
}

/// Where the history is, the first event not yet in it, and what is wrong with it.
fn history_status(history: &Status) -> Map {
    let number = |number: u64| Value::Int(number.into());
    let mut status = Map::new();
    status.insert("directory", history.directory.display().to_string());
    status.insert("oldest", number(history.oldest.0));
    status.insert("next", number(history.next.0));
    status.insert("used_bytes", number(history.used_bytes));
    status.insert("missing_events", number(history.missing));
    let trouble = history.trouble.as_ref();
    let trouble = trouble.map(|trouble| Value::from(trouble.to_string()));
    status.insert("trouble", trouble.unwrap_or(Value::Nil));
    status
}

/// The subscribers of Salt's socket, and what the bus has counted.
fn bus_status(stats: &BusStats) -> Map {
    let number = |number: u64| Value::Int(number.into());
    let mut status = Map::new();
    status.insert("appended_events", number(stats.log.appended_events));
    status.insert("appended_bytes", number(stats.log.appended_bytes));
    status.insert("deliveries", number(stats.deliveries));
    status.insert("publishers", number(stats.publishers as u64));
    status.insert("refused_publishers", number(stats.refused_publishers));
    status.insert("malformed_events", number(stats.malformed_events));
    status.insert("overrun_subscribers", number(stats.overrun_subscribers));
    let subscribers = stats.subscribers.iter().map(|subscriber| {
        let mut entry = Map::new();
        if let Peer::Process { pid, uid } = subscriber.peer {
            entry.insert("pid", Value::Int(pid.into()));
            entry.insert("uid", Value::Int(uid.into()));
        } else {
            entry.insert("peer", subscriber.peer.to_string());
        }
        entry.insert("position", subscriber.position.to_string());
        entry.insert("lag", number(subscriber.lag.events));
        entry.insert("bytes_behind", number(subscriber.lag.bytes));
        entry.insert(
            "reads_from",
            format!("{:?}", subscriber.lag.reads_from).to_lowercase(),
        );
        Value::from(entry)
    });
    status.insert("subscribers", subscribers.collect::<Vec<_>>());
    status
}
