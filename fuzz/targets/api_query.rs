//! The query of a request.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_api::fuzzing::fuzz_query(bytes));
