//! Tag, tag end and data of an event.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_envelope(bytes));
