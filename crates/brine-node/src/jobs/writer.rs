//! A thread that writes returns to the job cache, so that requests do not wait for the disk.
//!
//! Its queue is limited in returns and in bytes. While it is full, returns still reach the bus but not the cache, and
//! an error is logged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use brine_wire::network::{Jid, MinionId};
use brine_wire::{Map, Value};

use super::JobCache;

/// The most returns that wait to be written.
const WAITING: usize = 65_536;
/// The memory they may take, in bytes as [`weight`] counts them.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// The queue before the thread. The thread ends after the last return when this is dropped.
#[derive(Debug)]
pub struct Writer {
    returns: SyncSender<(Jid, MinionId, Map)>,
    /// The size of the waiting returns, in bytes.
    bytes: Arc<AtomicUsize>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(cache: JobCache) -> std::io::Result<Self> {
        let (returns, waiting) = sync_channel::<(Jid, MinionId, Map)>(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let taken = bytes.clone();
        thread::Builder::new()
            .name("brine-jobs".into())
            .spawn(move || {
                let mut unpublished = Unpublished::default();
                for (jid, id, ret) in waiting {
                    taken.fetch_sub(weight(&ret), Ordering::Relaxed);
                    if !cache.has_job(&jid) && !unpublished.allows(&id, Instant::now()) {
                        continue;
                    }
                    if let Err(error) = cache.returned(&jid, &id, &ret) {
                        tracing::error!(%error, %jid, %id, "cannot write the return to the job cache");
                    }
                }
            })?;
        Ok(Self { returns, bytes })
    }

    /// Queues a return.
    pub fn returned(&self, jid: Jid, id: MinionId, ret: Map) {
        let bytes = weight(&ret);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = match before.saturating_add(bytes) > WAITING_BYTES {
            true => Err(TrySendError::Full((jid, id, ret))),
            false => self.returns.try_send((jid, id, ret)),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full((jid, id, _)) | TrySendError::Disconnected((jid, id, _))) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                tracing::error!(%jid, %id, "return not written to the job cache: the disk is too slow");
            }
        }
    }
}

/// Counts the jobs that a minion has returned and nobody has published, such as those of `salt-call`: each makes
/// files, and only a minion's restraint would bound them.
#[derive(Debug, Default)]
struct Unpublished(HashMap<MinionId, (Instant, u32)>);

impl Unpublished {
    /// Of one minion, in an hour.
    const MOST: u32 = 1000;
    const WINDOW: Duration = Duration::from_secs(3600);

    /// Counts one more; whether it is kept. One line in the log per minion and hour says that some are not.
    fn allows(&mut self, id: &MinionId, now: Instant) -> bool {
        let (since, count) = self.0.entry(id.clone()).or_insert((now, 0));
        if now.duration_since(*since) > Self::WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count == Self::MOST + 1 {
            tracing::warn!(%id, "more than {} jobs in an hour that were not published: further ones are not kept", Self::MOST);
        }
        *count <= Self::MOST
    }
}

/// About how much memory a mapping takes, in bytes.
fn weight(map: &Map) -> usize {
    fn of(value: &Value) -> usize {
        let own = size_of::<Value>();
        own + match value {
            Value::Str(text) => text.len(),
            Value::Bin(bytes) => bytes.len(),
            Value::Array(items) => items.iter().map(of).sum(),
            Value::Map(map) => weight(map),
            _ => 0,
        }
    }
    map.iter().map(|(key, value)| of(key) + of(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minion_makes_so_many_jobs_in_an_hour() {
        let mut unpublished = Unpublished::default();
        let (one, other) = (
            MinionId::parse("m1").unwrap(),
            MinionId::parse("m2").unwrap(),
        );
        let began = Instant::now();
        let allowed = (0..3000)
            .filter(|_| unpublished.allows(&one, began))
            .count();
        assert_eq!(allowed, 1000);
        assert!(unpublished.allows(&other, began));
        assert!(unpublished.allows(&one, began + 2 * Unpublished::WINDOW));
    }

    #[test]
    fn a_return_over_the_limit_is_not_queued_and_leaves_room_for_others() {
        let root = tempfile::tempdir().unwrap();
        let cache = JobCache::open(root.path(), "sha256", None).unwrap();
        let writer = Writer::start(cache.clone()).unwrap();
        let (jid, id) = (Jid::parse("1").unwrap(), MinionId::parse("m1").unwrap());
        let large = Map::from_iter([("return", Value::Bin(vec![0; WAITING_BYTES + 1]))]);
        writer.returned(jid.clone(), id.clone(), large);
        assert_eq!(writer.bytes.load(Ordering::Relaxed), 0);
        writer.returned(jid.clone(), id, Map::from_iter([("return", true)]));
        while cache.returns(&jid).is_empty() {
            thread::yield_now();
        }
        assert_eq!(writer.bytes.load(Ordering::Relaxed), 0);
    }
}
