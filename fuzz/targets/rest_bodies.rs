//! Bodies of requests over the network.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_api::fuzzing::fuzz_bodies(bytes));
