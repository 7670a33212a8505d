//! How long tests wait, and for what: for conditions, never for a time to pass.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// A step of a test that takes longer has failed. It is long, because tests share two cores with builds and
/// fuzzers; a test that passes never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until something is true.
///
/// # Panics
/// When it is not within [`DEADLINE`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}
