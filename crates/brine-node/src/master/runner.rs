//! Answers clear `runner` requests: starts the function and says where its events will be.
//! Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_config::Arguments;
use brine_wire::network::{Jid, field};
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value};

use super::access::Caller;
use super::context::Context;
use super::handle::MasterHandle;
use super::operator::OwnOperator;
use crate::node_bus::since_epoch;
use crate::runner::{self, RunnerCall};

/// Answers a clear `runner` request of the master's own user, and starts the function.
pub(super) fn answer(master: &Arc<Context>, load: &Map, user: &str) -> Value {
    let kwargs = load.get("kwarg").and_then(Value::as_map);
    let call = RunnerCall {
        fun: field::text(load, "fun").unwrap_or_default().to_owned(),
        arguments: Arguments {
            positional: Vec::new(),
            keyword: kwargs.cloned().unwrap_or_default(),
        },
        user: user.to_owned(),
        jid: Jid::at(since_epoch()).as_str().to_owned(),
    };
    let tag = tagify(["run", call.jid.as_str()], "", SALT);
    let answer = [("tag", tag.as_str()), ("jid", call.jid.as_str())];
    let answer: Map = answer.into_iter().collect();
    let mut operator = OwnOperator::new(
        MasterHandle::new(master.clone()),
        Caller::unrestricted(user.to_owned()),
    );
    master.spawn(async move {
        let fun = call.fun.clone();
        if let Err(error) = runner::run(&mut operator, call).await {
            tracing::error!("runner {fun}: {error}");
        }
    });
    answer.into()
}
