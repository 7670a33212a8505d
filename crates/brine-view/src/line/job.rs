//! Events of jobs: published, begun, returned, their states, batches.

use brine_wire::{Map, Value};

use super::state::{self, States};
use super::{Line, Meaning, count, function, list, minions, number, string};
use crate::data;
use crate::facts::outcome;
use crate::text::{self, counted, span};

pub(super) fn sentence(parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["salt", "job", _, "new"] | ["new_job"] => new(map),
        ["salt", "job", _, "publish"] => Some(
            Line::default()
                .who(string(map, "user").unwrap_or("?"))
                .faint(&format!("published {} to {}", function(map)?, target(map)?)),
        ),
        ["salt", "job", _, "start", ..] => {
            // 3008 fires it as a minion's own event, wrapped.
            let inner = map.get("data").and_then(Value::as_map).unwrap_or(map);
            let line = Line::default()
                .who(string(map, "id")?)
                .what(&function(inner)?);
            Some(line.faint("began"))
        }
        ["salt", "job", _, "ret", id @ ..] if !id.is_empty() => returned(&id.join("/"), map),
        ["salt", "job", _, "prog", id, ..] | ["salt", "state_result", _, id, ..] => {
            state::one(id, map)
        }
        ["salt", "job", _, "sub", _, "error", ..] => failed_state(map),
        ["salt", "job", _, "error"] => refused(map),
        ["salt", "batch", _, what] => batch(what, map),
        _ => None,
    }
}

/// The event under the job's id alone, which 3006 fires before `new`.
pub(super) fn announced(map: &Map) -> Option<Line> {
    let ids = list(map, "minions")?;
    Some(Line::default().faint(&format!("job announced for {}", minions(ids))))
}

fn new(map: &Map) -> Option<Line> {
    // Salt asks whether a job still runs; nobody waits for the answer.
    if string(map, "fun") == Some("saltutil.find_job") {
        let line = Line::default().who(string(map, "user").unwrap_or("?"));
        return Some(line.faint("saltutil.find_job: does the job still run?"));
    }
    let line = Line::default()
        .who(string(map, "user").unwrap_or("?"))
        .what(&function(map)?)
        .text("→");
    let target = target(map)?;
    let line = match list(map, "minions") {
        None => line.text(&target),
        Some([]) => line.warning(&format!("no minion matches {target}")),
        Some([Value::Str(only)]) if *only == target => line.text(&target),
        Some(ids) => line.text(&format!("{} ({target})", minions(ids))),
    };
    Some(match list(map, "missing") {
        Some(missing) if !missing.is_empty() => {
            line.warning(&format!("missing: {}", minions(missing)))
        }
        _ => line,
    })
}

fn target(map: &Map) -> Option<String> {
    let target = match map.get("tgt")? {
        Value::Array(ids) => data::names(ids),
        other => data::value(other),
    };
    Some(match string(map, "tgt_type") {
        None | Some("glob" | "list") => target,
        Some(kind) => format!("{kind} {target}"),
    })
}

fn returned(id: &str, map: &Map) -> Option<Line> {
    let fun = function(map)?;
    let value = map.get("return")?;
    let line = Line::default().who(id);
    if fun == "saltutil.find_job" {
        return Some(line.faint(&found(value)));
    }
    let line = finish(line.what(&fun), map, value);
    Some(match string(map, "schedule") {
        Some(name) => line.faint(&format!("(schedule {name})")),
        None => line,
    })
}

/// What a minion says of a job that it was asked for.
fn found(value: &Value) -> String {
    match value {
        Value::Map(job) if job.is_empty() => "saltutil.find_job: does not run the job".to_owned(),
        Value::Map(job) => match (function(job), job.get("pid")) {
            (Some(fun), Some(pid)) => {
                format!(
                    "saltutil.find_job: still runs {fun}, pid {}",
                    data::value(pid)
                )
            }
            _ => format!("saltutil.find_job {}", data::value(value)),
        },
        other => format!("saltutil.find_job {}", data::value(other)),
    }
}

/// Adds the outcome of a function: of a minion's, a runner's, a wheel's.
pub(super) fn finish(line: Line, map: &Map, value: &Value) -> Line {
    let has_failed = outcome(map) == Some(false);
    if let Some(states) = States::of(value)
        && (states.failed > 0 || !has_failed)
    {
        return states.finish(line);
    }
    // What many functions return: a sentence, and things that repeat it.
    let sentence = value.as_map().filter(|map| map.get("result").is_some());
    let sentence = sentence
        .and_then(|map| map.get("comment"))
        .filter(|comment| comment.is_true());
    let shown = sentence.unwrap_or(value);
    if !has_failed {
        return line.good("ok").text(&data::value(shown));
    }
    let shown = match shown {
        Value::Str(text) => data::text(&text::without_traceback(text)),
        shown => data::value(shown),
    };
    let line = line.bad("FAILED");
    let line = match map.get("retcode") {
        Some(Value::Int(code)) if *code != 0 => line.text(&format!("code {code}")),
        _ => return line.text(&shown),
    };
    if shown.is_empty() {
        line
    } else {
        line.append(Meaning::Plain, &format!(": {shown}"))
    }
}

fn failed_state(map: &Map) -> Option<Line> {
    let name = string(map, "__id__").or_else(|| string(map, "name"))?;
    let line = Line::default()
        .who(string(map, "id")?)
        .what(string(map, "fun")?);
    let comment = map
        .get("comment")
        .or_else(|| map.get("return"))
        .map(data::value);
    let comment = comment.map_or_else(String::new, |comment| format!(": {comment}"));
    Some(line.bad("FAILED").text(&format!("state {name}{comment}")))
}

fn refused(map: &Map) -> Option<Line> {
    let error = map.get("error")?;
    let line = Line::default()
        .who(string(map, "user").unwrap_or("?"))
        .what(&function(map).unwrap_or_else(|| "job".to_owned()))
        .bad("REFUSED");
    Some(match error {
        Value::Map(error) => line.text(&format!(
            "{}: {}",
            string(error, "name").unwrap_or("error"),
            string(error, "message").unwrap_or_default()
        )),
        other => line.text(&data::value(other)),
    })
}

fn batch(what: &str, map: &Map) -> Option<Line> {
    let state = map.get("state").and_then(Value::as_map);
    let of_state = |key| state.and_then(|state| state.get(key)).map(length);
    let line = Line::default().who(string(map, "user").unwrap_or_default());
    let line = line.what(&match function(map) {
        Some(fun) => format!("batch {fun}"),
        None => "batch".to_owned(),
    });
    let all = of_state("all_minions")
        .or_else(|| count(map, "total").and_then(|all| usize::try_from(all).ok()));
    let failed = of_state("failed").unwrap_or(0);
    let line = match what {
        "new" => line.text(&format!("→ {} ({})", counted(all?, "minion"), target(map)?)),
        "progress" => line.text(&format!(
            "{} of {} done, {} running",
            of_state("done")?,
            counted(all?, "minion"),
            of_state("active")?
        )),
        "complete" if failed == 0 => line.good("ok").text(&counted(all?, "minion")),
        "complete" => line.text("done"),
        "halted" => line
            .bad("HALTED")
            .text(string(map, "reason").unwrap_or_default()),
        "stop" => {
            let line = line.warning("stopped");
            match string(map, "reason") {
                Some(reason) => line.append(Meaning::Plain, &format!(": {reason}")),
                None => line,
            }
        }
        "recover" => line.warning("taken up again"),
        _ => return None,
    };
    let line = match (what, number(map, "duration")) {
        ("complete", Some(seconds)) => line.append(Meaning::Plain, &format!(", {}", span(seconds))),
        _ => line,
    };
    Some(match failed {
        0 => line,
        failed => line
            .append(Meaning::Plain, ",")
            .bad(&format!("{failed} FAILED")),
    })
}

fn length(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len(),
        Value::Map(map) => map.len(),
        _ => 0,
    }
}
