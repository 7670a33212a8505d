//! Returns of states: how many, how many failed, how long, and the first failure in words.

use brine_wire::{Map, Value};

use super::{Line, number, string};
use crate::data;
use crate::text::{self, counted};

/// What a run of states came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct States {
    pub(crate) all: usize,
    pub(crate) failed: usize,
    changed: usize,
    would_change: usize,
    seconds: f64,
    /// Name and comment of the first that failed, in the order they ran.
    first_failure: Option<(f64, String, String)>,
}

impl States {
    /// Reads a return; `None` if it is not one of states.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let map = value.as_map()?;
        // What orchestration returns holds the states below the master's id.
        if let Some(Value::Map(hosts)) = map.get("data").filter(|_| map.get("outputter").is_some())
        {
            return hosts.iter().find_map(|(_, states)| Self::of(states));
        }
        let mut states = Self::default();
        for (id, chunk) in map {
            let id = id.as_str().filter(|id| id.matches("_|-").count() >= 3)?;
            states.add(id, chunk.as_map()?);
        }
        (states.all > 0).then_some(states)
    }

    fn add(&mut self, id: &str, chunk: &Map) {
        self.all += 1;
        // Salt counts in milliseconds; very old states write a text.
        self.seconds += number(chunk, "duration").unwrap_or(0.0) / 1000.0;
        let has_changes =
            matches!(chunk.get("changes"), Some(Value::Map(changes)) if !changes.is_empty());
        match chunk.get("result") {
            Some(Value::Bool(false)) => {
                self.failed += 1;
                let order = number(chunk, "__run_num__").unwrap_or(f64::MAX);
                if self
                    .first_failure
                    .as_ref()
                    .is_none_or(|(first, ..)| order < *first)
                {
                    let comment = chunk.get("comment").map(data::value).unwrap_or_default();
                    self.first_failure = Some((order, name(id, chunk), comment));
                }
            }
            Some(Value::Nil) => self.would_change += 1,
            _ if has_changes => self.changed += 1,
            _ => {}
        }
    }

    /// Adds what they came to: `FAILED 2 of 8 states, 12.3 s: nginx: Package not found`.
    pub(super) fn finish(&self, line: Line) -> Line {
        let time = text::span(self.seconds);
        if self.failed > 0 {
            let line = line.bad("FAILED").text(&format!(
                "{} of {}, {time}",
                self.failed,
                counted(self.all, "state")
            ));
            return match &self.first_failure {
                Some((_, name, comment)) => {
                    line.append(super::Meaning::Plain, &format!(": {name}: {comment}"))
                }
                None => line,
            };
        }
        let mut summary = counted(self.all, "state");
        if self.changed > 0 {
            summary.push_str(&format!(", {} changed", self.changed));
        }
        if self.would_change > 0 {
            summary.push_str(&format!(", {} would change", self.would_change));
        }
        line.good("ok").text(&format!("{summary}, {time}"))
    }
}

/// A state by the name that people gave it.
fn name(id: &str, chunk: &Map) -> String {
    let given = string(chunk, "__id__").or_else(|| id.split("_|-").nth(1));
    given.unwrap_or(id).to_owned()
}

/// A state that failed, as the event under its function's name alone: `test.fail_without_changes`.
pub(super) fn failed_alone(function: &str, chunk: &Map) -> Option<Line> {
    let name = string(chunk, "__id__").or_else(|| string(chunk, "name"))?;
    let line = Line::default().what(&format!("state {name}"));
    let line = match chunk.get("result")? {
        Value::Bool(false) => line.bad("FAILED"),
        _ => line.text("done"),
    };
    let comment = chunk.get("comment").map(data::value).unwrap_or_default();
    Some(line.text(&format!("{function}: {comment}")))
}

/// One state that is done, of an event `prog` or `state_result`.
pub(super) fn one(who: &str, map: &Map) -> Option<Line> {
    let inner = map.get("data")?.as_map()?;
    let chunk = inner.get("ret")?.as_map()?;
    let name = string(chunk, "__id__").or_else(|| string(chunk, "name"))?;
    let line = Line::default().who(who).what(&format!("state {name}"));
    let line = match chunk.get("result") {
        Some(Value::Bool(false)) => line.bad("FAILED"),
        Some(Value::Nil) => line.warning("would change"),
        _ => line.good("ok"),
    };
    let done = number(chunk, "__run_num__").map(|number| number + 1.0);
    let mut rest = match (done, number(inner, "len")) {
        (Some(done), Some(all)) => vec![format!("{done} of {all}")],
        _ => Vec::new(),
    };
    rest.extend(number(chunk, "duration").map(|millis| text::span(millis / 1000.0)));
    let line = line.text(&rest.join(", "));
    Some(match chunk.get("comment").map(data::value) {
        Some(comment) if !comment.is_empty() => line
            .append(
                super::Meaning::Plain,
                if rest.is_empty() { " " } else { ": " },
            )
            .append(super::Meaning::Plain, &comment),
        _ => line,
    })
}
