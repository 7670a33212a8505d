//! Files of a node's caches: written whole, for their owner alone, and read within a limit.
//!
//! A file appears under its name complete or not at all. What is lost in a crash of the machine can be made
//! again: nothing waits for the disk. (Keys are `brine-net`'s, and do.)

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use brine_wire::{Value, msgpack};

/// Makes a folder, and those above it, that only its owner may enter.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file beside its place, under a name that begins with a dot, and moves it there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes));
    written
        .and_then(|()| fs::rename(&beside, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside); // the first error is the one to tell
        })
}

/// The msgpack value in a file of at most so many bytes; `None` if there is none.
pub(crate) fn read_value(path: &Path, max_bytes: u64) -> Option<Value> {
    if fs::metadata(path).ok()?.len() > max_bytes {
        tracing::warn!(path = %path.display(), max_bytes, "a file of the cache is too large to be read");
        return None;
    }
    msgpack::decode(&fs::read(path).ok()?).ok()
}
