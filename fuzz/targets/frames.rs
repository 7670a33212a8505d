//! The frames of the local bus, cut out of a stream that comes in pieces.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::fuzzing::fuzz_frames(bytes));
