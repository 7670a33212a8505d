//! How many reactions a rule starts per second.

use std::time::{Duration, Instant};

/// Lets this many pass per second.
pub(crate) struct Pacer {
    interval: Duration,
    /// When the next may pass; a second's worth may have been saved up.
    next: Instant,
}

impl Pacer {
    /// With a second's worth saved up.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            next: Instant::now(),
        }
    }

    /// Waits until the next may pass. Dropping the future uses one up.
    pub(crate) async fn wait(&mut self) {
        const SAVED: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let saved = now.checked_sub(SAVED).unwrap_or(now);
        self.next = self.next.max(saved) + self.interval;
        if self.next > now {
            tokio::time::sleep_until(self.next.into()).await;
        }
    }
}
