//! Streams of tcp messages, cut anywhere.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::network::fuzzing::fuzz_tcp(bytes));
