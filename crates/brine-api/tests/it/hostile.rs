//! Clients that stall, flood, lie and smuggle: each is refused or bounded, and an honest client beside
//! it is served.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brine_api::ApiConfig;
use brine_testkit::wait_until;

use crate::support::{Api, Setup};

fn with_config(config: ApiConfig) -> Api {
    Api::with(Setup {
        config,
        ..Setup::default()
    })
}

/// What a raw request is answered with, up to the close of the connection.
fn raw(api: &Api, text: &str) -> String {
    let mut client = api.connect();
    client.send(text);
    // So that what is not refused at once ends all the same.
    client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    client.half_close();
    client.rest()
}

fn is_served(api: &Api) {
    assert_eq!(api.get("/status").0, 200);
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let api = with_config(ApiConfig {
        head_timeout: Duration::from_secs(1),
        ..ApiConfig::default()
    });
    for text in ["", "GET /status HT", "GET /status HTTP/1.1\r\nhost: x\r\n"] {
        let mut client = api.connect();
        client.send(text);
        let rest = client.rest();
        assert!(!rest.contains("200 OK"), "{text:?}: {rest}");
    }
    // On a busy machine an honest head may be late, too.
    wait_until("an answer", || raw(&api, "").contains(" 404 "));
}

#[test]
fn large_heads_are_refused() {
    let api = Api::start();
    let many: String = (0..100)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    for head in [
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(400_000)),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(400_000)),
        format!("GET / HTTP/1.1\r\n{many}\r\n"),
    ] {
        let mut client = api.connect();
        // The server may close before all is written.
        let _ = client.stream.write_all(head.as_bytes());
        let answer = client.rest();
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.is_empty(),
            "{answer}"
        );
    }
    is_served(&api);
}

#[test]
fn a_line_over_the_limit_costs_no_more_than_the_limit() {
    let api = Api::start();
    let mut client = api.connect();
    client.send("POST /events?durable=false HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let piece = "x".repeat(1 << 20);
    for _ in 0..12 {
        client.send(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    let end = "\n{\"tag\": \"a\"}\n";
    client.send(&format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()));
    let (status, body) = client.answer();
    assert_eq!(status, 200);
    assert!(body.contains("expected a line of at most"), "{body}");
    assert!(body.contains("7f3a-1"), "{body}");
}

#[test]
fn a_body_over_the_limit_is_refused_by_its_length() {
    let api = Api::start();
    let answer = raw(
        &api,
        "POST /events?durable=false HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{",
    );
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn one_user_has_so_many_connections_and_no_more() {
    let api = with_config(ApiConfig {
        connections_per_user: 4,
        ..ApiConfig::default()
    });
    let idle: Vec<_> = (0..4)
        .map(|_| {
            let mut client = api.connect();
            client.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
            client.until("\r\n\r\n");
            client
        })
        .collect();
    let (status, body) = api.get("/status");
    assert_eq!(status, 503, "{body}");
    drop(idle);
    // The server notices that they are gone.
    wait_until("their places", || api.get("/status").0 == 200);
}

#[test]
fn smuggled_requests_are_not_served() {
    let api = Api::start();
    let inner = "GET /status HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = inner.len();
    for head in [
        // Two lengths, a length beside chunks, chunks that are not the last coding, odd spellings.
        format!("content-length: 0\r\ncontent-length: {length}\r\n"),
        format!("transfer-encoding: chunked, identity\r\ncontent-length: {length}\r\n"),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        "content-length: +5\r\n".to_owned(),
        "content-length: 5, 6\r\n".to_owned(),
        " folded: x\r\n".to_owned(),
        "bad name: x\r\n".to_owned(),
        "x: a\u{0}b\r\n".to_owned(),
    ] {
        let answer = raw(
            &api,
            &format!("POST /events?durable=false HTTP/1.1\r\nhost: x\r\n{head}\r\n{inner}"),
        );
        assert!(!answer.contains("200 OK"), "{head:?}: {answer}");
    }
    // Whole chunked bodies: with a length beside them the chunks count, and nothing after them is read; those that are
    // coded in some other way, too, are refused.
    for (head, status) in [
        ("content-length: 3\r\ntransfer-encoding: chunked\r\n", 200),
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", 200),
        ("transfer-encoding: gzip, chunked\r\n", 501),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            501,
        ),
    ] {
        let mut client = api.connect();
        client.send(&format!(
            "POST /events?durable=false HTTP/1.1\r\nhost: x\r\n{head}\r\n\
             d\r\n{{\"tag\": \"a\"}}\n\r\n0\r\n\r\n{inner}"
        ));
        let answer = client.rest();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer}"
        );
        assert!(answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    }
    assert_eq!(api.state.log.position().seq.0, 2);
    is_served(&api);
}

#[test]
fn tricks_with_paths_find_nothing() {
    let api = Api::start();
    for path in [
        "/",
        "/status/",
        "//status",
        "/./status",
        "/events/../status",
        "/%73tatus",
        "/STATUS",
        "/status%00",
        "/status;x",
        "*",
    ] {
        assert_eq!(api.get(path).0, 404, "{path}");
    }
    for (head, status) in [
        ("DELETE /events", 405),
        ("PUT /status", 405),
        ("GET /run", 405),
        ("BREW /status", 405),
    ] {
        assert_eq!(api.request(head, "").0, status, "{head}");
    }
}

#[test]
fn a_stream_ends_when_its_reader_closes_its_half() {
    let api = Api::start();
    let mut reader = api.connect();
    reader.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.until("\r\n\r\n");
    reader.half_close();
    let rest = reader.rest();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    // One that did so at once gets what is there.
    api.fire("my/tag", "{}");
    let mut reader = api.connect();
    reader.send("GET /events?from=earliest HTTP/1.1\r\nhost: x\r\n\r\n");
    reader.half_close();
    let rest = reader.rest();
    assert!(
        rest.contains("my/tag") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    is_served(&api);
}

#[test]
fn requests_of_a_client_that_closes_its_half_are_finished() {
    let api = slowly_durable();
    let fire = "POST /events HTTP/1.1\r\nhost: x\r\n";
    let one = "content-length: 12\r\n\r\n{\"tag\": \"a\"}";
    let chunked = "transfer-encoding: chunked\r\n\r\nd\r\n{\"tag\": \"b\"}\n\r\n0\r\n\r\n";
    let read = "GET /events?from=earliest&follow=false HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut client = api.connect();
    client.send(&format!("{fire}{one}{fire}{one}{fire}{chunked}{read}"));
    client.half_close();
    let answer = client.rest();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4, "{answer}");
    for position in ["7f3a-1", "7f3a-2", "7f3a-3"] {
        // Once when it is fired, once when it is read.
        assert_eq!(answer.matches(position).count(), 2, "{position}: {answer}");
    }
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

/// An API whose disk answers in a later turn.
fn slowly_durable() -> Api {
    Api::with(Setup {
        change: Box::new(|state| {
            state.durability = Some(Arc::new(|_| {
                Box::pin(async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    Ok(())
                })
            }));
        }),
        ..Setup::default()
    })
}

#[test]
fn a_body_that_is_no_chunks_is_answered_with_an_error_and_an_unfinished_body() {
    let api = Api::start();
    for bad in [
        "xyz\r\n",
        "fffffffffffffffff\r\n",
        "5;a\u{0}\r\nhello\r\n\r\n",
        "5\r\nhelloXX",
    ] {
        let mut client = api.connect();
        client.send(
            "POST /events?durable=false HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        // What came whole before it is fired and answered.
        client.send(&format!("d\r\n{{\"tag\": \"a\"}}\n\r\n{bad}"));
        client.half_close();
        let answer = client.rest();
        assert!(answer.contains("\"position\": "), "{bad:?}: {answer}");
        assert!(
            answer.contains("\"code\": \"bad_request\", \"message\": \"body: "),
            "{bad:?}: {answer}"
        );
        assert!(!answer.ends_with("0\r\n\r\n"), "{bad:?}: {answer}");
    }
    is_served(&api);
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    let api = Api::start();
    let mut stuck = api.connect();
    stuck.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
    stuck.until("\r\n\r\n");
    let text = "x".repeat(10_000);
    for number in 0..300 {
        api.fire(&format!("bulk/{number}"), &format!("{{\"x\": \"{text}\"}}"));
    }
    let (_, body) = api.get("/events?from=earliest&follow=false&last=1");
    assert!(body.contains("bulk/299"));
    // It gets everything once it reads.
    stuck.until("bulk/299");
}

#[test]
fn garbage_ends_the_connection() {
    let api = Api::start();
    for text in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\r\n\r\n\r\nx y z\r\n\r\n",
    ] {
        let answer = raw(&api, text);
        assert!(!answer.contains("200 OK"), "{text:?}: {answer}");
    }
    is_served(&api);
}

#[test]
fn whoever_sends_and_does_not_read_is_not_read_either() {
    const LINES: usize = 4 << 20;
    let api = Api::start();
    let mut client = api.connect();
    client.send(
        "POST /events?durable=false HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n",
    );
    let mut writer = client.stream.try_clone().unwrap();
    let written = Arc::new(AtomicUsize::new(0));
    let total = Arc::clone(&written);
    let writing = std::thread::spawn(move || {
        // Each of these lines is answered by fifty times its length.
        let lines = "x\n".repeat(4 << 10);
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        for _ in 0..LINES / (4 << 10) {
            // Fails once the other half is closed.
            if writer.write_all(chunk.as_bytes()).is_err() {
                return;
            }
            total.fetch_add(1, Ordering::Relaxed);
        }
        panic!("the server has read all lines, and fifty times as many bytes wait");
    });
    // Others are served while it is stuck, and it stays so.
    let (mut before, mut unchanged) = (0, 0);
    wait_until("the server to read no more", || {
        is_served(&api);
        let now = written.load(Ordering::Relaxed);
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        unchanged == 50
    });
    assert!(!writing.is_finished(), "all of it was read");
    // Once it reads, it is read on.
    let stuck = written.load(Ordering::Relaxed);
    let mut read = vec![0; 1 << 20];
    while written.load(Ordering::Relaxed) < stuck + 16 {
        client.stream.read_exact(&mut read).unwrap();
    }
    client.stream.shutdown(Shutdown::Both).unwrap();
    writing.join().unwrap();
    is_served(&api);
}
