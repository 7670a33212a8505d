//! Events of the master itself: statistics, hooks of the API, file server, cloud, cluster, errors.

use brine_wire::{Map, Value};

use super::{Line, count, number, string};
use crate::data;
use crate::text::span;

pub(super) fn sentence(parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["salt", "stats", worker] => stats(worker, map),
        ["salt", "event_listen", "start"] => {
            Some(Line::default().who("master").faint("event return began"))
        }
        ["salt", "event", "exit"] => Some(Line::default().who("master").faint("event return ends")),
        ["salt", "netapi", "hook", path @ ..] => Some(hook(path, map)),
        ["salt", "engines", "hook", path @ ..] => Some(hook(path, map)),
        ["salt", "fileserver", backend, "update"] => file_server(backend, map),
        ["_salt_error"] => {
            // From a minion it is wrapped.
            let inner = map.get("data").and_then(Value::as_map).unwrap_or(map);
            let line = match string(map, "id") {
                Some(id) => Line::default().who(id).bad("ERROR"),
                None => Line::default().bad("ERROR"),
            };
            Some(match string(inner, "message") {
                Some(message) => line.text(message),
                None => line.text(&data::pairs(map, &["_stamp"])),
            })
        }
        ["salt", "cloud", vm, what] => cloud(vm, what, map),
        ["cluster", rest @ ..] => cluster(rest, map),
        _ => None,
    }
}

fn stats(worker: &str, map: &Map) -> Option<Line> {
    let stats = map.get("stats")?.as_map()?;
    let commands: Vec<String> = stats
        .iter()
        .filter_map(|(name, figures)| {
            let figures = figures.as_map()?;
            let mean = span(number(figures, "mean")?);
            Some(format!(
                "{} {}× {mean}",
                name.as_str()?,
                count(figures, "runs")?
            ))
        })
        .collect();
    Some(Line::default().who(worker).faint(&commands.join(", ")))
}

fn hook(path: &[&str], map: &Map) -> Line {
    let line = Line::default()
        .who("hook")
        .what(&format!("/{}", path.join("/")));
    // Headers may hold tokens, and are of no interest in a line.
    let body = ["post", "body", "data"]
        .into_iter()
        .filter_map(|key| map.get(key));
    match body.into_iter().find(|body| body.is_true()) {
        Some(Value::Map(body)) => line.text(&data::pairs(body, &[])),
        Some(body) => line.text(&data::value(body)),
        None => line,
    }
}

fn file_server(backend: &str, map: &Map) -> Option<Line> {
    let line = Line::default().who("file server").what(backend);
    if !map.get("changed")?.is_true() {
        return Some(line.faint("unchanged"));
    }
    Some(match map.get("files") {
        Some(Value::Map(files)) => line.text(&format!("changed: {}", data::pairs(files, &[]))),
        _ => line.text("changed"),
    })
}

fn cloud(vm: &str, what: &str, map: &Map) -> Option<Line> {
    let words = what.replace('_', " ");
    let line = Line::default().who(vm);
    let line = match what {
        "created" => line.good(&words),
        "destroying" | "destroyed" | "cache_node_missing" => line.warning(&words),
        _ => line.text(&words),
    };
    map.get("event").or_else(|| map.get("name"))?;
    Some(line.faint(&data::pairs(map, &["_stamp", "event", "name"])))
}

fn cluster(rest: &[&str], map: &Map) -> Option<Line> {
    match rest {
        // Another master's event as it travels; it is encrypted.
        ["event", master, tag @ ..] => {
            map.get("event_payload")?;
            Some(
                Line::default()
                    .who(master)
                    .faint(&format!("event {} for the cluster", tag.join("/"))),
            )
        }
        ["peer", what, ..] => Some(
            Line::default()
                .who("cluster")
                .faint(&format!("message between masters: {what}")),
        ),
        ["runner", what, ..] => Some(
            Line::default()
                .who("cluster")
                .what(what)
                .text(&data::pairs(map, &["_stamp"])),
        ),
        _ => None,
    }
}
