//! What bytes from the network cost: no reader allocates more than in proportion to what it reads.
#![no_main]

use brine_testkit::allocations::{Counting, measure};
use brine_wire::network::fuzzing::{BESIDES, PER_BYTE, READERS};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (reader, read) in READERS {
        let counts = measure(|| read(bytes));
        assert!(
            counts.total <= bytes.len() * PER_BYTE + BESIDES,
            "{reader}: {} bytes for {}",
            counts.total,
            bytes.len()
        );
    }
});
