//! A user's own returner module: `event_return(events)` in the Python beside the master.
//!
//! Salt calls it with a list of `{"tag": …, "data": …}`, and loses the batch if it raises. Here a batch counts as
//! delivered when the function returns. A batch for which it raises is tried again, then halved until the event is
//! found for which it raises while it accepts others.

use std::path::{Path, PathBuf};

use anyhow::bail;
use brine_bridge::{Batch, Sink, SinkError};
use brine_log::{LogId, Position};
use brine_node::functions::{Call, Failure, Functions, FunctionsConfig, Host};
use brine_wire::{Map, Value, msgpack};

use super::Node;

/// Events into a user's module.
pub(super) struct ReturnerSink {
    functions: Functions,
    function: String,
}

impl ReturnerSink {
    /// The module of a name: from the directories where a master's returners are.
    pub(super) fn of(node: Node<'_>, module: &str) -> anyhow::Result<Self> {
        let directories = directories(node);
        let is_there = |directory: &PathBuf| {
            directory.join(format!("{module}.py")).is_file()
                || directory.join(module).join("__init__.py").is_file()
        };
        if !directories.iter().any(is_there) {
            let shown = directories.iter().map(|one| one.display().to_string());
            bail!(
                "returner {module}: there is no {module}.py in {}",
                shown.collect::<Vec<_>>().join(", ")
            );
        }
        let mut opts = Map::new();
        if let Some(all) = node.opts {
            opts = Map::from_pairs(all.iter().map(|(n, v)| (n.into(), v.clone())).collect());
        }
        let texts = directories.iter();
        let texts = texts.map(|one| Value::from(one.display().to_string()));
        opts.insert("module_dirs", texts.collect::<Vec<_>>());
        let mut config = FunctionsConfig::new(opts);
        config.python = node.brine.python.as_ref().map(Into::into);
        // Returners that ask their master for something find none: they are called with what they need.
        let (host, _) = Host::new();
        Ok(Self {
            functions: Functions::new(config, host),
            function: format!("{module}.event_return"),
        })
    }
}

/// Where Salt's master finds users' returners: `module_dirs`, what was synchronised, and `_returners` of the file roots.
fn directories(node: Node<'_>) -> Vec<PathBuf> {
    let Some(opts) = node.opts else {
        return Vec::new();
    };
    let mut directories = Vec::new();
    let texts = |value: &Value| -> Vec<PathBuf> {
        let items = value.as_array().unwrap_or_default().iter();
        items.filter_map(Value::as_str).map(PathBuf::from).collect()
    };
    for directory in opts.get("module_dirs").map(texts).unwrap_or_default() {
        directories.push(directory.join("returners"));
    }
    match opts.text("extension_modules") {
        Ok(directory) if !directory.is_empty() => {
            directories.push(Path::new(directory).join("returners"));
        }
        _ => {}
    }
    let roots = opts.get("file_roots").and_then(Value::as_map);
    let base = roots.and_then(|roots| roots.get("base")).map(texts);
    for root in base.unwrap_or_default() {
        directories.push(root.join("_returners"));
    }
    directories
}

impl Sink for ReturnerSink {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        let events = batch.events().map(|event| {
            let data =
                msgpack::decode(event.data).unwrap_or_else(|_| Value::Bin(event.data.into()));
            let mut one = Map::new();
            one.insert("data", data);
            one.insert("tag", event.tag_text().into_owned());
            Value::from(one)
        });
        let mut call = Call::new(&self.function);
        call.args.push(Value::Array(events.collect()));
        match self.functions.call(call).await {
            Ok(_) => Ok(batch.len()),
            // Python, or the process around it, is at fault.
            Err(failure @ (Failure::Worker { .. } | Failure::Killed { .. })) => {
                Err(SinkError::unavailable(failure))
            }
            Err(failure) => {
                let said = failure.outcome(&self.function).ret;
                let said = said.as_str().unwrap_or("it raised").trim().to_owned();
                // The last line of a traceback says what happened.
                let last = said.lines().last().unwrap_or_default().trim();
                // It may raise for one event, or for each while its own database is down.
                Err(SinkError::uncertain(format!("{}: {last}", self.function)))
            }
        }
    }
}
