//! Targets, access lists, mines, paths and frames of modules: what minions, users and modules hand to a node.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_node::fuzzing::fuzz_node(bytes));
