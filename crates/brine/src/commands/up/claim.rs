//! One `brine up` per directory, and none in a directory that holds something else: who asks for that is told so before
//! anything is written.

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
        if !file.exists() {
            refuse_others(root).with_context(|| shown.to_string())?;
        }
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

/// Refuses a directory with files in it, which no `brine up` has made: a site has files `master` and `minion`, too.
fn refuse_others(root: &Path) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        // Another one may begin at this moment.
        if name != FILE {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(NAMED);
    match names.is_empty() {
        true => Ok(()),
        false => bail!(
            "not made by brine up, and not empty: there is {}{more}; name a new or an empty directory",
            names.join(", ")
        ),
    }
}

/// So many names are told.
const NAMED: usize = 3;

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
    #[test]
    fn a_directory_with_files_of_others_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["master", "minion", "pki", "z"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let error = Claim::take(directory.path()).unwrap_err();
        let expected = "not made by brine up, and not empty: there is master, minion, pki and 1 more; \
                        name a new or an empty directory";
        assert_eq!(error.root_cause().to_string(), expected);
        assert!(!directory.path().join(FILE).exists());
        // What it has made it takes again.
        let made = tempfile::tempdir().unwrap();
        drop(Claim::take(made.path()).unwrap());
        fs::write(made.path().join("master"), "").unwrap();
        Claim::take(made.path()).unwrap();
    }
}
