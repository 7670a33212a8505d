//! The store in SQLite. Only this module knows the engine.
//!
//! One file in WAL mode, with 16 KiB pages. The data that searches read is separate from the events, so that a search
//! reads little else. The runs of the newest segment have their own table, so a commit of a few events writes only one
//! page. `docs/history.md` describes the tables.

mod format;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

pub(crate) use self::format::refuse_others;
use self::format::{check_format, prepare_format};
use crate::history::directory::HeldFiles;
use crate::history::store::{Batch, BlockReader, BlockStore, StoreError};
use crate::position::LogId;

/// How much is written ahead between two checkpoints, in bytes. Reading it back is most of what a start after a crash
/// takes.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// Free pages that stay in the file for use again.
const KEPT_FREE_PAGES: u64 = 2048;
/// The memory of one connection's page cache, in KiB.
const CACHE_KIB: i64 = 1024;

/// How long after a look at the files a commit begins without another. What is written in this time to a file that is
/// gone is not acknowledged, since after each commit they are looked at.
const HELD_TIME: Duration = Duration::from_millis(10);
/// How long the last checkpoint waits for other processes that read.
const FINISH_TIME: Duration = Duration::from_millis(500);
const BUSY_TIME: Duration = Duration::from_secs(5);

/// When a commit is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitSync {
    /// When it returns.
    Disk,
    /// When the system writes it.
    System,
}

/// The writing side.
pub(crate) struct SqliteStore {
    reader: SqliteReader,
    path: PathBuf,
    held: HeldFiles,
    /// When the files were last known to be there.
    held_at: Option<Instant>,
    /// Written since the last checkpoint, about.
    unchecked_bytes: u64,
}

/// A connection that reads.
pub(crate) struct SqliteReader {
    connection: Connection,
}

impl SqliteStore {
    /// Opens a store, which is created if the file does not exist or is empty.
    pub(crate) fn open(path: &Path, sync: CommitSync) -> Result<Self, StoreError> {
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // A store that is refused stays as it is, with what was written ahead of it.
        let no_checkpoint = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        connection.set_db_config(no_checkpoint, true)?;
        let synchronous = match sync {
            CommitSync::Disk => "FULL",
            CommitSync::System => "NORMAL",
        };
        // The first two are without effect once there is a table.
        connection.pragma_update(None, "page_size", 16_384)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.busy_timeout(BUSY_TIME)?;
        connection.set_prepared_statement_cache_capacity(32);
        prepare_format(&mut connection)?;
        connection.set_db_config(no_checkpoint, false)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            reader: SqliteReader { connection },
            held: HeldFiles::of(directory),
            held_at: None,
            path: path.to_owned(),
            unchecked_bytes: CHECKPOINT_BYTES,
        })
    }
}

impl SqliteReader {
    /// Opens an existing store to read it, whether or not somebody writes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        refuse_others(path)?;
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.busy_timeout(BUSY_TIME)?;
        check_format(&connection)?;
        Ok(Self { connection })
    }
}

impl BlockStore for SqliteStore {
    fn reading(&mut self) -> &mut dyn BlockReader {
        &mut self.reader
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        // Do not write into a store that is no longer ours: another process may have it.
        if self
            .held_at
            .take()
            .is_none_or(|at| at.elapsed() >= HELD_TIME)
        {
            self.held.check()?;
        }
        let transaction = self.reader.connection.transaction()?;
        write::write(&transaction, batch)?;
        transaction.commit()?;
        // Nor is anything acknowledged that went into a file without a name.
        self.held.check()?;
        self.held_at = Some(Instant::now());
        let bytes: usize = batch.blocks.iter().map(|block| block.data.len()).sum();
        // Each commit also writes some other pages.
        self.unchecked_bytes += bytes as u64 + (32 << 10);
        Ok(())
    }

    fn tidy_up(&mut self) -> Result<(), StoreError> {
        if self.unchecked_bytes < CHECKPOINT_BYTES {
            return Ok(());
        }
        // A checkpoint would hide that the file was emptied.
        self.held.check()?;
        self.unchecked_bytes = 0;
        let connection = &self.reader.connection;
        free_pages(connection, KEPT_FREE_PAGES)?;
        let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        checkpoint.query_row([], |_| Ok(()))?;
        Ok(())
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        let connection = &self.reader.connection;
        free_pages(connection, 0)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let connection = &self.reader.connection;
        connection.busy_timeout(FINISH_TIME)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(connection.busy_timeout(BUSY_TIME)?)
    }

    fn reader(&self) -> Result<Box<dyn BlockReader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }
}

/// Gives free pages back to the system, all but `kept`.
fn free_pages(connection: &Connection, kept: u64) -> Result<(), StoreError> {
    let Number(free) = pragma(connection, "freelist_count")?;
    let surplus = free.saturating_sub(kept);
    if surplus > 0 {
        // It frees as many pages as it is stepped.
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

fn pragma<T: FromSql>(connection: &Connection, name: &str) -> Result<T, StoreError> {
    Ok(connection.pragma_query_value(None, name, first)?)
}

fn first<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
}

/// A number that is never negative. SQLite's are signed: larger ones are cut to its largest.
struct Number(u64);

impl FromSql for Number {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(u64::try_from(value.as_i64()?).unwrap_or(0)))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A log's identity as text, since it may be larger than SQLite's numbers.
struct Hex(LogId);

impl FromSql for Hex {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let parsed = text.parse().map(Self);
        parsed.map_err(|_| rusqlite::types::FromSqlError::InvalidType)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::NotADatabase) => Self::Foreign,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { reason },
            Some(_) => Self::Failing { reason },
            // What is stored has another type than it should.
            None => Self::Damaged { reason },
        }
    }
}
