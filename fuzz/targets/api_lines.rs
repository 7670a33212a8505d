//! Lines of a body, cut anywhere.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_api::fuzzing::fuzz_lines(bytes));
