//! The directory of a store: only its owner may use it, and only one process at a time.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::process::geteuid;

use crate::history::open::OpenError;
use crate::history::store::StoreError;

/// The store's file in its directory.
const STORE: &str = "events.db";
/// What SQLite keeps beside it: commits that are not in the store's file yet, and an index of these.
const WRITTEN_AHEAD: &str = "events.db-wal";
const INDEX: &str = "events.db-shm";
/// Locked by the process that writes. Its id is in the first line; where it is asked, if it is a bus, in the second.
const LOCK: &str = "lock";

/// The store's file of a directory.
pub(crate) fn store_file(directory: &Path) -> PathBuf {
    directory.join(STORE)
}

/// A directory that this process alone writes, until this is dropped.
pub(crate) struct OwnDirectory {
    _lock: File,
}

/// The files as they were when this process opened them. If somebody removes or replaces one, the writer has a file
/// without a name: it accepts every write, and is gone when it is closed.
pub(crate) struct HeldFiles(Vec<HeldFile>);

struct HeldFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl HeldFiles {
    /// The files of a store that is open: what is written, what is shared with readers, and the lock that keeps other
    /// writers out.
    pub(crate) fn of(directory: &Path) -> Self {
        let held = [STORE, WRITTEN_AHEAD, INDEX, LOCK].map(|file| {
            let path = directory.join(file);
            // A store without a lock, as in tests of the engine alone, has none to lose.
            let about = fs::metadata(&path).ok()?;
            let (device, inode) = (about.dev(), about.ino());
            Some(HeldFile {
                path,
                device,
                inode,
            })
        });
        Self(held.into_iter().flatten().collect())
    }

    /// The names are looked at, and no file is opened: to close one would release the engine's locks on it.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for HeldFile {
            path,
            device,
            inode,
        } in &self.0
        {
            let is_there = match fs::metadata(path) {
                Ok(about) if (about.dev(), about.ino()) == (*device, *inode) => {
                    // The engine writes the first page when it opens the store, and never takes it away.
                    if about.len() == 0 && path.ends_with(STORE) {
                        return Err(emptied(path));
                    }
                    true
                }
                Ok(_) => false,
                // Only what is known to be gone counts: a name that cannot be looked up may come back.
                Err(error) => {
                    !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                }
            };
            if !is_there {
                return Err(StoreError::Removed { file: path.clone() });
            }
        }
        Ok(())
    }
}

fn emptied(store: &Path) -> StoreError {
    StoreError::Damaged {
        reason: format!("{} was emptied or removed", store.display()),
    }
}

/// Refuses a store without a byte in its file, or without the file, beside commits that belong to it: the engine would
/// take it for a new store and remove them, even for who only reads.
pub(crate) fn refuse_emptied(directory: &Path) -> Result<(), StoreError> {
    match (size(directory, STORE), size(directory, WRITTEN_AHEAD)) {
        (Ok(0) | Err(ErrorKind::NotFound), Ok(1..)) => Err(emptied(&store_file(directory))),
        _ => Ok(()),
    }
}

/// Warns of a store without a byte in its file: a start that ended at once leaves such a one, but there may have been
/// events in it.
pub(crate) fn warn_of_empty(directory: &Path) {
    if size(directory, STORE) == Ok(0) {
        tracing::warn!(
            directory = %directory.display(),
            "history: events.db is empty; a new history begins. If there was one, put its backup in place"
        );
    }
}

fn size(directory: &Path, file: &str) -> Result<u64, ErrorKind> {
    match fs::metadata(directory.join(file)) {
        Ok(about) if about.is_file() => Ok(about.len()),
        Ok(_) => Err(ErrorKind::Other),
        Err(error) => Err(error.kind()),
    }
}

impl OwnDirectory {
    /// Creates the directory if it does not exist, and locks it.
    pub(crate) fn take(directory: &Path, bus: Option<&Path>) -> Result<Self, OpenError> {
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
        let lock = take_lock(directory, bus)?;
        for file in [STORE, WRITTEN_AHEAD, INDEX] {
            // SQLite makes the other two with the permissions of the first.
            let path = directory.join(file);
            if file == STORE {
                open_private(&path).map_err(failed)?;
            }
            match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(Self { _lock: lock })
    }
}

/// A process that writes a store.
pub(crate) struct Writer {
    /// Its id; 0 if that is being written.
    pub(crate) pid: u32,
    /// Where it is asked, if it is a bus.
    pub(crate) bus: Option<PathBuf>,
}

/// The process that writes a store now.
pub(crate) fn writer(directory: &Path) -> Option<Writer> {
    let mut lock = open_regular(&directory.join(LOCK), OpenOptions::new().read(true)).ok()?;
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => None,
        Err(_) => Some(Writer::read(&mut lock)),
    }
}

impl Writer {
    fn read(lock: &mut File) -> Self {
        let mut text = Vec::new();
        let _ = lock.read_to_end(&mut text); // then nothing is known of it
        let mut lines = text.splitn(2, |byte| *byte == b'\n');
        let pid = lines.next().and_then(|line| str::from_utf8(line).ok());
        let bus = lines.next().and_then(|rest| rest.strip_suffix(b"\n"));
        Self {
            pid: pid.and_then(|pid| pid.parse().ok()).unwrap_or(0),
            bus: bus.map(|path| OsStr::from_bytes(path).into()),
        }
    }
}

fn take_lock(directory: &Path, bus: Option<&Path>) -> Result<File, OpenError> {
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
                pid: Writer::read(&mut lock).pid,
            });
        }
        Err(error) => return Err(failed(error.into())),
    }
    lock.set_len(0).map_err(failed)?;
    let mut text = format!("{}\n", std::process::id()).into_bytes();
    if let Some(bus) = bus {
        text.extend_from_slice(bus.as_os_str().as_bytes());
        text.push(b'\n');
    }
    lock.write_all(&text).map_err(failed)?;
    Ok(lock)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_regular(path, options.mode(0o600))
}

/// Opens a file that must be one: whoever opens a pipe waits until somebody opens its other end.
pub(super) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(nonblocking).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{} is not a file; remove it", path.display()),
        )),
    }
}
