//! Requests as strangers send them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::network::fuzzing::fuzz_payload(bytes));
