//! `/ws`, `/all_events`, `/formatted_events`, frame by frame.

use std::io::Read;
use std::time::Duration;

use brine_api::rest::Client::LocalAsync;
use brine_api::rest::Low;
use brine_testkit::wait_until;

use super::support::Client;
use crate::network::{Network, TOKEN};
use crate::rest::{log_in, recorded};

const NEW_JOB: &str = r#"{"jid": "20261123212003365197", "tgt_type": "glob", "tgt": "m1", "user": "root", "fun": "test.ping", "arg": [], "minions": ["m1"], "missing": []}"#;

fn handshake(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:24180\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: s65VsgHigh7v/Jcf4nXHnA==\r\n{headers}\r\n"
    )
}

fn open(network: &Network, path: &str) -> Client {
    let mut client = network.client();
    client.send(&handshake(path, ""));
    let head = client.until("\r\n\r\n").to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101 switching protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-accept: mwzjbv9fcglzn1rikjaxrtflnje=\r\n"),
        "{head}"
    );
    client
}

/// Sends a masked frame.
fn send(client: &mut Client, opcode: u8, payload: &[u8]) {
    let mut frame = vec![0x80 | opcode];
    match u8::try_from(payload.len())
        .ok()
        .filter(|length| *length < 126)
    {
        Some(length) => frame.push(0x80 | length),
        None => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    client.send_bytes(&frame);
}

/// The next frame: opcode and payload.
fn receive(client: &mut Client) -> (u8, String) {
    let head = client.take(2);
    assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
    let length = match head[1] {
        126 => usize::from(u16::from_be_bytes(client.take(2).try_into().unwrap())),
        127 => usize::try_from(u64::from_be_bytes(client.take(8).try_into().unwrap())).unwrap(),
        length => usize::from(length),
    };
    (
        head[0] & 0x0f,
        String::from_utf8_lossy(&client.take(length)).into_owned(),
    )
}

fn text(client: &mut Client) -> String {
    loop {
        match receive(client) {
            (1, text) => return text,
            (9, _) => {} // a heartbeat
            other => panic!("expected a text, found {other:?}"),
        }
    }
}

/// Says that events are wanted, and waits until they are sent.
fn ready(network: &Network, client: &mut Client) {
    let streams = network.state.streams.stats().streams;
    send(client, 1, b"websocket client ready");
    while network.state.streams.stats().streams == streams {
        std::thread::yield_now();
    }
}

#[test]
fn ws_speaks_as_rest_cherrypy() {
    let network = Network::start();
    let mut client = open(&network, &format!("/ws/{TOKEN}"));
    send(&mut client, 1, b"hello");
    assert_eq!(text(&mut client), "server received message");
    network.fire("before", "{}");
    ready(&network, &mut client);
    assert_eq!(text(&mut client), "server received message");
    network.fire("my/tag", r#"{"b": 1, "a": "é"}"#);
    assert_eq!(
        text(&mut client),
        "data: {\"data\": {\"b\": 1, \"a\": \"é\", \"_stamp\": \"2026-11-23T21:12:11.666535+00:00\"}, \"tag\": \"my/tag\"}\n\n"
    );
    send(&mut client, 9, b"?");
    assert_eq!(receive(&mut client), (10, "?".to_owned()));
    network.state.sessions.end(TOKEN);
    assert_eq!(receive(&mut client).0, 8);
}

#[test]
fn all_events_are_bare_objects() {
    let network = Network::start();
    let mut client = open(&network, &format!("/all_events/{TOKEN}"));
    send(&mut client, 1, b"hello");
    ready(&network, &mut client);
    network.fire("my/tag", "{}");
    assert_eq!(
        text(&mut client),
        "{\"data\": {\"_stamp\": \"2026-11-23T21:12:11.666535+00:00\"}, \"tag\": \"my/tag\"}"
    );
}

#[test]
fn formatted_events_are_snapshots() {
    let network = Network::start();
    let mut cherrypy = open(&network, &format!("/ws/{TOKEN}?format_events"));
    ready(&network, &mut cherrypy);
    assert_eq!(text(&mut cherrypy), "server received message");
    let mut tornado = open(&network, &format!("/formatted_events/{TOKEN}"));
    ready(&network, &mut tornado);
    network.fire("my/tag", "{}");
    network.fire("salt/job/20261123212003365197/new", NEW_JOB);
    let expected = r#"{"jobs": {"20261123212003365197": {"jid": "20261123212003365197", "start_time": "2026-11-23T21:12:11.666535+00:00", "minions": {"m1": {"success": false}}, "fun": "test.ping", "tgt": "m1", "tgt_type": "glob", "state": "running"}}}"#;
    assert_eq!(text(&mut cherrypy), expected);
    assert_eq!(text(&mut tornado), format!("{expected}\n\n"));
}

#[test]
fn formatted_events_begin_with_the_minions_grains() {
    let (network, recorded) = recorded("[]", |_| {});
    let token = log_in(&network);
    let mut client = open(&network, &format!("/formatted_events/{token}"));
    ready(&network, &mut client);
    wait_until("the job", || !recorded.ran.lock().unwrap().is_empty());
    let ran = recorded.ran.lock().unwrap().clone();
    let [
        Low {
            client: LocalAsync,
            fields,
        },
    ] = ran.as_slice()
    else {
        panic!("{ran:?}")
    };
    assert_eq!(fields.get("fun"), Some(&"grains.items".into()));
    let job = NEW_JOB.replace("test.ping", "grains.items");
    network.fire("salt/job/20261123212003365197/new", &job);
    assert!(text(&mut client).starts_with(r#"{"jobs": {"#));
    let returned = r#"{"id": "m1", "success": true, "return": {"os": "Debian"}, "retcode": 0, "jid": "20261123212003365197", "fun": "grains.items"}"#;
    network.fire("salt/job/20261123212003365197/ret/m1", returned);
    assert!(text(&mut client).contains(r#""state": "complete""#));
    assert_eq!(
        text(&mut client),
        "{\"minions\": {\"m1\": {\"grains\": {\"os\": \"Debian\"}, \"id\": \"m1\"}}}\n\n"
    );
}

#[test]
fn a_handshake_that_is_none_is_refused() {
    let network = Network::start();
    for (request, status) in [
        (handshake("/ws/0000", ""), 401),
        (format!("GET /ws/{TOKEN} HTTP/1.1\r\nhost: x\r\n\r\n"), 400),
        (
            handshake(&format!("/ws/{TOKEN}"), "").replace(": 13", ": 8"),
            400,
        ),
        (
            handshake(&format!("/ws/{TOKEN}"), "").replace("nA==", ""),
            400,
        ),
        (
            handshake(&format!("/ws/{TOKEN}"), "Origin: http://ui.example\r\n"),
            101,
        ),
        (
            handshake(
                "/ws",
                &format!("X-Auth-Token: {TOKEN}\r\nOrigin: http://ui.example\r\n"),
            ),
            101,
        ),
        (
            handshake(
                "/ws",
                &format!("Cookie: session_id={TOKEN}\r\nOrigin: http://localhost:24180\r\n"),
            ),
            101,
        ),
        (
            handshake(
                "/ws",
                &format!("Cookie: session_id={TOKEN}\r\nOrigin: http://ui.example\r\n"),
            ),
            403,
        ),
        (handshake(&format!("/ws/{TOKEN}?tags=x"), ""), 400),
    ] {
        let mut client = network.client();
        client.send(&request);
        let head = client.until("\r\n\r\n");
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}\n{head}"
        );
    }
}

#[test]
fn broken_frames_end_their_connection_alone() {
    let network = Network::start();
    let mut honest = open(&network, &format!("/ws/{TOKEN}"));
    ready(&network, &mut honest);
    text(&mut honest);
    for (frame, code) in [
        (&b"\x81\x05hello"[..], 1002),       // not masked
        (b"\x8f\x80\x01\x02\x03\x04", 1002), // no such opcode
        (b"\xf1\x80\x01\x02\x03\x04", 1002), // reserved bits
        (b"\x09\x80\x01\x02\x03\x04", 1002), // a control frame in pieces
        (b"\x80\x80\x01\x02\x03\x04", 1002), // the rest of nothing
        (
            b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04",
            1009,
        ), // 9 exabytes
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007), // no UTF-8
        (b"\x88\x81\x00\x00\x00\x00x", 1002), // a close with half a code
    ] {
        let mut client = open(&network, &format!("/ws/{TOKEN}"));
        client.send_bytes(frame);
        assert_eq!(close_code(&client.until_closed()), Some(code), "{frame:x?}");
    }
    // One that begins and never ends is bounded.
    let mut endless = open(&network, &format!("/ws/{TOKEN}"));
    for _ in 0..3 {
        let mut frame = vec![0x01, 0xfe, 0x80, 0x00, 0, 0, 0, 0];
        frame.resize(8 + 0x8000, b'x');
        frame[0] = 0x01;
        endless.send_bytes(&frame);
    }
    endless.until_closed();
    network.fire("my/tag", "{}");
    assert!(text(&mut honest).contains("my/tag"));
}

/// The code of the close frame with which a connection ended.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let at = bytes
        .windows(2)
        .rposition(|head| head[0] == 0x88 && head[1] >= 2)?;
    Some(u16::from_be_bytes([
        *bytes.get(at + 2)?,
        *bytes.get(at + 3)?,
    ]))
}

#[test]
fn a_client_is_told_why_its_websocket_ends() {
    const OTHER: &str = "1e4b529d297d6df326531c8911cae7af56813136";
    let mut network = Network::start();
    network.log_in(OTHER, "ann", Duration::from_secs(3600));
    let mut logged_out: Vec<_> = (0..40)
        .map(|_| open(&network, &format!("/ws/{OTHER}")))
        .collect();
    // Of those that have begun, the stream may notice it before the connection.
    for client in &mut logged_out[1..] {
        ready(&network, client);
    }
    let mut complete = open(&network, &format!("/ws/{TOKEN}?limit=1"));
    let mut other = open(&network, &format!("/ws/{TOKEN}"));
    ready(&network, &mut complete);
    network.fire("my/tag", "{}");
    assert_eq!(close_code(&complete.until_closed()), Some(1000));
    network.state.sessions.end(OTHER);
    for client in &mut logged_out {
        assert_eq!(close_code(&client.until_closed()), Some(1008));
    }
    network.end();
    assert_eq!(close_code(&other.until_closed()), Some(1001));
}

#[test]
fn a_websocket_that_is_not_read_holds_nothing_up() {
    let network = Network::start();
    let mut stuck = open(&network, &format!("/all_events/{TOKEN}"));
    ready(&network, &mut stuck);
    let mut prompt = open(&network, &format!("/all_events/{TOKEN}"));
    ready(&network, &mut prompt);
    let pad = format!(r#"{{"pad": "{}"}}"#, "x".repeat(100_000));
    for nth in 0..200 {
        network.fire(&format!("large/{nth}"), &pad);
        assert!(text(&mut prompt).ends_with(&format!("\"tag\": \"large/{nth}\"}}")));
    }
    for nth in 0..200 {
        assert!(text(&mut stuck).ends_with(&format!("\"tag\": \"large/{nth}\"}}")));
    }
}

#[test]
fn an_idle_websocket_is_pinged() {
    let network = Network::with_heartbeat(Duration::from_millis(50));
    let mut client = open(&network, &format!("/all_events/{TOKEN}"));
    ready(&network, &mut client);
    assert_eq!(receive(&mut client), (9, String::new()));
    drop(client.stream.read(&mut []));
}
