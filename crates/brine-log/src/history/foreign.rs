//! The history of a bus in another process, for a log that repeats that bus's: it reads from there what is no longer
//! in that bus's memory. It writes and locks nothing.

use std::path::Path;
use std::sync::Arc;

use crate::history::loader;
use crate::history::open::{OpenError, existing_store, in_directory};
use crate::history::sqlite::SqliteReader;
use crate::history::store::{self, BlockReader, StoreError};
use crate::position::LogId;
use crate::stored::StoredSegments;
use crate::unused::Unused;

/// A history that another process writes.
pub struct ForeignHistory {
    log: LogId,
    segments: Arc<StoredSegments>,
    unused: Unused,
}

impl ForeignHistory {
    /// Opens the history in a directory.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let file = existing_store(directory)?;
        let reader = SqliteReader::open(&file);
        let history = reader.and_then(|reader| Self::on(Box::new(reader)));
        history.map_err(|error| in_directory(directory, error))
    }

    /// Reads a store of any kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on(mut reader: Box<dyn BlockReader>) -> Result<Self, StoreError> {
        let state = reader.state()?.ok_or(StoreError::Foreign)?;
        let unused = store::unused(&reader.gaps()?);
        Ok(Self {
            log: state.log,
            unused,
            segments: loader::start(reader)?,
        })
    }

    /// The log whose history this is.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.log
    }

    pub(crate) fn unused(&self) -> Unused {
        self.unused.clone()
    }

    pub(crate) fn segments(&self) -> Arc<StoredSegments> {
        Arc::clone(&self.segments)
    }
}
