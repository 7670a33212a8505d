//! A runner call as a job: its id, and the events that tell of it.
//!
//! Facts: `salt/run/<jid>/new` and `/ret` as Salt 3008.3 and 3006.28 fire them.

use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_config::Arguments;
use brine_wire::{Map, Value};

use super::FIND_BUS_WITHIN;

/// A call that others can hear of.
#[derive(Debug)]
pub(super) struct Job {
    bus: Publisher,
    pub(super) jid: String,
    function: String,
    user: String,
    arguments: Arguments,
    /// The data of the `new` event, stamped: `ret` repeats them.
    announced: Map,
}

impl Job {
    pub(super) fn new(
        bus: Publisher,
        jid: String,
        function: &str,
        user: String,
        arguments: Arguments,
    ) -> Self {
        Self {
            bus,
            jid,
            function: function.to_owned(),
            user,
            arguments,
            announced: Map::new(),
        }
    }

    /// Tells that the call begins.
    pub(super) fn begins(&mut self) {
        let mut data = Map::new();
        data.insert("fun", format!("runner.{}", self.function));
        data.insert("jid", self.jid.as_str());
        data.insert("user", self.user.as_str());
        data.insert("fun_args", self.fun_args(&Map::new()));
        self.announced = self.tell("new", data);
    }

    /// Tells what came of the call. `retcode` is told only where there is one.
    pub(super) fn returns(&mut self, value: Value, success: bool, retcode: Option<i64>) {
        let mut data = std::mem::take(&mut self.announced);
        data.insert("fun_args", self.fun_args(&Map::new()));
        data.insert("return", value);
        data.insert("success", success);
        if let Some(retcode) = retcode {
            data.insert("retcode", retcode);
        }
        self.tell("ret", data);
    }

    /// Tells that the call did not come about.
    pub(super) fn is_refused(&mut self, why: &str) {
        const REFUSED: i64 = 254;
        let mut data = Map::new();
        data.insert("success", false);
        data.insert("return", why);
        data.insert("retcode", REFUSED);
        data.insert("fun", self.function.as_str());
        let mark = [("__kwarg__", true)].into_iter().collect();
        data.insert("fun_args", self.fun_args(&mark));
        data.insert("jid", self.jid.as_str());
        self.tell("ret", data);
    }

    /// Fires an event of the function's own.
    pub(super) fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), PublishError> {
        let before = Value::from(data.clone());
        self.bus.fire_event(tag, data, Some(FIND_BUS_WITHIN))?;
        // In Salt the arguments hold the very mapping that was stamped.
        let arguments = self.arguments.positional.iter_mut();
        for argument in arguments.chain(self.arguments.keyword.values_mut()) {
            if !data.is_empty() && *argument == before {
                *argument = data.clone().into();
            }
        }
        Ok(())
    }

    /// The arguments as jobs tell of them: positional ones, then one mapping of the others.
    fn fun_args(&self, mark: &Map) -> Vec<Value> {
        let mut all = self.arguments.positional.clone();
        if !self.arguments.keyword.is_empty() {
            let pairs = mark.iter().chain(self.arguments.keyword.iter());
            all.push(Value::Map(pairs.cloned().collect()));
        }
        all
    }

    /// Fires one of the events above; the data as fired. Without a bus there is nobody to tell.
    fn tell(&mut self, what: &str, mut data: Map) -> Map {
        let tag = format!("salt/run/{}/{what}", self.jid);
        if let Err(error) = self.bus.fire_event(&tag, &mut data, Some(FIND_BUS_WITHIN)) {
            tracing::debug!(%tag, "{error}");
        }
        data
    }
}
