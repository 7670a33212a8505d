//! Replays the fuzz target's corpus, so that what a search once found stays mended without a
//! search.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

#[test]
fn yaml() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/yaml");
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // the last one shown is the one that failed
        brine_config::yaml::fuzz_load(&fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(
        replayed > 0,
        "expected inputs in {}, found none",
        corpus.display()
    );
}
