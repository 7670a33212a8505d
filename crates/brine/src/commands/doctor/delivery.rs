//! Whether events arrive where they should: sinks and consumers, the other masters, the reactor, the history, a
//! joined bus, and a minion's queue for its master.
//!
//! A running bus reports most of it (`GET /status`); what waits in a minion's spool is read from its files.

use std::path::Path;
use std::time::Duration;

use brine_node::minion::{Backlog, MinionOptions};
use brine_view::text::{counted, grouped, span};
use brine_wire::{Map, Value};

use super::Site;
use super::clients::FAR_BEHIND;
use crate::bus_location::NodeKind;
use crate::clock;
use crate::commands::findings::Finding;

/// A rule of a reactor that is this many events behind does not react in time.
const REACTOR_BEHIND: i128 = 1000;
/// Records that wait in a spool for longer than this wait for a master that is down.
const LONG: Duration = Duration::from_secs(60);

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(status) = &site.status {
        findings.extend(of_status(status));
    }
    findings.extend(spools(site));
    findings
}

/// The status of a running bus.
fn of_status(status: &Map) -> Vec<Finding> {
    let part = |name| status.get(name).and_then(Value::as_map);
    let mut findings = Vec::new();
    let consumers = status.get("consumers").and_then(Value::as_array);
    let consumers = consumers.unwrap_or_default().iter();
    for consumer in consumers.filter_map(Value::as_map) {
        // The cluster's own has no entry among the sinks, and is looked at with it.
        let is_clusters = part("cluster").is_some() && text(consumer, "name") == "cluster";
        if !is_clusters {
            findings.extend(of_consumer(consumer));
        }
    }
    findings.extend(part("cluster").map(of_cluster).unwrap_or_default());
    findings.extend(part("reactor").map(of_reactor).unwrap_or_default());
    findings.extend(part("history").map(of_history).unwrap_or_default());
    findings.extend(part("attach").and_then(of_attach));
    findings
}

fn of_consumer(consumer: &Map) -> Vec<Finding> {
    let (name, state) = (text(consumer, "name"), text(consumer, "state"));
    let lag = number(consumer, "lag");
    let is_sink = text(consumer, "kind") == "sink";
    let place = format!("{} {name}", if is_sink { "sink" } else { "consumer" });
    let waiting = events(lag);
    let mut findings = Vec::new();
    if let Some(why) = state.strip_prefix("waiting: ")
        && is_answer(why)
    {
        findings.push(Finding::warning("sink-refused", &place).says(
            format!("the other side answers but refuses events, with {waiting} to deliver: {why}"),
            format!("look at its own log, and correct it or brine: {{sinks: {{{name}: …}}}} (url, headers, format); delivery resumes by itself, see brine consumer info {name}"),
        ));
    } else if let Some(why) = state.strip_prefix("waiting: ") {
        findings.push(Finding::warning("sink-waits", &place).says(
            format!("the other side does not accept events, with {waiting} to deliver: {why}"),
            format!("start the other side, or correct brine: {{sinks: {{{name}: …}}}}; delivery resumes by itself, see brine consumer info {name}"),
        ));
    } else if state.starts_with("paused") && lag > 0 {
        findings.push(Finding::note("paused-consumer", &place).says(
            format!("is {state}, with {waiting} to come"),
            format!("brine consumer resume {name}, or brine consumer rm {name} if nobody needs it"),
        ));
    } else if is_sink && consumer.get("delivered").is_none() {
        findings.push(Finding::note("sink-not-running", &place).says(
            format!(
                "does not run, with {waiting} to deliver: it is no longer in the configuration"
            ),
            format!("put it back into brine: {{sinks: …}}, or brine consumer rm {name}"),
        ));
    } else if lag > FAR_BEHIND {
        let remedy = match is_sink {
            true => format!(
                "the other side is slower than the bus: look at RATE in brine consumer ls, and at batch and filter of brine: {{sinks: {{{name}: …}}}}"
            ),
            false => format!(
                "run what reads it (brine consumer next {name}), or brine consumer rm {name} if nobody does"
            ),
        };
        findings.push(
            Finding::warning("consumer-behind", &place)
                .says(format!("is {waiting} behind"), remedy),
        );
    }
    if number(consumer, "dead") > 0 {
        findings.push(Finding::warning("dead-letters", &place).says(
            format!(
                "{} refused by the other side and set aside",
                events(number(consumer, "dead"))
            ),
            format!(
                "brine consumer dead {name} says why; fix that, then brine consumer resend {name}"
            ),
        ));
    }
    if number(consumer, "missed") > 0 {
        findings.push(Finding::warning("missed-events", &place).says(
            format!(
                "{} removed from the history before they were delivered",
                events(number(consumer, "missed"))
            ),
            "keep events longer: brine: {history: {max_age, max_bytes}}",
        ));
    }
    findings
}

/// Whether a sink's trouble is an answer of HTTP: `http://h:80/x: 400 Bad Request: no`.
fn is_answer(why: &str) -> bool {
    let status = |part: &str| part.get(..3)?.parse::<u16>().ok();
    let mut parts = why.split(": ");
    parts.any(|part| matches!(status(part), Some(300..=599)) && part.get(3..4) == Some(" "))
}

fn of_cluster(cluster: &Map) -> Vec<Finding> {
    let mut findings = Vec::new();
    let why = cluster.get("waits_for").and_then(Value::as_str);
    let is_connected = cluster.get("connected") == Some(&Value::Bool(true));
    if !is_connected || why.is_some() {
        let why = why.map_or_else(
            || "NATS is away".to_owned(),
            |why| format!("NATS is away: {why}"),
        );
        findings.push(Finding::error("cluster-cut-off", "cluster").says(
            format!("this master works alone, {why}; its events wait, and those of other masters do not arrive"),
            "start the nats-server, or correct brine: {cluster: {servers: …}}; it reconnects by itself, see brine status",
        ));
    }
    let masters = cluster.get("masters").and_then(Value::as_array);
    let masters = masters.unwrap_or_default().iter().filter_map(Value::as_map);
    for master in masters.filter(|_| is_connected) {
        if master.get("alive") == Some(&Value::Bool(false)) {
            findings.push(
                Finding::warning("master-not-heard", format!("master {}", text(master, "id"))).says(
                    "does not answer in the cluster: its minions get no jobs from this master",
                    "on that machine: brine doctor, and brine status, which says whether it reaches NATS",
                ),
            );
        }
    }
    for (field, kind, what, remedy) in [
        (
            "dead_letters",
            "dead-letters",
            "that NATS does not take set aside",
            "they are in cluster.dead in cachedir, most often larger than NATS's max_payload: raise that",
        ),
        (
            "refused",
            "cluster-refused",
            "in the stream that this master cannot read",
            "look whether something else publishes to its subjects, or a newer Brine: the master's log names them",
        ),
        (
            "never_came",
            "missed-events",
            "of other masters that never came",
            "the stream has lost them: nats stream info, and the masters' logs",
        ),
        (
            "dropped_by_stream",
            "missed-events",
            "dropped by the stream before this master read them",
            "keep them longer: brine: {cluster: {max_age, max_bytes}}",
        ),
        (
            "not_kept_long_enough",
            "missed-events",
            "removed from the history before they were published",
            "keep events longer: brine: {history: {max_age, max_bytes}}",
        ),
    ] {
        let count = number(cluster, field);
        if count > 0 {
            findings.push(
                Finding::warning(kind, "cluster").says(format!("{} {what}", events(count)), remedy),
            );
        }
    }
    let behind = number(cluster, "behind");
    if behind > FAR_BEHIND {
        findings.push(Finding::warning("cluster-behind", "cluster").says(
            format!("{} of other masters are not read yet", events(behind)),
            "look again in a minute; if it grows, this master is slower than the others together",
        ));
    }
    findings
}

fn of_reactor(reactor: &Map) -> Vec<Finding> {
    let mut findings = Vec::new();
    let behind = number(reactor, "behind");
    if behind > REACTOR_BEHIND {
        findings.push(Finding::warning("reactor-lags", "reactor").says(
            format!("its slowest rule has {} to look at", events(behind)),
            "brine reactor ls says which (BEHIND); its calls take long, or it needs brine: {reactor: {throttle: …}}",
        ));
    }
    for (field, what) in [
        ("failed", "failed"),
        (
            "uncertain",
            "of unknown outcome: the master was killed meanwhile",
        ),
    ] {
        let count = number(reactor, field);
        if count > 0 {
            findings.push(Finding::note("failed-reactions", "reactor").says(
                format!("{} {what}", counted(count, "reaction")),
                format!("brine reactor history --outcome {field} says which and why; brine reactor rerun N repeats one"),
            ));
        }
    }
    for (field, what, remedy) in [
        (
            "missed",
            "removed from the history before the reactor read them",
            "keep events longer: brine: {history: {max_age, max_bytes}}",
        ),
        (
            "too_old",
            "older than max_age when the reactor came to them",
            "look why it was late (brine reactor ls), or raise brine: {reactor: {max_age}}",
        ),
    ] {
        let count = number(reactor, field);
        if count > 0 {
            findings.push(
                Finding::note("missed-events", "reactor")
                    .says(format!("{} {what}", events(count)), remedy),
            );
        }
    }
    findings
}

fn of_history(history: &Map) -> Vec<Finding> {
    let place = text(history, "directory");
    let mut findings = Vec::new();
    if let Some(trouble) = history.get("trouble").and_then(Value::as_str) {
        findings.push(Finding::error("history-trouble", place).says(
            format!("the history cannot be written: {trouble}"),
            format!("check its disk (df -h {place}), and free space or repair it; the history then continues by itself, and records what it missed"),
        ));
    }
    let missing = number(history, "missing_events");
    if missing > 0 {
        findings.push(Finding::warning("history-gap", place).says(
            format!("{} since the start could not be stored", events(missing)),
            "brine log info lists what is missing and why: a full disk, or one that is too slow",
        ));
    }
    findings
}

fn of_attach(attach: &Map) -> Option<Finding> {
    (attach.get("joined") == Some(&Value::Bool(false))).then(|| {
        Finding::error("attach-cut-off", "attach").says(
            "the joined bus is not running: no events arrive",
            "start the salt-master or salt-minion whose bus it is; brine attach joins it by itself",
        )
    })
}

/// What a minion has for its masters.
fn spools(site: &Site) -> Vec<Finding> {
    let opts = site.location.opts.as_ref();
    let Some(opts) = opts.filter(|_| site.kind == NodeKind::Minion) else {
        return Vec::new();
    };
    // Wrong options are found with the configuration.
    let Ok(options) = MinionOptions::from_opts(opts, &site.location.brine) else {
        return Vec::new();
    };
    let Some(directory) = &options.spool.directory else {
        return Vec::new();
    };
    // A minion that has never run has none; one that this user may not read is named with the keys.
    let spools = Backlog::read_all(directory).unwrap_or_default();
    let of_spool = |(name, backlog): (String, Backlog)| {
        let max_bytes = options.spool.limits.max_bytes;
        spool(
            &directory.join(name),
            &backlog,
            max_bytes,
            clock::since_epoch(),
        )
    };
    spools.into_iter().filter_map(of_spool).collect()
}

fn spool(directory: &Path, backlog: &Backlog, max_bytes: u64, now: Duration) -> Option<Finding> {
    let oldest = now.saturating_sub(backlog.oldest?);
    let waiting = match backlog.waiting {
        1 => "1 event or return waits".to_owned(),
        many => format!("{} events and returns wait", grouped(many as u64)),
    };
    let place = directory.display();
    let since = span(oldest.as_secs_f64());
    // The last record that fits leaves a little room.
    if backlog.bytes >= max_bytes - max_bytes / 50 {
        return Some(Finding::error("spool-full", place).says(
            format!("{waiting} for the master, the oldest for {since}, and no more are accepted"),
            "bring the master back or let this minion in (above); raise brine: {spool: {max_bytes}}",
        ));
    }
    (oldest > LONG).then(|| {
        Finding::warning("waiting-events", place).says(
            format!("{waiting} for the master, the oldest for {since}"),
            "they are sent once this minion runs and a master accepts them: see master above, and at salt-key -L there",
        )
    })
}

fn events(count: i128) -> String {
    counted(count, "event")
}

fn number(map: &Map, field: &str) -> i128 {
    map.get(field).and_then(Value::as_int).unwrap_or_default()
}

fn text<'a>(map: &'a Map, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::json;
    use std::fmt::Write as _;

    /// What is said of a status.
    fn said(status: &str) -> String {
        let Value::Map(status) = json::parse(status.as_bytes()).unwrap() else {
            panic!("expected an object: {status}");
        };
        shown(of_status(&status))
    }

    fn shown(findings: impl IntoIterator<Item = Finding>) -> String {
        let mut shown = String::new();
        for finding in findings {
            let Finding {
                kind,
                place,
                text,
                remedy,
                ..
            } = finding;
            writeln!(shown, "{kind} {place}: {text}\n  → {remedy}").unwrap();
        }
        shown
    }

    #[test]
    fn a_bus_whose_events_arrive_is_well() {
        assert_eq!(
            said(
                r#"{"consumers": [
                    {"name": "a", "kind": "sink", "state": "active", "lag": 3, "delivered": 9, "dead": 0, "missed": 0},
                    {"name": "b", "kind": "cursor", "state": "paused", "lag": 0},
                    {"name": "cluster", "kind": "sink", "state": "active", "lag": 5}],
                  "cluster": {"connected": true, "waits_for": null, "dead_letters": 0, "masters": [{"id": "m2", "alive": true}]},
                  "reactor": {"rules": 2, "behind": 10, "failed": 0},
                  "history": {"directory": "/h", "trouble": null, "missing_events": 0},
                  "attach": {"joined": true}}"#
            ),
            ""
        );
    }

    #[test]
    fn a_side_that_answers_is_not_to_be_started() {
        for (why, kind) in [
            ("http://h:4001/x: 400 Bad Request: no", "sink-refused"),
            ("http://h/x: 503 Service Unavailable", "sink-refused"),
            ("http://h:4001/x: connection refused", "sink-waits"),
        ] {
            let state = format!(
                r#"{{"consumers": [{{"name": "a", "kind": "sink", "state": "waiting: {why}", "delivered": 0}}]}}"#
            );
            let said = said(&state);
            assert!(said.starts_with(kind), "{said}");
            assert_eq!(said.contains("start the other side"), kind == "sink-waits");
        }
    }

    #[test]
    fn each_thing_that_waits_is_named_with_what_to_run() {
        insta::assert_snapshot!(said(
            r#"{"consumers": [
                {"name": "audit", "kind": "sink", "state": "waiting: connection refused", "lag": 1204, "delivered": 9, "dead": 2, "missed": 7},
                {"name": "old", "kind": "sink", "state": "active", "lag": 12},
                {"name": "slow", "kind": "sink", "state": "active", "lag": 250000, "delivered": 1},
                {"name": "script", "kind": "cursor", "state": "active", "lag": 250000},
                {"name": "rest", "kind": "cursor", "state": "paused until 2026-12-01T00:00:00Z", "lag": 1}],
              "reactor": {"rules": 2, "behind": 2500, "failed": 3, "uncertain": 1, "missed": 4, "too_old": 5},
              "history": {"directory": "/h", "trouble": "the disk is full", "missing_events": 1},
              "attach": {"joined": false}}"#
        ));
    }

    #[test]
    fn a_cluster_that_is_cut_off_says_so_and_one_that_is_not_names_the_master() {
        insta::assert_snapshot!(
            said(
                r#"{"cluster": {"connected": false, "waits_for": "127.0.0.1:4222: connection refused",
                    "masters": [{"id": "m2", "alive": false}]}}"#
            ) + &said(
                r#"{"cluster": {"connected": true, "waits_for": null, "behind": 200000, "dead_letters": 1, "refused": 2,
                    "never_came": 3, "dropped_by_stream": 4, "not_kept_long_enough": 5,
                    "masters": [{"id": "m2", "alive": false}, {"id": "m3", "alive": true}]}}"#
            )
        );
    }

    #[test]
    fn what_waits_long_in_a_spool_or_fills_it_is_named() {
        let now = Duration::from_secs(100_000);
        let look = |waiting, bytes, oldest: Option<u64>| {
            let oldest = oldest.map(|seconds| Duration::from_secs(100_000 - seconds));
            let backlog = Backlog {
                waiting,
                bytes,
                oldest,
            };
            spool(Path::new("/s/master"), &backlog, 1000, now)
        };
        assert_eq!(look(0, 0, None), None);
        assert_eq!(look(5, 100, Some(10)), None);
        let found = [look(1204, 100, Some(7200)), look(1204, 990, Some(10))];
        insta::assert_snapshot!(shown(found.into_iter().flatten()));
    }
}
