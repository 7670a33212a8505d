//! The thread that writes history: a cursor over the log like any other.
//!
//! A commit takes everything there is, so that everybody who waits shares one sync. If nobody waits, the thread lets
//! events gather for a twentieth of a second. While the store cannot be written, events wait in the log; when that
//! has lasted too long the thread gives them up, and records the range as soon as the store accepts writes again. The
//! live bus is not affected.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use crate::cursor::{EventCursor, Next};
use crate::gap::GapReason;
use crate::history::block::{Decoder, Effort, Encoder};
use crate::history::directory::OwnDirectory;
use crate::history::gather::Gatherer;
use crate::history::open;
use crate::history::retention::Retention;
use crate::history::saved::Consumer;
use crate::history::stall::Stall;
use crate::history::store::{Batch, BlockStore, RecordedGap, State, StoreError};
use crate::history::wait::{self, Alarm};
use crate::history::{
    Change, History, HistoryConfig, Progress, QUICK_COMMIT, Request, Shared, Status, Sync, lock,
};
use crate::log::Log;
use crate::position::{Millis, Position, Seq, Start};
use crate::stored::StoredSegments;
use crate::unused::Unused;

/// The numbers that are set aside in the store ahead of their use. A crash skips what is left of
/// them, which costs nothing: after two million crashes they are still exact in every JSON reader.
/// They must last for as long as the store may be unable to set aside more, since the bus does not
/// wait for it: half of them are 12 hours at 50,000 events a second.
pub(crate) const RESERVED_NUMBERS: u64 = 1 << 32;
/// How long events gather when nobody waits for them to be on disk, and how often the writer checks whether there are
/// too many meanwhile.
const GROUP_TIME: Duration = Duration::from_millis(50);
const GROUP_SLICE: Duration = Duration::from_millis(5);
/// How long the thread stays awake after a quick commit that somebody waited for. A program that fires its next event
/// when the last one is on disk does so within this time, and to wake a sleeping thread takes a third of it.
const SPIN_TIME: Duration = Duration::from_micros(150);
/// How much of the log's memory may fill up meanwhile, in bytes.
const GROUP_BYTES: usize = 1 << 20;
/// The events of one commit, in bytes, at most about.
const BATCH_BYTES: u64 = 4 << 20;
/// From this many bytes in one commit on, the writer has fallen behind and compresses less, until after a commit of
/// fewer.
const BEHIND_BYTES: u64 = 2 << 20;
/// How often retention is applied.
const UPKEEP_TIME: Duration = Duration::from_secs(10);
/// How long after a failed commit the next is tried.
const RETRY_TIME: Duration = Duration::from_millis(500);
/// The ranges that this process could not write which are remembered for those who ask.
const REMEMBERED_RANGES: usize = 64;
/// Overruns are reported at most this often.
const REPORT_TIME: Duration = Duration::from_secs(60);

/// What callers hold of a history, before its thread runs.
pub(crate) fn shared(
    config: &HistoryConfig,
    next: Seq,
    consumers: Vec<Consumer>,
    unused: Unused,
    segments: &Arc<StoredSegments>,
) -> History {
    let progress = Progress {
        next: next.0,
        ..Progress::default()
    };
    let named = consumers
        .into_iter()
        .map(|consumer| (consumer.name.clone(), consumer));
    let shared = Shared {
        directory: config.directory.clone(),
        wanted: 0.into(),
        closing: false.into(),
        alarm: Arc::new(Alarm::default()),
        is_quick: false.into(),
        is_watched: false.into(),
        requests: Mutex::default(),
        consumers: Mutex::new(BTreeMap::from_iter(named)),
        consumers_changed: Notify::new(),
        segments: Arc::clone(segments),
        unused,
        progress: watch::Sender::new(progress),
        status: Mutex::new(Status {
            directory: config.directory.clone(),
            next,
            oldest: next,
            used_bytes: 0,
            trouble: None,
            missing: 0,
        }),
        stall: Stall::new(config.give_up_after),
        thread: Mutex::default(),
    };
    History {
        shared: Arc::new(shared),
    }
}

/// What the thread owns.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Arc<Log>,
    cursor: EventCursor,
    /// At the first event that is not committed, so that the log keeps it until then.
    uncommitted: EventCursor,
    sync: Sync,
    give_up_after: Duration,
    gatherer: Gatherer,
    /// Whether the last batch was so large that the writer has fallen behind.
    is_behind: bool,
    batch: Batch,
    /// Those who wait for the batch, in addition to those who wait for events.
    answers: Vec<oneshot::Sender<Result<(), StoreError>>>,
    store: Box<dyn BlockStore>,
    /// With the numbers set aside.
    state: State,
    /// Until when the thread does not sleep.
    spin_until: Instant,
    trouble: Option<Trouble>,
    upkeep: Upkeep,
}

/// The store cannot be written.
struct Trouble {
    since: Instant,
    retry_at: Instant,
    /// From here on nothing is written, since that has lasted too long.
    lost_from: Option<Seq>,
}

/// What is done now and then.
struct Upkeep {
    due: Instant,
    /// Bytes stored since it was last done.
    written: u64,
    retention: Retention,
    encoder: Encoder,
    decoder: Decoder,
    /// The last error, so that it is reported once.
    error: Option<StoreError>,
    overrun_reported: Option<Instant>,
}

impl Upkeep {
    /// Whether so much was stored that the limit may be passed by a part of it that counts.
    fn is_full(&self) -> bool {
        let limit = self.retention.max_bytes;
        limit.is_some_and(|limit| self.written > limit / 16)
    }
}

impl Writer {
    pub(crate) fn new(
        config: HistoryConfig,
        store: Box<dyn BlockStore>,
        log: &Arc<Log>,
        history: &History,
        state: State,
        until: Millis,
    ) -> io::Result<Self> {
        let cursor = log.events(Start::After(before(log, log.stats().oldest)));
        let now = Instant::now();
        Ok(Self {
            shared: Arc::clone(&history.shared),
            log: Arc::clone(log),
            uncommitted: log.events(Start::After(before(log, cursor.seq()))),
            sync: config.sync,
            give_up_after: config.give_up_after,
            gatherer: Gatherer::new(&config.redact, until)?,
            is_behind: false,
            batch: Batch::default(),
            answers: Vec::new(),
            store,
            state,
            spin_until: now,
            trouble: None,
            upkeep: Upkeep {
                due: now,
                written: 0,
                retention: config.retention,
                encoder: Encoder::new()?,
                decoder: Decoder::new()?,
                error: None,
                overrun_reported: None,
            },
            cursor,
        })
    }

    /// Starts the thread, which keeps the directory until it ends.
    pub(crate) fn spawn(self, directory: Option<OwnDirectory>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || {
                let closes = ClosesProgress(Arc::clone(&self.shared));
                self.run();
                drop((closes, directory));
            })?;
        *lock(&shared.thread) = Some(thread);
        Ok(())
    }

    fn run(mut self) {
        self.shared.alarm.belongs_here();
        loop {
            let is_closing = self.is_closing();
            if !is_closing {
                self.wait();
            }
            if self.trouble.is_none() {
                self.gather();
            }
            self.take_requests();
            self.commit();
            if is_closing && (self.trouble.is_some() || self.is_at_tail()) {
                return self.close();
            }
            self.upkeep();
        }
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    fn is_at_tail(&self) -> bool {
        self.cursor.seq() == self.log.stats().next
    }

    /// Waits until there is something to write and it is time to.
    fn wait(&mut self) {
        let alarm = Arc::clone(&self.shared.alarm);
        if let Some(trouble) = &self.trouble {
            return alarm.wait_until(trouble.retry_at);
        }
        let spin_until = self.spin_until;
        let sleep_until = |end| match Instant::now() < spin_until {
            true => alarm.spin_until(spin_until),
            false => alarm.wait_until(end),
        };
        {
            let mut readable = std::pin::pin!(self.cursor.readable());
            while wait::poll(readable.as_mut(), &alarm).is_pending() {
                let is_asked = !lock(&self.shared.requests).is_empty();
                if is_asked || self.shared.closing.load(Ordering::Acquire) {
                    break;
                }
                sleep_until(self.upkeep.due);
                if Instant::now() >= self.upkeep.due {
                    return;
                }
            }
        }
        let end = Instant::now() + GROUP_TIME;
        let full = self.log.stats().bytes + GROUP_BYTES;
        while !self.is_urgent() && Instant::now() < end && self.log.stats().bytes < full {
            sleep_until(end.min(Instant::now() + GROUP_SLICE));
        }
    }

    /// Whether somebody waits for a commit.
    fn is_urgent(&self) -> bool {
        self.sync == Sync::Each
            || self.is_closing()
            || self.shared.wanted.load(Ordering::Acquire) > self.cursor.seq().0
            || lock(&self.shared.requests)
                .iter()
                .any(|request| request.answer.is_some())
    }

    /// Turns what the log has into blocks, up to a batch.
    fn gather(&mut self) {
        let mut bytes = 0;
        let was_behind = std::mem::take(&mut self.is_behind);
        while bytes < BATCH_BYTES {
            match self.cursor.next() {
                Next::Ready(events) => {
                    self.is_behind |= bytes >= BEHIND_BYTES;
                    let effort = match self.is_behind || was_behind {
                        false => Effort::Ordinary,
                        true => Effort::Fast,
                    };
                    let first = self.cursor.seq();
                    match self.gatherer.take(&events, &mut self.batch.blocks, effort) {
                        Ok(taken) => bytes += taken,
                        Err(error) => self.record_gap(first, events.len(), &error),
                    }
                    self.cursor.advance(&events, events.len());
                }
                Next::Tail => return,
                Next::Stored => wait::block_on(self.cursor.load()),
                Next::Gap(gap) => {
                    self.overrun(gap.from.seq, gap.to.seq);
                    self.cursor.skip(gap);
                }
            }
        }
    }

    /// Events came faster than they could be written, and are gone.
    fn overrun(&mut self, from: Seq, to: Seq) {
        if self.gatherer.seal(&mut self.batch.blocks).is_err() {
            tracing::debug!("history: no memory to seal a segment");
        }
        self.note_missing(from, to, GapReason::Overrun);
        let is_reported = self
            .upkeep
            .overrun_reported
            .is_some_and(|at| at.elapsed() < REPORT_TIME);
        if !is_reported {
            self.upkeep.overrun_reported = Some(Instant::now());
            tracing::error!(
                first = from.0,
                last = to.0.saturating_sub(1),
                "history: events arrive faster than they can be written; some are missing"
            );
        }
    }

    fn record_gap(&mut self, first: Seq, events: usize, error: &io::Error) {
        let end = Seq(first.0 + events as u64);
        tracing::error!(seq = first.0, events, %error, "history: events could not be encoded");
        self.note_missing(first, end, GapReason::NotWritten);
    }

    fn note_missing(&mut self, from: Seq, to: Seq, reason: GapReason) {
        self.batch.gaps.push(RecordedGap {
            first: from,
            last: Seq(to.0.saturating_sub(1)),
            at: wait::now(),
            reason,
        });
        self.remember_missing(from.0..to.0, reason);
        lock(&self.shared.status).missing += to.0.saturating_sub(from.0);
    }

    fn remember_missing(&self, range: Range<u64>, reason: GapReason) {
        self.shared.progress.send_modify(|progress| {
            if progress.missing.len() == REMEMBERED_RANGES {
                progress.missing.remove(0);
            }
            progress.missing.push((range, reason));
        });
    }

    fn take_requests(&mut self) {
        let requests = std::mem::take(&mut *lock(&self.shared.requests));
        for Request { change, answer } in requests {
            match change {
                Change::Save(name) => {
                    let consumer = lock(&self.shared.consumers).get(&name).cloned();
                    self.batch
                        .consumers
                        .retain(|consumer| consumer.name != name);
                    self.batch.consumers.extend(consumer);
                }
                Change::Remove(name) => {
                    self.batch
                        .consumers
                        .retain(|consumer| consumer.name != name);
                    self.batch.removed_consumers.push(name.to_string());
                }
            }
            self.answers.extend(answer);
        }
    }

    /// Writes the batch, if there is one and it is time to try.
    fn commit(&mut self) {
        let now = Instant::now();
        if self
            .trouble
            .as_ref()
            .is_some_and(|trouble| now < trouble.retry_at)
            && !self.is_closing()
        {
            return self.answer(&Err(self.current_trouble()));
        }
        if let Some(lost_from) = self.trouble.as_ref().and_then(|trouble| trouble.lost_from) {
            self.skip_to_tail(lost_from);
        }
        self.batch.state = self.set_numbers_aside();
        if self.batch.is_empty() && self.trouble.is_none() {
            return;
        }
        match self.store.commit(&self.batch) {
            Ok(()) => {
                let blocks = self.batch.blocks.iter();
                self.upkeep.written += blocks.map(|block| block.data.len() as u64).sum::<u64>();
                let is_quick = now.elapsed() < QUICK_COMMIT;
                self.shared.is_quick.store(is_quick, Ordering::Relaxed);
                self.committed(is_quick);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn committed(&mut self, is_quick: bool) {
        self.state = self.batch.state.unwrap_or(self.state);
        let first = self.batch.blocks.first().map(|block| block.head.first);
        self.batch = Batch::default();
        let next = self.cursor.seq();
        if is_quick && self.shared.wanted.load(Ordering::Acquire) >= next.0 {
            self.spin_until = Instant::now() + SPIN_TIME;
        }
        // Readers find it in the store from here on, and only then may the log drop it.
        self.shared.segments.committed(first, next);
        self.uncommitted.move_to(next);
        // Before anybody is woken, who may look.
        lock(&self.shared.status).trouble = None;
        self.shared
            .progress
            .send_modify(|progress| progress.next = next.0);
        self.answer(&Ok(()));
        if let Some(trouble) = self.trouble.take() {
            let lasted = trouble.since.elapsed().as_secs();
            match trouble.lost_from {
                Some(from) => tracing::error!(
                    directory = %self.shared.directory.display(),
                    first = from.0,
                    last = next.0.saturating_sub(1),
                    seconds = lasted,
                    "the history is written again; the events in between are missing"
                ),
                None => tracing::warn!(
                    directory = %self.shared.directory.display(),
                    seconds = lasted,
                    "the history is written again; nothing is missing"
                ),
            }
        }
    }

    fn failed(&mut self, error: &StoreError) {
        let now = Instant::now();
        let retry_at = now + RETRY_TIME.min(self.give_up_after);
        self.answer(&Err(error.clone()));
        let directory = self.shared.directory.clone();
        lock(&self.shared.status).trouble = Some(error.clone());
        let Some(trouble) = &mut self.trouble else {
            tracing::error!(
                directory = %directory.display(),
                %error,
                "cannot write the history; the bus continues, and events wait in memory for {} seconds",
                self.give_up_after.as_secs()
            );
            self.trouble = Some(Trouble {
                since: now,
                retry_at,
                lost_from: None,
            });
            return;
        };
        trouble.retry_at = retry_at;
        if trouble.lost_from.is_none() && trouble.since.elapsed() >= self.give_up_after {
            let from = Seq(self.shared.progress.borrow().next);
            trouble.lost_from = Some(from);
            tracing::error!(
                directory = %directory.display(),
                %error,
                first = from.0,
                "history has a gap: events are not recorded until it can be written again; the bus continues"
            );
            self.give_up_batch();
        }
    }

    /// Forgets the events that were to be written; other requests stay.
    fn give_up_batch(&mut self) {
        self.gatherer.forget();
        self.batch.blocks.clear();
        let from = self.shared.progress.borrow().next;
        self.remember_missing(from..from, GapReason::NotWritten);
    }

    /// Passes over what has come meanwhile, and records it.
    fn skip_to_tail(&mut self, lost_from: Seq) {
        self.cursor = self.log.events(Start::Tail);
        let to = self.cursor.seq();
        self.uncommitted.move_to(to);
        self.batch.gaps.retain(|gap| gap.first != lost_from);
        self.batch
            .gaps
            .extend((to > lost_from).then(|| RecordedGap {
                first: lost_from,
                last: Seq(to.0 - 1),
                at: wait::now(),
                reason: GapReason::NotWritten,
            }));
        let mut newly = 0;
        self.shared.progress.send_modify(|progress| {
            newly = to.0.saturating_sub(progress.next);
            progress.next = to.0;
            if let Some((range, _)) = progress.missing.last_mut() {
                range.end = to.0;
            }
        });
        lock(&self.shared.status).missing += newly;
        // No segment continues the runs that were written before.
        self.batch.blocks.clear();
        if let Err(error) = open::seal_runs(&mut *self.store, &mut self.batch) {
            tracing::debug!(%error, "history: the runs before a gap stay as they are");
        }
    }

    fn current_trouble(&self) -> StoreError {
        let trouble = lock(&self.shared.status).trouble.clone();
        trouble.unwrap_or(StoreError::Full)
    }

    fn answer(&mut self, result: &Result<(), StoreError>) {
        for answer in self.answers.drain(..) {
            // The caller may have left.
            let _ = answer.send(result.clone());
        }
    }

    /// Retention, and what the store does when nobody waits.
    fn upkeep(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        let mut result = self.store.tidy_up();
        if Instant::now() >= self.upkeep.due || self.upkeep.is_full() {
            self.upkeep.due = Instant::now() + UPKEEP_TIME;
            self.upkeep.written = 0;
            result = result.and(self.apply_retention());
        }
        let error = result.err();
        if error != self.upkeep.error {
            if let Some(error) = &error {
                tracing::warn!(%error, "history: old events could not be removed");
            }
            self.upkeep.error = error;
        }
    }

    fn apply_retention(&mut self) -> Result<(), StoreError> {
        let Upkeep {
            retention,
            encoder,
            decoder,
            ..
        } = &mut self.upkeep;
        let shared = &self.shared;
        let seq = self.cursor.seq().0;
        // Those who wait for a commit go first; the rest is done the next time.
        let is_asked = || shared.wanted.load(Ordering::Acquire) > seq;
        let done = retention.apply(&mut *self.store, (encoder, decoder), wait::now(), &is_asked)?;
        self.shared.segments.set_oldest(done.oldest);
        lock(&self.shared.status).used_bytes = done.used_bytes;
        Ok(())
    }

    /// The state to write, if more numbers must be set aside.
    fn set_numbers_aside(&self) -> Option<State> {
        let tail = self.log.stats().next.0;
        let is_needed = tail + RESERVED_NUMBERS / 2 > self.state.ceiling.0;
        is_needed.then(|| State {
            ceiling: Seq(tail + RESERVED_NUMBERS),
            ..self.state
        })
    }

    /// Says in the store that nothing is missing, if so.
    fn close(mut self) {
        if self.trouble.is_some() || self.gatherer.seal(&mut self.batch.blocks).is_err() {
            return;
        }
        self.batch.state = Some(State {
            ceiling: self.cursor.seq(),
            is_closed: true,
            ..self.state
        });
        if let Err(error) = self.store.commit(&self.batch) {
            tracing::error!(%error, "history could not be closed; the next start recovers it");
            return;
        }
        // So that a copy of the one file is a whole history.
        if let Err(error) = self.store.finish() {
            tracing::warn!(%error, "history closed; its last events are still in events.db-wal");
        }
    }
}

/// A position from which a reader continues with this event.
fn before(log: &Log, seq: Seq) -> Position {
    Position {
        log: log.id(),
        seq: Seq(seq.0.saturating_sub(1)),
    }
}

/// However the thread ends, nobody waits for it afterwards.
struct ClosesProgress(Arc<Shared>);

impl Drop for ClosesProgress {
    fn drop(&mut self) {
        self.0
            .progress
            .send_modify(|progress| progress.is_closed = true);
    }
}
