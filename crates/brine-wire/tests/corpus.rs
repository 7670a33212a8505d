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
fn events() {
    replay("events", fuzzing::fuzz_events);
}

#[test]
fn patterns() {
    replay("patterns", fuzzing::fuzz_patterns);
}
