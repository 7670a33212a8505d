//! The files of the job cache, and what the runner shows of them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| brine_node::fuzzing::fuzz_job_cache(bytes));
