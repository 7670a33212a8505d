//! An event as a record of a stream.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_api::fuzzing::fuzz_stream_record(bytes));
