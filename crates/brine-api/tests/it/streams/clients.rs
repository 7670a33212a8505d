//! The libraries that people read streams with, from PyPI.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brine_testkit::salt;

use crate::network::{Network, TOKEN};

const CLIENTS: [&str; 5] = [
    "aiohttp-sse-client",
    "httpx-sse",
    "lines",
    "sseclient",
    "websockets",
];

#[test]
fn libraries_read_every_event_once_and_nothing_else() {
    // Heartbeats between the events must not be taken for any.
    let network = Arc::new(Network::with_heartbeat(Duration::from_millis(100)));
    let mut command = salt::python("3008.3");
    command
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/streams/clients.py"
        ))
        .arg(format!("http://{}", network.address))
        .arg(TOKEN)
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_open = Arc::new(AtomicBool::new(false));
    let beginner = {
        let (network, is_open) = (Arc::clone(&network), Arc::clone(&is_open));
        std::thread::spawn(move || {
            while !is_open.load(Ordering::Relaxed) {
                network.fire("begin", "{}");
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let mut open = BTreeSet::new();
    while open.len() < CLIENTS.len() {
        let line = lines.next().expect("clients open their streams").unwrap();
        let name = line.strip_prefix("open ").expect("nothing ended yet");
        open.insert(name.to_owned());
    }
    is_open.store(true, Ordering::Relaxed);
    beginner.join().unwrap();
    network.fire("my/é", r#"{"b": {"$bytes": "/w=="}, "text": "two\nlines"}"#);
    network.fire("brine/gap", "{}");
    // Long enough for heartbeats; if there were none, the libraries only have less to pass over.
    std::thread::sleep(Duration::from_millis(250));
    network.fire("end", "{}");
    let last = network.state.api().log.position().seq.0;
    let mut ended = BTreeSet::new();
    for line in lines
        .map(Result::unwrap)
        .filter(|line| !line.starts_with("open "))
    {
        let (name, events) = line.split_once(' ').unwrap();
        let found: serde_json::Value = serde_json::from_str(events).unwrap();
        let tags: Vec<_> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|event| &event[2])
            .collect();
        assert_eq!(tags, ["my/é", "brine/gap", "end"], "{name}");
        if name.contains("sse") {
            assert_eq!(found[0][1], format!("7f3a-{}", last - 2), "{name}");
            assert_eq!(
                (&found[0][0], &found[1][0]),
                (&"message".into(), &"gap".into()),
                "{name}"
            );
        }
        ended.insert(name.to_owned());
    }
    assert!(child.wait().unwrap().success());
    assert!(ended.iter().map(String::as_str).eq(CLIENTS), "{ended:?}");
}
