//! The API gets another log while it serves: streams continue there, and requests notice nothing.

use std::net::IpAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use brine_api::rest::{Credential, Low, Operator, OperatorError, Pending, RestOptions};
use brine_auth::{Login, Token};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis};
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::{Map, Value};
use tokio::sync::oneshot;

use crate::network::{Network, Nobody, TOKEN};
use crate::support::DEADLINE;

/// A master whose one command lasts until it is let go.
struct Slow {
    begun: mpsc::SyncSender<()>,
    let_go: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Operator for Slow {
    fn is_running(&self) -> bool {
        true
    }

    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Nobody.log_in(login, from)
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        Nobody.token(text)
    }

    fn revoke<'a>(&'a self, _text: &'a str) -> Pending<'a, ()> {
        Box::pin(async {})
    }

    fn run(&self, _low: Low, _by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        let let_go = self.let_go.lock().unwrap().take();
        self.begun.send(()).unwrap();
        Box::pin(async {
            let _ = let_go.expect("one command").await;
            Ok("done".into())
        })
    }

    fn fire<'a>(&'a self, _tag: &'a str, _data: Map) -> Pending<'a, bool> {
        Box::pin(async { false })
    }
}

#[test]
fn a_command_goes_on_and_streams_continue_when_the_log_is_another() {
    let (begun, has_begun) = mpsc::sync_channel(1);
    let (let_go, is_let_go) = oneshot::channel();
    let options = RestOptions {
        enabled_clients: vec!["runner".to_owned()],
        ..RestOptions::default()
    };
    let master = Slow {
        begun,
        let_go: Mutex::new(Some(is_let_go)),
    };
    let network = Network::with("[]", options, Arc::new(master));
    let body = r#"{"client": "runner", "fun": "test.sleep"}"#;
    let mut command = network.client();
    command.send(&format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\naccept: application/json\r\n\
        content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    has_begun.recv_timeout(DEADLINE).unwrap();
    let mut stream = network.events("tag=t/*", "");
    stream.until("retry: 400\n");
    // One that ends with a number of the first log ends with that log.
    let mut bounded = network.events("tag=t/*&before=100", "");
    bounded.until("retry: 400\n");
    network.fire("t/1", "{}");
    stream.until("id: 7f3a-1\n");
    bounded.until("id: 7f3a-1\n");

    // It has events of before, which the stream had from the first log, or which were before the stream.
    let other = Log::new(LogConfig::new(LogId(0x99)));
    let old = encode_event("t/old", &mut Map::new(), "now", MAX_EVENT_SIZE).unwrap();
    let old = Incoming {
        event: &old,
        tag_bytes: "t/old".len(),
    };
    other.append([old], Millis(1000));
    network.replace_log(other);
    network.fire("t/2", "{}");
    let seen = stream.until("tag: t/2\n");
    assert!(seen.contains("event: gap\n"), "{seen}");
    assert!(!seen.contains("t/old"), "{seen}");
    stream.until("id: 99-2\n");
    let last = bounded.until_closed();
    assert!(last.ends_with(b"\r\n0\r\n\r\n"), "{last:?}");
    let status = network.raw(
        format!(
            "GET /status HTTP/1.1\r\nhost: x\r\nx-auth-token: {TOKEN}\r\nconnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    assert!(status.contains("\"newest\": \"99-2\""), "{status}");
    assert!(
        status.contains("tag=t/*"),
        "its readers are known: {status}"
    );

    let_go.send(()).unwrap();
    command.until("{\"return\": [\"done\"]}");
}
