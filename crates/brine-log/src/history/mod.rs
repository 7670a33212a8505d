//! History: the log on disk, so that readers can go back and nothing acknowledged is lost.
//!
//! One thread reads the log as a cursor like any other and writes the events to a store, in batches that share a
//! sync. The bus's own thread never waits here for longer than a lock is held for a few instructions. Cursors
//! continue with the store where memory ends. How it works, and what happens when something goes wrong:
//! `docs/history.md`.
//!
//! [`PreparedHistory::open`] says with which number the log continues; [`PreparedHistory::start`] returns the
//! [`History`] that callers hold. [`HistoryReader`] reads a store whether or not a bus is running, [`Maintenance`]
//! changes one whose bus is not.

mod block;
mod directory;
mod foreign;
mod gather;
mod loader;
mod maintenance;
mod open;
mod reader;
mod redact;
mod retention;
mod saved;
mod sqlite;
mod stall;
mod store;
mod wait;
mod writer;
mod written_ahead;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

pub use crate::gap::GapReason;
pub use crate::tags::TagQuery;
#[doc(hidden)]
pub use block::fuzz_block;
pub use block::{About, Block, BlockError, BlockEvent, Decoded, Decoder, Effort, Encoder, Head};
pub use foreign::ForeignHistory;
pub use maintenance::{Maintenance, Purged};
pub use open::{OpenError, PreparedHistory};
pub use reader::{HistoryInfo, HistoryReader, Read};
pub use redact::{Redactor, Stored};
pub use retention::{Retention, TagAge};
pub use saved::{Consumer, ConsumerName, NameError, Paused};
pub use store::{Batch, BlockReader, BlockStore, RecordedGap, State, StoreError, Totals};

use crate::position::{Position, Seq};
use crate::stored::StoredSegments;
use crate::unused::Unused;
use stall::{Look, Stall};
use wait::Alarm;

/// A commit that takes less is quick: threads that wait for it, or for the next one, do not sleep. A disk that spins
/// takes twenty times as long.
const QUICK_COMMIT: Duration = Duration::from_micros(400);

/// What a history keeps, and where.
#[derive(Debug, Clone)]
pub struct HistoryConfig {
    /// The directory of its files, which are its user's alone.
    pub directory: PathBuf,
    /// When what is written is on the disk.
    pub sync: Sync,
    /// How long, and how much.
    pub retention: Retention,
    /// Names of fields whose values are blanked, wherever they are in an event's data.
    pub redact: Vec<String>,
    /// The socket or file at which the bus that writes the store is asked, for those who read the store.
    pub bus: Option<PathBuf>,
    /// How long writing is retried, while events wait in memory, before those are given up; and after how long a disk
    /// that does not answer is reported.
    #[doc(hidden)]
    pub give_up_after: Duration,
}

impl HistoryConfig {
    /// The defaults, in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            sync: Sync::Group,
            retention: Retention::default(),
            redact: Vec::new(),
            bus: None,
            give_up_after: Duration::from_secs(10),
        }
    }
}

/// When what is written is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// One sync for everyone who waits for one; without anyone, within a twentieth of a second.
    #[default]
    Group,
    /// As soon as an event is there, whether or not anyone waits.
    Each,
    /// When the operating system writes it: a killed process loses nothing acknowledged, a power
    /// cut may.
    System,
}

impl Sync {
    /// The option's words.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("group", Self::Group),
        ("each", Self::Each),
        ("os", Self::System),
    ];
}

/// A running history. Clones are the same one.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
}

/// What callers and the writer's thread share.
struct Shared {
    directory: PathBuf,
    /// Somebody waits until every event below this is on disk.
    wanted: AtomicU64,
    closing: AtomicBool,
    /// Wakes the writer's thread.
    alarm: Arc<Alarm>,
    /// Commits are so quick that a caller that waits for one should poll instead of sleeping.
    is_quick: AtomicBool,
    /// Somebody waits for a commit without sleeping.
    is_watched: AtomicBool,
    requests: Mutex<Vec<Request>>,
    consumers: Mutex<BTreeMap<ConsumerName, Consumer>>,
    /// Wakes those who follow a consumer: somebody has changed one.
    consumers_changed: Notify,
    segments: Arc<StoredSegments>,
    /// Numbers that killed processes left unused.
    unused: Unused,
    progress: watch::Sender<Progress>,
    status: Mutex<Status>,
    /// Notices a disk that hangs.
    stall: Stall,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Every event below this is on disk, or missing for good.
    next: u64,
    /// What this process could not write, latest last.
    missing: Vec<(Range<u64>, GapReason)>,
    is_closed: bool,
}

/// What the writer is asked for.
struct Request {
    change: Change,
    answer: Option<oneshot::Sender<Result<(), StoreError>>>,
}

enum Change {
    Save(ConsumerName),
    Remove(ConsumerName),
}

/// How a history is, for people who look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The first event that is not on disk yet.
    pub next: Seq,
    /// The oldest event on disk; `next` if there is none.
    pub oldest: Seq,
    /// What the store uses on the disk, in bytes, when it was last measured.
    pub used_bytes: u64,
    /// What is wrong, if something is.
    pub trouble: Option<StoreError>,
    /// How many events this process could not write.
    pub missing: u64,
}

/// A range of events for people: with its last one.
fn numbers(events: &Range<u64>) -> String {
    match events.end.saturating_sub(1) {
        last if last <= events.start => format!("event {}", events.start),
        last => format!("events {} to {last}", events.start),
    }
}

/// Why an event will not be on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDurable {
    /// It could not be written and was given up.
    #[error("{} could not be stored: {reason}", numbers(.events))]
    Missing {
        /// The events.
        events: Range<u64>,
        /// Why.
        reason: GapReason,
    },
    /// The history was closed before it was written.
    #[error("the history is closed")]
    Closed,
}

impl History {
    /// Waits until all of these events, as `append` returned them, are on disk as the `sync` option
    /// says. Everyone who waits shares one sync. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`NotDurable`] if one of them is not and will not be.
    pub async fn durable(&self, events: Range<Seq>) -> Result<(), NotDurable> {
        let events = events.start.0..events.end.0;
        let mut progress = self.shared.progress.subscribe();
        if let Some(answer) = progress.borrow().answer(&events) {
            return answer;
        }
        self.shared.want(events.end);
        if let Some(answer) = self.shared.watch_commit(&events).await {
            return answer;
        }
        loop {
            if let Some(answer) = progress.borrow_and_update().answer(&events) {
                return answer;
            }
            if progress.changed().await.is_err() {
                return Err(NotDurable::Closed);
            }
        }
    }

    /// Waits until every event below this number is on disk as the `sync` option says, or missing for good, without
    /// hurrying anybody: within a twentieth of a second, as a rule. `false` if the history was closed before. Dropping
    /// the future loses nothing.
    pub async fn settled(&self, end: Seq) -> bool {
        let mut progress = self.shared.progress.subscribe();
        let is_settled = progress.wait_for(|progress| progress.is_closed || progress.next >= end.0);
        is_settled
            .await
            .is_ok_and(|progress| progress.next >= end.0)
    }

    /// How it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = lock(&self.shared.status).clone();
        status.next = Seq(self.shared.progress.borrow().next);
        status.oldest = self.shared.segments.oldest().unwrap_or(status.next);
        let hangs = self.notice_hanging();
        status.trouble = status.trouble.or(hangs);
        status
    }

    /// Whether the disk hangs: somebody waits for it, and for ten seconds nothing was written. Logs that once, and
    /// again when it is over. Those who wait long must call this: the writing thread cannot.
    pub fn notice_hanging(&self) -> Option<StoreError> {
        let shared = &self.shared;
        if lock(&shared.status).trouble.is_some() {
            return None; // the disk answers, and what it said is known
        }
        let next = shared.progress.borrow().next;
        let directory = shared.directory.display();
        match shared
            .stall
            .look(next, shared.wanted.load(Ordering::Acquire))
        {
            Look::Fine => None,
            Look::Hangs { error, is_new } => {
                if is_new {
                    tracing::error!(
                        %directory,
                        %error,
                        "cannot write the history; the bus continues, and publishers that wait for the disk keep waiting"
                    );
                }
                Some(error)
            }
            Look::Over => {
                tracing::warn!(%directory, "the disk of the history answers again");
                None
            }
        }
    }

    /// The most events that these numbers can have: those that killed processes left unused are not counted.
    #[must_use]
    pub fn count(&self, seqs: Range<Seq>) -> u64 {
        self.shared.unused.count(seqs)
    }

    /// All consumers, by name.
    #[must_use]
    pub fn consumers(&self) -> Vec<Consumer> {
        lock(&self.shared.consumers).values().cloned().collect()
    }

    /// A consumer.
    #[must_use]
    pub fn consumer(&self, name: &ConsumerName) -> Option<Consumer> {
        lock(&self.shared.consumers).get(name).cloned()
    }

    /// Waits until a consumer is saved, changed or removed; moves by [`History::acknowledge`] do not count. What
    /// happens after the call is not missed. Dropping the future loses nothing.
    pub fn consumers_changed(&self) -> impl Future<Output = ()> + '_ {
        self.shared.consumers_changed.notified()
    }

    /// Stores a consumer, or changes the one of that name; on disk when this returns. Dropping the
    /// future leaves it open whether it is.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written; then it holds for this process alone.
    pub async fn save(&self, consumer: Consumer) -> Result<(), StoreError> {
        let name = consumer.name.clone();
        lock(&self.shared.consumers).insert(name.clone(), consumer);
        self.shared.consumers_changed.notify_waiters();
        self.shared.ask(Change::Save(name)).await
    }

    /// Changes a consumer, and returns the result; on disk when this returns. `None` if there is no consumer of that
    /// name. If the future is dropped, the change may or may not reach the disk.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written; then it is valid only in this process.
    pub async fn change(
        &self,
        name: &ConsumerName,
        change: impl FnOnce(&mut Consumer),
    ) -> Result<Option<Consumer>, StoreError> {
        let changed = lock(&self.shared.consumers).get_mut(name).map(|consumer| {
            change(consumer);
            consumer.clone()
        });
        if changed.is_some() {
            self.shared.consumers_changed.notify_waiters();
            self.shared.ask(Change::Save(name.clone())).await?;
        }
        Ok(changed)
    }

    /// Moves a consumer's position, without waiting: it is on disk with the next events, or within
    /// a twentieth of a second. Tells whether there is such a consumer.
    pub fn acknowledge(&self, name: &ConsumerName, position: Position) -> bool {
        let mut consumers = lock(&self.shared.consumers);
        let Some(consumer) = consumers.get_mut(name) else {
            return false;
        };
        consumer.position = position;
        consumer.saved_at = wait::now();
        drop(consumers);
        self.shared.push(Request {
            change: Change::Save(name.clone()),
            answer: None,
        });
        true
    }

    /// Removes a consumer; tells whether there was one. On disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be written; then it holds for this process alone.
    pub async fn remove(&self, name: &ConsumerName) -> Result<bool, StoreError> {
        if lock(&self.shared.consumers).remove(name).is_none() {
            return Ok(false);
        }
        self.shared.consumers_changed.notify_waiters();
        self.shared.ask(Change::Remove(name.clone())).await?;
        Ok(true)
    }

    /// Writes everything that is in the log, says in the store that nothing is missing, and ends
    /// the thread. Blocks until that is done. The log must get no more events.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.alarm.ring();
        let thread = lock(&self.shared.thread).take();
        if let Some(thread) = thread {
            // A panic there has been reported by the runtime's own means.
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// Whether these events are on disk; `None` if that is not decided.
    fn answer(&self, events: &Range<u64>) -> Option<Result<(), NotDurable>> {
        let overlaps = |range: &Range<u64>| range.start < events.end && events.start < range.end;
        if let Some((range, reason)) = self.missing.iter().find(|(range, _)| overlaps(range)) {
            return Some(Err(NotDurable::Missing {
                events: range.clone(),
                reason: *reason,
            }));
        }
        if events.end <= self.next {
            return Some(Ok(()));
        }
        self.is_closed.then_some(Err(NotDurable::Closed))
    }
}

/// Ends the watch, also when the future is dropped.
struct Watching<'a>(&'a AtomicBool);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn want(&self, end: u64) {
        // The one who raised it before has woken the writer.
        if self.wanted.fetch_max(end, Ordering::AcqRel) < end {
            self.stall.begin(self.progress.borrow().next);
            self.alarm.ring();
        }
    }

    /// Polls for a commit without sleeping, if commits are quick and nobody else polls already: waking up takes a
    /// quarter of the time of such a commit.
    async fn watch_commit(&self, events: &Range<u64>) -> Option<Result<(), NotDurable>> {
        if !self.is_quick.load(Ordering::Relaxed) || self.is_watched.swap(true, Ordering::Acquire) {
            return None;
        }
        let _watching = Watching(&self.is_watched);
        let look = || self.progress.borrow().answer(events);
        wait::look_until(Instant::now() + QUICK_COMMIT, look).await
    }

    fn push(&self, request: Request) {
        let mut requests = lock(&self.requests);
        // Of the events for which nobody waits, only the first wakes the writer: it starts the time in which others
        // are gathered.
        let must_wake = request.answer.is_some() || requests.is_empty();
        requests.push(request);
        drop(requests);
        if must_wake {
            self.alarm.ring();
        }
    }

    async fn ask(&self, change: Change) -> Result<(), StoreError> {
        let (sender, answer) = oneshot::channel();
        self.push(Request {
            change,
            answer: Some(sender),
        });
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Failing {
                reason: "the history is closed".to_owned(),
            })
        })
    }
}

/// A lock held for a few instructions. What it guards is whole after each of them, so a panic
/// elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
