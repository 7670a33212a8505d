//! What waits in the files of a spool, read from outside: whether or not the minion runs, without a lock and without
//! changing anything.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::record::{self, Body, Position};
use super::{POSITION, order};

/// What waits for one master.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events, returns, and notes of what was dropped.
    pub waiting: usize,
    /// What the files take, in bytes.
    pub bytes: u64,
    /// When the oldest was put there, since the epoch.
    pub oldest: Option<Duration>,
}

impl Backlog {
    /// Reads the spools of a minion: the name of each, and what waits in it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read_all(directory: &Path) -> io::Result<Vec<(String, Self)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                all.push((name, Self::read(&entry.path())?));
            }
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    fn read(directory: &Path) -> io::Result<Self> {
        let position = fs::read(directory.join(POSITION)).ok();
        let position = position.and_then(|bytes| Position::read(&bytes));
        let done = position.unwrap_or_default().done;
        let mut names: Vec<String> = fs::read_dir(directory)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| order(name).is_some())
            .collect();
        names.sort();
        let mut backlog = Self::default();
        for name in names {
            // A segment whose records are all acknowledged goes at any time.
            let Ok(bytes) = fs::read(directory.join(name)) else {
                continue;
            };
            backlog.bytes += bytes.len() as u64;
            for record in record::read_all(&bytes) {
                if Some(record.id) == done {
                    (backlog.waiting, backlog.oldest) = (0, None);
                } else if !matches!(record.body, Body::Asked(_)) {
                    backlog.waiting += 1;
                    backlog.oldest = backlog.oldest.or(Some(record.at));
                }
            }
        }
        Ok(backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Directory, Spool, SpoolLimits};
    use super::*;

    #[test]
    fn what_waits_is_seen_from_outside() {
        let directory = tempfile::tempdir().unwrap();
        let store = Directory::open(&directory.path().join("master")).unwrap();
        let mut spool = Spool::open(store, SpoolLimits::default(), 7).unwrap();
        let at = Duration::from_secs;
        let seen = || Backlog::read_all(directory.path()).unwrap();
        assert_eq!(seen(), [("master".to_owned(), Backlog::default())]);
        let mut ids = Vec::new();
        for second in 100..105 {
            let body = match second {
                104 => Body::Asked(vec![1; 20]),
                _ => Body::Request(vec![0; 20]),
            };
            ids.push(spool.push(body, at(second)).unwrap());
        }
        let [(name, backlog)] = &seen()[..] else {
            panic!("expected one spool");
        };
        assert_eq!(
            (name.as_str(), backlog.waiting, backlog.oldest),
            ("master", 4, Some(at(100)))
        );
        assert!(backlog.bytes > 100);
        assert_eq!(spool.first(2, 1 << 20, at(105)).unwrap().len(), 2);
        spool.acknowledge(ids[1]);
        let (_, backlog) = &seen()[0];
        assert_eq!((backlog.waiting, backlog.oldest), (2, Some(at(102))));
        assert!(Backlog::read_all(&directory.path().join("none")).is_err());
    }
}
