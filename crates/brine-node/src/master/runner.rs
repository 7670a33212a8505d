//! Runner functions that local clients have the master run: reads the request, starts the function and answers
//! where its events will be. Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_wire::network::{Jid, field};
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value};

use super::clear;
use super::context::Context;
use crate::node_bus::since_epoch;

/// A call of a runner function.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerCall {
    /// The function, such as `jobs.active`.
    pub fun: String,
    /// Its arguments, by name alone.
    pub kwargs: Map,
    /// Who asked.
    pub user: String,
    /// The id of the job that its events tell of.
    pub jid: String,
}

/// Runs a runner function to its end, events included. Called where it may wait.
pub type Runners = Arc<dyn Fn(RunnerCall) + Send + Sync>;

/// Answers a clear `runner` request and starts the function.
pub(super) fn answer(master: &Context, load: &Map, user: &str) -> Value {
    let Some(runners) = master.runners.clone() else {
        return clear::refused(load);
    };
    let (call, answer) = read(load, user.to_owned());
    tokio::task::spawn_blocking(move || runners(call));
    answer
}

/// The call in a load, and the answer to it.
fn read(load: &Map, user: String) -> (RunnerCall, Value) {
    let jid = Jid::at(since_epoch());
    let call = RunnerCall {
        fun: field::text(load, "fun").unwrap_or_default().to_owned(),
        kwargs: load
            .get("kwarg")
            .and_then(Value::as_map)
            .cloned()
            .unwrap_or_default(),
        user,
        jid: jid.as_str().to_owned(),
    };
    let tag = tagify(["run", jid.as_str()], "", SALT);
    let answer: Map = [("tag", tag.as_str()), ("jid", jid.as_str())]
        .into_iter()
        .collect();
    (call, answer.into())
}
