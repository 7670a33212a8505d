//! `GET /events` of a bus with history: what was stored, then what is fired, without a seam.

use std::path::Path;
use std::time::Duration;

use brine_api::ApiState;
use brine_log::history::{History, HistoryConfig, HistoryReader, PreparedHistory, TagAge};
use brine_log::{Log, LogConfig, LogId};
use brine_testkit::wait_until;
use brine_wire::matching::{MatchType, TagMatch};
use tempfile::TempDir;

use crate::support::{Api, Setup, at};

/// A bus that goes on with the history in a directory.
pub(crate) struct Bus {
    pub(crate) api: Api,
    history: History,
    pub(crate) id: String,
}

impl Bus {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::with_acl(directory, "[]")
    }

    pub(crate) fn with_acl(directory: &Path, acl: &'static str) -> Self {
        let mut config = HistoryConfig::new(directory);
        config.retention.max_age = None; // times in these tests are small numbers
        Self::of(config, acl)
    }

    fn of(config: HistoryConfig, acl: &'static str) -> Self {
        let prepared = PreparedHistory::open(config).unwrap();
        let log = Log::with_history(LogConfig::new(LogId(0)), &prepared);
        let history = prepared.start(&log).unwrap();
        let (id, kept) = (log.id().to_string(), history.clone());
        let api = Api::with(Setup {
            acl,
            change: Box::new(move |state: &mut ApiState| {
                state.log = log;
                state.history = Some(kept);
            }),
            ..Setup::default()
        });
        Self { api, history, id }
    }

    pub(crate) fn fire(&self, numbers: std::ops::Range<u64>) {
        for nth in numbers {
            let data = format!("{{\"nth\": {nth}}}");
            let kind = if nth == 20 { "rare" } else { "job" };
            let tag = format!("{kind}/{nth}");
            self.api.fire_at(&tag, &data, 1_000_000 + nth * 1000);
        }
    }

    pub(crate) fn end(mut self) {
        self.api.end();
        self.history.close();
    }
}

/// A history of 50 events, whose bus has ended.
fn fifty_stored() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let first = Bus::start(directory.path());
    first.fire(1..51);
    first.end();
    directory
}

/// A bus whose first 50 events an earlier process stored, and that has 50 of its own.
fn two_lives() -> (TempDir, Bus) {
    let directory = fifty_stored();
    let second = Bus::start(directory.path());
    second.fire(51..101);
    (directory, second)
}

pub(crate) fn numbers(lines: &str) -> Vec<u64> {
    let events = lines.lines().filter(|line| line.contains("\"tag\""));
    let nth = events.map(|line| at(line, "/data/nth").as_u64().unwrap());
    nth.collect()
}

#[test]
fn every_way_to_start_reaches_what_an_earlier_process_stored() {
    let (_directory, bus) = two_lives();
    let id = &bus.id;
    for (query, expected) in [
        ("from=earliest".to_owned(), 1..101),
        ("from=30".to_owned(), 30..101),
        (format!("from={id}-49"), 50..101),
        (format!("from={id}-50"), 51..101),
        ("since=@1045".to_owned(), 45..101),
        ("since=@1051".to_owned(), 51..101),
        ("since=@1010&until=@1020".to_owned(), 10..21),
        ("last=70".to_owned(), 31..101),
        ("since=@1090&last=70".to_owned(), 90..101),
        ("last=1&tag=rare/*".to_owned(), 20..21),
        ("from=earliest&tag=rare/*".to_owned(), 20..21),
        ("from=earliest&limit=3".to_owned(), 1..4),
        ("from=earliest&before=4".to_owned(), 1..4),
        ("last=5&before=30".to_owned(), 25..30),
        ("last=5&until=@1020".to_owned(), 16..21),
        ("last=5&until=@1099&before=60".to_owned(), 55..60),
        ("since=@1018&last=70&until=@1020".to_owned(), 18..21),
        ("last=2&before=30&tag=rare/*".to_owned(), 20..21),
    ] {
        let (status, body) = bus.api.get(&format!("/events?follow=false&{query}"));
        assert_eq!(status, 200);
        assert!(!body.contains("\"gap\""), "{query}: {body}");
        assert_eq!(numbers(&body), expected.collect::<Vec<_>>(), "{query}");
    }
    bus.end();
}

#[test]
fn a_search_that_finds_nothing_in_what_is_stored_ends() {
    let directory = fifty_stored();
    let second = Bus::start(directory.path());
    for query in ["last=5", "last=5&before=30", "from=earliest", "since=@1010"] {
        let path = format!("/events?follow=false&{query}&tag=none/*");
        assert_eq!(second.api.get(&path), (200, String::new()), "{query}");
    }
    second.end();
}

#[test]
fn events_that_their_tags_rule_removed_are_a_gap_for_whoever_would_have_read_them() {
    let directory = fifty_stored();
    let mut config = HistoryConfig::new(directory.path());
    config.retention.max_age = None;
    config.retention.tags = vec![TagAge {
        tags: TagMatch::new(MatchType::Fnmatch, "job/*").unwrap(),
        max_age: Some(Duration::from_secs(3600)),
    }];
    let bus = Bus::of(config, "[]");
    let ask = |query: &str| {
        let (status, body) = bus.api.get(&format!("/events?follow=false&{query}"));
        assert_eq!(status, 200, "{body}");
        body
    };
    // Asked of the file: the bus keeps what its readers have read from there for a while.
    wait_until("the rule is applied", || {
        let mut reader = HistoryReader::open(directory.path()).unwrap();
        reader.info().unwrap().totals.events == 1
    });
    let id = &bus.id;
    let gap = |from: u64, to: u64, missed: u64| {
        format!(
            "{{\"gap\": {{\"from\": \"{id}-{from}\", \"to\": \"{id}-{to}\", \"missed\": {missed}, \"reason\": \"expired\"}}}}"
        )
    };
    for (query, expected) in [
        (
            "from=1",
            vec![gap(0, 19, 19), "rare/20".to_owned(), gap(20, 50, 30)],
        ),
        ("from=1&tag=job/*", vec![gap(0, 50, 49)]),
        ("from=30", vec![gap(29, 50, 21)]),
        ("from=1&before=10", vec![gap(0, 9, 9)]),
        ("since=@1001&until=@1010", vec![gap(0, 10, 10)]),
        ("from=1&tag=rare/*", vec!["rare/20".to_owned()]),
        ("from=1&exclude=job/*", vec!["rare/20".to_owned()]),
        // Whatever is there.
        ("from=earliest", vec!["rare/20".to_owned()]),
        ("last=5", vec!["rare/20".to_owned()]),
    ] {
        let body = ask(query);
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{query}: {body}");
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(line.contains(expected), "{query}: {line}, not {expected}");
        }
    }
    bus.end();
}

#[test]
fn a_replay_goes_on_with_what_is_fired() {
    let (_directory, bus) = two_lives();
    let mut reader = bus.api.connect();
    reader.send("GET /events?from=earliest HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut body = reader.until("\"job/100\"");
    bus.fire(101..103);
    body.push_str(&reader.until("\"job/102\""));
    let seen = (1..103).filter(|nth| body.contains(&format!("/{nth}\"")));
    assert_eq!(seen.count(), 102, "{body}");
    bus.end();
}

#[test]
fn the_status_counts_events_after_a_position() {
    let (_directory, bus) = two_lives();
    let id = &bus.id;
    for (after, count) in [
        (format!("{id}-90"), serde_json::Value::from(10)),
        (format!("{id}-0"), 100.into()),
        (format!("{id}-100"), 0.into()),
        ("99-7".to_owned(), serde_json::Value::Null),
    ] {
        let (status, body) = bus.api.get(&format!("/status?after={after}"));
        assert_eq!(status, 200, "{body}");
        assert_eq!(at(&body, "/log/after"), count, "{after}");
    }
    let (status, body) = bus.api.get("/status?after=90");
    assert!(
        status == 400 && body.contains("after: ") && body.contains("expected a position"),
        "{body}"
    );
    bus.end();
}

#[test]
fn a_position_of_another_log_is_a_gap_and_then_everything_there_is() {
    let (_directory, bus) = two_lives();
    let (_, body) = bus.api.get("/events?follow=false&from=99-7");
    let gap = body.lines().next().unwrap();
    assert_eq!(at(gap, "/gap/from"), "99-7");
    assert_eq!(at(gap, "/gap/to"), format!("{}-0", bus.id));
    assert_eq!(at(gap, "/gap/missed"), serde_json::Value::Null);
    assert_eq!(numbers(&body), (1..101).collect::<Vec<_>>());
    let (_, status) = bus.api.get("/status");
    assert_eq!(at(&status, "/log/oldest"), format!("{}-1", bus.id));
    bus.end();
}
