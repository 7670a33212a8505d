//! Patterns of all match types, and tags.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_patterns(bytes));
