//! Opening a history: what the last process left, and which number comes next.
//!
//! Live readers run ahead of commits, so after a crash nobody knows which numbers they have seen. Therefore the store
//! always holds a ceiling above all of them, written before they are used; after a crash numbering continues there,
//! and the numbers in between are a gap.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::gap::GapReason;
use crate::history::block::{BlockEvent, Decoder, Effort, Encoder};
use crate::history::directory::{OwnDirectory, refuse_emptied, store_file, warn_of_empty};
use crate::history::loader;
use crate::history::maintenance::Maintenance;
use crate::history::sqlite::{self, CommitSync, SqliteStore};
use crate::history::store::{self, Batch, BlockStore, RecordedGap, State, StoreError};
use crate::history::wait::now;
use crate::history::writer::{self, Writer};
use crate::history::written_ahead;
use crate::history::{History, HistoryConfig, Sync};
use crate::log::Log;
use crate::position::{LogId, Millis, Seq};
use crate::stored::StoredSegments;
use crate::unused::Unused;

/// A history that is open, before its log is.
pub struct PreparedHistory {
    config: HistoryConfig,
    store: Box<dyn BlockStore>,
    segments: Arc<StoredSegments>,
    directory: Option<OwnDirectory>,
    state: State,
    /// The newest event that is stored; 0 if there is none.
    newest: Seq,
    /// The number of the log's first event.
    next: Seq,
    /// The latest time stored.
    until: Millis,
    /// Numbers that killed processes left unused.
    unused: Unused,
}

/// Why a history cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("history {}: {reason}", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The directory belongs to somebody else.
    #[error(
        "history {}: owned by user {owner}, and this process runs as user {user}; run it as the owner, or set \
         another directory",
        .directory.display()
    )]
    Owner {
        /// The directory.
        directory: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's user.
        user: u32,
    },
    /// Another process writes it.
    #[error("history {}: in use by {}", .directory.display(), process(*pid))]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The other process; 0 if that has not said yet.
        pid: u32,
    },
    /// There is no store to read.
    #[error("history {}: there is no history in this directory", .directory.display())]
    Nothing {
        /// The directory.
        directory: PathBuf,
    },
    /// The store itself.
    #[error("history {}: {error}{}", .directory.display(), remedy(error))]
    Store {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        error: StoreError,
    },
}

/// The process that has a store.
fn process(pid: u32) -> String {
    match pid {
        0 => "another process".to_owned(),
        pid => format!("process {pid}"),
    }
}

/// What to do about a store that cannot be opened.
const fn remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::Foreign => "; set another directory, or move its events.db away",
        StoreError::Newer { .. } => "; use that version, or set another directory",
        StoreError::Damaged { .. } => {
            "; move the directory away to begin a new history; brine log export prints what of it can still be read, \
             which may be nothing"
        }
        _ => "",
    }
}

/// The store's file in a directory, which must be there.
pub(super) fn existing_store(directory: &Path) -> Result<PathBuf, OpenError> {
    let file = store_file(directory);
    // Looked at, not opened: closing it would release the locks that a writer in this process has on it.
    match fs::metadata(&file) {
        Ok(about) if about.is_file() => {
            refuse_emptied(directory).map_err(|error| in_directory(directory, error))?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(OpenError::Directory {
            directory: directory.to_owned(),
            reason: "permission denied; run this as root or as the user that runs the bus"
                .to_owned(),
        }),
        _ => Err(OpenError::Nothing {
            directory: directory.to_owned(),
        }),
    }
}

impl PreparedHistory {
    /// Opens the store in the configured directory, which is created if it does not exist.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: HistoryConfig) -> Result<Self, OpenError> {
        sqlite::refuse_others(&store_file(&config.directory))
            .and_then(|()| refuse_emptied(&config.directory))
            .map_err(|error| in_directory(&config.directory, error))?;
        warn_of_empty(&config.directory);
        let directory = OwnDirectory::take(&config.directory, config.bus.as_deref())?;
        let sync = match config.sync {
            Sync::Group | Sync::Each => CommitSync::Disk,
            Sync::System => CommitSync::System,
        };
        let file = store_file(&config.directory);
        // Before the engine opens it, which begins that file anew.
        let lost = written_ahead::commits_behind_damage(&file);
        if lost > 0 {
            tracing::error!(
                directory = %config.directory.display(),
                commits = lost,
                "history: events.db-wal is damaged: the events of its last commits are lost"
            );
        }
        let store = SqliteStore::open(&file, sync)
            .map_err(|error| in_directory(&config.directory, error))?;
        let mut prepared = Self::on(Box::new(store), config)?;
        prepared.directory = Some(directory);
        Ok(prepared)
    }

    /// Opens a store of any kind.
    ///
    /// # Errors
    /// [`OpenError::Store`].
    pub fn on(mut store: Box<dyn BlockStore>, config: HistoryConfig) -> Result<Self, OpenError> {
        let failed = |error| in_directory(&config.directory, error);
        let recovered = recover(&mut *store, &config.directory).map_err(failed)?;
        let gaps = store.reading().gaps().map_err(failed)?;
        let segments = store.reader().and_then(loader::start).map_err(failed)?;
        Ok(Self {
            config,
            store,
            segments,
            directory: None,
            state: recovered.state,
            newest: recovered.newest,
            next: recovered.next,
            until: recovered.until,
            unused: store::unused(&gaps),
        })
    }

    /// The identity of the log whose history this is.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.state.log
    }

    /// The number the log's next event gets.
    #[must_use]
    pub const fn next(&self) -> Seq {
        self.next
    }

    /// The newest event that is stored; 0 if there is none.
    #[must_use]
    pub const fn newest(&self) -> Seq {
        self.newest
    }

    pub(crate) fn unused(&self) -> Unused {
        self.unused.clone()
    }

    /// Where cursors load what is not in memory.
    pub(crate) fn segments(&self) -> Arc<StoredSegments> {
        Arc::clone(&self.segments)
    }

    /// Begins to write a log, which must have the identity and first number that this history
    /// says.
    ///
    /// # Errors
    /// [`OpenError`] when no thread can be started.
    pub fn start(self, log: &Arc<Log>) -> Result<History, OpenError> {
        let directory = self.config.directory.clone();
        let failed = |error: io::Error| OpenError::Directory {
            directory: directory.clone(),
            reason: error.to_string(),
        };
        let mut store = self.store;
        let consumers = store
            .reading()
            .consumers()
            .map_err(|error| in_directory(&directory, error))?;
        let history = writer::shared(
            &self.config,
            self.next,
            consumers,
            self.unused,
            &self.segments,
        );
        let writer = Writer::new(self.config, store, log, &history, self.state, self.until);
        writer
            .map_err(failed)?
            .spawn(self.directory)
            .map_err(failed)?;
        Ok(history)
    }
}

impl From<PreparedHistory> for Maintenance {
    fn from(prepared: PreparedHistory) -> Self {
        let PreparedHistory {
            store,
            state,
            next,
            until,
            directory,
            ..
        } = prepared;
        Self::on_parts(store, state, next, until, directory)
    }
}

pub(crate) fn in_directory(directory: &Path, error: StoreError) -> OpenError {
    OpenError::Store {
        directory: directory.to_owned(),
        error,
    }
}

struct Recovered {
    state: State,
    newest: Seq,
    next: Seq,
    until: Millis,
}

/// Determines where the log continues, and stores that before anybody uses it.
fn recover(store: &mut dyn BlockStore, directory: &Path) -> Result<Recovered, StoreError> {
    let before = store.reading().state()?;
    let newest = store.reading().block_before(Seq(u64::MAX))?;
    let after_newest = newest.as_ref().map_or(1, |block| block.head.last.0 + 1);
    let mut batch = Batch::default();
    let (log, next) = match before {
        None if newest.is_some() => {
            return Err(StoreError::Damaged {
                reason: "it has events, but not the identity of their log".to_owned(),
            });
        }
        None => (new_id()?, Seq(1)),
        Some(state) if state.is_closed && after_newest <= state.ceiling.0 => {
            (state.log, state.ceiling)
        }
        Some(state) => {
            let is_mixed = after_newest > state.ceiling.0;
            let ceiling = match is_mixed {
                // The ceiling of the process that stored the newest events is not known.
                true => after_newest + writer::RESERVED_NUMBERS,
                false => state.ceiling.0,
            };
            batch
                .gaps
                .extend((after_newest < ceiling).then(|| RecordedGap {
                    first: Seq(after_newest),
                    last: Seq(ceiling - 1),
                    at: now(),
                    reason: GapReason::UncleanShutdown,
                }));
            if is_mixed {
                tracing::warn!(
                    directory = %directory.display(),
                    expected_to = state.ceiling.0 - 1,
                    found_to = after_newest - 1,
                    "history: it has events above the number at which it says that it ends: an events.db beside the \
                     events.db-wal of another time, perhaps a backup; events may be damaged, see brine log verify"
                );
            }
            tracing::warn!(
                directory = %directory.display(),
                recovered_to = after_newest - 1,
                next = ceiling,
                "history: the bus was not shut down cleanly; the next event's number is \
                 above what readers may have seen, and the numbers in between are unused"
            );
            (state.log, Seq(ceiling))
        }
    };
    seal_runs(store, &mut batch)?;
    let state = State {
        log,
        ceiling: Seq(next.0 + writer::RESERVED_NUMBERS),
        is_closed: false,
    };
    batch.state = Some(state);
    store.commit(&batch)?;
    Ok(Recovered {
        state,
        newest: Seq(after_newest - 1),
        next,
        until: newest.map_or(Millis(0), |block| block.head.until),
    })
}

/// The runs of the last process's newest segment become one block.
pub(crate) fn seal_runs(store: &mut dyn BlockStore, batch: &mut Batch) -> Result<(), StoreError> {
    let mut runs = Vec::new();
    let mut before = Seq(u64::MAX);
    while let Some(run) = store.reading().block_before(before)?
        && !run.head.sealed
    {
        before = run.head.first;
        runs.push(run);
    }
    runs.reverse();
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return Ok(());
    };
    let (mut encoder, mut decoder) = coders()?;
    let mut next = first.head.first;
    let until = last.head.until;
    encoder.begin(next, first.head.since.min(until));
    for run in &runs {
        match decoder.decode(&run.data) {
            // A hole would shift every later event.
            Ok(events) if events.first() == next => {
                events
                    .iter()
                    .for_each(|event: BlockEvent<'_>| encoder.push(&event));
                next.0 += events.events();
            }
            // It stays as it is, and its readers report it.
            _ => return Ok(()),
        }
    }
    let mut block = encoder.finish(Effort::Ordinary).map_err(no_memory)?;
    block.head.sealed = true;
    block.head.until = until;
    batch.blocks.push(block);
    Ok(())
}

pub(crate) fn coders() -> Result<(Encoder, Decoder), StoreError> {
    let encoder = Encoder::new().map_err(no_memory)?;
    Ok((encoder, Decoder::new().map_err(no_memory)?))
}

#[allow(clippy::needless_pass_by_value)] // for map_err
pub(crate) fn no_memory(error: io::Error) -> StoreError {
    StoreError::Failing {
        reason: error.to_string(),
    }
}

/// A number that no other log has, short enough to be read out.
fn new_id() -> Result<LogId, StoreError> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(no_memory)?;
    Ok(LogId(u64::from(u32::from_be_bytes(bytes)).max(1)))
}
