//! Lines in a file, as Salt's `rawfile_json` writes them: only whole lines, each event once.
//!
//! A small file beside it holds the position and the file's length. If the file is longer than that after a restart,
//! the rest was written by a batch that did not finish: complete lines are compared and not written again, a partial
//! line is removed. If somebody moves the file away (logrotate), the sink notices before the next batch.

mod rotate;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brine_log::{LogId, Position};
use brine_wire::json;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::batch::Batch;
use crate::sink::{Sink, SinkError};
use crate::text::{self, Taker};
use rotate::Compressing;

/// The file, and when it is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The file.
    pub path: PathBuf,
    /// It is set aside before it grows beyond this many bytes.
    pub rotate_bytes: Option<u64>,
    /// It is set aside when its first line is so old.
    pub rotate_after: Option<Duration>,
    /// How many files are kept that were set aside; all for `None`.
    pub keep: Option<usize>,
    /// Files that are set aside are compressed (gzip).
    pub compress: bool,
    /// Each batch is on the disk before it counts as delivered.
    pub sync: bool,
}

/// Events into a file.
#[derive(Debug)]
pub struct FileSink {
    options: FileOptions,
    open: Option<Open>,
    compressing: Compressing,
}

/// The file while it is written.
#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
    length: u64,
    /// What is beyond the recorded length, from a batch that did not finish.
    unrecorded: Vec<u8>,
    /// When its first line was written, as far as anybody knows.
    since: SystemTime,
}

/// What the small file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recorded {
    position: Position,
    inode: u64,
    length: u64,
}

/// The file beside the one at a path that says where the sink is.
#[must_use]
pub fn record_file(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".position");
    path.with_file_name(name)
}

/// A longer end of a file was not written by one batch, and is left as it is.
const MAX_UNRECORDED: u64 = 64 << 20;

impl FileSink {
    /// A sink that appends to a file, which is made when there is something to write.
    #[must_use]
    pub fn new(options: FileOptions) -> Self {
        Self {
            options,
            open: None,
            compressing: Compressing::default(),
        }
    }

    fn record_file(&self) -> PathBuf {
        record_file(&self.options.path)
    }

    fn recorded(&self) -> io::Result<Option<Recorded>> {
        match fs::read_to_string(self.record_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(Recorded::parse(&text?)),
        }
    }

    /// The file at the path, reopened if another one is there now.
    fn opened(&mut self) -> io::Result<&mut Open> {
        let there = fs::metadata(&self.options.path).ok();
        match (&mut self.open, there) {
            // Somebody may have emptied it.
            (Some(open), Some(there)) if open.inode == there.ino() => open.length = there.len(),
            _ => self.open = Some(self.open_file()?),
        }
        // Set just now, if it was not there.
        self.open
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open_file(&self) -> io::Result<Open> {
        if let Some(directory) = self.options.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.options.path)?;
        let there = file.metadata()?;
        // Another process may write it, whose configuration was not compared with ours. Not every file system has
        // locks.
        let lock = FlockOperation::NonBlockingLockExclusive;
        if there.is_file() && flock(&file, lock) == Err(Errno::WOULDBLOCK) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let recorded = self.recorded()?.filter(|last| last.inode == there.ino());
        let known = recorded.map_or(there.len(), |last| last.length);
        let mut unrecorded = Vec::new();
        if (known..=known + MAX_UNRECORDED).contains(&there.len()) {
            file.seek(SeekFrom::Start(known))?;
            let rest = there.len() - known;
            (&mut file).take(rest).read_to_end(&mut unrecorded)?;
        }
        let whole = unrecorded.iter().rposition(|byte| *byte == b'\n');
        unrecorded.truncate(whole.map_or(0, |at| at + 1));
        let is_known =
            recorded.is_some() && (known..=known + MAX_UNRECORDED).contains(&there.len());
        let length = match is_known {
            true => known + unrecorded.len() as u64,
            false => there.len(),
        };
        if length < there.len() {
            file.set_len(length)?;
        }
        Ok(Open {
            inode: there.ino(),
            length,
            unrecorded,
            since: first_written(&there),
            file,
        })
    }

    fn write(&mut self, batch: &Batch<'_>) -> io::Result<()> {
        let mut lines = Vec::new();
        self.rotate_if_due()?;
        let (sync, is_resent) = (self.options.sync, batch.is_resent());
        let open = self.opened()?;
        let mut written_before = std::mem::take(&mut open.unrecorded);
        let mut rest = &*written_before;
        for event in batch.events() {
            let start = lines.len();
            line(&event.tag_text(), event.data, &mut lines);
            match rest.strip_prefix(&lines[start..]) {
                Some(behind) if !is_resent && start == 0 => {
                    rest = behind;
                    lines.clear();
                }
                _ => rest = &[],
            }
        }
        if !rest.is_empty() {
            written_before.drain(..written_before.len() - rest.len());
            open.unrecorded = written_before;
        }
        let before = open.length;
        let written = open
            .append(&lines, sync)
            .and_then(|()| self.record_written(batch));
        if written.is_err() {
            self.take_back(before);
        }
        written
    }

    /// Records what was appended: a dead letter that is sent again leaves the position where it is.
    fn record_written(&self, batch: &Batch<'_>) -> io::Result<()> {
        if !batch.is_resent() {
            return self.record(batch.through());
        }
        let position = self.recorded()?.map(|recorded| recorded.position);
        position.map_or(Ok(()), |position| self.record(position))
    }

    /// Takes off what the disk took of a batch that has failed, or that is not on record: the batch comes again.
    fn take_back(&mut self, length: u64) {
        let is_taken_back = match &mut self.open {
            Some(open) => {
                open.length = length;
                open.file.set_len(length).is_ok()
            }
            None => true,
        };
        if !is_taken_back {
            // Once it is reopened, it is compared with the record, and what is there already is not written again.
            self.open = None;
        }
    }

    fn rotate_if_due(&mut self) -> io::Result<()> {
        let (bytes, after) = (self.options.rotate_bytes, self.options.rotate_after);
        let open = self.opened()?;
        let is_large = bytes.is_some_and(|bytes| open.length >= bytes);
        let age = SystemTime::now().duration_since(open.since);
        let is_old = after.is_some_and(|after| age.is_ok_and(|age| age >= after));
        if open.length > 0 && open.unrecorded.is_empty() && (is_large || is_old) {
            rotate::set_aside(&self.options, &self.compressing)?;
        }
        Ok(())
    }

    fn record(&self, position: Position) -> io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let recorded = Recorded {
            position,
            inode: open.inode,
            length: open.length,
        };
        let (file, new) = (self.record_file(), self.record_file().with_extension("new"));
        let written = fs::write(&new, recorded.to_string()).and_then(|()| fs::rename(&new, file));
        if written.is_err() {
            let _ = fs::remove_file(new); // a disk that is full may not have taken all of it
        }
        written
    }

    fn failed(&self, error: &io::Error) -> SinkError {
        let path = self.options.path.display();
        SinkError::unavailable(match error.kind() {
            io::ErrorKind::ResourceBusy => {
                format!("{path}: another process writes this file; give each a file of its own")
            }
            _ => format!("{path}: {error}"),
        })
    }
}

impl Sink for FileSink {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        self.compressing.go_on(&self.options);
        let recorded = self.opened().map(drop).and_then(|()| self.recorded());
        let recorded = recorded.map_err(|error| self.failed(&error))?;
        Ok(recorded.map(|recorded| recorded.position))
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        self.write(batch).map_err(|error| self.failed(&error))?;
        Ok(batch.len())
    }

    async fn move_to(&mut self, position: Position) -> Result<(), SinkError> {
        let opened = self.opened().map(|open| open.unrecorded.clear());
        let recorded = opened.and_then(|()| self.record(position));
        recorded.map_err(|error| self.failed(&error))
    }
}

impl Open {
    fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        self.file.write_all(lines)?;
        if sync {
            self.file.sync_data()?;
        }
        self.length += lines.len() as u64;
        Ok(())
    }
}

impl Recorded {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split_whitespace();
        let recorded = Self {
            position: parts.next()?.parse().ok()?,
            inode: parts.next()?.parse().ok()?,
            length: parts.next()?.parse().ok()?,
        };
        Some(recorded)
    }
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "{} {} {}", self.position, self.inode, self.length)
    }
}

/// One line: `{"data": {…}, "tag": "…"}`.
fn line(tag: &str, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"data\": ");
    out.extend_from_slice(text::of_data(data, Taker::Json).json.as_bytes());
    out.extend_from_slice(b", \"tag\": ");
    json::quote(tag, out);
    out.extend_from_slice(b"}\n");
}

/// When a file began, or now where the file system does not say.
fn first_written(file: &fs::Metadata) -> SystemTime {
    file.created().unwrap_or_else(|_| SystemTime::now())
}

/// The name of a file in its directory, as text.
fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
