//! Sinks that would store the same events in the same tables, each once.

use anyhow::anyhow;
use brine_config::{DatabaseOptions, SinkKind, SinkOptions};

use super::{Fault, at};

/// The sinks that would store again what an earlier one stores. Two sinks with different tags may share a table;
/// whether an event can have tags of both is not checked.
pub(super) fn shared(sinks: &[SinkOptions]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (nth, one) in sinks.iter().enumerate() {
        let Some(other) = sinks[..nth].iter().find(|other| stores_again(one, other)) else {
            continue;
        };
        let error = anyhow!(
            "tables: expected tables of its own, or other tags, found those that {}{} writes with the same events",
            other.option,
            at(&other.place),
        );
        faults.push(Fault::of(one, error));
    }
    faults
}

fn stores_again(one: &SinkOptions, other: &SinkOptions) -> bool {
    let databases = match (&one.kind, &other.kind) {
        (SinkKind::Postgres(one), SinkKind::Postgres(other))
        | (SinkKind::Mysql(one), SinkKind::Mysql(other)) => (one, other),
        _ => return false,
    };
    share_tables(databases.0, databases.1)
        && (selection(one) == selection(other) || takes_all(one) || takes_all(other))
}

fn share_tables(one: &DatabaseOptions, other: &DatabaseOptions) -> bool {
    let place = |database: &DatabaseOptions| {
        let host = database.host.to_ascii_lowercase();
        (host, database.port, database.database.clone())
    };
    place(one) == place(other) && ((one.events && other.events) || (one.jobs && other.jobs))
}

fn selection(sink: &SinkOptions) -> (&[String], &[String], &str) {
    (&sink.tags, &sink.exclude, &sink.filter)
}

fn takes_all(sink: &SinkOptions) -> bool {
    sink.tags.is_empty() && sink.exclude.is_empty() && sink.filter.is_empty()
}
