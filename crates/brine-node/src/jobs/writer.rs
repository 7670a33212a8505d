//! A thread that writes returns to the job cache, so that requests do not wait for the disk.
//!
//! Its queue is limited in returns and in bytes. While it is full, returns still reach the bus but not the cache, and
//! an error is logged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use brine_wire::Map;
use brine_wire::network::{Jid, MinionId};

use super::hour::{Hour, Limit};
use super::{JobCache, NO_CACHE, Recorded};
use crate::weight::weight_of_map;

/// The most returns that wait to be written.
const WAITING: usize = 65_536;
/// The memory they may take, in bytes as [`weight_of_map`] counts them.
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// How much less urgent than the others this thread is (`nice`): it still gets a quarter of what each of them gets.
const LESS_URGENT: i32 = 5;

/// After so long it is looked at again whether a job is recorded, and keeps returns.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The queue before the thread. The thread ends after the last return when this is dropped.
#[derive(Debug)]
pub struct Writer {
    returns: SyncSender<(Jid, MinionId, Map)>,
    /// The size of the waiting returns, in bytes.
    bytes: Arc<AtomicUsize>,
    /// When the log last said that some were lost, and how many since. Locked for a look-up.
    lost: Mutex<(Option<Instant>, usize)>,
    keeps: Keeps,
}

/// Which returns are written (`job_cache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// All.
    All,
    /// None: they are for listeners alone.
    Nothing,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(cache: JobCache, keeps: Keeps) -> std::io::Result<Self> {
        let (returns, waiting) = sync_channel::<(Jid, MinionId, Map)>(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let taken = bytes.clone();
        thread::Builder::new()
            .name("brine-jobs".into())
            .spawn(move || {
                // The returns that are still to come have the processors first. Where that is forbidden they have not.
                let _ = rustix::process::nice(LESS_URGENT);
                let mut unpublished = Unpublished::default();
                let mut job = None;
                for (jid, id, ret) in waiting {
                    let (bytes, now) = (weight_of_map(&ret), Instant::now());
                    taken.fetch_sub(bytes, Ordering::Relaxed);
                    job = job.filter(|(at, job): &(Instant, Recorded)| {
                        job.jid == jid && now.duration_since(*at) < LOOK_AGAIN
                    });
                    if job.is_none() {
                        job = cache.recorded(&jid).map(|job| (now, job));
                    }
                    let written = match &job {
                        Some((_, job)) => job.keep(&id, &ret),
                        None if jid.as_str() == NO_CACHE => Ok(()),
                        None if unpublished.allows(&id, bytes, now) => cache.returned(&jid, &id, &ret),
                        None => Ok(()),
                    };
                    if let Err(error) = written {
                        tracing::error!(%error, %jid, %id, "cannot write the return to the job cache");
                    }
                }
            })?;
        Ok(Self {
            returns,
            bytes,
            lost: Mutex::default(),
            keeps,
        })
    }

    /// Queues a return.
    pub fn returned(&self, jid: Jid, id: MinionId, ret: Map) {
        if self.keeps == Keeps::Nothing {
            return;
        }
        let bytes = weight_of_map(&ret);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = match before.saturating_add(bytes) > WAITING_BYTES {
            true => Err(TrySendError::Full((jid, id, ret))),
            false => self.returns.try_send((jid, id, ret)),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full((jid, id, _)) | TrySendError::Disconnected((jid, id, _))) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.report_lost(&jid, &id);
            }
        }
    }
}

impl Writer {
    /// One line in the log in ten seconds: returns may come by the thousand.
    fn report_lost(&self, jid: &Jid, id: &MinionId) {
        const BETWEEN: Duration = Duration::from_secs(10);
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.1 += 1;
        if lost.0.is_none_or(|said| said.elapsed() >= BETWEEN) {
            let count = std::mem::take(&mut lost.1);
            lost.0 = Some(Instant::now());
            tracing::error!(%jid, %id, count, "returns not written to the job cache: the disk is too slow");
        }
    }
}

/// Counts the jobs that a minion has returned and nobody has published, such as those of `salt-call`. Each creates
/// files, and without this only the minion would limit their number.
#[derive(Debug, Default)]
struct Unpublished(HashMap<MinionId, Hour>);

/// Of one minion.
const OF_A_MINION: Limit = Limit {
    jobs: 1000,
    bytes: 256 * 1024 * 1024,
};

impl Unpublished {
    /// Counts one more; whether it is kept. One line in the log per minion and hour says that some are not.
    fn allows(&mut self, id: &MinionId, bytes: usize, now: Instant) -> bool {
        let hour = self.0.entry(id.clone());
        let hour = hour.or_insert_with(|| Hour::begun(now));
        hour.allows(OF_A_MINION, bytes, now, || {
            let Limit { jobs, bytes } = OF_A_MINION;
            tracing::warn!(%id, "returns of more than {jobs} unpublished jobs, or of {bytes} bytes, in an hour: further ones are not stored");
        })
    }
}

#[cfg(test)]
mod tests {
    use brine_wire::Value;

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
            .filter(|_| unpublished.allows(&one, 100, began))
            .count();
        assert_eq!(allowed, 1000);
        assert!(unpublished.allows(&other, OF_A_MINION.bytes, began));
        assert!(!unpublished.allows(&other, 1, began));
        assert!(unpublished.allows(&one, 1, began + Duration::from_secs(7200)));
    }

    #[test]
    fn a_return_over_the_limit_is_not_queued_and_leaves_room_for_others() {
        let root = tempfile::tempdir().unwrap();
        let cache = JobCache::open(root.path(), "sha256", None).unwrap();
        let writer = Writer::start(cache.clone(), Keeps::All).unwrap();
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

    #[test]
    fn each_minion_has_one_return_of_a_job_and_none_of_a_job_that_keeps_none() {
        let root = tempfile::tempdir().unwrap();
        let cache = JobCache::open(root.path(), "sha256", None).unwrap();
        let ids = ["m1", "m2"].map(|id| MinionId::parse(id).unwrap());
        let [kept, not_kept] = ["1", "2"].map(|jid| Jid::parse(jid).unwrap());
        let no_cache = Map::from_iter([("kwargs", Value::Map(Map::from_iter([(NO_CACHE, true)])))]);
        cache.begin(&kept, &Map::new(), &ids).unwrap();
        cache.begin(&not_kept, &no_cache, &ids).unwrap();
        let writer = Writer::start(cache.clone(), Keeps::All).unwrap();
        for value in [1, 2] {
            for (jid, id) in [&kept, &not_kept].into_iter().zip([&ids[0]; 2]) {
                writer.returned(jid.clone(), id.clone(), Map::from_iter([("return", value)]));
            }
        }
        // The last of all.
        writer.returned(
            kept.clone(),
            ids[1].clone(),
            Map::from_iter([("return", 3)]),
        );
        while cache.returns(&kept).len() < 2 {
            thread::yield_now();
        }
        let returns = cache.returns(&kept);
        let of = |id: &str| returns.get(id)?.as_map()?.get("return").cloned();
        assert_eq!((of("m1"), of("m2")), (Some(1.into()), Some(3.into())));
        assert!(cache.returns(&not_kept).is_empty());
    }
}
