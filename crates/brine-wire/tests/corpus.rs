//! Replays the fuzz targets' corpora, so that what a search once found stays mended without a
//! search.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use brine_wire::fuzzing;
use brine_wire::network::fuzzing as network;

fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // the last one shown is the one that failed
        body(&fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(
        replayed > 0,
        "expected inputs in {}, found none",
        corpus.display()
    );
}

#[test]
fn frames() {
    replay("frames", fuzzing::fuzz_frames);
}

#[test]
fn envelope() {
    replay("envelope", fuzzing::fuzz_envelope);
}

#[test]
fn scan() {
    replay("scan", fuzzing::fuzz_scan);
}

#[test]
fn values() {
    replay("values", fuzzing::fuzz_values);
}

#[test]
fn python_values() {
    replay("python_values", fuzzing::fuzz_build);
    replay("values", fuzzing::fuzz_build);
}

#[test]
fn events() {
    replay("events", fuzzing::fuzz_events);
}

#[test]
fn patterns() {
    replay("patterns", fuzzing::fuzz_patterns);
}

#[test]
fn times() {
    replay("times", fuzzing::fuzz_times);
}

#[test]
fn json() {
    replay("json", fuzzing::fuzz_json);
}

#[test]
fn nats_subject() {
    replay("nats_subject", fuzzing::fuzz_nats_subject);
}

#[test]
fn field_filter() {
    replay("field_filter", fuzzing::fuzz_field_filter);
}

#[test]
fn network_payload() {
    replay("network_payload", network::fuzz_payload);
}

#[test]
fn network_load() {
    replay("network_load", network::fuzz_load);
}

#[test]
fn network_reply() {
    replay("network_reply", network::fuzz_reply);
}

#[test]
fn network_tcp() {
    replay("network_tcp", network::fuzz_tcp);
}

#[test]
fn network_zmtp() {
    replay("network_zmtp", network::fuzz_zmtp);
}

#[test]
fn network_crypticle() {
    replay("network_crypticle", network::fuzz_crypticle);
}
