//! The load of a wheel call.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_node::fuzzing::fuzz_wheel(bytes));
