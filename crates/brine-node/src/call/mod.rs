//! A call of a function and its outcome: shared by built-in functions and the Python beside a minion, and independent
//! of both.

mod failure;
mod log;

use brine_wire::network::{MinionId, jid, job_return};
use brine_wire::{Map, Value};

pub use failure::{Failure, Unloaded};
pub(crate) use log::wanted as wanted_log;
pub use log::{CallLog, LogRecord};

/// A function to run, with its parsed arguments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// Its name, such as `event.send`.
    pub fun: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map,
    /// The `__pub_*` keys of the job, passed to functions with `**kwargs`. In Salt's order.
    pub publication: Map,
    /// The job's id.
    pub jid: String,
    /// The master that asked, `host:port`: of several, it is the one whose files and pillar Salt's own modules fetch.
    pub master: Option<String>,
    /// Where what the function's module logs goes, too.
    pub log: Option<CallLog>,
}

impl Call {
    /// A call of `fun` without arguments.
    #[must_use]
    pub fn new(fun: impl Into<String>) -> Self {
        Self {
            fun: fun.into(),
            ..Self::default()
        }
    }

    /// Adds a job's `arg` list, in which a mapping marked `__kwarg__` holds keyword arguments and a text `name=value`
    /// is one.
    #[must_use]
    pub fn arguments(mut self, arg: impl IntoIterator<Item = Value>) -> Self {
        for argument in arg {
            match argument {
                Value::Map(named) if named.get("__kwarg__") == Some(&Value::Bool(true)) => {
                    for (key, value) in named {
                        if key.as_str() != Some("__kwarg__") {
                            self.kwargs.insert(key, value);
                        }
                    }
                }
                Value::Str(text) => match brine_config::split_keyword(&text) {
                    Some((name, value)) => {
                        self.kwargs.insert(name, brine_config::parse_value(value))
                    }
                    None => self.args.push(Value::Str(text)),
                },
                other => self.args.push(other),
            }
        }
        self
    }

    /// Adds the keys of the published job's load, prefixed with `__pub_`.
    #[must_use]
    pub fn published(mut self, load: &Map) -> Self {
        for (key, value) in load {
            let name = brine_wire::python_text::str(key);
            if name == "jid" {
                self.jid = brine_wire::python_text::str(value);
            }
            self.publication
                .insert(format!("__pub_{name}"), value.clone());
        }
        self
    }
}

/// The result of a call: the fields of a return.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the function returned, or the message of its failure.
    pub ret: Value,
    /// Salt's exit code: 0 done, 1 failed or not available, else what the function set.
    pub retcode: i64,
    /// Whether the function ran to its end and its exit code is 0.
    pub success: bool,
    /// The outputter that the function suggests.
    pub out: Option<String>,
}

impl Outcome {
    /// The return of a call that the master did not publish, as `salt-call` sends it; `fun_args` as typed.
    #[must_use]
    pub fn call_return(&self, id: &MinionId, fun: &str, fun_args: Vec<Value>) -> Map {
        let mut load = Map::new();
        load.insert("cmd", job_return::CMD);
        load.insert("id", id.as_str());
        load.insert("jid", jid::REQ);
        load.insert("return", self.ret.clone());
        load.insert("retcode", self.retcode);
        load.insert("fun", fun);
        load.insert("fun_args", fun_args);
        load
    }
}

impl Outcome {
    /// The outcome of a function that returned: a mapping that says `result` or `success` is false
    /// failed, if the function set no exit code itself.
    pub(crate) fn returned(value: Value, retcode: i64) -> Self {
        let said = |map: &Map, key| map.get(key).is_none_or(Value::is_true);
        let failed = |map: &Map| !(said(map, "result") && said(map, "success"));
        let retcode = match &value {
            Value::Map(map) if retcode == 0 && failed(map) => 1,
            _ => retcode,
        };
        Self {
            ret: value,
            retcode,
            success: retcode == 0,
            out: None,
        }
    }
}
