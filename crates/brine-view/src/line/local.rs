//! Events of a minion's own bus: what its processes tell each other.

use brine_wire::{Map, Value};

use super::{Line, function, job, list, string};
use crate::data;
use crate::text::counted;

pub(super) fn sentence(tag: &str, parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["fire_master"] => to_master(map),
        ["__master_req_channel_payload", ..] => {
            let command = string(map, "cmd")?;
            let fun = function(map).unwrap_or_default();
            let line = Line::default().faint(&format!("to the master: {command}"));
            Some(line.faint(&fun))
        }
        ["__master_req_channel_return", ..] => Some(match map.get("error") {
            Some(error) => Line::default()
                .bad("the master's answer FAILED")
                .text(&data::value(error)),
            None => {
                map.get("ret")?;
                Line::default().faint("the master answered")
            }
        }),
        ["__beacons_return"] => beacons(map),
        ["__schedule_return"] => {
            let line = Line::default().faint("scheduled").what(&function(map)?);
            let line = job::finish(line, map, map.get("return")?);
            Some(line.faint(&format!("(schedule {})", string(map, "schedule")?)))
        }
        ["_minion_mine"] => {
            let mine = map.get("data")?.as_map()?;
            Some(
                Line::default()
                    .who(string(map, "id")?)
                    .faint(&format!("mine: {}", data::pairs(mine, &[]))),
            )
        }
        ["__master_connected"] => {
            Some(Line::default().good(&format!("connected to master {}", string(map, "master")?)))
        }
        ["__master_disconnected"] => Some(Line::default().bad(&format!(
            "disconnected from master {}",
            string(map, "master")?
        ))),
        ["__master_failback"] => {
            Some(Line::default().warning(&format!("back to master {}", string(map, "master")?)))
        }
        [
            name @ ("pillar_refresh" | "module_refresh" | "matchers_refresh" | "beacons_refresh"
            | "resource_refresh" | "grains_refresh"),
        ] => Some(Line::default().faint(&format!(
            "refresh of {} asked for",
            match name.trim_end_matches("_refresh") {
                "module" => "modules",
                "resource" => "resources",
                name => name,
            }
        ))),
        ["environ_setenv"] => Some(Line::default().faint("change of the environment asked for")),
        [name @ ("manage_schedule" | "manage_beacons")] => {
            let what = name.trim_start_matches("manage_");
            let line = Line::default().faint(&format!("{what}: {}", string(map, "func")?));
            Some(line.faint(string(map, "name").unwrap_or_default()))
        }
        ["", "salt", "minion", what] => completed(tag, what, map),
        _ => None,
    }
}

fn to_master(map: &Map) -> Option<Line> {
    let line = Line::default().who("→ master");
    if let Some(events) = list(map, "events") {
        return Some(line.text(&counted(events.len(), "event")));
    }
    let line = line.what(string(map, "tag")?);
    Some(match map.get("data") {
        Some(Value::Map(inner)) => line.text(&data::pairs(inner, &[])),
        Some(Value::Nil) | None => line,
        Some(other) => line.text(&data::value(other)),
    })
}

fn beacons(map: &Map) -> Option<Line> {
    let names: Vec<Value> = list(map, "beacons")?
        .iter()
        .filter_map(|beacon| beacon.as_map()?.get("beacon_name").cloned())
        .collect();
    Some(Line::default().who("beacons").text(&data::names(&names)))
}

/// `/salt/minion/minion_schedule_add_complete` and its kind.
fn completed(tag: &str, what: &str, map: &Map) -> Option<Line> {
    map.get("complete")?;
    let words = what
        .strip_prefix("minion_")?
        .trim_end_matches("_complete")
        .replace('_', " ");
    let line = match map.get("valid") {
        Some(Value::Bool(false)) => Line::default().bad(&format!("{words}: INVALID")),
        _ => Line::default().faint(&format!("{words}: done")),
    };
    let comment = string(map, "vcomment").or_else(|| string(map, "comment"));
    debug_assert!(tag.starts_with('/'));
    Some(line.faint(comment.unwrap_or_default()))
}
