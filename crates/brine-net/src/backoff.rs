//! How long to wait before the next attempt.
//!
//! Facts: `docs/protocol/network.md` §2.1, §2.2.

use std::time::Duration;

use crate::crypto;

/// Waits that double up to a limit, each taken at random from its upper half so that a thousand
/// minions do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        let [random] = crypto::random::<1>().unwrap_or([0]);
        wait / 2 + (wait / 2) * u32::from(random) / 255
    }

    /// Starts again with the first wait, after a success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for most in [1, 2, 4, 5, 5] {
            let wait = backoff.wait();
            assert!(
                wait <= most * second && wait >= most * second / 2,
                "{wait:?}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= second);
    }
}
