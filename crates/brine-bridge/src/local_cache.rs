//! Rows as Salt's `postgres_local_cache` writes them: a job's load in columns, values as Python prints them. Pure.

use brine_wire::{Map, Value, python_text};

use crate::jobs::Return;
use crate::text::{self, Taker, clean};

/// The columns of `jids` that a load goes into, beside `jid` and `started`.
pub(crate) const COLUMNS: [&str; 8] = [
    "tgt_type", "cmd", "tgt", "kwargs", "ret", "username", "arg", "fun",
];

/// Their content; the text `None` if the load says nothing.
pub(crate) fn columns(load: &Map, taker: Taker) -> Vec<String> {
    let column = |name: &&str| match *name {
        "arg" => text::of_value(load.get("arg").unwrap_or(&Value::Nil), taker).json,
        name => {
            let key = if name == "username" { "user" } else { name };
            clean(
                &python_text::str(load.get(key).unwrap_or(&Value::Nil)),
                taker,
            )
        }
    };
    COLUMNS.iter().map(column).collect()
}

/// The load of a job that was published, with what Salt's also has and the event does not say. `kwargs`, which the
/// client sent, is not known.
pub(crate) fn published(load: &Map) -> Map {
    let mut load = load.clone();
    for (name, value) in [("cmd", "publish"), ("ret", "")] {
        if load.get(name).is_none() {
            load.insert(name, value);
        }
    }
    load
}

/// The load that Salt makes of a return of a job that nobody published here; for a runner, it is what the runner
/// reported.
pub(crate) fn told(returned: &Return) -> Map {
    let full = &returned.full;
    let known = ["cmd", "tgt", "tgt_type", "kwargs", "ret", "user", "arg"];
    let known = known
        .into_iter()
        .filter_map(|name| Some((name, full.get(name)?.clone())));
    let mut load: Map = known.collect();
    load.insert("fun", returned.fun.as_str());
    if full.get("tgt").is_none() {
        load.insert("tgt", returned.id.as_str());
        load.insert("tgt_type", "glob");
        let arguments = full.get("fun_args").cloned();
        load.insert("arg", arguments.unwrap_or(Value::Array(Vec::new())));
    }
    load
}

/// When a job began, from its id; `None` if the id is not a time.
#[cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "these tables are in PostgreSQL alone")
)]
pub(crate) fn started(jid: &str) -> Option<String> {
    let digits = jid.get(..20)?;
    let is_time = jid.get(20..)?.chars().next().is_none_or(|next| next == '_');
    if !is_time || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let (month, day) = (part(4..6), part(6..8));
    let (hour, minute, second) = (part(8..10), part(10..12), part(12..14));
    // A date that PostgreSQL refuses would block all other events, so 29 February is left out rather than checked.
    let days = match month {
        "02" => "28",
        "04" | "06" | "09" | "11" => "30",
        _ => "31",
    };
    let is_date = ("01"..="12").contains(&month) && ("01"..=days).contains(&day);
    (is_date && hour < "24" && minute < "60" && second < "60").then(|| {
        let (year, micro) = (part(0..4), part(14..20));
        format!("{year}-{month}-{day} {hour}:{minute}:{second}.{micro}")
    })
}

/// What stands in `return`.
pub(crate) fn returned(returned: &Return, taker: Taker) -> String {
    let mut told = Map::new();
    told.insert("return", python_text::str(&returned.value));
    for name in ["retcode", "success"] {
        if let Some(value) = returned.full.get(name) {
            told.insert(name, value.clone());
        }
    }
    text::of_value(&told.into(), taker).json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_columns_as_python_prints_them() {
        let load: Map = [
            ("tgt", Value::Array(vec!["a".into(), "b".into()])),
            ("tgt_type", "list".into()),
            ("user", "root".into()),
            ("arg", Value::Array(vec![1.into(), "x".into()])),
            ("fun", "test.echo".into()),
            ("ret", "".into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            columns(&load, Taker::Postgres),
            [
                "list",
                "None",
                "['a', 'b']",
                "None",
                "",
                "root",
                "[1, \"x\"]",
                "test.echo"
            ]
        );
    }

    #[test]
    fn a_job_began_when_its_id_says() {
        assert_eq!(
            started("20261129080100123456").as_deref(),
            Some("2026-11-29 08:01:00.123456")
        );
        assert_eq!(
            started("20261231235959000000_99").as_deref(),
            Some("2026-12-31 23:59:59.000000")
        );
        for odd in [
            "",
            "req",
            "20261329080100123456",
            "20260230080100123456",
            "2026112908010012345x",
            "202611290801001234567",
        ] {
            assert_eq!(started(odd), None, "{odd}");
        }
    }
}
