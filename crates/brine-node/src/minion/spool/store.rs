//! Where a spool's files are: in a directory, or in memory if nothing is to be kept.
//!
//! It is a trait, since the crash tests have a store that forgets what was not synced. Nothing here knows what the
//! bytes mean.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::file;

/// What brings to the disk what was written until now; may wait long, and is to be called without any lock.
pub(in crate::minion) type SyncJob = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Files by name.
pub(in crate::minion) trait Store: fmt::Debug + Send {
    /// The names of all files.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// A whole file.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;
    /// Writes at an offset, creating the file if it does not exist. Bytes beyond may stay.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Everything written and not synced.
    fn unsynced(&mut self) -> io::Result<SyncJob>;
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn list(&mut self) -> io::Result<Vec<String>> {
        (**self).list()
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        (**self).read(name)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(name, offset, bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }

    fn unsynced(&mut self) -> io::Result<SyncJob> {
        (**self).unsynced()
    }
}

/// A directory that one process uses at a time.
#[derive(Debug)]
pub(in crate::minion) struct Directory {
    path: PathBuf,
    /// Locked for as long as this is there.
    _lock: File,
    /// The file written last, open.
    open: Option<(String, File)>,
    /// Files written and not synced.
    dirty: Vec<File>,
}

impl Directory {
    /// Opens a directory, which is created if it does not exist.
    pub(in crate::minion) fn open(path: &Path) -> io::Result<Self> {
        file::make_folder(path)?;
        let mut options = File::options();
        options.write(true).create(true).mode(0o600);
        let mut lock = options.open(path.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let text = "another process uses it; is this minion running already?";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            open: None,
            dirty: Vec::new(),
        })
    }

    fn file(&mut self, name: &str) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let mut options = File::options();
            options.write(true).create(true).mode(0o600);
            let file = options.open(self.path.join(name))?;
            self.dirty.push(file.try_clone()?);
            self.open = Some((name.to_owned(), file));
        } else if self.dirty.is_empty()
            && let Some((_, file)) = &self.open
        {
            self.dirty.push(file.try_clone()?);
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Store for Directory {
    fn list(&mut self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        Ok(names
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, offset)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| open == name) {
            self.open = None;
        }
        fs::remove_file(self.path.join(name))
    }

    fn unsynced(&mut self) -> io::Result<SyncJob> {
        let files = std::mem::take(&mut self.dirty);
        let directory = File::open(&self.path)?;
        Ok(Box::new(move || {
            for file in files {
                file.sync_data()?;
            }
            directory.sync_all()
        }))
    }
}

/// Memory: gone with the process.
#[derive(Debug, Default)]
pub(in crate::minion) struct Memory(BTreeMap<String, Vec<u8>>);

impl Store for Memory {
    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.0.get(name).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.0.entry(name.to_owned()).or_default();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name);
        Ok(())
    }

    fn unsynced(&mut self) -> io::Result<SyncJob> {
        Ok(Box::new(|| Ok(())))
    }
}
