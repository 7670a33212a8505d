//! Reading a store, whether or not a bus writes it: for programs that open it themselves.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::cursor::Events;
use crate::gap::GapReason;
use crate::history::directory::{Writer, writer};
use crate::history::loader::Loader;
use crate::history::maintenance::Purged;
use crate::history::open::{OpenError, existing_store, in_directory};
use crate::history::saved::Consumer;
use crate::history::sqlite::SqliteReader;
use crate::history::store::{self, BlockReader, RecordedGap, StoreError, Totals};
use crate::history::written_ahead;
use crate::position::{LogId, Millis, Seq};
use crate::removed::{Expected, Found, Removed};
use crate::stored::Loaded;
use crate::tags::TagQuery;
use crate::unused::Unused;

/// Reads a store, whether or not a bus writes it meanwhile. Its functions wait for the disk.
pub struct HistoryReader {
    loader: Loader,
    log: LogId,
    writer: Option<Writer>,
    lost_commits: usize,
    at: Seq,
    unused: Unused,
    removed: Removed,
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
        /// How many events are missing; `None` if that is unknown.
        missed: Option<u64>,
    },
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryInfo {
    /// The log whose events these are.
    pub log: LogId,
    /// The process that writes it now.
    pub writer: Option<u32>,
    /// The socket or file at which that process is asked, if it is a bus.
    pub bus: Option<PathBuf>,
    /// The number of the next event. `None` if nobody closed the store: a bus is writing it, or was killed.
    pub next: Option<Seq>,
    /// The oldest event, and when it was received.
    pub oldest: Option<(Seq, Millis)>,
    /// The newest event, and the latest time at which any was received.
    pub newest: Option<(Seq, Millis)>,
    /// Sums.
    pub totals: Totals,
    /// What is recorded as missing among them, oldest first.
    pub gaps: Vec<RecordedGap>,
}

impl HistoryReader {
    /// Opens the history in a directory, at its oldest event.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let file = existing_store(directory)?;
        let failed = |error| in_directory(directory, error);
        let writer = writer(directory);
        // A file that is being written changes while it is looked at.
        let lost_commits = match writer {
            Some(_) => 0,
            None => written_ahead::commits_behind_damage(&file),
        };
        let reader = SqliteReader::open(&file).map_err(failed)?;
        let reader = Self::on(Box::new(reader)).map_err(failed)?;
        Ok(Self {
            writer,
            lost_commits,
            ..reader
        })
    }

    /// Reads a store of any kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on(mut reader: Box<dyn BlockReader>) -> Result<Self, StoreError> {
        let state = reader.state()?.ok_or(StoreError::Foreign)?;
        let oldest = oldest(&mut *reader)?;
        let unused = store::unused(&reader.gaps()?);
        Ok(Self {
            loader: Loader::new(reader, 0)?,
            log: state.log,
            writer: None,
            lost_commits: 0,
            at: oldest,
            unused,
            removed: Removed::default(),
        })
    }

    /// What the store holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn info(&mut self) -> Result<HistoryInfo, StoreError> {
        let reader = &mut self.loader.reader;
        let state = reader.state()?;
        let oldest = reader.block(Seq(0))?;
        let newest = reader.block_before(Seq(u64::MAX))?;
        let first = self::oldest(&mut **reader)?;
        let gaps = reader.gaps()?.into_iter();
        Ok(HistoryInfo {
            log: self.log,
            writer: self.writer.as_ref().map(|writer| writer.pid),
            bus: self.writer.as_ref().and_then(|writer| writer.bus.clone()),
            next: state
                .filter(|state| state.is_closed)
                .map(|state| state.ceiling),
            oldest: oldest.map(|block| (block.head.first, block.head.since)),
            newest: newest.map(|block| (block.head.last, block.head.until)),
            totals: reader.totals()?,
            gaps: gaps.filter(|gap| gap.last >= first).collect(),
        })
    }

    /// What [`Maintenance::purge_before`](crate::history::Maintenance::purge_before) would do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn before_purge(&mut self, seq: Seq) -> Result<Purged, StoreError> {
        let reader = &mut self.loader.reader;
        let sealed = reader.oldest(usize::MAX)?;
        let old = sealed.iter().filter(|head| head.last < seq);
        let events: u64 = old.map(|head| head.events).sum();
        if let Some(left) = sealed.iter().find(|head| head.last >= seq) {
            let oldest = Some(left.first);
            return Ok(Purged { events, oldest });
        }
        // A process that opens the store to change it makes one block of the runs after these.
        let runs = sealed.last().map_or(Seq(0), |head| Seq(head.last.0 + 1));
        let newest = reader.block_before(Seq(u64::MAX))?;
        Ok(match newest.filter(|newest| newest.head.last >= seq) {
            Some(_) => Purged {
                events,
                oldest: reader.block(runs)?.map(|run| run.head.first),
            },
            None => Purged {
                events: reader.totals()?.events,
                oldest: None,
            },
        })
    }

    /// The most events that these numbers can have: those that killed processes left unused are not counted, as in
    /// [`History::count`](crate::history::History::count).
    #[must_use]
    pub fn count(&self, seqs: Range<Seq>) -> u64 {
        self.unused.count(seqs)
    }

    /// The number this many events before this one; the first number, if there are fewer.
    #[must_use]
    pub fn before(&self, seq: Seq, events: u64) -> Seq {
        self.unused.before(seq, events)
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
    pub fn seek(&mut self, at: Seq) {
        self.removed.forget();
        self.at = at;
    }

    /// From now on it reports a gap for events that are expected and that retention has removed by their tags. Otherwise
    /// those are passed over in silence.
    pub fn expect(&mut self, expected: Expected) {
        self.removed.expect(expected);
    }

    /// Continues reading with the first event received at this time or later; returns whether there is one. If not,
    /// the reader is at the end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seek_time(&mut self, time: Millis) -> Result<bool, StoreError> {
        self.removed.forget();
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
        loop {
            let from = self.loader.candidate(self.at, query, usize::MAX)?;
            self.at = from;
            self.removed.pass(from);
            let loaded = self.loader.load(from)?;
            if let Loaded::Segment(segment) = loaded {
                match self.removed.look(&segment, from) {
                    Found::GoesOn => self.at = segment.end(),
                    Found::Complete => return Ok(self.complete()),
                    Found::Events(range) => {
                        self.at = Seq(from.0 + range.len() as u64);
                        return Ok(Some(Read::Events(Events::in_stored(segment, range))));
                    }
                }
                continue;
            }
            // What is missing here for another reason is found once more.
            if let Some(gap) = self.complete() {
                return Ok(Some(gap));
            }
            let Loaded::Gap(to, reason) = loaded else {
                return Ok(None);
            };
            self.at = to;
            let is_known = reason != Some(GapReason::UncleanShutdown);
            return Ok(Some(Read::Gap {
                seqs: from..to,
                reason,
                missed: is_known.then_some(to.0 - from.0),
            }));
        }
    }

    /// The gap of the removed events that were passed.
    fn complete(&mut self) -> Option<Read> {
        let run = self.removed.take()?;
        self.at = run.to;
        Some(Read::Gap {
            seqs: run.from..run.to,
            reason: Some(GapReason::Expired),
            missed: Some(run.events),
        })
    }

    /// The events just before `at`, as many as are stored together; `None` if there are none.
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
            _ => Read::Gap {
                seqs: first..end,
                reason: Some(GapReason::Damaged),
                missed: Some(end.0 - first.0),
            },
        }))
    }

    /// The consumers whose positions are saved here, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        self.loader.reader.consumers()
    }

    /// How many commits of a killed process cannot be read, because a page before them is damaged.
    #[must_use]
    pub const fn lost_commits(&self) -> usize {
        self.lost_commits
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
                Read::Gap { seqs, reason, .. } => report(seqs, reason),
            }
        }
        self.loader.reader.check()?;
        Ok(events)
    }
}

/// The first number of which something is known: an event, or that it is missing.
fn oldest(reader: &mut dyn BlockReader) -> Result<Seq, StoreError> {
    let mut oldest = reader.first_after(Seq(0))?;
    for gap in reader.gaps()?.iter().rev() {
        // Numbers that were never used stay recorded when all around them is removed.
        let is_beside = oldest.is_none_or(|oldest| gap.last.0 + 1 >= oldest.0);
        if is_beside || gap.reason != GapReason::UncleanShutdown {
            oldest = Some(oldest.map_or(gap.first, |oldest| oldest.min(gap.first)));
        }
    }
    Ok(oldest.unwrap_or(Seq(1)))
}
