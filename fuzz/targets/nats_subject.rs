//! Tags as NATS subjects, and subjects as tags.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_nats_subject(bytes));
