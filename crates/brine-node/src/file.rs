//! Cache files of a node: written atomically, readable by their owner only, and read up to a limit.
//!
//! A file appears under its name complete or not at all. Nothing is synced, since a crash of the machine loses only
//! what can be made again. (Key files are written by `brine-net`, which syncs.)

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use brine_wire::network::tcp;
use brine_wire::{Value, msgpack};

/// Makes a folder and its parents, accessible to the owner only.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The same; `false` if the folder was there.
pub(crate) fn make_new_folder(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        // Its parent is missing, or there is something.
        Err(_) => make_folder(path).map(|()| false),
    }
}

/// Writes a file under a temporary name that begins with a dot, and renames it. Two threads may write the same file:
/// each has a name of its own, and the last one counts.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{write}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes));
    written
        .and_then(|()| fs::rename(&beside, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside); // the first error is the one to report
        })
}

/// Whether a packed value holds at most this many values: each takes some 70 bytes in memory, however small it is.
pub(crate) fn holds_at_most(packed: &[u8], values: usize) -> bool {
    let counted = tcp::Decoder::of_value(packed.len(), values).next(packed);
    matches!(counted, Ok(Some(_)))
}

/// The msgpack value in a file of at most `max_bytes`; `None` if there is none.
pub(crate) fn read_value(path: &Path, max_bytes: u64) -> Option<Value> {
    if fs::metadata(path).ok()?.len() > max_bytes {
        tracing::warn!(path = %path.display(), max_bytes, "cache file ignored: too large");
        return None;
    }
    msgpack::decode(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_however_small_they_are() {
        let mut packed = Vec::new();
        msgpack::encode(&Value::Array(vec![Value::Nil; 999]), &mut packed);
        assert!(holds_at_most(&packed, 1000) && !holds_at_most(&packed, 999));
    }

    /// A return of a minion and the job of another master come at the same moment.
    #[test]
    fn threads_that_write_one_file_do_not_take_it_from_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jid");
        std::thread::scope(|scope| {
            for text in [b"one", b"two"] {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..2000 {
                        write(path, text).unwrap();
                    }
                });
            }
        });
        let left = fs::read(&path).unwrap();
        assert!(left == b"one" || left == b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
