//! The bytes of ZeroMQ connections, cut anywhere.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::network::fuzzing::fuzz_zmtp(bytes));
