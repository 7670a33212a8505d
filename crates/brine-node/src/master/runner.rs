//! Runs runner functions in the master: for clear `runner` requests, and for the rest of the program.
//! Facts: `docs/protocol/network.md` §12.

use std::sync::Arc;

use brine_config::Arguments;
use brine_wire::network::{Jid, field};
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value};
use tokio::sync::oneshot;

use super::access::Caller;
use super::context::Context;
use super::handle::MasterHandle;
use super::operator::OwnOperator;
use crate::node_bus::since_epoch;
use crate::runner::{self, RunnerCall, RunnerError, RunnerReturn};

/// Answers a clear `runner` request of the master's own user, and starts the function.
pub(super) fn answer(master: &Arc<Context>, load: &Map, user: &str) -> Value {
    let (fun, arguments) = called(load);
    start(
        master,
        fun,
        arguments,
        &Caller::unrestricted(user.to_owned()),
    )
}

/// The function and the arguments in a load: Salt's client wraps them in `kwarg`.
pub(super) fn called(load: &Map) -> (String, Arguments) {
    let fun = field::text(load, "fun").unwrap_or_default().to_owned();
    let outer = load.get("kwarg").and_then(Value::as_map);
    let outer = outer.cloned().unwrap_or_default();
    let inner = outer.get("kwarg").and_then(Value::as_map);
    let arguments = match (inner, outer.get("arg").and_then(Value::as_array)) {
        (Some(keyword), Some(positional)) if outer.len() == 2 => Arguments {
            positional: positional.to_vec(),
            keyword: keyword.clone(),
        },
        _ => Arguments {
            positional: Vec::new(),
            keyword: outer,
        },
    };
    (fun, arguments)
}

/// Starts a function for a caller who may call it; the answer says where its events will be.
pub(super) fn start(
    master: &Arc<Context>,
    fun: String,
    arguments: Arguments,
    by: &Caller,
) -> Value {
    let call = RunnerCall {
        fun,
        arguments,
        user: by.user().to_owned(),
        jid: Jid::at(since_epoch()).as_str().to_owned(),
    };
    let tag = tagify(["run", call.jid.as_str()], "", SALT);
    let answer = [("tag", tag.as_str()), ("jid", call.jid.as_str())];
    let answer: Map = answer.into_iter().collect();
    // What it publishes to minions is the function's, which is permitted.
    let mut operator = OwnOperator::new(
        MasterHandle::new(master.clone()),
        Caller::unrestricted(by.user().to_owned()),
    );
    master.spawn(async move {
        let fun = call.fun.clone();
        if let Err(error) = runner::run(&mut operator, call).await {
            tracing::error!("runner {fun}: {error}");
        }
    });
    answer.into()
}

impl MasterHandle {
    /// Runs a runner function to its end, in-process, and fires its events. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub async fn runner(
        &self,
        fun: &str,
        arguments: Arguments,
        by: &Caller,
    ) -> Result<RunnerReturn, RunnerError> {
        self.run_runner(fun, arguments, by, Jid::at(since_epoch()))
            .await
    }

    /// Runs a runner function as [`Self::runner`] does, under a job id of the caller's choice.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub async fn run_runner(
        &self,
        fun: &str,
        arguments: Arguments,
        by: &Caller,
        jid: Jid,
    ) -> Result<RunnerReturn, RunnerError> {
        by.may_call("runner", fun, &arguments.positional, &arguments.keyword)
            .map_err(|_| RunnerError::NotPermitted)?;
        let call = RunnerCall {
            fun: fun.to_owned(),
            arguments,
            user: by.user.clone(),
            jid: jid.as_str().to_owned(),
        };
        // What it publishes to minions is the function's, which is permitted.
        let mut operator = OwnOperator::new(self.clone(), Caller::unrestricted(by.user.clone()));
        let (done, result) = oneshot::channel();
        self.context.spawn(async move {
            // The caller may have stopped waiting.
            let _ = done.send(runner::run(&mut operator, call).await);
        });
        result.await.unwrap_or(Err(RunnerError::ShuttingDown))
    }

    /// Starts a runner function and returns at once: the `tag` and `jid` of its events.
    ///
    /// # Errors
    /// [`RunnerError`].
    pub fn start_runner(
        &self,
        fun: &str,
        arguments: Arguments,
        by: &Caller,
    ) -> Result<Value, RunnerError> {
        by.may_call("runner", fun, &arguments.positional, &arguments.keyword)
            .map_err(|_| RunnerError::NotPermitted)?;
        Ok(start(&self.context, fun.to_owned(), arguments, by))
    }
}
