//! Filters by field, and event data.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_field_filter(bytes));
