//! A listener's side of a bus, however its bytes are cut.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_bus::fuzzing::fuzz_session(bytes));
