//! Configuration files, and arguments read as YAML.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_config::yaml::fuzz_load(bytes));
