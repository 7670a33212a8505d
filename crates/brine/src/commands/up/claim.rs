//! One `brine up` per directory: the second one is told so before it writes anything.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The file that holds the process id of the one that runs there.
const FILE: &str = "up.lock";

/// A directory that is this process's; given up when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// Holds the lock. The file stays: one that is removed could be locked by two.
    _lock: File,
}

impl Claim {
    /// Claims a directory, and creates it if it does not exist.
    pub(super) fn take(root: &Path) -> anyhow::Result<Self> {
        let shown = root.display();
        fs::create_dir_all(root).with_context(|| shown.to_string())?;
        let file = root.join(FILE);
        let opened = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file);
        let mut lock = opened.with_context(|| file.display().to_string())?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let pid = match pid.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                bail!("{shown}: brine up already runs there{pid}");
            }
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { _lock: lock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("new");
        let claim = Claim::take(&root).unwrap();
        let error = Claim::take(&root).unwrap_err().to_string();
        let pid = std::process::id();
        let expected = format!(
            "{}: brine up already runs there (process {pid})",
            root.display()
        );
        assert_eq!(error, expected);
        drop(claim);
        Claim::take(&root).unwrap();
    }
}
