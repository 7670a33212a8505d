//! What fuzzing found, and where it begins: replayed.

use std::fs;
use std::path::Path;

use brine_api::fuzzing;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let inputs: Vec<_> = fs::read_dir(corpus).unwrap().collect();
    assert!(!inputs.is_empty(), "{target} has a corpus");
    for input in inputs {
        check(&fs::read(input.unwrap().path()).unwrap());
    }
}

#[test]
fn the_corpus_of_each_target_holds() {
    replay("api_lines", fuzzing::fuzz_lines);
    replay("api_query", fuzzing::fuzz_query);
    replay("rest_bodies", fuzzing::fuzz_bodies);
    replay("rest_heads", fuzzing::fuzz_heads);
    replay("stream_record", fuzzing::fuzz_stream_record);
}
