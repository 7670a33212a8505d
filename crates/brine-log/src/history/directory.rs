//! The directory of a store: its owner's alone, and one process's at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::history::open::OpenError;

/// The store's file in its directory.
const STORE: &str = "events.db";
/// Locked by the process that writes, whose id is in it.
const LOCK: &str = "lock";

/// The store's file of a directory.
pub(crate) fn store_file(directory: &Path) -> PathBuf {
    directory.join(STORE)
}

/// A directory that this process alone writes, until this is dropped.
pub(crate) struct OwnDirectory {
    _lock: File,
}

impl OwnDirectory {
    /// Makes the directory if it is not there, and takes it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::Directory {
            directory: directory.to_owned(),
            reason: error.to_string(),
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).map_err(failed)?;
        let metadata = fs::metadata(directory).map_err(failed)?;
        let user = geteuid().as_raw();
        if metadata.uid() != user {
            return Err(OpenError::Owner {
                directory: directory.to_owned(),
                owner: metadata.uid(),
                user,
            });
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = take_lock(directory)?;
        for file in [STORE, "events.db-wal", "events.db-shm"] {
            // SQLite makes the other two with the permissions of the first.
            let path = directory.join(file);
            if file == STORE {
                open_private(&path).map_err(failed)?;
            }
            match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(Self { _lock: lock })
    }
}

/// The process that writes a store now.
pub(crate) fn writer(directory: &Path) -> Option<u32> {
    let mut lock = File::open(directory.join(LOCK)).ok()?;
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => Some(read_pid(&mut lock)),
    }
}

fn take_lock(directory: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| OpenError::Directory {
        directory: directory.to_owned(),
        reason: error.to_string(),
    };
    let mut lock = open_private(&directory.join(LOCK)).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
            return Err(OpenError::InUse {
                directory: directory.to_owned(),
                pid: read_pid(&mut lock),
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    lock.set_len(0).map_err(failed)?;
    writeln!(lock, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

/// The process id in the lock's file; 0 if that is being written.
fn read_pid(lock: &mut File) -> u32 {
    let mut text = String::new();
    let _ = lock.read_to_string(&mut text);
    text.trim().parse().unwrap_or(0)
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
