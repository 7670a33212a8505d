//! `GET /events`.

use std::time::Duration;

use crate::network::{Network, TOKEN};

/// The token of another user.
const OTHER_TOKEN: &str = "1e4b529d297d6df326531c8911cae7af56813136";
const STAMP: &str = "2026-11-23T21:12:11.666535+00:00";

/// Without what Salt does not send: `id:` lines and comments.
fn as_salt(body: &str) -> String {
    let lines = body.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with("id: ") && !line.starts_with(':'))
        .collect()
}

#[test]
fn a_stream_is_salts_with_an_id_in_each_record() {
    let network = Network::start();
    let mut client = network.events("", "");
    let head = client.until("\r\n\r\n").to_ascii_lowercase();
    for line in [
        "content-type: text/event-stream;charset=utf-8\r\n",
        "cache-control: no-cache\r\n",
        "connection: keep-alive\r\n",
        "transfer-encoding: chunked\r\n",
        "access-control-allow-origin: *\r\n",
        "server: ",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(client.until("\n\r\n"), "16\r\nretry: 400\nid: 7f3a-0\n\r\n");
    network.fire(
        "my/tag",
        r#"{"b": 1, "a": "é", "n": null, "l": [1, 2.5, true], "d": {"z": 1}}"#,
    );
    let record = client.until("\n\n\r\n");
    let (size, record) = record.split_once("\r\n").unwrap();
    let record = record.strip_suffix("\r\n").unwrap();
    assert_eq!(usize::from_str_radix(size, 16).unwrap(), record.len());
    assert!(record.contains("\nid: 7f3a-1\n"), "{record}");
    assert_eq!(
        as_salt(record),
        format!(
            "tag: my/tag\ndata: {{\"data\": {{\"b\": 1, \"a\": \"é\", \"n\": null, \"l\": [1, 2.5, true], \
             \"d\": {{\"z\": 1}}, \"_stamp\": \"{STAMP}\"}}, \"tag\": \"my/tag\"}}\n\n"
        )
    );
}

#[test]
fn a_client_that_is_cut_off_before_the_first_event_knows_where_it_was() {
    let network = Network::start();
    network.fire("before", "{}");
    // A browser takes an id at a blank line; some libraries would take the two for an event without data.
    for (headers, begin) in [
        ("", "retry: 400\nid: 7f3a-1\n\r\n"),
        ("sec-fetch-mode: cors\r\n", "retry: 400\nid: 7f3a-1\n\n\r\n"),
        (
            "accept: application/x-ndjson\r\n",
            "{\"heartbeat\": {\"position\": \"7f3a-1\"}}\n\r\n",
        ),
    ] {
        let mut client = network.events("", headers);
        client.until("\r\n\r\n");
        client.until("\r\n");
        assert_eq!(client.until("\n\r\n"), begin);
    }
    network.fire("meanwhile", "{}");
    let resumed = network.whole("follow=false", "last-event-id: 7f3a-1\r\n");
    assert!(
        resumed.starts_with("retry: 400\ntag: meanwhile\n"),
        "{resumed}"
    );
    // Whoever names a start gets it again.
    for query in ["from=earliest&limit=1", "last=1&limit=1", "follow=false"] {
        let body = network.whole(query, "");
        assert!(!body.starts_with("retry: 400\nid: "), "{query}: {body}");
    }
}

#[test]
fn a_last_event_id_that_is_no_text_is_refused() {
    let network = Network::start();
    let mut client = network.client();
    let head = format!("GET /events HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(b"last-event-id: \xff\xfe\r\n\r\n");
    std::io::Write::write_all(&mut client.stream, &request).unwrap();
    let head = client.until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn what_is_kept_comes_before_what_arrives() {
    let network = Network::start();
    for number in 1..=3 {
        network.fire(&format!("kept/{number}"), "{}");
    }
    let mut client = network.events("from=earliest", "");
    client.until("tag: kept/3\n");
    network.fire("new/1", "{}");
    let between = client.until("tag: new/1\n");
    assert_eq!(between.matches("tag: ").count(), 1, "{between}");
    let resumed = network.whole("from=earliest&limit=2", "last-event-id: 7f3a-2\r\n");
    assert!(
        resumed.starts_with("retry: 400\ntag: kept/3\nid: 7f3a-3\n"),
        "{resumed}"
    );
    assert!(resumed.contains("tag: new/1\n"));
}

#[test]
fn a_position_beyond_the_end_is_a_gap_for_a_stream_that_ends_too() {
    let network = Network::start();
    for position in ["7f3a-9", "1234-9"] {
        let headers = format!("last-event-id: {position}\r\n");
        let none = network.whole("follow=false", &headers);
        assert!(
            none.contains(&format!("\"from\": \"{position}\"")),
            "{none}"
        );
        assert_eq!(none.matches("tag: ").count(), 1, "{none}");
    }
    network.fire("kept", "{}");
    let beyond = network.whole("follow=false", "last-event-id: 7f3a-9\r\n");
    assert!(
        beyond.contains("tag: brine/gap\n") && !beyond.contains("kept"),
        "{beyond}"
    );
    let read = network.whole("follow=false", "last-event-id: 7f3a-1\r\n");
    assert!(!read.contains("tag: "), "{read}");
}

/// Beside a real master, such an event stands for those that the log could not hear.
#[test]
fn what_says_that_events_may_be_missing_passes_every_filter_but_an_exclusion() {
    let network = Network::start();
    network.fire("my/tag", r#"{"x": 5}"#);
    network.fire("brine/gap", r#"{"from": "2026-11-30T13:00:00"}"#);
    network.fire("other", r#"{"x": 6}"#);
    for (query, expected) in [
        ("from=earliest&tag=my/*", &["my/tag", "brine/gap"][..]),
        ("from=earliest&filter=data.x:6", &["brine/gap", "other"]),
        ("tag=my/*&last=1", &["my/tag", "brine/gap"]),
        ("last=1", &["other"]),
        ("from=earliest&exclude=brine/*", &["my/tag", "other"]),
    ] {
        let found = network.whole(&format!("{query}&follow=false"), "");
        let tags: Vec<_> = found
            .lines()
            .filter_map(|line| line.strip_prefix("tag: "))
            .collect();
        assert_eq!(tags, expected, "{query}");
    }
}

#[test]
fn filters_choose_before_anything_is_rendered() {
    let network = Network::start();
    network.fire_at(
        "salt/job/1/ret/web1",
        r#"{"id": "web1", "success": true, "retcode": 0}"#,
        1000,
    );
    network.fire_at(
        "salt/job/1/ret/db1",
        r#"{"id": "db1", "success": false, "retcode": 2}"#,
        2000,
    );
    network.fire_at("my/tag", r#"{"x": 5}"#, 3000);
    for (query, expected) in [
        ("from=earliest&tag=my/*", &["my/tag"][..]),
        ("from=earliest&exclude=salt/*", &["my/tag"]),
        (
            "from=earliest&match=startswith&tag=salt/",
            &["salt/job/1/ret/web1", "salt/job/1/ret/db1"],
        ),
        ("from=earliest&filter=ok:false", &["salt/job/1/ret/db1"]),
        ("from=2", &["salt/job/1/ret/db1", "my/tag"]),
        ("since=@3", &["my/tag"]),
        ("last=2", &["salt/job/1/ret/db1", "my/tag"]),
        ("from=earliest&limit=1", &["salt/job/1/ret/web1"]),
    ] {
        let body = network.whole(&format!("follow=false&{query}"), "");
        let tags: Vec<&str> = body
            .lines()
            .filter_map(|line| line.strip_prefix("tag: "))
            .collect();
        assert_eq!(tags, expected, "{query}");
    }
}

#[test]
fn lines_are_those_of_the_local_socket() {
    let network = Network::start();
    network.fire("my/tag", r#"{"b": {"$bytes": "/w=="}}"#);
    let body = network.whole(
        "from=earliest&follow=false",
        "accept: application/x-ndjson\r\n",
    );
    assert!(
        body.starts_with("{\"seq\": 1, \"position\": \"7f3a-1\", \"time\": \"2026-11-29T08:01:00Z\", \"tag\": \"my/tag\", \"data\": {\"b\": {\"$bytes\": \"/w==\"}"),
        "{body}"
    );
    let sse = network.whole("from=earliest&follow=false", "accept: text/html, */*\r\n");
    assert!(sse.contains("\"b\": \"/w==\""), "{sse}");
}

#[test]
fn what_is_missing_is_told() {
    let network = Network::start();
    network.fire("my/tag", "{}");
    let body = network.whole("follow=false", "last-event-id: 99-7\r\n");
    assert!(
        body.starts_with(
            "retry: 400\nevent: gap\ntag: brine/gap\nid: 7f3a-0\ndata: {\"data\": {\"from\": \"99-7\", \"to\": \"7f3a-0\", \"missed\": null"
        ),
        "{body}"
    );
    assert!(body.contains("tag: my/tag\n"), "{body}");
}

#[test]
fn an_idle_stream_is_sent_comments_alone() {
    let network = Network::with_heartbeat(Duration::from_millis(50));
    let mut client = network.events("", "");
    client.until("\r\n\r\n");
    client.until("retry: 400\nid: 7f3a-0\n\r\n");
    assert_eq!(client.until("\n\r\n"), "13\r\n: heartbeat 7f3a-0\n\r\n");
    // One of a stream that reads by itself.
    let mut bounded = network.events("limit=1", "");
    bounded.until(": heartbeat 7f3a-0\n");
}

#[test]
fn a_stream_ends_the_moment_its_token_does() {
    let network = Network::start();
    let mut client = network.events("", "");
    client.until("retry: 400\nid: 7f3a-0\n\r\n");
    network.fire("before", "{}");
    client.until("tag: before\n");
    network.state.sessions.end(TOKEN);
    let rest = client.until_closed();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the body is whole");
    let answer = network.raw(
        format!(
            "GET /events HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\nconnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn a_token_that_expires_ends_its_streams() {
    let network = Network::start();
    // On a busy machine a token may have expired before the stream begins: then one that lives longer is tried.
    for seconds in [0.3, 3.0, 30.0] {
        network.log_in(OTHER_TOKEN, "ann", Duration::from_secs_f64(seconds));
        let mut client = network.client();
        client.send(&format!(
            "GET /events?token={OTHER_TOKEN} HTTP/1.1\r\nhost: x\r\n\r\n"
        ));
        if client.until("\r\n").contains(" 401 ") {
            continue;
        }
        assert!(client.until_closed().ends_with(b"0\r\n\r\n"));
        return;
    }
    panic!("no stream begins within the life of its token");
}

#[test]
fn the_end_of_the_server_is_the_end_of_whole_bodies() {
    let mut network = Network::start();
    let mut live = network.events("", "");
    live.until("retry: 400\nid: 7f3a-0\n\r\n");
    network.fire("last/words", "{}");
    network.end();
    let rest = live.body_to_end();
    assert!(rest.contains("tag: last/words\n"), "{rest}");
}

#[test]
fn only_permitted_tags_are_seen() {
    let network = Network::with_acl(r#"[{"api_user": "fred", "read": ["my/*"]}]"#);
    network.fire("my/1", "{}");
    network.fire("other", "{}");
    network.fire("salt/auth/creds", "{}");
    let body = network.whole("from=earliest&follow=false", "");
    assert_eq!(body.matches("tag: ").count(), 1, "{body}");
    network.log_in(OTHER_TOKEN, "ann", Duration::from_secs(60));
    let answer = network.raw(
        format!("GET /events?token={OTHER_TOKEN} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn a_mistake_in_the_query_is_named() {
    let network = Network::start();
    for (query, text) in [
        ("tags=a", "no such parameter"),
        ("from=soon", "expected a start"),
        ("match=regex&tag=(", "regular expression"),
        ("filter=colour:red", "fields are"),
        ("last=0", "from 1 to"),
        ("tag=%zz", "expected a query"),
        (&"tag=a&".repeat(100), "at most 64 parameters"),
        ("heartbeat=0", "from 1 to"),
    ] {
        let answer = network.raw(
            format!("GET /events?{query} HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\nconnection: close\r\n\r\n").as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 400 "), "{query}: {answer}");
        assert!(answer.contains(text), "{query}: {answer}");
    }
    let resumed = network.raw(
        format!("GET /events HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\nlast-event-id: x\r\nconnection: close\r\n\r\n").as_bytes(),
    );
    assert!(resumed.contains("expected a position"), "{resumed}");
}

#[test]
fn nobody_is_sent_tokens_of_webhooks_whether_they_are_in_memory_or_new() {
    let network = Network::start();
    let headers = r#"{"headers": {"X-Auth-Token": "s3cret", "Host": "h"}, "n": 1}"#;
    network.fire("salt/netapi/hook/kept", headers);
    let mut client = network.events("from=earliest&tag=salt/netapi/hook/*", "");
    let mut by_filter = network.events("filter=data.headers.X-Auth-Token:s3*", "");
    by_filter.until("retry: 400\n");
    let kept = client.until("hook/kept\"}");
    // Live, for streams that have caught up.
    network.fire("salt/netapi/hook/new", headers);
    network.fire("last", r#"{"headers": {"X-Auth-Token": "s3x"}}"#);
    let new = client.until("hook/new\"}");
    for text in [kept, new] {
        assert!(text.contains("X-Auth-Token\": \"******"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    let selected = by_filter.until("\"last\"}");
    assert!(!selected.contains("hook"), "{selected}");
}
