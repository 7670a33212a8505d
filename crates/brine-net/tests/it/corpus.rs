//! Replays the fuzz targets' corpus, so that what a search once found stays fixed without a search.

use std::fs;
use std::path::Path;

use brine_net::fuzzing::{fuzz_public_key, fuzz_websocket};

#[test]
fn public_keys() {
    replay("public_key", fuzz_public_key);
}

#[test]
fn websockets() {
    replay("network_ws", fuzz_websocket);
}

fn replay(name: &str, body: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        body(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "no inputs in {}", corpus.display());
}
