//! A daemon's log file, opened again when it has been moved away.
//!
//! Salt's packages rotate logs without a signal (`create` in logrotate), so each record looks whether the file is
//! still the one of that name, as Python's `WatchedFileHandler` does. Until a file is opened, records go to stderr.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::stdio::dup2_stderr;

/// The process's log file; held while a record is written.
static LOG: Mutex<Option<LogFile>> = Mutex::new(None);

struct LogFile {
    path: PathBuf,
    file: File,
}

/// From now on records, and whatever else is written to stderr, go to a file.
pub(super) fn write_to(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    dup2_stderr(&file)?;
    *lock() = Some(LogFile {
        path: path.to_owned(),
        file,
    });
    Ok(())
}

/// Opens the file again if it is not there any more under its name.
pub(super) fn reopen() {
    if let Some(log) = &mut *lock() {
        log.follow_name();
    }
}

/// Where records go.
pub(crate) fn writer() -> Records {
    Records
}

/// Writes records, each in one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records;

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *lock() {
            Some(log) => {
                log.follow_name();
                log.file.write(bytes)
            }
            None => io::stderr().write(bytes),
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
            let _ = dup2_stderr(&file);
            self.file = file;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}

fn lock() -> MutexGuard<'static, Option<LogFile>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}
