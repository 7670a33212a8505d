//! `POST /events`: one, many, streamed; durable or not.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use brine_log::Next;
use brine_log::Start;
use brine_wire::record::{self, Record};
use std::io::{Read, Write};

use crate::support::{Api, DEADLINE, Setup, at};

/// An API whose disk takes everything at once and counts how often it was asked.
fn durable() -> (Api, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let api = Api::with(Setup {
        change: Box::new(|state| {
            state.durability = Some(Arc::new(move |events| {
                count.fetch_max(events.end.0 - 1, Ordering::SeqCst);
                Box::pin(async { Ok(()) })
            }));
        }),
        ..Setup::default()
    });
    (api, asked)
}

fn tags(api: &Api) -> Vec<String> {
    let mut cursor = api.state.log.events(Start::Oldest);
    let Next::Ready(events) = cursor.next() else {
        return Vec::new();
    };
    let tag = |event: brine_log::StoredEvent<'_>| {
        String::from_utf8_lossy(&event.event[..event.tag_bytes]).into_owned()
    };
    events.iter().map(tag).collect()
}

#[test]
fn lines_are_answered_with_positions_once_durable() {
    let (api, asked) = durable();
    let (status, body) = api.request(
        "POST /events",
        "{\"tag\": \"a/1\", \"data\": {\"x\": 1}}\n\n{\"tag\": \"a/2\"}",
    );
    assert_eq!(
        (status, body.as_str()),
        (
            200,
            "{\"position\": \"7f3a-1\"}\n{\"position\": \"7f3a-2\"}\n"
        )
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(tags(&api), ["a/1", "a/2"]);
    let (_, events) = api.get("/events?from=earliest&follow=false&limit=1");
    assert_eq!(at(&events, "/data/x"), 1);
    assert!(at(&events, "/data/_stamp").is_string());
}

#[test]
fn what_a_stream_writes_can_be_sent_back() {
    let (api, _) = durable();
    let (status, body) = api.request(
        "POST /events",
        "{\"gap\": {\"from\": \"1-2\", \"to\": \"1-4\", \"missed\": 2, \"reason\": null}}\n\
         {\"seq\": 5, \"position\": \"1-5\", \"time\": \"x\", \"tag\": \"a/1\", \"sender\": \"m1\", \
         \"origin\": \"m2\", \"origin_position\": \"2-7\", \"data\": {\"x\": 1}}\n\
         {\"heartbeat\": {\"position\": \"1-5\"}}\n\
         {\"tag\": \"a/2\", \"sendr\": \"m1\"}\n",
    );
    let answers: Vec<_> = body.lines().collect();
    assert_eq!((status, answers.len()), (200, 2), "{body}");
    assert_eq!(answers[0], "{\"position\": \"7f3a-1\"}");
    // What is misspelt is refused, with the number of its line.
    assert_eq!(at(answers[1], "/error/line"), 4);
    // It is fired by whoever sends it.
    let (_, events) = api.get("/events?from=earliest&follow=false");
    assert_eq!(tags(&api), ["a/1"]);
    assert!(
        !events.contains("sender") && !events.contains("origin"),
        "{events}"
    );
}

#[test]
fn lines_are_json_whatever_the_numbers_are() {
    let (api, _) = durable();
    let numbers = "{\"tag\": \"a\", \"data\": {\"n\": NaN, \"i\": [Infinity, -Infinity]}}";
    assert_eq!(api.request("POST /events", numbers).0, 200);
    let (_, line) = api.get("/events?from=earliest&follow=false");
    assert_eq!(at(&line, "/data/n"), "NaN");
    assert_eq!(
        at(&line, "/data/i"),
        serde_json::json!(["Infinity", "-Infinity"])
    );
}

#[test]
fn without_history_only_what_need_not_be_durable_is_taken() {
    let api = Api::start();
    let event = "{\"tag\": \"a\"}";
    let (status, body) = api.request("POST /events", event);
    assert_eq!(
        (status, at(&body, "/error/code")),
        (409, "no_history".into())
    );
    assert!(tags(&api).is_empty());
    assert_eq!(api.request("POST /events?durable=false", event).0, 200);
    assert_eq!(tags(&api), ["a"]);
}

#[test]
fn a_disk_that_fails_is_an_error_of_its_own() {
    let api = Api::with(Setup {
        change: Box::new(|state| {
            state.durability = Some(Arc::new(|_| {
                Box::pin(async { Err("disk full".to_owned()) })
            }));
        }),
        ..Setup::default()
    });
    let (status, body) = api.request("POST /events", "{\"tag\": \"a\"}");
    assert_eq!(
        (status, at(&body, "/error/code")),
        (507, "not_durable".into())
    );
    // It was delivered all the same, and the answer says so.
    assert_eq!(tags(&api), ["a"]);
    assert!(
        body.contains("appended, but not durable: disk full"),
        "{body}"
    );
}

#[test]
fn a_batch_with_a_hole_on_disk_is_not_acknowledged() {
    let api = Api::with(Setup {
        change: Box::new(|state| {
            state.durability = Some(Arc::new(|events| {
                let lost = events.contains(&brine_log::Seq(1));
                Box::pin(async move {
                    if lost {
                        Err("event 1 is lost".to_owned())
                    } else {
                        Ok(())
                    }
                })
            }));
        }),
        ..Setup::default()
    });
    let (status, body) = api.request("POST /events", "{\"tag\": \"a\"}\n{\"tag\": \"b\"}\n");
    assert_eq!(status, 507, "{body}");
    assert_eq!(tags(&api), ["a", "b"]);
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let api = Api::with(Setup {
        change: Box::new(|state| {
            state.durability = Some(Arc::new(|_| Box::pin(pending())));
        }),
        ..Setup::default()
    });
    let mut client = api.connect();
    client.send("POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{\"tag\": \"a\"}");
    client
        .stream
        .set_read_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    while tags(&api).is_empty() {
        std::thread::yield_now();
    }
    assert!(client.stream.read(&mut [0]).is_err(), "answered too early");
}

#[test]
fn each_bad_line_is_an_error_for_that_line_only() {
    let api = Api::start();
    let (status, body) = api.request(
        "POST /events?durable=false",
        "{\"tag\": \"a\"}\nnot json\n{\"tag\": \"\"}\n{\"tag\": \"b\", \"data\": []}\n{\"tag\": \"c\", \"Data\": {}}\n{\"tag\": \"d\"}\n",
    );
    assert_eq!(status, 200);
    let lines: Vec<_> = body.lines().collect();
    assert_eq!(lines.len(), 6, "{body}");
    assert_eq!(lines[0], "{\"position\": \"7f3a-1\"}");
    for (number, bad) in (2..).zip(&lines[1..5]) {
        assert_eq!(at(bad, "/error/code"), "bad_event");
        assert_eq!(at(bad, "/error/line"), number);
    }
    assert_eq!(lines[5], "{\"position\": \"7f3a-2\"}");
    assert_eq!(tags(&api), ["a", "d"]);
    // With one line alone, the status says it.
    assert_eq!(api.request("POST /events?durable=false", "nonsense").0, 400);
    assert_eq!(api.request("POST /events?durable=false", "").0, 400);
}

#[test]
fn too_large_data_are_refused_and_not_trimmed() {
    let api = Api::start();
    let large = format!(
        "{{\"tag\": \"a\", \"data\": {{\"x\": \"{}\"}}}}",
        "y".repeat(1_100_000)
    );
    let (status, body) = api.request("POST /events?durable=false", &large);
    assert_eq!(status, 400, "{body}");
    assert!(tags(&api).is_empty());
}

#[test]
fn a_streamed_body_is_answered_while_it_is_sent() {
    let (api, _) = durable();
    let mut client = api.connect();
    client.send("POST /events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    client.send(&chunk("{\"tag\": \"a/1\"}\n"));
    client.until("{\"position\": \"7f3a-1\"}\n");
    // A line may come in pieces, and several at once.
    client.send(&chunk("{\"tag\": "));
    client.send(&chunk(
        "\"a/2\"}\nbad\n{\"tag\": \"a/3\"}\n{\"tag\": \"a/4\"}",
    ));
    client.until("{\"position\": \"7f3a-2\"}\n{\"error\": ");
    client.until("{\"position\": \"7f3a-3\"}\n");
    client.send("0\r\n\r\n");
    client.until("{\"position\": \"7f3a-4\"}\n");
    client.until("0\r\n\r\n");
    assert_eq!(tags(&api), ["a/1", "a/2", "a/3", "a/4"]);
}

#[test]
fn records_travel_as_they_are() {
    let api = Api::start();
    let mut body = Vec::new();
    for event in [
        &b"a\n\n\x80"[..],
        b"no envelope",
        b"b\n\n\x81\xa1x\xc4\x01\xff",
    ] {
        Record::Fire { event }.encode(&mut body);
    }
    let mut client = api.connect();
    client.send(&format!(
        "POST /events?durable=false HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-msgpack\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    client.stream.write_all(&body).unwrap();
    let mut all = Vec::new();
    client.stream.read_to_end(&mut all).unwrap();
    let start = all
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap()
        + 4;
    let mut rest = &all[start..];
    let mut answers = Vec::new();
    while let Some((answer, length)) = record::next(rest, 1 << 20).unwrap() {
        answers.push(answer);
        rest = &rest[length..];
    }
    assert_eq!(answers.remove(0), Record::Log { log: 0x7f3a });
    assert_eq!(answers[0], Record::Fired { sequence: 1 });
    assert!(matches!(&answers[1], Record::Refused { code, .. } if code == "bad_event"));
    assert_eq!(answers[2], Record::Fired { sequence: 2 });
    assert_eq!(tags(&api), ["a", "b"]);
}

#[test]
fn what_is_read_can_be_fired_again() {
    let api = Api::start();
    api.fire("my/tag", r#"{"x": {"$bytes": "/w=="}}"#);
    let (_, line) = api.get("/events?from=earliest&follow=false");
    assert_eq!(api.request("POST /events?durable=false", &line).0, 200);
    let (_, lines) = api.get("/events?from=earliest&follow=false");
    let data: Vec<_> = lines.lines().map(|line| at(line, "/data/x")).collect();
    assert_eq!(data[0], data[1]);
}

#[test]
fn a_stream_names_the_line_that_is_bad_and_goes_on() {
    let api = Api::start();
    let mut client = api.connect();
    client.send(
        "POST /events?durable=false HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    client.send(&chunk("{\"tag\": \"a\"}\n\n{\"ta"));
    client.send(&chunk("g\": 5}\n{\"tag\": \"b\"}\n"));
    client.until("{\"position\": \"7f3a-1\"}\n");
    let bad = client.until("}}\n");
    assert!(bad.contains("\"line\": 3}"), "{bad}");
    client.until("{\"position\": \"7f3a-2\"}\n");
}

#[test]
fn requests_sent_together_are_answered_in_order() {
    const REQUESTS: usize = 1000;
    let (api, _) = durable();
    let mut client = api.connect();
    let padding = "x".repeat(600);
    let request = |number: usize| {
        let line = format!("{{\"tag\": \"a/{number}\", \"data\": {{\"x\": \"{padding}\"}}}}");
        let length = line.len();
        format!("POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{line}")
    };
    let all: String = (0..REQUESTS).map(request).collect();
    // More than the kernel keeps, in both directions, and nobody reads meanwhile.
    client.stream.set_write_timeout(Some(DEADLINE)).unwrap();
    client.stream.write_all(all.as_bytes()).unwrap();
    for number in 1..=REQUESTS {
        client.until(&format!("{{\"position\": \"7f3a-{number}\"}}\n"));
    }
}
