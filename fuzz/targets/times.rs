//! Times and starting points as people write them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_times(bytes));
