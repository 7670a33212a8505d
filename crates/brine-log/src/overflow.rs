//! The overflow: segments on disk that slow cursors still need.
//!
//! Two threads do all the I/O, so that neither the bus nor the log's lock ever waits for a disk: one writes segments,
//! one reads them back. Segments are written as they are in memory, so offsets in them stay the same. They go to
//! unnamed files, readable only by their owner, which vanish with the process however it ends. A file holds many
//! segments and is closed, which frees its space, when the last of them is no longer needed.
//!
//! It does not know which segments are needed; `memory` does.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::segment::{Segment, Sizes};
use crate::shared::Shared;

/// Where segments go that slow cursors still need when memory is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverflowConfig {
    /// A directory of the user that runs this. Nothing appears in it.
    pub directory: PathBuf,
    /// The most it takes, in bytes; never more than half of the space that is free.
    pub max_bytes: u64,
}

impl OverflowConfig {
    /// The default of [`OverflowConfig::max_bytes`].
    pub const MAX_BYTES: u64 = 4 << 30;
}

/// The way to the two threads. They end when this is dropped.
pub(crate) struct Threads {
    to_writer: Sender<Work>,
    to_reader: Sender<(u64, OnDisk)>,
}

/// What the writer does.
enum Work {
    Write(u64, Arc<Segment>),
    Free(OnDisk),
}

/// A segment that is on disk.
#[derive(Debug, Clone)]
pub(crate) struct OnDisk {
    file: Arc<File>,
    offset: u64,
    sizes: Sizes,
}

/// The result of a write.
pub(crate) struct Written {
    pub(crate) on_disk: OnDisk,
    /// The free space of the file system, in bytes, if it was looked at.
    pub(crate) free_bytes: Option<u64>,
}

/// After this many bytes a new file begins: the grain in which space is freed.
const FILE_BYTES: u64 = 64 << 20;

impl Threads {
    /// Starts both threads, after a trial whether the directory can be used.
    pub(crate) fn start(config: &OverflowConfig, shared: &Weak<Shared>) -> io::Result<Self> {
        drop(nameless_file(&config.directory)?);
        let (to_writer, works) = unbounded();
        let (to_reader, reads) = unbounded();
        let writer = Writer {
            directory: config.directory.clone(),
            file: None,
            end: 0,
            index: Vec::new(),
            shared: Weak::clone(shared),
        };
        let shared = Weak::clone(shared);
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(body)
        };
        spawn("overflow-write", Box::new(move || writer.run(&works)))?;
        spawn("overflow-read", Box::new(move || read(&reads, &shared)))?;
        Ok(Self {
            to_writer,
            to_reader,
        })
    }

    // The threads live as long as this does, unless they panic; then nothing comes back, and what
    // waits for them is given up as with a disk that stalls.

    /// Has a segment written. `Shared::written` receives the result, unless nobody but the writer
    /// holds the segment by then.
    pub(crate) fn write(&self, number: u64, segment: Arc<Segment>) {
        let _ = self.to_writer.send(Work::Write(number, segment));
    }

    /// Gives up a segment's space; closing a file may take time.
    pub(crate) fn free(&self, on_disk: OnDisk) {
        let _ = self.to_writer.send(Work::Free(on_disk));
    }

    /// Has a segment read. `Shared::loaded` receives the result.
    pub(crate) fn read(&self, number: u64, on_disk: OnDisk) {
        let _ = self.to_reader.send((number, on_disk));
    }
}

struct Writer {
    directory: PathBuf,
    file: Option<Arc<File>>,
    /// Where the next segment goes.
    end: u64,
    /// An encoded index, kept for its memory.
    index: Vec<u8>,
    shared: Weak<Shared>,
}

impl Writer {
    fn run(mut self, works: &Receiver<Work>) {
        while let Ok(work) = works.recv() {
            let (number, segment) = match work {
                Work::Write(number, segment) => (number, segment),
                Work::Free(on_disk) => {
                    drop(on_disk);
                    continue;
                }
            };
            // The log has dropped it meanwhile: nobody needs it.
            if Arc::strong_count(&segment) == 1 {
                continue;
            }
            let result = self.write(&segment);
            drop(segment);
            let failed = result.is_err();
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            shared.written(number, result);
            if failed {
                self.file = None;
                // What was queued before the log learnt of it would fail, too.
                while works.try_recv().is_ok() {}
            }
        }
    }

    fn write(&mut self, segment: &Segment) -> io::Result<Written> {
        let mut free_bytes = None;
        let file = match &self.file {
            Some(file) if self.end < FILE_BYTES => Arc::clone(file),
            _ => {
                let file = Arc::new(nameless_file(&self.directory)?);
                let system = rustix::fs::fstatvfs(file.as_fd())?;
                free_bytes = Some(system.f_bavail.saturating_mul(system.f_frsize));
                self.end = 0;
                self.file = Some(Arc::clone(&file));
                file
            }
        };
        let sizes = segment.sizes();
        self.index.clear();
        segment.encode_index(&mut self.index);
        let offset = self.end;
        let mut at = offset;
        for part in segment.parts().into_iter().chain([&self.index[..]]) {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        self.end = at;
        let on_disk = OnDisk {
            file,
            offset,
            sizes,
        };
        Ok(Written {
            on_disk,
            free_bytes,
        })
    }
}

impl OnDisk {
    /// How much of the disk it takes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.sizes.stored_bytes() as u64
    }

    fn read(&self, scratch: &mut Vec<u8>) -> io::Result<Segment> {
        scratch.resize(self.sizes.stored_bytes(), 0);
        self.file.read_exact_at(scratch, self.offset)?;
        Segment::restore(self.sizes, scratch).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn read(reads: &Receiver<(u64, OnDisk)>, shared: &Weak<Shared>) {
    let mut scratch = Vec::new();
    while let Ok((number, on_disk)) = reads.recv() {
        let segment = on_disk.read(&mut scratch);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.loaded(number, segment);
    }
}

/// A queue that never makes the log wait under its lock.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded by what is sent: a segment is queued once, to be written, freed or read"
)]
fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    std::sync::mpsc::channel()
}

/// A file that no directory names, for its owner alone.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(file.into()),
        // Not every file system has such files (NFS, older overlays): named, and removed at once.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            let path = directory.join(format!(".brine-overflow.{}", std::process::id()));
            let _ = std::fs::remove_file(&path); // left by a process that ended in between
            let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
            std::fs::remove_file(&path)?;
            Ok(file.into())
        }
        Err(error) => Err(error.into()),
    }
}
