//! The store in SQLite: the only file that knows the engine.
//!
//! One file in WAL mode, with 16 KiB pages. The data that searches read is separate from the events, so that a search
//! reads little else. The runs of the newest segment have their own table, so a commit of a few events writes only one
//! page. `docs/history.md` describes the tables.

use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};

use crate::gap::GapReason;
use crate::history::block::{Block, Head};
use crate::history::directory::HeldFiles;
use crate::history::saved::{Consumer, ConsumerName, Paused};
use crate::history::store::{
    Batch, BlockReader, BlockStore, RecordedGap, State, StoreError, Totals,
};
use crate::history::written_ahead;
use crate::position::{LogId, Millis, Position, Seq};

/// The format this program writes, and the newest it reads.
const FORMAT: i64 = 1;
/// Says that a file is one of these: "Brin".
const APPLICATION: i64 = 0x4272_696e;

const SCHEMA: &str = "
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        log TEXT NOT NULL, ceiling INTEGER NOT NULL, closed INTEGER NOT NULL);
    -- Sealed segments: what is known of each, which tags, and the events.
    CREATE TABLE block (
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
        since INTEGER NOT NULL, until INTEGER NOT NULL,
        events INTEGER NOT NULL, event_bytes INTEGER NOT NULL, pruned INTEGER NOT NULL);
    CREATE INDEX block_until ON block (until);
    CREATE TABLE tags (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, filter BLOB NOT NULL);
    CREATE TABLE body (first INTEGER PRIMARY KEY, data BLOB NOT NULL);
    -- The newest segment, until it is sealed.
    CREATE TABLE run (
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
        since INTEGER NOT NULL, until INTEGER NOT NULL,
        events INTEGER NOT NULL, event_bytes INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE gap (
        first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
        at INTEGER NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE consumer (
        name TEXT PRIMARY KEY, log TEXT NOT NULL, seq INTEGER NOT NULL,
        kind TEXT NOT NULL, filter TEXT NOT NULL,
        paused INTEGER, -- NULL: not; -1: until resumed; else until this time
        saved_at INTEGER NOT NULL) WITHOUT ROWID;
";

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

/// Refuses a file of another program or of a newer Brine, and changes nothing: neither the file nor what is beside it.
/// A file that does not exist, is empty, or cannot be read passes.
pub(crate) fn refuse_others(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() > 0 => {}
        _ => return Ok(()),
    }
    // A killed process leaves its last commits there.
    match written_ahead::header(path) {
        Some(written_ahead::Header {
            application,
            format,
        }) if (application, format) != (0, 0) => {
            return known_format(application, format).map(drop);
        }
        _ => {}
    }
    // SQLite reads the header, not we: to close a file that this process writes would release the engine's locks on it.
    // What is immutable it neither locks nor recovers.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let read = || {
        let connection = Connection::open_with_flags(immutable(path), flags)?;
        let application: i64 = pragma(&connection, "application_id")?;
        let format: i64 = pragma(&connection, "user_version")?;
        match (application, format) {
            // A new store of ours has nothing in its file before the first checkpoint.
            (0, 0) if is_empty(&connection)? => Ok(()),
            _ => check_format(&connection).map(drop),
        }
    };
    match read() {
        Err(refused @ (StoreError::Foreign | StoreError::Newer { .. })) => Err(refused),
        // Somebody may be writing it right now. Opening it properly reports what is wrong.
        _ => Ok(()),
    }
}

/// A file's name for SQLite that says: it does not change.
fn immutable(path: &Path) -> String {
    let mut name = match path.is_absolute() {
        true => "file://".to_owned(),
        false => "file:".to_owned(),
    };
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                name.push(char::from(*byte));
            }
            _ => name += &format!("%{byte:02x}"),
        }
    }
    name + "?immutable=1"
}

/// Makes the tables of a new file, and brings older formats up to date.
fn prepare_format(connection: &mut Connection) -> Result<(), StoreError> {
    let format: i64 = pragma(connection, "user_version")?;
    let application: i64 = pragma(connection, "application_id")?;
    if (format, application) == (0, 0) && is_empty(connection)? {
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
        transaction.commit()?;
        return Ok(());
    }
    let format = check_format(connection)?;
    // Each step of a later format goes here, in one transaction that sets `user_version`.
    debug_assert_eq!(format, FORMAT);
    Ok(())
}

fn is_empty(connection: &Connection) -> Result<bool, StoreError> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], first)?;
    Ok(tables == 0)
}

fn check_format(connection: &Connection) -> Result<i64, StoreError> {
    let application = pragma(connection, "application_id")?;
    known_format(application, pragma(connection, "user_version")?)
}

fn known_format(application: i64, found: i64) -> Result<i64, StoreError> {
    if application != APPLICATION {
        return Err(StoreError::Foreign);
    }
    match found {
        1..=FORMAT => Ok(found),
        _ => Err(StoreError::Newer {
            found,
            known: FORMAT,
        }),
    }
}

fn pragma<T: FromSql>(connection: &Connection, name: &str) -> Result<T, StoreError> {
    Ok(connection.pragma_query_value(None, name, first)?)
}

fn first<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
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
        write(&transaction, batch)?;
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

fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    for first in &batch.removed {
        remove_range(transaction, *first, *first)?;
    }
    for block in &batch.blocks {
        match block.head.sealed {
            true => write_sealed(transaction, block)?,
            false => write_run(transaction, block)?,
        }
    }
    for gap in &batch.gaps {
        let mut insert =
            transaction.prepare_cached("INSERT OR REPLACE INTO gap VALUES (?1, ?2, ?3, ?4)")?;
        let (first, last) = (signed(gap.first.0), signed(gap.last.0));
        insert.execute(params![
            first,
            last,
            signed(gap.at.0),
            gap.reason.to_string()
        ])?;
    }
    if let Some(before) = batch.forget_gaps {
        let stays = GapReason::UncleanShutdown.word();
        transaction.execute(
            "DELETE FROM gap WHERE last < ?1 AND reason <> ?2",
            params![signed(before.0), stays],
        )?;
    }
    if let Some(state) = batch.state {
        let mut insert =
            transaction.prepare_cached("INSERT OR REPLACE INTO state VALUES (0, ?1, ?2, ?3)")?;
        let ceiling = signed(state.ceiling.0);
        insert.execute(params![state.log.to_string(), ceiling, state.is_closed])?;
    }
    for consumer in &batch.consumers {
        write_consumer(transaction, consumer)?;
    }
    for name in &batch.removed_consumers {
        transaction.execute("DELETE FROM consumer WHERE name = ?1", [name])?;
    }
    Ok(())
}

fn remove_range(transaction: &Transaction<'_>, first: Seq, last: Seq) -> Result<(), StoreError> {
    for table in ["block", "tags", "body", "run"] {
        let mut delete = transaction.prepare_cached(&format!(
            "DELETE FROM {table} WHERE first BETWEEN ?1 AND ?2"
        ))?;
        delete.execute([signed(first.0), signed(last.0)])?;
    }
    Ok(())
}

fn write_sealed(transaction: &Transaction<'_>, block: &Block) -> Result<(), StoreError> {
    let head = &block.head;
    remove_range(transaction, head.first, head.last)?;
    let (first, last) = (signed(head.first.0), signed(head.last.0));
    let mut insert =
        transaction.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        first,
        last,
        signed(head.since.0),
        signed(head.until.0),
        signed(head.events),
        signed(head.event_bytes),
        head.pruned.cast_signed(),
    ])?;
    let mut insert = transaction.prepare_cached("INSERT INTO tags VALUES (?1, ?2, ?3)")?;
    insert.execute(params![first, last, block.tags])?;
    let mut insert = transaction.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?;
    insert.execute(params![first, block.data])?;
    Ok(())
}

fn write_run(transaction: &Transaction<'_>, block: &Block) -> Result<(), StoreError> {
    let head = &block.head;
    // Of a commit that was made, but not acknowledged since its file seemed to be gone, it is there already.
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        signed(head.first.0),
        signed(head.last.0),
        signed(head.since.0),
        signed(head.until.0),
        signed(head.events),
        signed(head.event_bytes),
        block.data,
    ])?;
    Ok(())
}

fn write_consumer(transaction: &Transaction<'_>, consumer: &Consumer) -> Result<(), StoreError> {
    let paused = match consumer.paused {
        Paused::No => None,
        Paused::UntilResumed => Some(-1),
        Paused::Until(time) => Some(signed(time.0)),
    };
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO consumer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        consumer.name.as_str(),
        consumer.position.log.to_string(),
        signed(consumer.position.seq.0),
        consumer.kind,
        consumer.filter,
        paused,
        signed(consumer.saved_at.0),
    ])?;
    Ok(())
}

/// The columns of a sealed block with its tags and events, in the order [`block_of`] reads.
const SEALED: &str =
    "SELECT block.first, block.last, since, until, events, event_bytes, data, pruned, filter
    FROM block JOIN body USING (first) JOIN tags USING (first)";
const RUN: &str = "SELECT first, last, since, until, events, event_bytes, data FROM run";

impl SqliteReader {
    fn sealed(&mut self, clause: &str, key: Seq) -> Result<Option<Block>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached(&format!("{SEALED} {clause}"))?;
        let found = select.query_row([signed(key.0)], |row| block_of(row, true));
        Ok(found.optional()?)
    }

    fn run(&mut self, clause: &str, key: Seq) -> Result<Option<Block>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!("{RUN} {clause}"))?;
        let found = select.query_row([signed(key.0)], |row| block_of(row, false));
        Ok(found.optional()?)
    }
}

impl BlockReader for SqliteReader {
    fn state(&mut self) -> Result<Option<State>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(State {
                log: row.get::<_, Hex>(0)?.0,
                ceiling: Seq(row.get::<_, Number>(1)?.0),
                is_closed: row.get(2)?,
            })
        };
        let select = "SELECT log, ceiling, closed FROM state";
        Ok(self.connection.query_row(select, [], read).optional()?)
    }

    fn block(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        // Blocks do not overlap: the last that begins at or before `at` holds it, or none does.
        let holds = |block: &Block| block.head.last >= at;
        let holding = "WHERE block.first <= ?1 ORDER BY block.first DESC LIMIT 1";
        if let Some(block) = self.sealed(holding, at)?.filter(holds) {
            return Ok(Some(block));
        }
        if let Some(block) =
            self.sealed("WHERE block.first > ?1 ORDER BY block.first LIMIT 1", at)?
        {
            return Ok(Some(block));
        }
        if let Some(block) = self
            .run("WHERE first <= ?1 ORDER BY first DESC LIMIT 1", at)?
            .filter(holds)
        {
            return Ok(Some(block));
        }
        self.run("WHERE first > ?1 ORDER BY first LIMIT 1", at)
    }

    fn first_after(&mut self, at: Seq) -> Result<Option<Seq>, StoreError> {
        for table in ["block", "run"] {
            let select = format!("SELECT min(first) FROM {table} WHERE first > ?1");
            let found: Option<Number> =
                self.connection.query_row(&select, [signed(at.0)], first)?;
            if let Some(found) = found {
                return Ok(Some(Seq(found.0)));
            }
        }
        Ok(None)
    }

    fn block_before(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        match self.run("WHERE first < ?1 ORDER BY first DESC LIMIT 1", at)? {
            Some(run) => Ok(Some(run)),
            None => self.sealed(
                "WHERE block.first < ?1 ORDER BY block.first DESC LIMIT 1",
                at,
            ),
        }
    }

    fn find(&mut self, at: Millis) -> Result<Option<Head>, StoreError> {
        let columns = "first, last, since, until, events, event_bytes";
        let sealed = format!(
            "SELECT {columns}, pruned FROM block WHERE until >= ?1 ORDER BY until, first LIMIT 1"
        );
        let run = format!("SELECT {columns} FROM run WHERE until >= ?1 ORDER BY first LIMIT 1");
        for (select, is_sealed) in [(sealed, true), (run, false)] {
            let mut select = self.connection.prepare_cached(&select)?;
            let pruned = is_sealed.then_some(6);
            let found = select.query_row([signed(at.0)], |row| head_of(row, pruned));
            if let Some(head) = found.optional()? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn tags(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Seq, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT first, last, filter FROM tags WHERE first >= ?1 ORDER BY first",
        )?;
        let start = "SELECT max(first) FROM tags WHERE first <= ?1";
        let start: Option<Number> = self.connection.query_row(start, [signed(from.0)], first)?;
        let start = start.map_or(from.0, |number| number.0);
        let mut rows = select.query([signed(start)])?;
        while let Some(row) = rows.next()? {
            let (first, last): (Number, Number) = (row.get(0)?, row.get(1)?);
            let filter = row.get_ref(2)?.as_blob().unwrap_or_default();
            if last.0 >= from.0 && !visit(Seq(first.0), Seq(last.0), filter) {
                break;
            }
        }
        Ok(())
    }

    fn unpruned(&mut self, until: Range<Millis>, rules: u64) -> Result<Option<Block>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!(
            "{SEALED} WHERE until >= ?1 AND until < ?2 AND pruned != ?3 AND events > 0
             ORDER BY until LIMIT 1"
        ))?;
        let key = params![
            signed(until.start.0),
            signed(until.end.0),
            rules.cast_signed()
        ];
        let block = select.query_row(key, |row| block_of(row, true));
        Ok(block.optional()?)
    }

    fn oldest(&mut self, limit: usize) -> Result<Vec<Head>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT first, last, since, until, events, event_bytes, pruned FROM block
             ORDER BY first LIMIT ?1",
        )?;
        let heads = select.query_map([signed(limit as u64)], |row| head_of(row, Some(6)))?;
        Ok(heads.collect::<Result<_, _>>()?)
    }

    fn totals(&mut self) -> Result<Totals, StoreError> {
        let sums = |table: &str| {
            let select = format!(
                "SELECT count(*), ifnull(sum(events), 0), ifnull(sum(event_bytes), 0) FROM {table}"
            );
            let read = |row: &Row<'_>| {
                let [blocks, events, bytes]: [Number; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                Ok((blocks.0, events.0, bytes.0))
            };
            self.connection.query_row(&select, [], read)
        };
        let (blocks, runs) = (sums("block")?, sums("run")?);
        Ok(Totals {
            blocks: blocks.0 + runs.0,
            events: blocks.1 + runs.1,
            event_bytes: blocks.2 + runs.2,
            used_bytes: self.used_bytes()?,
        })
    }

    fn used_bytes(&mut self) -> Result<u64, StoreError> {
        let Number(pages) = pragma(&self.connection, "page_count")?;
        let Number(free) = pragma(&self.connection, "freelist_count")?;
        let Number(page_bytes) = pragma(&self.connection, "page_size")?;
        Ok(pages.saturating_sub(free) * page_bytes)
    }

    fn gaps(&mut self) -> Result<Vec<RecordedGap>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT first, last, at, reason FROM gap ORDER BY first")?;
        let gaps = select.query_map([], |row| {
            let [first, last, at]: [Number; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let reason: String = row.get(3)?;
            Ok(RecordedGap {
                first: Seq(first.0),
                last: Seq(last.0),
                at: Millis(at.0),
                // A later version's reason: the gap is what matters.
                reason: GapReason::parse(&reason).unwrap_or(GapReason::NotWritten),
            })
        })?;
        Ok(gaps.collect::<Result<_, _>>()?)
    }

    fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, log, seq, kind, filter, paused, saved_at FROM consumer ORDER BY name",
        )?;
        let consumers = select.query_map([], |row| {
            let name: String = row.get(0)?;
            let paused: Option<i64> = row.get(5)?;
            Ok(ConsumerName::parse(&name).ok().map(|name| Consumer {
                name,
                position: Position {
                    log: row.get::<_, Hex>(1).map_or(LogId(0), |log| log.0),
                    seq: Seq(row.get::<_, Number>(2).map_or(0, |seq| seq.0)),
                },
                kind: row.get(3).unwrap_or_default(),
                filter: row.get(4).unwrap_or_default(),
                paused: match paused {
                    None => Paused::No,
                    Some(time) => match u64::try_from(time) {
                        Ok(time) => Paused::Until(Millis(time)),
                        Err(_) => Paused::UntilResumed,
                    },
                },
                saved_at: Millis(row.get::<_, Number>(6).map_or(0, |at| at.0)),
            }))
        })?;
        consumers
            .filter_map(Result::transpose)
            .map(|consumer| Ok(consumer?))
            .collect()
    }

    fn check(&mut self) -> Result<(), StoreError> {
        let found: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], first)?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Damaged { reason: found }),
        }
    }
}

fn head_of(row: &Row<'_>, pruned: Option<usize>) -> rusqlite::Result<Head> {
    let number = |column| row.get::<_, Number>(column).map(|number| number.0);
    Ok(Head {
        first: Seq(number(0)?),
        last: Seq(number(1)?),
        since: Millis(number(2)?),
        until: Millis(number(3)?),
        events: number(4)?,
        event_bytes: number(5)?,
        sealed: pruned.is_some(),
        pruned: match pruned {
            Some(column) => row.get::<_, i64>(column)?.cast_unsigned(),
            None => 0,
        },
    })
}

fn block_of(row: &Row<'_>, sealed: bool) -> rusqlite::Result<Block> {
    Ok(Block {
        head: head_of(row, sealed.then_some(7))?,
        data: row.get(6)?,
        tags: match sealed {
            true => row.get(8)?,
            false => Vec::new(),
        },
    })
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
