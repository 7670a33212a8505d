//! What history needs from a store: SQLite, or the simulator of the crash tests.
//!
//! A [`Batch`] is written completely or not at all. Nothing in this file knows files, threads or the encoding of
//! blocks.

use std::ops::Range;
use std::path::PathBuf;

use crate::gap::GapReason;
use crate::history::block::{Block, Head};
use crate::history::saved::Consumer;
use crate::position::{LogId, Millis, Seq};
use crate::unused::Unused;

/// The writing side of a store. There is one at a time.
pub trait BlockStore: Send {
    /// What this side reads with.
    fn reading(&mut self) -> &mut dyn BlockReader;

    /// Writes a batch. When this returns, all of it survives a crash of the machine, or of the
    /// process alone where the store was opened so.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the batch is stored.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Work that may take longer than a commit and that no commit needs: called when nobody waits.
    ///
    /// # Errors
    /// [`StoreError`]; nothing stored is affected.
    fn tidy_up(&mut self) -> Result<(), StoreError>;

    /// Gives free space back to the system, however long that takes.
    ///
    /// # Errors
    /// [`StoreError`]; nothing stored is affected.
    fn shrink(&mut self) -> Result<(), StoreError>;

    /// Brings everything into the store's main file, where it can be. Called once everything is committed and nothing
    /// more will be.
    ///
    /// # Errors
    /// [`StoreError`]; nothing stored is affected.
    fn finish(&mut self) -> Result<(), StoreError>;

    /// A reader that may be used on another thread while this side writes.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    fn reader(&self) -> Result<Box<dyn BlockReader>, StoreError>;
}

/// The reading side of a store.
pub trait BlockReader: Send {
    /// What was written of the store as a whole; `None` in a new one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn state(&mut self) -> Result<Option<State>, StoreError>;

    /// The first block that ends with `at` or later: it holds `at`, or `at` is in no block.
    ///
    /// # Errors
    /// [`StoreError`].
    fn block(&mut self, at: Seq) -> Result<Option<Block>, StoreError>;

    /// Where the first block begins that begins after `at`. Reads no events, so that it finds the
    /// way past a block that cannot be read.
    ///
    /// # Errors
    /// [`StoreError`].
    fn first_after(&mut self, at: Seq) -> Result<Option<Seq>, StoreError>;

    /// The last block that begins before `at`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn block_before(&mut self, at: Seq) -> Result<Option<Block>, StoreError>;

    /// The first block whose `until` is at this time or later.
    ///
    /// # Errors
    /// [`StoreError`].
    fn find(&mut self, at: Millis) -> Result<Option<Head>, StoreError>;

    /// Shows the first and last event and the tags of all sealed blocks that end with `from` or
    /// later, in order, until `visit` returns `false`. Runs are few and newer than all of these.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tags(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Seq, &[u8]) -> bool,
    ) -> Result<(), StoreError>;

    /// A sealed block whose `until` is in this range of time and to which these rules have not yet
    /// been applied.
    ///
    /// # Errors
    /// [`StoreError`].
    fn unpruned(&mut self, until: Range<Millis>, rules: u64) -> Result<Option<Block>, StoreError>;

    /// The heads of the oldest sealed blocks, at most `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn oldest(&mut self, limit: usize) -> Result<Vec<Head>, StoreError>;

    /// Sums over everything stored.
    ///
    /// # Errors
    /// [`StoreError`].
    fn totals(&mut self) -> Result<Totals, StoreError>;

    /// What the store uses on the disk, in bytes, without space that it will use again.
    ///
    /// # Errors
    /// [`StoreError`].
    fn used_bytes(&mut self) -> Result<u64, StoreError>;

    /// What is recorded as missing, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn gaps(&mut self) -> Result<Vec<RecordedGap>, StoreError>;

    /// The consumers, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError>;

    /// Looks for damage that reading blocks does not show.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what is wrong.
    fn check(&mut self) -> Result<(), StoreError>;
}

/// What is written at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Blocks in order. A sealed one replaces everything that begins within it.
    pub blocks: Vec<Block>,
    /// Blocks to remove, by their first event.
    pub removed: Vec<Seq>,
    /// Ranges to record as missing.
    pub gaps: Vec<RecordedGap>,
    /// Recorded gaps to forget: those that end before this event. Numbers that were never used stay known: positions
    /// before them may still be counted from.
    pub forget_gaps: Option<Seq>,
    /// What is known of the store as a whole.
    pub state: Option<State>,
    /// Consumers to store; one of the same name is replaced.
    pub consumers: Vec<Consumer>,
    /// Names of consumers to remove.
    pub removed_consumers: Vec<String>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is known of a store as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The log whose events are stored.
    pub log: LogId,
    /// No event was or will be given this number, or a higher one, before a higher ceiling is
    /// stored.
    pub ceiling: Seq,
    /// Whether the store was closed with everything in it; then the next event's number is the
    /// ceiling.
    pub is_closed: bool,
}

/// Sums over everything stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blocks.
    pub blocks: u64,
    /// Events that can be read.
    pub events: u64,
    /// Their bytes before compression.
    pub event_bytes: u64,
    /// What the store uses on the disk, in bytes, without space that it will use again.
    pub used_bytes: u64,
}

/// A range of sequence numbers whose events are not stored, although they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedGap {
    /// The first number.
    pub first: Seq,
    /// The last number.
    pub last: Seq,
    /// When it was noticed.
    pub at: Millis,
    /// Why.
    pub reason: GapReason,
}

/// The numbers that killed processes left unused, by what is recorded as missing.
pub(crate) fn unused(gaps: &[RecordedGap]) -> Unused {
    let mut unused = Unused::default();
    for gap in gaps {
        if gap.reason == GapReason::UncleanShutdown {
            unused.push(gap.first..Seq(gap.last.0 + 1));
        }
    }
    unused
}

/// Why a store cannot do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, or the user's quota is.
    #[error("no space left on the disk")]
    Full,
    /// The disk or the engine fails.
    #[error("the store failed: {reason}")]
    Failing {
        /// What the engine says.
        reason: String,
    },
    /// What was read is not what was written.
    #[error("the store is damaged: {reason}")]
    Damaged {
        /// What the engine says.
        reason: String,
    },
    /// A newer Brine has written it.
    #[error("its format is {found}, and this version of Brine reads up to {known}")]
    Newer {
        /// Its format.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// It is some other program's file.
    #[error("it is not a history of Brine's")]
    Foreign,
    /// Somebody removed a file that this process has open: what is written there no longer has a name.
    #[error(
        "{} was removed, moved or replaced; move it back, or restart the bus to begin a new history",
        .file.display()
    )]
    Removed {
        /// The file.
        file: PathBuf,
    },
}
