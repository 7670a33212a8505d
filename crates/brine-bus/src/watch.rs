//! Notices that a path now belongs to another socket.
//!
//! A bus that starts unlinks the file with its socket's name and binds its own; clients that are connected to the old
//! one do not notice. The kernel reports when names in the directory change (inotify), and the inode tells which
//! socket has a name. This module does not know what is spoken on the socket.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;

use crate::registration::Registered;

/// Which file has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The file at a path, links not followed; `None` if there is none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(Self::of(&metadata))
    }
}

/// Watches the path of a socket.
#[derive(Debug)]
pub struct SocketWatch {
    path: PathBuf,
    events: Registered,
    /// The file that stood there when it was last marked.
    marked: Option<FileId>,
}

impl SocketWatch {
    /// Watches from now on. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The directory does not exist, or the system has no more watches.
    pub fn new(path: &Path) -> io::Result<Self> {
        let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let names = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        add_watch(&events, directory, names)?;
        Ok(Self {
            path: path.to_owned(),
            events: Registered::new(events, Interest::READABLE)?,
            marked: None,
        })
    }

    /// Remembers which file is at the path.
    pub(crate) fn mark(&mut self) {
        self.marked = FileId::at(&self.path);
    }

    /// Waits until a name in the directory has changed. Dropping the future may lose that it has.
    pub(crate) async fn changed(&mut self) {
        let read = |socket: &_| {
            let mut space = [MaybeUninit::uninit(); 1024];
            let mut reader = Reader::new(socket, &mut space);
            let mut is_ours = false;
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes());
                        is_ours |= name == self.path.file_name().map(OsStr::as_encoded_bytes);
                    }
                    Err(Errno::AGAIN) if is_ours => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        // Nothing here can fail for good, except that the system removes the watch; then polling continues.
        if self
            .events
            .async_io(Interest::READABLE, read)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the path leads to another file than the marked one, and than those that `is_own` knows.
    pub(crate) async fn is_other(&mut self, is_own: impl Fn(FileId) -> bool) {
        loop {
            let found = FileId::at(&self.path);
            if found.is_some_and(|found| self.marked != Some(found) && !is_own(found)) {
                return;
            }
            self.changed().await;
        }
    }
}
