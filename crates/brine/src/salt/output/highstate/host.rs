//! What one minion's states did: a line for the minion, its states, the summary.

use brine_wire::{Map, Value};

use super::counts::Counts;
use super::state::State;
use crate::salt::output::{Style, pprint};
use crate::salt::python;

/// A minion's text.
pub(super) struct Host {
    pub(super) text: String,
    pub(super) has_changes: bool,
}

/// The text for the states of a minion, or for whatever it returned instead.
pub(super) fn show(id: &Value, states: &Value, style: Style<'_>, level: usize) -> Option<Host> {
    let colours = style.colours;
    let end = colours.end;
    let mut host = States {
        style,
        level,
        lines: Vec::new(),
        counts: Counts::default(),
        changes: 0,
        colour: colours.green,
    };
    match states {
        // A function's return in an orchestration: always a change.
        Value::Bool(_) | Value::Int(_) => host.answer(&python::str(states)),
        Value::Str(text) => host.answer(text),
        Value::Array(errors) => {
            host.colour = colours.light_red;
            let red = host.colour;
            host.lines
                .push(format!("    {red}Data failed to compile:{end}"));
            for error in errors {
                let error = visible(error);
                host.lines
                    .push(format!("{red}----------\n    {error}{end}"));
            }
        }
        Value::Map(states) => host.states(id, states)?,
        Value::Nil | Value::Float(_) | Value::Bin(_) | Value::Ext(..) => {}
    }
    let first = format!("{}{}:{end}", host.colour, visible(id));
    host.lines.insert(0, first);
    Some(Host {
        text: host.lines.join("\n"),
        has_changes: host.changes > 0,
    })
}

/// A value as text in which escape sequences of terminals do nothing.
fn visible(value: &Value) -> String {
    match value {
        Value::Str(text) => text.replace('\x1b', "?"),
        other => python::str(other),
    }
}

/// A minion's text in the making.
struct States<'a> {
    style: Style<'a>,
    level: usize,
    lines: Vec<String>,
    counts: Counts,
    changes: usize,
    /// The colour of the minion's id.
    colour: &'static str,
}

impl States<'_> {
    fn answer(&mut self, text: &str) {
        let (colour, end) = (self.colour, self.style.colours.end);
        self.changes = 1;
        for line in python::lines(text) {
            self.lines.push(format!("{colour}    {line}{end}"));
        }
        self.colour = self.style.colours.cyan;
    }

    fn states(&mut self, id: &Value, states: &Map) -> Option<()> {
        for (name, state) in in_order(self.checked(states))? {
            self.state(name.as_str()?, state)?;
        }
        let summary = self.counts.summary(id, self.changes, self.style);
        self.lines.extend(summary);
        Some(())
    }

    /// The states among the members; those without a place in the order are complained of.
    fn checked<'m>(&mut self, states: &'m Map) -> Vec<(&'m Value, &'m Map)> {
        let mut found = Vec::new();
        for (name, state) in states {
            let Some(state) = state.as_map() else {
                continue;
            };
            let is_lost = !state.is_empty() && state.get("__run_num__").is_none();
            if is_lost && name.as_str() != Some("changes") {
                let info = pprint::show(&state.clone().into(), 1);
                let complaint = "The State execution failed to record the order in which all states were executed. \
                                 The state return missing data is:";
                self.lines.splice(0..0, [complaint.to_owned(), info]);
            }
            if state.get("result").is_some() {
                found.push((name, state));
            }
        }
        found
    }

    fn state(&mut self, name: &str, ret: &Map) -> Option<()> {
        let state = State::new(name, ret, self.style, self.level)?;
        self.counts.add(state.result, state.count)?;
        self.counts.add_duration(ret)?;
        let Some(changes) = state.changes()? else {
            return Some(());
        };
        self.changes += changes.count;
        if state.is_left_out(changes.is_changed) {
            return Some(());
        }
        match state.result {
            Value::Bool(false) => self.colour = self.style.colours.red,
            Value::Nil => self.colour = self.style.colours.light_yellow,
            _ => {}
        }
        let Some(shown) = state.show(&changes)? else {
            return Some(());
        };
        self.lines.extend(shown.lines);
        self.counts.warnings += usize::from(shown.has_warnings);
        Some(())
    }
}

/// The states by `__run_num__`; `None` if Python cannot compare these.
fn in_order<'m>(mut states: Vec<(&'m Value, &'m Map)>) -> Option<Vec<(&'m Value, &'m Map)>> {
    const FIRST: Value = Value::Int(0);
    let number = |state: &'m Map| state.get("__run_num__").unwrap_or(&FIRST);
    if let [(_, first), rest @ ..] = states.as_slice() {
        for (_, state) in rest {
            python::compare(number(first), number(state))?;
        }
    }
    states.sort_by(|(_, a), (_, b)| {
        python::compare(number(a), number(b)).unwrap_or(std::cmp::Ordering::Equal)
    });
    Some(states)
}
