//! Texts and DER that strangers call a public key, and the C parser behind our reader.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_net::fuzzing::fuzz_public_key(bytes));
