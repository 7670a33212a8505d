//! Replays the fuzz target's corpus, so that what a search once found stays fixed without a search.

use std::fs;
use std::path::Path;

use brine_net::fuzzing::fuzz_public_key;

#[test]
fn public_keys() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/public_key");
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        fuzz_public_key(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "no inputs in {}", corpus.display());
}
