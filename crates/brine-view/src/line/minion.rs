//! Events about minions themselves: keys, signing in, starts, presence, beacons, refreshed data.

use brine_wire::{Map, Value};

use super::{Line, Meaning, list, minions, string};
use crate::data;

pub(super) fn sentence(parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["salt", "auth"] => signed_in(map),
        // The event carries session keys; they are nobody's to read over a shoulder.
        ["salt", "auth", "creds"] => {
            Some(Line::default().faint("session keys handed to the minion's processes"))
        }
        ["salt", "key"] => key(map),
        ["key"] => map
            .get("rotate_aes_key")
            .filter(|value| value.is_true())
            .map(|_| {
                Line::default()
                    .who("master")
                    .text("made a new session key: minions sign in again")
            }),
        ["rotate_cluster_aes_key"] => Some(
            Line::default()
                .who("cluster")
                .text("made a new session key"),
        ),
        ["minion_start" | "syndic_start"] => Some(
            Line::default()
                .who(string(map, "id")?)
                .faint(&format!("started ({})", parts[0])),
        ),
        ["salt", kind @ ("minion" | "syndic"), .., "start"] => started(kind, map),
        ["minion", "refresh", ..] => refreshed(
            parts,
            map,
            "Minion data cache refresh",
            "grains and pillar stored",
        ),
        ["resource", "refresh", ..] => {
            refreshed(parts, map, "Resource cache refresh", "resources stored")
        }
        ["salt", "presence", "present"] => {
            let present = list(map, "present")?;
            Some(Line::default().what("presence").text(&match present.len() {
                0 => "no minion is connected".to_owned(),
                1..=3 => format!("connected: {}", data::names(present)),
                many => format!("{many} minions connected: {}", data::names(present)),
            }))
        }
        ["salt", "presence", "change"] => presence_change(map),
        ["salt", "beacon", id, name, rest @ ..] => beacon(id, name, rest, map),
        _ => None,
    }
}

fn signed_in(map: &Map) -> Option<Line> {
    let id = string(map, "id")?;
    let line = Line::default().who(id);
    // 3006 says of a rejected key only that the result is false.
    let refused = map
        .get("result")
        .filter(|result| !result.is_true())
        .map(|_| "refused");
    Some(match string(map, "act").or(refused)? {
        "accept" => line.good("signed in"),
        "refused" => line.bad("REFUSED: its key is rejected"),
        "pend" => line.warning(&format!("key waits for acceptance: salt-key -a {id}")),
        "reject" => line.bad("REFUSED: its key is rejected"),
        "denied" => line.bad("REFUSED: its key is not the one accepted for this id"),
        "full" => line.bad("REFUSED: max_minions is reached"),
        "error" => line.bad("REFUSED: its request is wrong"),
        other => line.text(&format!("authentication: {other}")),
    })
}

fn key(map: &Map) -> Option<Line> {
    let line = Line::default().who(string(map, "id")?);
    Some(match string(map, "act")? {
        "accept" | "accepted" => line.good("key accepted"),
        "reject" | "rejected" => line.warning("key rejected"),
        "deny" | "denied" => line.warning("key denied"),
        "pend" | "pending" => line.warning("key pending"),
        "delete" | "deleted" => line.warning("key deleted"),
        other => line.text(&format!("key: {other}")),
    })
}

fn started(kind: &str, map: &Map) -> Option<Line> {
    let line = Line::default().who(string(map, "id")?);
    let line = line.good(if kind == "syndic" {
        "syndic started"
    } else {
        "started"
    });
    Some(match map.get("grains") {
        Some(Value::Map(grains)) => line.faint(&data::pairs(grains, &[])),
        _ => line,
    })
}

fn refreshed(parts: &[&str], map: &Map, key: &str, what: &str) -> Option<Line> {
    string(map, key)?;
    Some(Line::default().who(&parts[2..].join("/")).faint(what))
}

fn presence_change(map: &Map) -> Option<Line> {
    let (new, lost) = (list(map, "new")?, list(map, "lost")?);
    let mut line = Line::default().what("presence");
    if !new.is_empty() {
        line = line.good(&format!("connected: {}", minions(new)));
    }
    if !new.is_empty() && !lost.is_empty() {
        line = line.append(Meaning::Plain, ";");
    }
    if !lost.is_empty() {
        line = line.warning(&format!("lost: {}", minions(lost)));
    }
    Some(if new.is_empty() && lost.is_empty() {
        line.text("unchanged")
    } else {
        line
    })
}

fn beacon(id: &str, name: &str, rest: &[&str], map: &Map) -> Option<Line> {
    let suffix = rest.join("/");
    let name = match suffix.trim_matches('/') {
        "" => name.to_owned(),
        suffix => format!("{name}/{suffix}"),
    };
    let line = Line::default().who(id).what(&format!("beacon {name}"));
    Some(line.text(&data::pairs(map, &["id", "_stamp", "beacon_name"])))
}
