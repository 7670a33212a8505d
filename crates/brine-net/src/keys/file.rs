//! Small files, written atomically and read up to a limit.
//!
//! A file appears under its name complete or not at all: it is written under a temporary name that
//! begins with a dot, which no key has, and renamed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::crypto;
use crate::keys::StoreError;

/// The largest file read, in bytes. Keys and key strings are far smaller.
const MAX_BYTES: u64 = 64 * 1024;

/// Whether a file must survive a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// It must: it is synced before it gets its name.
    Yes,
    /// It can be made again.
    No,
}

/// Writes `bytes` under `path` with `mode`.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    replace(path, bytes, mode, Durable::Yes)
}

/// Writes a file that may be lost or empty after a crash of the machine; does not wait for the disk.
pub(super) fn write_cache(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    replace(path, bytes, mode, Durable::No)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<(), StoreError> {
    Unnamed::write(path, bytes, mode, durable)?.name()
}

/// A file that is written and has yet to get its name; removed if it gets none.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: File,
    beside: PathBuf,
    path: PathBuf,
}

impl Unnamed {
    /// Writes and syncs `bytes`, which will be under `path` with `mode`.
    pub(super) fn prepare(path: &Path, bytes: &[u8], mode: u32) -> Result<Self, StoreError> {
        Self::write(path, bytes, mode, Durable::Yes)
    }

    fn write(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let name = crypto::sha256_hex(&crypto::random::<16>()?);
        let beside = folder.join(format!(".{}", &name[..24]));
        let error = |source| StoreError::file(path, source);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode);
        let mut new = Self {
            file: file.open(&beside).map_err(error)?,
            beside,
            path: path.to_owned(),
        };
        new.fill(bytes, durable).map_err(error)?;
        Ok(new)
    }

    fn fill(&mut self, bytes: &[u8], durable: Durable) -> io::Result<()> {
        self.file.write_all(bytes)?;
        match durable {
            Durable::Yes => self.file.sync_data(),
            Durable::No => Ok(()),
        }
    }

    /// What the file system knows of the file.
    pub(super) fn metadata(&self) -> Result<Metadata, StoreError> {
        let about = self.file.metadata();
        about.map_err(|source| StoreError::file(&self.path, source))
    }

    /// Gives the file its name, in place of what has it.
    pub(super) fn name(mut self) -> Result<(), StoreError> {
        fs::rename(&self.beside, &self.path)
            .map_err(|source| StoreError::file(&self.path, source))?;
        self.beside.clear();
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.beside.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// The text of a file; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let read = || -> io::Result<String> {
        // Room for a key: without it the text is read piece by piece.
        let mut text = String::with_capacity(1024);
        File::open(path)?
            .take(MAX_BYTES)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::file(path, source)),
    }
}

/// Opens or creates a file and waits for its lock. Closing it unlocks it.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map_err(|source| StoreError::file(path, source))
}

/// Gives a file another name, on the same file system.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|source| StoreError::file(from, source))
}

/// Removes a file; `false` if there was none.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::file(path, source)),
    }
}

/// Makes a folder and its parents, accessible to the owner only.
pub(super) fn private_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::file(path, source))
}
