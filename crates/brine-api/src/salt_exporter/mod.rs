//! The cursor behind `/metrics/salt-exporter`: reads the bus from the first request on.
//!
//! So a bus whose metrics nobody reads does not pay for them. Counters then begin at zero, as after a restart of
//! salt-exporter itself; Prometheus handles such resets.

mod counts;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_log::{EventCursor, Log, Start};
use brine_wire::envelope::TAG_END;
use tokio::task::AbortHandle;

use self::counts::{SaltMetrics, is_followed};
use crate::exposition::Exposition;

/// So many events are looked at before other tasks of the thread have their turn.
const EVENTS_PER_TURN: usize = 256;

/// The metrics of salt-exporter, and the task that keeps them.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    metrics: Arc<Mutex<SaltMetrics>>,
    task: OnceLock<AbortHandle>,
}

impl Exporter {
    /// Writes what was counted; begins to count when asked for the first time.
    pub(crate) fn write(&self, log: &Arc<Log>, out: &mut Exposition) {
        self.task.get_or_init(|| {
            let (cursor, metrics) = (log.events(Start::Tail), Arc::clone(&self.metrics));
            tokio::spawn(async move { follow(cursor, &metrics).await }).abort_handle()
        });
        lock(&self.metrics).write(out);
    }

    /// Events whose labels were folded.
    pub(crate) fn folded(&self) -> u64 {
        lock(&self.metrics).folded()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

fn lock(metrics: &Mutex<SaltMetrics>) -> std::sync::MutexGuard<'_, SaltMetrics> {
    // Every event is counted whole or not at all.
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(mut cursor: EventCursor, metrics: &Mutex<SaltMetrics>) {
    loop {
        let events = match cursor.ready().await {
            Ok(events) => events,
            Err(gap) => {
                // Counters that lack events are what salt-exporter has after a reconnect.
                cursor.skip(gap);
                continue;
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let mut looked_at = 0;
        for event in events.iter().take(EVENTS_PER_TURN) {
            looked_at += 1;
            let tag = event.event.get(..event.tag_bytes).unwrap_or_default();
            if !is_followed(tag) {
                continue;
            }
            let data = event.event.get(event.tag_bytes + TAG_END.len()..);
            let data = brine_wire::msgpack::decode(data.unwrap_or_default());
            if let (Ok(tag), Ok(data)) = (std::str::from_utf8(tag), data)
                && let Some(data) = data.as_map()
            {
                lock(metrics).event(tag, data, now);
            }
        }
        cursor.advance(&events, looked_at);
        drop(events);
        tokio::task::yield_now().await;
    }
}
