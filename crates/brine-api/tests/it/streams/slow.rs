//! Clients that do not read, resume, or read one event of many.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

use brine_log::{Incoming, Log, LogConfig, Millis, OverflowConfig};
use brine_testkit::wait_until;
use brine_wire::Map;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::support::Client;
use crate::network::Network;
use crate::support::LOG;

/// Appends events `numbers` of 2 KiB each, no faster than a bus takes them from publishers.
fn fire_numbers(log: &Log, numbers: std::ops::Range<u64>) {
    fire_padded(log, numbers, 2000);
}

fn fire_padded(log: &Log, numbers: std::ops::Range<u64>, padding: usize) {
    for number in numbers {
        let mut data = Map::new();
        data.insert("n", number);
        data.insert("pad", "x".repeat(padding));
        let event = encode_event("many", &mut data, "now", MAX_EVENT_SIZE).unwrap();
        let incoming = Incoming {
            event: &event,
            tag_bytes: 4,
        };
        log.append([incoming], Millis(number));
        while log.is_backed_up() {
            std::thread::yield_now();
        }
    }
}

/// The numbers of events in what is left of a stream, until `last` has come.
fn numbers(client: &mut Client, last: u64) -> Vec<u64> {
    let all = client.until(&format!("\"n\": {last}, "));
    let found = all.split("\"n\": ").skip(1);
    found
        .map(|rest| rest.split(',').next().unwrap().parse().unwrap())
        .collect()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// A server whose log has room on disk for what slow readers need.
fn with_overflow(directory: &std::path::Path) -> Network {
    let mut config = LogConfig::new(LOG);
    config.max_bytes = 8 << 20;
    config.overflow = Some(OverflowConfig {
        directory: directory.to_owned(),
        max_bytes: 1 << 30,
    });
    Network::with_log(Log::new(config))
}

#[test]
fn a_hundred_that_stop_reading_cost_nothing_and_get_everything_when_they_wake() {
    const EVENTS: u64 = 800;
    let directory = tempfile::tempdir().unwrap();
    let network = with_overflow(directory.path());
    let mut sleepers: Vec<Client> = (0..100).map(|_| network.events("", "")).collect();
    for sleeper in &sleepers {
        // So that what waits is with the server, not in the system's buffers.
        rustix::net::sockopt::set_socket_recv_buffer_size(&sleeper.stream, 256 << 10).unwrap();
    }
    let mut prompt = network.events("", "");
    for client in sleepers.iter_mut().chain([&mut prompt]) {
        client.until("retry: 400\n");
    }
    let log = Arc::clone(&network.state.api().log);
    // Until all sockets are full and all have been let go.
    fire_numbers(&log, 0..EVENTS / 2);
    assert_eq!(
        numbers(&mut prompt, EVENTS / 2 - 1).len() as u64,
        EVENTS / 2
    );
    let before = resident_bytes();
    fire_numbers(&log, EVENTS / 2..EVENTS);
    assert_eq!(numbers(&mut prompt, EVENTS - 1).len() as u64, EVENTS / 2);
    // 0.8 MB more wait for each of the hundred: once for all.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes more");
    for sleeper in &mut sleepers {
        assert!(numbers(sleeper, EVENTS - 1).into_iter().eq(0..EVENTS));
    }
}

#[test]
fn a_restart_under_a_thousand_streams_loses_and_repeats_nothing() {
    const STREAMS: usize = 1000;
    const PADDING: usize = 100;
    // Both ends of each are in this process.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let mut network = Network::start();
    let log = Arc::clone(&network.state.api().log);
    let mut counts: Vec<BTreeMap<u64, u32>> = vec![BTreeMap::new(); STREAMS];
    let mut last_ids = vec![String::from("7f3a-0"); STREAMS];
    for round in 0..3 {
        let mut clients: Vec<Client> = last_ids
            .iter()
            .map(|id| network.events("", &format!("last-event-id: {id}\r\n")))
            .collect();
        let writer = {
            let log = Arc::clone(&log);
            std::thread::spawn(move || fire_padded(&log, round * 100..round * 100 + 100, PADDING))
        };
        // Some are cut off in the middle of it, some at its end.
        for (nth, client) in clients.iter_mut().enumerate() {
            client.until(&format!("\"n\": {}, ", round * 100 + nth as u64 % 100));
        }
        writer.join().unwrap();
        network.end();
        for ((client, counts), id) in clients.iter_mut().zip(&mut counts).zip(&mut last_ids) {
            count(client, counts, id);
        }
        network = Network::with_log(Arc::clone(&log));
    }
    let mut clients: Vec<Client> = last_ids
        .iter()
        .map(|id| network.events("limit=1", &format!("last-event-id: {id}\r\n")))
        .collect();
    fire_padded(&log, 300..301, PADDING);
    for ((client, counts), id) in clients.iter_mut().zip(&mut counts).zip(&mut last_ids) {
        count(client, counts, id);
        assert!(counts.keys().copied().eq(0..301), "{counts:?}");
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    }
}

/// Counts the whole records of a stream up to its end.
fn count(client: &mut Client, counts: &mut BTreeMap<u64, u32>, last_id: &mut String) {
    let all = String::from_utf8(client.everything_to_end()).unwrap();
    for record in all.split("\n\n").filter(|record| record.contains("data: ")) {
        let Some((_, number)) = record.split_once("\"n\": ") else {
            continue;
        };
        if !record.ends_with("\"tag\": \"many\"}") {
            continue; // cut off
        }
        let number = number.split(',').next().unwrap().parse().unwrap();
        *counts.entry(number).or_default() += 1;
        let id = record.lines().find_map(|line| line.strip_prefix("id: "));
        *last_id = id.unwrap().to_owned();
    }
}

#[test]
fn a_slow_reader_gets_a_gap_where_nothing_is_left() {
    let mut config = LogConfig::new(LOG);
    config.max_bytes = 2 << 20;
    let network = Network::with_log(Log::new(config));
    let mut slow = network.events("", "");
    slow.until("retry: 400\n");
    let log = Arc::clone(&network.state.api().log);
    fire_numbers(&log, 0..20_000);
    // The gap comes between two records, or inside one, whose rest is gone: then it connects again.
    let mut seen = Vec::new();
    let mut buffer = [0; 64 << 10];
    while !seen.windows(10).any(|window| window == b"event: gap") {
        match slow.stream.read(&mut buffer) {
            Ok(read) if read > 0 => seen.extend_from_slice(&buffer[..read]),
            _ => {
                let seen = String::from_utf8_lossy(&seen).into_owned();
                let id = seen
                    .lines()
                    .rev()
                    .find_map(|line| line.strip_prefix("id: "));
                let id = id.unwrap_or("7f3a-0").to_owned();
                let mut again = network.events("", &format!("last-event-id: {id}\r\n"));
                let gap = again.until("\n\n");
                assert!(gap.contains("event: gap\ntag: brine/gap\n"), "{gap}");
                assert!(gap.contains(&format!("\"from\": \"{id}\"")), "{gap}");
                return;
            }
        }
    }
}

#[test]
fn streams_with_filters_of_their_own_get_their_own() {
    let network = Network::start();
    let mut clients: Vec<Client> = (0..50)
        .map(|nth| network.events(&format!("tag=a/{nth}&tag=all"), ""))
        .collect();
    for client in &mut clients {
        client.until("retry: 400\n");
    }
    for nth in 0..50 {
        network.fire(&format!("a/{nth}"), "{}");
    }
    network.fire("all", "{}");
    for (nth, client) in clients.iter_mut().enumerate() {
        let seen = client.until("tag: all\n");
        assert_eq!(seen.matches("tag: ").count(), 2, "{seen}");
        assert!(seen.contains(&format!("tag: a/{nth}\n")), "{seen}");
    }
}

#[test]
fn a_client_that_talks_or_leaves_ends_its_stream_alone() {
    let network = Network::start();
    let mut stays = network.events("", "");
    stays.until("retry: 400\n");
    let mut talks = network.events("", "");
    talks.until("retry: 400\n");
    // A second request behind a stream is never answered; a flood of them ends it.
    talks.send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
    network.fire("still/there", "{}");
    talks.until("tag: still/there\n");
    talks.send(&"x".repeat(1 << 20));
    assert!(!talks.until_closed().ends_with(b"0\r\n\r\n"));
    drop(network.events("", ""));
    network.fire("my/tag", "{}");
    stays.until("tag: my/tag\n");
    wait_until("streams of clients that left to be forgotten", || {
        network.state.streams.stats().streams == 1
    });
}

#[test]
fn streams_that_have_ended_keep_nothing_in_the_log() {
    let network = Network::start();
    let mut client = network.events("", "");
    client.until("retry: 400\n");
    network.fire("my/tag", "{}");
    client.until("tag: my/tag\n");
    drop(client);
    let log = Arc::clone(&network.state.api().log);
    // Eight times what the log keeps for nobody.
    fire_numbers(&log, 0..4096);
    wait_until("the log to let go of what nobody needs", || {
        fire_numbers(&log, 0..1);
        log.stats().bytes <= 4 << 20
    });
}

#[test]
fn a_reader_that_takes_one_byte_at_a_time_gets_every_record_whole() {
    let network = Network::start();
    let mut client = network.events("limit=300", "");
    client.until("retry: 400\n");
    let log = Arc::clone(&network.state.api().log);
    fire_numbers(&log, 0..300);
    let body = slowly(&client.stream);
    assert_eq!(body.matches("\"tag\": \"many\"}\n\n").count(), 300);
    assert!(body.ends_with("0\r\n\r\n"));
}

fn slowly(mut stream: &TcpStream) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 77]);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return String::from_utf8(all).unwrap(),
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}
