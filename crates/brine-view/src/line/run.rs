//! Events of runners, wheel functions and orchestration.

use brine_wire::{Map, Value};

use super::{Line, job, list, string};
use crate::data;
use crate::text::counted;

pub(super) fn sentence(parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["salt", "run", _, "salt", "reactors", rest @ ..] | ["salt", "reactors", rest @ ..] => {
            reactors(rest, map)
        }
        ["salt", "run" | "wheel", _, "new"] | ["salt", "scheduler", .., "new"] => {
            let line = function(map)?;
            Some(match list(map, "fun_args") {
                Some(arguments) if !arguments.is_empty() => {
                    line.text(&data::names(arguments)).faint("began")
                }
                _ => line.faint("began"),
            })
        }
        ["salt", "run" | "wheel", _, "ret"] | ["salt", "scheduler", .., "ret"] => {
            let line = function(map)?;
            Some(job::finish(line, map, map.get("return")?))
        }
        ["salt", "run", _, "args"] => {
            let name = map.get("name").map(data::value)?;
            let kind = string(map, "type").unwrap_or("step");
            let line = Line::default()
                .who("orchestration")
                .what(&format!("{kind} {name}"));
            Some(match map.get("tgt") {
                Some(target) if *target != Value::Nil => {
                    line.text(&format!("→ {}", data::value(target)))
                }
                _ => line,
            })
        }
        ["salt", "run", _, "progress"] => {
            let line = Line::default().who("runner");
            Some(match map.get("message").or_else(|| map.get("data")) {
                Some(shown) => line.text(&data::value(shown)),
                None => line.text(&data::pairs(map, &["_stamp"])),
            })
        }
        ["salt", "queue", queue, "process"] => {
            let items = list(map, "items")?;
            let line = Line::default().who("queue").what(queue);
            Some(line.text(&format!(
                "{}: {}",
                counted(items.len(), "item"),
                data::names(items)
            )))
        }
        _ => None,
    }
}

/// Who runs what: `root runner manage.up`.
fn function(map: &Map) -> Option<Line> {
    let fun = string(map, "fun")?;
    let line = match string(map, "user") {
        Some(user) => Line::default().who(user),
        None => Line::default(),
    };
    Some(match fun.split_once('.') {
        Some((kind @ ("runner" | "wheel"), fun)) => line.text(kind).what(fun),
        _ => line.text("runner").what(fun),
    })
}

fn reactors(rest: &[&str], map: &Map) -> Option<Line> {
    let ["manage", what, ..] = rest else {
        return None;
    };
    let line = Line::default().who("reactor").what(what);
    Some(line.text(&data::pairs(map, &["_stamp", "user", "jid", "key"])))
}
