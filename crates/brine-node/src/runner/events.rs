//! The events of a runner call: `salt/run/<jid>/new` and `/ret`.
//!
//! Facts: these events as Salt 3008.3 and 3006.28 fire them.

use std::sync::Arc;

use brine_bus::client::PublishError;
use brine_config::Arguments;
use brine_wire::{Map, Value};

use super::operator::Operator;

/// A call of a runner function.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerCall {
    /// The function, such as `jobs.active`.
    pub fun: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// Who calls, as events show it.
    pub user: String,
    /// The id of the job in the call's events.
    pub jid: String,
}

/// A runner call whose events are fired.
pub struct RunnerEvents<'a, O> {
    operator: &'a mut O,
    call: RunnerCall,
    /// The data of the `new` event, stamped: the `ret` event repeats them.
    announced: Map,
}

impl<'a, O: Operator> RunnerEvents<'a, O> {
    /// A call of which nothing was fired yet.
    #[must_use]
    pub fn new(operator: &'a mut O, call: RunnerCall) -> Self {
        Self {
            operator,
            call,
            announced: Map::new(),
        }
    }

    /// What the function works with.
    pub(super) const fn operator(&self) -> &O {
        self.operator
    }

    /// Fires the event that the function starts.
    pub async fn started(&mut self) {
        let mut data = Map::new();
        data.insert("fun", format!("runner.{}", self.call.fun));
        data.insert("jid", self.call.jid.as_str());
        data.insert("user", self.call.user.as_str());
        data.insert("fun_args", self.fun_args(&Map::new()));
        self.announced = self.fire_own("new", data).await;
    }

    /// Records the call in the job cache and fires the event of the result. Only a failure has a `retcode`.
    pub async fn returned(&mut self, value: Value, success: bool, retcode: Option<i64>) {
        let mut data = std::mem::take(&mut self.announced);
        data.insert("fun_args", self.fun_args(&Map::new()));
        data.insert("return", value);
        data.insert("success", success);
        if let Some(retcode) = retcode {
            data.insert("retcode", retcode);
        }
        // Before the event, as in Salt: whoever sees it can look the job up.
        let (jobs, recorded) = (Arc::clone(self.operator.function_jobs()), data.clone());
        let recorded = tokio::task::spawn_blocking(move || jobs.record(&recorded));
        let _ = recorded.await; // the runtime ends
        self.fire_own("ret", data).await;
    }

    /// Fires the event of a function that was not called.
    pub async fn refused(&mut self, why: &str) {
        const REFUSED: i64 = 254;
        let mut data = Map::new();
        data.insert("success", false);
        data.insert("return", why);
        data.insert("retcode", REFUSED);
        data.insert("fun", self.call.fun.as_str());
        let mark = [("__kwarg__", true)].into_iter().collect();
        data.insert("fun_args", self.fun_args(&mark));
        data.insert("jid", self.call.jid.as_str());
        self.fire_own("ret", data).await;
    }

    /// Fires an event for the function itself.
    pub(super) async fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), PublishError> {
        let before = Value::from(data.clone());
        self.operator.fire(tag, data).await?;
        // In Salt the arguments hold the very mapping that was stamped.
        let arguments = &mut self.call.arguments;
        let positional = arguments.positional.iter_mut();
        for argument in positional.chain(arguments.keyword.values_mut()) {
            if !data.is_empty() && *argument == before {
                *argument = data.clone().into();
            }
        }
        Ok(())
    }

    /// The arguments as events show them: positional ones, then one mapping of the others.
    fn fun_args(&self, mark: &Map) -> Vec<Value> {
        let arguments = &self.call.arguments;
        let mut all = arguments.positional.clone();
        if !arguments.keyword.is_empty() {
            let pairs = mark.iter().chain(arguments.keyword.iter());
            all.push(Value::Map(pairs.cloned().collect()));
        }
        all
    }

    /// Fires one of the events above; the data as fired. Without a bus nobody could read them.
    async fn fire_own(&mut self, what: &str, mut data: Map) -> Map {
        let tag = format!("salt/run/{}/{what}", self.call.jid);
        if let Err(error) = self.operator.fire(&tag, &mut data).await {
            tracing::debug!(%tag, "{error}");
        }
        data
    }
}
