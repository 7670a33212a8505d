//! Targets, permissions, mines, paths, module names and the worker's frames.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_node::fuzzing::fuzz_node(bytes));
