//! `GET /events`: starts, filters, forms, ends, gaps.

use brine_api::ApiConfig;
use std::time::Duration;

use crate::support::{Api, Setup, at};

/// The tags of the events in an answer of lines.
fn tags(lines: &str) -> Vec<String> {
    lines
        .lines()
        .filter(|line| line.contains("\"tag\""))
        .map(|line| at(line, "/tag").as_str().unwrap().to_owned())
        .collect()
}

fn three_events() -> Api {
    let api = Api::start();
    api.fire_at(
        "salt/job/1/ret/web1",
        r#"{"id": "web1", "retcode": 0, "success": true}"#,
        1000,
    );
    api.fire_at(
        "salt/job/1/ret/db1",
        r#"{"id": "db1", "retcode": 2, "success": false}"#,
        2000,
    );
    api.fire_at("my/tag", r#"{"x": 5}"#, 3000);
    api
}

#[test]
fn a_form_that_is_not_written_is_named_as_it_came() {
    let api = Api::start();
    let mut client = api.connect();
    client
        .send("GET /events HTTP/1.1\r\nhost: x\r\naccept: image/png\r\nconnection: close\r\n\r\n");
    let (status, body) = client.answer();
    let message = at(&body, "/error/message");
    let message = message.as_str().unwrap();
    assert_eq!(status, 400);
    assert!(message.ends_with("found image/png"), "{message}");
}

#[test]
fn what_is_kept_is_replayed_as_lines() {
    let api = three_events();
    let (status, body) = api.get("/events?from=earliest&follow=false");
    assert_eq!(status, 200);
    assert_eq!(body.lines().count(), 3);
    let first = body.lines().next().unwrap();
    assert_eq!(at(first, "/position"), "7f3a-1");
    assert_eq!(at(first, "/seq"), 1);
    assert_eq!(at(first, "/time"), "1970-01-01T00:00:01Z");
    assert_eq!(at(first, "/data/id"), "web1");
}

#[test]
fn a_position_beyond_the_end_is_a_gap_for_an_answer_that_ends_too() {
    let api = three_events();
    for from in ["7f3a-9", "1234-9"] {
        let (status, body) = api.get(&format!("/events?from={from}&follow=false"));
        assert_eq!(status, 200);
        let gap = body
            .lines()
            .next()
            .unwrap_or_else(|| panic!("{from}: nothing"));
        assert!(gap.contains(&format!("\"from\": \"{from}\"")), "{gap}");
    }
    assert_eq!(api.get("/events?from=7f3a-3&follow=false").1, "");
}

#[test]
fn filters_choose() {
    let api = three_events();
    for (query, expected) in [
        ("tag=my/*", &["my/tag"][..]),
        ("tag=my/*&tag=*db1", &["salt/job/1/ret/db1", "my/tag"]),
        ("exclude=salt/*", &["my/tag"]),
        (
            "match=regex&tag=salt/job/%5Cd/ret/w",
            &["salt/job/1/ret/web1"],
        ),
        ("match=startswith&tag=my", &["my/tag"]),
        ("filter=ok:false", &["salt/job/1/ret/db1"]),
        ("filter=minion:web*+ok:true", &["salt/job/1/ret/web1"]),
        ("filter=data.x:5", &["my/tag"]),
        ("from=2", &["salt/job/1/ret/db1", "my/tag"]),
        ("from=7f3a-2", &["my/tag"]),
        ("since=@2", &["salt/job/1/ret/db1", "my/tag"]),
        ("until=@2", &["salt/job/1/ret/web1", "salt/job/1/ret/db1"]),
        ("limit=1", &["salt/job/1/ret/web1"]),
        ("last=1", &["my/tag"]),
        ("last=1&tag=salt/*", &["salt/job/1/ret/db1"]),
        (
            "last=5",
            &["salt/job/1/ret/web1", "salt/job/1/ret/db1", "my/tag"],
        ),
    ] {
        let from = if query.contains("from") || query.contains("since") {
            ""
        } else {
            "&from=earliest"
        };
        let (status, body) = api.get(&format!("/events?follow=false{from}&{query}"));
        assert_eq!(
            (status, tags(&body)),
            (200, expected.iter().map(ToString::to_string).collect()),
            "{query}"
        );
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused() {
    let api = three_events();
    for query in [
        "since=@3&until=@2",
        "from=@3&until=@2",
        "since=5m&until=10m",
    ] {
        let (status, body) = api.get(&format!("/events?follow=false&{query}"));
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.contains("since is later than until"), "{body}");
    }
    assert_eq!(api.get("/events?follow=false&since=@2&until=@2").0, 200);
}

#[test]
fn a_stream_goes_on_seamlessly_into_what_comes() {
    let api = three_events();
    let mut reader = api.connect();
    reader.send("GET /events?last=1&limit=3 HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.until("\"my/tag\"");
    api.fire("later/1", "{}");
    reader.until("\"later/1\"");
    api.fire("later/2", "{}");
    reader.until("\"later/2\"");
    // The limit ends the stream, and the connection serves the next request.
    reader.until("0\r\n\r\n");
    reader.send("GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(reader.answer().0, 200);
}

#[test]
fn server_sent_events_resume_by_their_id() {
    let api = three_events();
    let mut reader = api.connect();
    reader.send(
        "GET /events?from=earliest&follow=false HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\
         last-event-id: 7f3a-2\r\nconnection: close\r\n\r\n",
    );
    let (status, body) = reader.answer();
    assert_eq!(status, 200);
    assert!(
        body.starts_with("retry: 1000\n\nid: 7f3a-3\ndata: {"),
        "{body}"
    );
    assert_eq!(body.matches("data: ").count(), 1);
}

#[test]
fn what_is_missing_is_a_gap() {
    let api = three_events();
    let (_, body) = api.get("/events?follow=false&from=99-7");
    let gap = body.lines().next().unwrap();
    assert_eq!(at(gap, "/gap/from"), "99-7");
    assert_eq!(at(gap, "/gap/missed"), serde_json::Value::Null);
    // After a position of another log everything that is kept follows.
    assert_eq!(at(gap, "/gap/to"), "7f3a-0", "{body}");
    assert_eq!(tags(&body).len(), 3, "{body}");
}

#[test]
fn an_idle_stream_shows_that_it_lives() {
    let api = Api::with(Setup {
        config: ApiConfig {
            heartbeat: Duration::from_millis(50),
            ..ApiConfig::default()
        },
        ..Setup::default()
    });
    let mut reader = api.connect();
    reader.send("GET /events?tag=none HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.until("{\"heartbeat\": {\"position\": \"7f3a-0\"}}\n");
    // What was looked at and not sent counts as read.
    api.fire("other", "{}");
    reader.until("\"7f3a-1\"");
}

#[test]
fn session_keys_are_never_served() {
    let api = Api::start();
    api.fire("salt/auth/creds", r#"{"key": "secret"}"#);
    api.fire("salt/auth", "{}");
    let (_, body) = api.get("/events?from=earliest&follow=false");
    assert_eq!(tags(&body), ["salt/auth"]);
}

#[test]
fn bytes_are_told_from_text() {
    let api = Api::start();
    api.fire("t", r#"{"b": {"$bytes": "dGV4dA=="}, "s": "text"}"#);
    let (_, body) = api.get("/events?from=earliest&follow=false");
    assert_eq!(at(&body, "/data/b/$bytes"), "dGV4dA==");
    assert_eq!(at(&body, "/data/s"), "text");
}

#[test]
fn a_mistake_is_named() {
    let api = Api::start();
    for (path, text) in [
        ("/events?tags=a", "no such parameter"),
        ("/events?from=soon", "expected a start"),
        ("/events?since=10x", "10m, 2026-11-29 08:01"),
        ("/events?since=%2B5min", "future"),
        ("/events?match=like&tag=a", "expected startswith"),
        ("/events?match=regex&tag=(", "regular expression"),
        ("/events?filter=colour:red", "fields are"),
        ("/events?last=0", "from 1 to"),
        ("/events?follow=maybe", "true or false"),
    ] {
        let (status, body) = api.get(path);
        assert_eq!(status, 400, "{path}: {body}");
        assert!(
            at(&body, "/error/message").as_str().unwrap().contains(text),
            "{path}: {body}"
        );
    }
}

#[test]
fn streams_are_listed_while_they_are_read() {
    let api = three_events();
    let mut reader = api.connect();
    reader.send("GET /events?from=earliest&tag=my/* HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.until("\"my/tag\"");
    let (_, status) = api.get("/status");
    assert_eq!(at(&status, "/log/newest"), "7f3a-3");
    assert_eq!(at(&status, "/log/events"), 3);
    assert_eq!(at(&status, "/streams/0/query"), "from=earliest&tag=my/*");
    assert_eq!(at(&status, "/streams/0/pid"), std::process::id());
    assert_eq!(at(&status, "/streams/0/sent"), 1);
    assert_eq!(at(&status, "/streams/0/lag"), 0);
    assert_eq!(at(&status, "/node/kind"), "bus");
}

#[test]
fn a_server_that_ends_writes_what_is_there_and_closes() {
    let mut api = three_events();
    let mut reader = api.connect();
    reader.send("GET /events?from=earliest HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.until("\"my/tag\"");
    api.fire("last/one", "{}");
    api.shut_down();
    let (end, _) = (reader.until("0\r\n\r\n"), ());
    assert!(end.contains("last/one"), "{end}");
    assert!(!std::path::Path::exists(&api.path) || reader.rest().is_empty());
}
