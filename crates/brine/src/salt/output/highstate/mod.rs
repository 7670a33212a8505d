//! `highstate`: what states did, as `state.apply` returns it.
//!
//! Facts: `salt.output.highstate` of Salt 3008.3 (3006.28's is the same), compared in `super::tests`. Where Salt's
//! code raises an error, this returns nothing, and the caller shows the value as `nested`, as Salt does.

mod changes;
mod compress;
mod counts;
mod format;
mod host;
mod state;

use brine_wire::{Map, Value};

use super::Style;
use crate::salt::python;

/// What is shown of states: the options `state_verbose`, `state_output` and their kin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::salt) struct StateOptions {
    /// Show states that succeeded without changes.
    pub(in crate::salt) verbose: bool,
    /// `full`, `terse`, `mixed`, `changes` or `filter`, each also with `_id`.
    pub(in crate::salt) output: String,
    /// Show only states that failed or changed something.
    pub(in crate::salt) diff: bool,
    /// Show when each state began and how long it took.
    pub(in crate::salt) profile: bool,
    /// Show percentages in the summary.
    pub(in crate::salt) percentages: bool,
    /// How terse lines look.
    pub(in crate::salt) tabular: Tabular,
    /// Show states of one id and result as one.
    pub(in crate::salt) compress_ids: bool,
    /// Results that `filter` leaves out: `True`, `False`, `None`.
    pub(in crate::salt) exclude: Vec<String>,
    /// Results that `filter` shows in a line.
    pub(in crate::salt) terse: Vec<String>,
}

/// The option `state_tabular`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::salt) enum Tabular {
    /// A line of words.
    No,
    /// Aligned columns.
    Columns,
    /// A format of Python's `str.format`.
    Format(String),
}

impl StateOptions {
    /// A list of results, or one text with commas.
    pub(in crate::salt) fn results(value: &Value) -> Vec<String> {
        match value {
            Value::Str(text) => text.split(',').map(str::to_owned).collect(),
            Value::Array(items) => items.iter().map(python::str).collect(),
            Value::Nil => Vec::new(),
            other => vec![python::str(other)],
        }
    }
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            verbose: true,
            output: "full".to_owned(),
            diff: false,
            profile: true,
            percentages: false,
            tabular: Tabular::No,
            compress_ids: false,
            exclude: Vec::new(),
            terse: Vec::new(),
        }
    }
}

/// The text of a return; `None` where Salt shows it as `nested`.
pub(super) fn show(value: &Value, style: Style<'_>) -> Option<String> {
    show_at(value, style, 1)
}

fn show_at(value: &Value, style: Style<'_>, level: usize) -> Option<String> {
    match unwrapped(value)? {
        Value::Str(text) => Some(text.clone()),
        Value::Nil => Some("None".to_owned()),
        Value::Map(minions) => show_minions(minions, style, level),
        _ => None,
    }
}

fn show_minions(minions: &Map, style: Style<'_>, level: usize) -> Option<String> {
    let mut ids = Vec::new();
    for (id, _) in minions {
        ids.push(id.as_str()?);
    }
    let mut minions = minions.clone();
    // An orchestration's return has its exit code beside its master.
    if ids.iter().filter(|id| id.ends_with("_master")).count() == 1 {
        minions.remove("retcode");
    }
    if style.states.compress_ids {
        match compress::compress(&minions) {
            Some(compressed) => minions = compressed,
            None => tracing::warn!("states cannot be shown by id; showing each by itself"),
        }
    }
    let mut shown = Vec::new();
    for (id, states) in &minions {
        shown.push(host::show(id, states, style, level)?.text);
    }
    if shown.is_empty() {
        tracing::error!("the return holds no minion's states");
    }
    Some(shown.join("\n"))
}

/// The mapping of minions to states inside a runner's or an orchestration's return.
fn unwrapped(value: &Value) -> Option<&Value> {
    let inside = |value: &'_ Value, key: &str| value.as_map()?.get(key).is_some().then_some(());
    let mut value = value;
    for key in ["return", "data"] {
        if inside(value, key).is_some() {
            value = value.as_map()?.get(key)?;
        }
    }
    let Some(map) = value.as_map().filter(|map| map.len() == 1) else {
        return Some(value);
    };
    let job = map.iter().next().and_then(|(_, job)| job.as_map());
    let job = job.filter(|job| job.get("jid").is_some() && job.get("fun").is_some());
    match job.map(|job| job.get("return")) {
        None | Some(None) => Some(value),
        Some(Some(Value::Map(ret))) => Some(ret.get("data").unwrap_or(value)),
        Some(Some(_)) => None,
    }
}
