//! Detects dead peers: a silent peer is pinged and must send something in time.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::connection::ConnectionError;

/// The time between two pings (Salt 3008's `zmq_heartbeat_ivl`).
const INTERVAL: Duration = Duration::from_secs(10);
/// The time in which something must arrive after a ping (`zmq_heartbeat_timeout`).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The heartbeats of one connection.
pub(crate) struct Heartbeat {
    ping: Option<&'static [u8]>,
    next: Instant,
    /// When something must have arrived; `None` if it has since the last ping.
    due: Option<Instant>,
}

impl Heartbeat {
    /// Sends `ping`; with `None` nothing is sent or expected.
    pub(crate) fn new(ping: Option<&'static [u8]>) -> Self {
        Self {
            ping,
            next: Instant::now() + INTERVAL,
            due: None,
        }
    }

    /// Something has arrived.
    pub(crate) const fn received(&mut self) {
        self.due = None;
    }

    /// Waits until the next ping is due and returns it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ConnectionError::TooSlow`] if the last ones were not answered.
    pub(crate) async fn next_ping(&mut self) -> Result<&'static [u8], ConnectionError> {
        let Some(ping) = self.ping else {
            return pending().await;
        };
        sleep_until(self.next).await;
        let now = Instant::now();
        if self.due.is_some_and(|due| due <= now) {
            return Err(ConnectionError::TooSlow { after: TIMEOUT });
        }
        self.next = now + INTERVAL;
        self.due = self.due.or(Some(now + TIMEOUT));
        Ok(ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_is_dropped() {
        let mut heartbeat = Heartbeat::new(Some(b"?"));
        let began = Instant::now();
        for _ in 0..10 {
            assert_eq!(heartbeat.next_ping().await.unwrap(), b"?");
            heartbeat.received();
        }
        assert_eq!(began.elapsed(), 10 * INTERVAL);
        for _ in 0..3 {
            heartbeat.next_ping().await.unwrap();
        }
        assert!(heartbeat.next_ping().await.is_err());
        assert_eq!(began.elapsed(), 14 * INTERVAL);
    }
}
