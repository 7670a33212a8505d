//! Blocks of history, as a damaged disk may give them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_log::history::fuzz_block(bytes));
