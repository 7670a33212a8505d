//! Values as the Python package reads them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_build(bytes));
