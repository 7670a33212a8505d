//! The tables of a store, the version of their format, and files that are not ours or too new.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{first, pragma};
use crate::history::store::StoreError;
use crate::history::written_ahead;

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

/// Refuses a file of another program or of a newer Brine, and changes nothing: neither the file nor what is beside it.
/// A file that does not exist, is empty, or cannot be read passes.
pub(crate) fn refuse_others(path: &Path) -> Result<(), StoreError> {
    // The engine opens these, too. Whoever opens a pipe waits until somebody opens its other end.
    for end in ["-wal", "-shm", "-journal"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let beside = Path::new(&beside);
        if fs::metadata(beside).is_ok_and(|about| !about.is_file()) {
            let reason = format!("{} is not a file", beside.display());
            return Err(StoreError::Damaged { reason });
        }
    }
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
pub(super) fn prepare_format(connection: &mut Connection) -> Result<(), StoreError> {
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

pub(super) fn check_format(connection: &Connection) -> Result<i64, StoreError> {
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
