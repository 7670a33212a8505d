//! Reading history: for cursors of a running log, and for programs that read a store by themselves.
//!
//! A thread of its own reads for cursors, with its own connection, so that nobody who waits for the
//! disk holds up the bus. What it has decoded is shared by all who read it at the same time.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::cursor::Events;
use crate::history::block::{Decoder, ReadSegment};
use crate::history::directory::{store_file, writer};
use crate::history::open::{OpenError, in_directory, no_memory};
use crate::history::saved::Consumer;
use crate::history::sqlite::SqliteReader;
use crate::history::store::{BlockReader, BlockStore, GapReason, RecordedGap, StoreError, Totals};
use crate::history::tags::TagQuery;
use crate::position::{LogId, Millis, Seq};
use crate::segment::{Framings, Segment};

/// What there is at a number.
#[derive(Clone)]
pub(crate) enum Loaded {
    /// A segment that holds it.
    Segment(Arc<Segment>),
    /// It is not there; this is the next that may be.
    Gap(Seq),
    /// Nothing that late is stored.
    NotStored,
}

/// Reads segments and keeps in mind what others still hold.
struct Loader {
    reader: Box<dyn BlockReader>,
    decoder: Decoder,
    /// By first event.
    held: HashMap<u64, Weak<Segment>>,
    /// The last one: kept for the next reader of it, and its memory for the next segment.
    last: Option<ReadSegment>,
    /// Blocks that were reported as damaged.
    damaged: Vec<Seq>,
}

/// How many segments are kept in mind before those that nobody holds are forgotten.
const HELD_SEGMENTS: usize = 64;

impl Loader {
    fn new(reader: Box<dyn BlockReader>) -> Result<Self, StoreError> {
        Ok(Self {
            reader,
            decoder: Decoder::new().map_err(no_memory)?,
            held: HashMap::new(),
            last: None,
            damaged: Vec::new(),
        })
    }

    fn load(&mut self, at: Seq) -> Result<Loaded, StoreError> {
        if let Some(segment) = self.held_at(at) {
            return Ok(Loaded::Segment(segment));
        }
        let block = match self.reader.block(at) {
            Ok(block) => block,
            Err(StoreError::Damaged { reason }) => return self.after_damage(at, &reason),
            Err(error) => return Err(error),
        };
        let Some(block) = block else {
            return Ok(Loaded::NotStored);
        };
        let head = block.head;
        if head.first > at {
            return Ok(Loaded::Gap(head.first));
        }
        if let Some(last) = self.last.take() {
            self.decoder.give_back(last);
        }
        match self.decoder.segment(&head, &block.data, Framings::Bare) {
            Ok(read) => {
                let segment = Arc::clone(&read.segment);
                self.hold(head.first, read);
                Ok(Loaded::Segment(segment))
            }
            Err(error) => {
                self.report(head.first, &error.to_string());
                Ok(Loaded::Gap(Seq(head.last.0 + 1)))
            }
        }
    }

    /// The engine cannot read a block: goes on with the next that begins later.
    fn after_damage(&mut self, at: Seq, reason: &str) -> Result<Loaded, StoreError> {
        self.report(at, reason);
        match self.reader.first_after(at)? {
            Some(next) => Ok(Loaded::Gap(next)),
            None => Ok(Loaded::NotStored),
        }
    }

    fn report(&mut self, first: Seq, reason: &str) {
        if !self.damaged.contains(&first) {
            self.damaged.push(first);
            tracing::error!(
                seq = first.0,
                reason,
                "history: a block is damaged; its events are a gap"
            );
        }
    }

    fn held_at(&self, at: Seq) -> Option<Arc<Segment>> {
        let held = self.held.values().filter_map(Weak::upgrade);
        held.into_iter().find(|segment| {
            let end = segment.first.0 + segment.events() as u64;
            (segment.first.0..end).contains(&at.0)
        })
    }

    fn hold(&mut self, first: Seq, read: ReadSegment) {
        if self.held.len() >= HELD_SEGMENTS {
            self.held.retain(|_, held| held.strong_count() > 0);
        }
        self.held.insert(first.0, Arc::downgrade(&read.segment));
        self.last = Some(read);
    }

    /// The first event taken in at this time or later.
    fn find(&mut self, time: Millis) -> Result<Option<Seq>, StoreError> {
        let Some(head) = self.reader.find(time)? else {
            return Ok(None);
        };
        // Within the block; one that cannot be read is a gap from its beginning.
        Ok(match self.load(head.first)? {
            Loaded::Segment(segment) => Some(segment.since(time).unwrap_or(head.first)),
            Loaded::Gap(_) | Loaded::NotStored => Some(head.first),
        })
    }

    /// The first event from `from` on that may match, or that is missing; the end of the sealed
    /// blocks if there is none before.
    fn candidate(&mut self, from: Seq, query: &TagQuery) -> Result<Seq, StoreError> {
        let mut at = from;
        self.reader.tags(from, &mut |first, last, filter| {
            if first > at || query.may_match(filter) {
                return false;
            }
            at = Seq(last.0 + 1);
            true
        })?;
        Ok(at)
    }
}

/// Where the cursors of a running log load what is not in memory.
#[allow(dead_code)] // until cursors load from it
pub(crate) struct StoredSegments {
    requests: mpsc::Sender<ReadRequest>,
    /// The oldest event that may be stored.
    oldest: AtomicU64,
    /// The first event that is not stored.
    next: AtomicU64,
}

#[allow(dead_code)] // until cursors load from it
enum ReadRequest {
    Load(Seq, oneshot::Sender<Result<Loaded, StoreError>>),
    Find(Millis, oneshot::Sender<Result<Option<Seq>, StoreError>>),
    Candidate(Seq, TagQuery, oneshot::Sender<Result<Seq, StoreError>>),
}

/// Requests that wait for the reading thread before those who ask wait too.
const WAITING_REQUESTS: usize = 64;

#[allow(dead_code)] // until cursors load from it
impl StoredSegments {
    pub(crate) fn new(store: &dyn BlockStore) -> Result<Arc<Self>, StoreError> {
        let mut reader = store.reader()?;
        let oldest = match reader.block(Seq(0))? {
            Some(block) => block.head.first.0,
            None => u64::MAX,
        };
        let newest = reader.block_before(Seq(u64::MAX))?;
        let mut loader = Loader::new(reader)?;
        let (requests, mut asked) = mpsc::channel(WAITING_REQUESTS);
        thread::Builder::new()
            .name("history-reader".to_owned())
            .spawn(move || {
                // Whoever asked may have left: then nobody misses the answer.
                while let Some(request) = asked.blocking_recv() {
                    match request {
                        ReadRequest::Load(at, answer) => drop(answer.send(loader.load(at))),
                        ReadRequest::Find(at, answer) => drop(answer.send(loader.find(at))),
                        ReadRequest::Candidate(from, query, answer) => {
                            drop(answer.send(loader.candidate(from, &query)));
                        }
                    }
                }
            })
            .map_err(no_memory)?;
        Ok(Arc::new(Self {
            requests,
            oldest: oldest.into(),
            next: newest.map_or(0, |block| block.head.last.0 + 1).into(),
        }))
    }

    /// The oldest event that may be stored, without looking.
    pub(crate) fn oldest(&self) -> Option<Seq> {
        let (oldest, next) = (&self.oldest, &self.next);
        let oldest = oldest.load(Ordering::Acquire);
        (oldest < next.load(Ordering::Acquire)).then_some(Seq(oldest))
    }

    /// Everything below this is written.
    pub(crate) fn committed(&self, next: Seq) {
        let before = self.next.swap(next.0, Ordering::AcqRel);
        // The first there is; the numbers before are gaps or were removed.
        self.oldest.fetch_min(before.max(1), Ordering::AcqRel);
    }

    /// Retention has removed what is older; `None` if it left no sealed block.
    pub(crate) fn set_oldest(&self, oldest: Option<Seq>) {
        if let Some(oldest) = oldest {
            self.oldest.store(oldest.0, Ordering::Release);
        }
    }

    /// What there is at a number.
    pub(crate) async fn load(&self, at: Seq) -> Result<Loaded, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.ask(ReadRequest::Load(at, answer), answered).await
    }

    /// The first event taken in at this time or later.
    pub(crate) async fn find(&self, at: Millis) -> Result<Option<Seq>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.ask(ReadRequest::Find(at, answer), answered).await
    }

    /// The first event from `from` on that may match or is missing.
    pub(crate) async fn candidate(&self, from: Seq, query: TagQuery) -> Result<Seq, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.ask(ReadRequest::Candidate(from, query, answer), answered)
            .await
    }

    async fn ask<T>(
        &self,
        request: ReadRequest,
        answered: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let ended = || StoreError::Failing {
            reason: "the reading thread has ended".to_owned(),
        };
        self.requests.send(request).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Reads a store, whether or not a bus writes it meanwhile. Its functions wait for the disk.
pub struct HistoryReader {
    loader: Loader,
    log: LogId,
    writer: Option<u32>,
    at: Seq,
}

/// What a [`HistoryReader`] finds.
pub enum Read {
    /// Events, of which at least one may match.
    Events(Events),
    /// These are missing.
    Gap {
        /// The numbers.
        seqs: Range<Seq>,
        /// Why, if that is recorded.
        reason: Option<GapReason>,
    },
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryInfo {
    /// The log whose events these are.
    pub log: LogId,
    /// The process that writes it now.
    pub writer: Option<u32>,
    /// The oldest event, and when it was taken in.
    pub oldest: Option<(Seq, Millis)>,
    /// The newest event, and the latest time at which any was taken in.
    pub newest: Option<(Seq, Millis)>,
    /// Sums.
    pub totals: Totals,
    /// What is recorded as missing, oldest first.
    pub gaps: Vec<RecordedGap>,
}

impl HistoryReader {
    /// Opens the history in a directory, at its oldest event.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let file = store_file(directory);
        if !file.is_file() {
            return Err(OpenError::Nothing {
                directory: directory.to_owned(),
            });
        }
        let failed = |error| in_directory(directory, error);
        let reader = SqliteReader::open(&file).map_err(failed)?;
        let mut reader = Self::on(Box::new(reader)).map_err(failed)?;
        reader.writer = writer(directory);
        Ok(reader)
    }

    /// Reads a store of any kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on(mut reader: Box<dyn BlockReader>) -> Result<Self, StoreError> {
        let state = reader.state()?.ok_or(StoreError::Foreign)?;
        let oldest = oldest(&mut *reader)?;
        Ok(Self {
            loader: Loader::new(reader)?,
            log: state.log,
            writer: None,
            at: oldest,
        })
    }

    /// What the store holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn info(&mut self) -> Result<HistoryInfo, StoreError> {
        let reader = &mut self.loader.reader;
        let oldest = reader.block(Seq(0))?;
        let newest = reader.block_before(Seq(u64::MAX))?;
        Ok(HistoryInfo {
            log: self.log,
            writer: self.writer,
            oldest: oldest.map(|block| (block.head.first, block.head.since)),
            newest: newest.map(|block| (block.head.last, block.head.until)),
            totals: reader.totals()?,
            gaps: reader.gaps()?,
        })
    }

    /// The log whose events these are.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    /// The next event [`HistoryReader::next`] looks at.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.at
    }

    /// Goes on reading with this event.
    pub const fn seek(&mut self, at: Seq) {
        self.at = at;
    }

    /// Goes on reading with the first event taken in at this time or later; tells whether there is
    /// one. If not, the reader is at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seek_time(&mut self, time: Millis) -> Result<bool, StoreError> {
        if let Some(at) = self.loader.find(time)? {
            self.at = at;
            return Ok(true);
        }
        let newest = self.loader.reader.block_before(Seq(u64::MAX))?;
        self.at = newest.map_or(self.at, |block| Seq(block.head.last.0 + 1));
        Ok(false)
    }

    #[allow(clippy::should_implement_trait)] // it may fail, and at the end more may come later
    /// The next events of which one may match, and moves past them; `None` at the end. What is
    /// missing before them comes first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next(&mut self, query: &TagQuery) -> Result<Option<Read>, StoreError> {
        if !query.is_any() {
            self.at = self.loader.candidate(self.at, query)?;
        }
        let from = self.at;
        Ok(match self.loader.load(from)? {
            Loaded::NotStored => None,
            Loaded::Gap(to) => {
                self.at = to;
                Some(Read::Gap {
                    seqs: from..to,
                    reason: self.reason(from, to)?,
                })
            }
            Loaded::Segment(segment) => {
                let events = Events::of_stored(segment, from);
                self.at = Seq(from.0 + events.len() as u64);
                Some(Read::Events(events))
            }
        })
    }

    /// The events just before `at`, as many as lie together; `None` if there are none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn previous(&mut self, at: Seq) -> Result<Option<Read>, StoreError> {
        let Some(block) = self.loader.reader.block_before(at)? else {
            return Ok(None);
        };
        let (first, end) = (block.head.first, Seq(block.head.last.0 + 1).min(at));
        Ok(Some(match self.loader.load(first)? {
            Loaded::Segment(segment) => Read::Events(Events::before(segment, end)),
            Loaded::Gap(_) | Loaded::NotStored => Read::Gap {
                seqs: first..end,
                reason: Some(GapReason::Damaged),
            },
        }))
    }

    /// Why events are missing, as far as that is recorded.
    fn reason(&mut self, from: Seq, to: Seq) -> Result<Option<GapReason>, StoreError> {
        let gaps = self.loader.reader.gaps()?;
        let gap = gaps
            .iter()
            .find(|gap| gap.first < to && gap.last >= from)
            .map(|gap| gap.reason);
        let is_damaged = self.loader.damaged.contains(&from);
        Ok(gap.or(is_damaged.then_some(GapReason::Damaged)))
    }

    /// The consumers whose positions are saved here, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        self.loader.reader.consumers()
    }

    /// Reads everything there is, and calls `report` with each range that cannot be read; returns
    /// how many events can.
    ///
    /// # Errors
    /// [`StoreError`], also for damage that hides what is there.
    pub fn verify(
        &mut self,
        report: &mut dyn FnMut(Range<Seq>, Option<GapReason>),
    ) -> Result<u64, StoreError> {
        self.at = oldest(&mut *self.loader.reader)?;
        let mut events = 0;
        while let Some(read) = self.next(&TagQuery::default())? {
            match read {
                Read::Events(run) => events += run.iter().count() as u64,
                Read::Gap { seqs, reason } => report(seqs, reason),
            }
        }
        self.loader.reader.check()?;
        Ok(events)
    }
}

/// The first number of which something is known: an event, or that it is missing.
fn oldest(reader: &mut dyn BlockReader) -> Result<Seq, StoreError> {
    let block = reader.first_after(Seq(0))?;
    let gap = reader.gaps()?.first().map(|gap| gap.first);
    Ok(block.into_iter().chain(gap).min().unwrap_or(Seq(1)))
}
