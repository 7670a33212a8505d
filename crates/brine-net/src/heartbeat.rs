//! Whether a peer that says nothing is still there: it is pinged, and must be heard of within a time.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::connection::ConnectionError;

/// Between two pings (Salt 3008's `zmq_heartbeat_ivl`).
const INTERVAL: Duration = Duration::from_secs(10);
/// Within which something must be heard after a ping (`zmq_heartbeat_timeout`).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The heartbeats of one connection.
pub(crate) struct Heart {
    ping: Option<&'static [u8]>,
    next: Instant,
    /// When the peer must have been heard of; `None` if it was since the last ping.
    due: Option<Instant>,
}

impl Heart {
    /// One that sends `ping`; without it, nothing is sent and nothing expected.
    pub(crate) fn new(ping: Option<&'static [u8]>) -> Self {
        Self {
            ping,
            next: Instant::now() + INTERVAL,
            due: None,
        }
    }

    /// Something has come.
    pub(crate) const fn heard(&mut self) {
        self.due = None;
    }

    /// Waits for the next ping, which is to be sent. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ConnectionError::TooSlow`] if the last ones were not answered.
    pub(crate) async fn beat(&mut self) -> Result<&'static [u8], ConnectionError> {
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
    async fn who_answers_no_ping_is_gone_and_who_does_is_not() {
        let mut heart = Heart::new(Some(b"?"));
        let began = Instant::now();
        for _ in 0..10 {
            assert_eq!(heart.beat().await.unwrap(), b"?");
            heart.heard();
        }
        assert_eq!(began.elapsed(), 10 * INTERVAL);
        for _ in 0..3 {
            heart.beat().await.unwrap();
        }
        assert!(heart.beat().await.is_err());
        assert_eq!(began.elapsed(), 14 * INTERVAL);
    }
}
