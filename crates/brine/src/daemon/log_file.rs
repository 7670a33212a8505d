//! Where a daemon's log goes: to syslog, or to a file, which is reopened when it has been moved away.
//!
//! Salt's packages rotate logs without a signal (`create` in logrotate), so for each record the writer checks whether
//! the path still leads to its file, as Python's `WatchedFileHandler` does. Until a file is opened, records go to
//! stderr.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::stdio::dup2_stderr;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::syslog::{Syslog, SyslogAddress};

use crate::terminal;

/// Where the process's log goes, if that is not stderr; held while a record is written.
static LOG: Mutex<Option<Log>> = Mutex::new(None);

enum Log {
    File(LogFile),
    Syslog(Syslog),
}

struct LogFile {
    path: PathBuf,
    file: File,
    takes: Takes,
}

/// What goes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Records, and whatever else is written to stderr.
    Stderr,
    /// Records alone: stderr is a terminal's, or another log's.
    Records,
}

/// From now on records go to a file.
pub(super) fn write_to(path: &Path, takes: Takes) -> io::Result<()> {
    let file = open(path)?;
    if takes == Takes::Stderr {
        dup2_stderr(&file)?;
    }
    *lock() = Some(Log::File(LogFile {
        path: path.to_owned(),
        file,
        takes,
    }));
    Ok(())
}

/// From now on records go to syslog.
pub(super) fn write_to_syslog(address: &SyslogAddress) -> io::Result<()> {
    *lock() = Some(Log::Syslog(Syslog::open(address)?));
    Ok(())
}

/// Reopens the file if its name no longer leads to it.
pub(super) fn reopen() {
    if let Some(Log::File(log)) = &mut *lock() {
        log.follow_name();
    }
}

/// Makes writers of records, one for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records;

impl<'a> MakeWriter<'a> for Records {
    type Writer = Record;

    fn make_writer(&'a self) -> Record {
        Record(Level::INFO)
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Record {
        Record(*about.level())
    }
}

/// Writes one record, in one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record(Level);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock() {
            Some(Log::File(log)) => {
                log.follow_name();
                log.file.write(bytes)
            }
            Some(Log::Syslog(syslog)) => {
                syslog.send(self.0, bytes);
                Ok(bytes.len())
            }
            None => terminal::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile {
    fn follow_name(&mut self) {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::metadata(&self.path).map(id).ok();
        if named.is_some() && named == self.file.metadata().map(id).ok() {
            return;
        }
        // Without a new file, the old one is better than none.
        if let Ok(file) = open(&self.path) {
            if self.takes == Takes::Stderr {
                let _ = dup2_stderr(&file);
            }
            self.file = file;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}

fn lock() -> MutexGuard<'static, Option<Log>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
