//! `brine.sock` of the serving commands. What it answers in detail is tested in `brine-api`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use crate::node::{Node, free_ports};
use crate::support::{Bus, wait_until};

/// One request with a whole answer.
fn request(socket: &str, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_bus_answers_events_once_they_are_on_disk_and_resumes() {
    let mut bus = Bus::absent();
    let history = bus.path("history");
    bus.begin(&["--history", &history]);
    let socket = format!("{}/brine.sock", bus.sock_dir());
    wait_until(|| fs::exists(&socket).unwrap());
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = request(&socket, "GET /status HTTP/1.1", "");
    assert!(status.contains("{\"kind\": \"bus\""), "{status}");
    assert!(status.contains(&history), "{status}");
    let events = "{\"tag\": \"my/1\"}\n{\"tag\": \"my/2\"}\n";
    let fired = request(&socket, "POST /events HTTP/1.1", events);
    let positions: Vec<_> = fired
        .lines()
        .filter_map(|line| line.strip_prefix("{\"position\": \"")?.strip_suffix("\"}"))
        .collect();
    assert_eq!(positions.len(), 2, "{fired}");
    let head = format!(
        "GET /events?follow=false HTTP/1.1\r\naccept: text/event-stream\r\nlast-event-id: {}",
        positions[0]
    );
    let resumed = request(&socket, &head, "");
    assert!(
        resumed.contains(&format!("id: {}\n", positions[1])),
        "{resumed}"
    );
    assert!(!resumed.contains("\"my/1\""), "{resumed}");
    assert_eq!(bus.end().code, Some(0));
    assert!(!fs::exists(&socket).unwrap());
}

#[test]
fn a_master_and_a_minion_run_commands() {
    let node = Node::accepted();
    let socket = |name: &str| node.root.path().join(name).to_str().unwrap().to_owned();
    let master = socket("m/var/run/salt/master/brine.sock");
    let up = request(
        &master,
        "POST /run HTTP/1.1",
        "{\"client\": \"runner\", \"fun\": \"manage.up\"}",
    );
    assert!(up.contains("{\"return\": [\"m1\"]}"), "{up}");
    let job = request(
        &master,
        "POST /run HTTP/1.1",
        "{\"client\": \"local_async\", \"tgt\": \"*\", \"fun\": \"test.ping\"}",
    );
    assert!(job.contains("\"minions\": [\"m1\"]"), "{job}");
    let echo = request(
        &socket("n/var/run/salt/minion/minion_event_ca0df2c95a_brine.sock"),
        "POST /run HTTP/1.1",
        "{\"client\": \"caller\", \"fun\": \"test.echo\", \"arg\": [\"hi\"]}",
    );
    assert!(echo.contains("{\"return\": {\"return\": \"hi\""), "{echo}");
}

#[test]
fn under_tcp_salts_commands_work_though_no_event_is_a_command() {
    let [publish, pull, own_publish, own_pull] = free_ports();
    let node = Node::accepted_with([
        &format!("ipc_mode: tcp\ntcp_master_pub_port: {publish}\ntcp_master_pull_port: {pull}\n"),
        &format!("ipc_mode: tcp\ntcp_pub_port: {own_publish}\ntcp_pull_port: {own_pull}\n"),
    ]);
    let token = "n/var/run/salt/minion/minion_event_ca0df2c95a_brine.token";
    let mode = fs::metadata(node.root.path().join(token))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    for (words, stdout) in [
        (&["salt-call", "test.echo", "hi"][..], "local:\n    hi\n"),
        (&["salt", "*", "test.ping"][..], "m1:\n    True\n"),
        (&["salt-run", "manage.up"][..], "- m1\n"),
    ] {
        let left = node.run(words);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), stdout),
            "{left:?}"
        );
    }
}
