//! Runner functions that local clients have the master run: who asked for what. How one is run is the program's,
//! which has them for `salt-run` too. Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_wire::network::{Jid, field};
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value};

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

/// The call that a load asks for, and the answer to it: where its events will be.
pub(super) fn asked(load: &Map, user: String) -> (RunnerCall, Value) {
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
