//! Decrypted texts and recovered blocks.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_wire::network::fuzzing::fuzz_crypticle(bytes));
