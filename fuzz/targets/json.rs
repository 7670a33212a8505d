//! JSON that becomes event data.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_json(bytes));
