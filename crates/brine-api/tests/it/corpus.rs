//! Replays the fuzz targets' corpora.

use std::fs;
use std::path::Path;

use brine_api::fuzzing;

fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let inputs: Vec<_> = fs::read_dir(&corpus).unwrap().collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        body(&fs::read(input.unwrap().path()).unwrap());
    }
}

#[test]
fn bodies() {
    replay("rest_bodies", fuzzing::fuzz_bodies);
}

#[test]
fn heads() {
    replay("rest_heads", fuzzing::fuzz_heads);
}
