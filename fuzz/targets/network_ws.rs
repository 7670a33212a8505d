//! The bytes of WebSocket connections between minion and master, cut anywhere.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_net::fuzzing::fuzz_websocket(bytes));
