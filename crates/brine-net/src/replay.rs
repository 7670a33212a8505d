//! Detects repeated requests: keeps the nonces of accepted minions' requests for as long as their time is valid.
//!
//! A repeated request is not always an attack: a minion that got no reply sends the same bytes
//! again. So it is reported, not refused; the caller answers a repeated request without acting on it
//! again. Nonces are written to disk before a request is acted on, so that a restart forgets none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use brine_wire::network::{MinionId, Nonce};

/// The nonces kept per minion, 8 bytes each. A minion that sends more within the window has its window shortened.
const MAX_NONCES: usize = 65_536;

/// The file is rewritten when it is this large and more than half of it is obsolete.
const MIN_REWRITE_BYTES: u64 = 4 * 1024 * 1024;

/// Whether a request was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was not.
    First,
    /// It was.
    Again,
}

/// The nonces of all minions.
#[derive(Debug)]
pub(crate) struct Nonces {
    /// How far a request's time may be off, in seconds.
    window: i64,
    /// Locked while an entry is added and written: a write of about 40 bytes to the page cache.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    minions: HashMap<MinionId, Minion>,
    /// Of all minions together.
    kept: usize,
    journal: Option<Journal>,
}

/// By the time in the request: a repeated request has the same time, and old entries expire together.
#[derive(Debug, Default)]
struct Minion {
    by_time: BTreeMap<i64, HashSet<u64>>,
    kept: usize,
    /// Requests up to this time count as seen: their nonces were dropped for lack of room.
    forgotten: Option<i64>,
}

impl Nonces {
    /// Reads the nonces from before a restart, from a file below `cachedir`.
    pub(crate) fn open(cachedir: &Path, window: Duration, now: i64) -> Self {
        let window = i64::try_from(window.as_secs()).unwrap_or(i64::MAX);
        let nonces = Self {
            window,
            state: Mutex::default(),
        };
        let path = cachedir.join(".seen_requests");
        {
            let mut state = nonces.lock();
            for entry in Journal::read(&path) {
                state.see(&entry.id, entry.ts, entry.nonce, nonces.oldest(now));
            }
            state.rewrite(&path);
        }
        nonces
    }

    /// Remembers the nonce of a minion whose request was authentic and within the window.
    pub(crate) fn see(&self, id: &MinionId, nonce: &Nonce, ts: i64, now: i64) -> Seen {
        let mut state = self.lock();
        let short = shortened(nonce);
        let seen = state.see(id, ts, short, self.oldest(now));
        if seen == Seen::First {
            state.write(id, ts, short);
        }
        seen
    }

    /// Forgets a minion whose key was removed: its requests can no longer be opened.
    pub(crate) fn forget(&self, id: &MinionId) {
        let mut state = self.lock();
        if let Some(minion) = state.minions.remove(id) {
            state.kept -= minion.kept;
        }
    }

    const fn oldest(&self, now: i64) -> i64 {
        now.saturating_sub(self.window)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, id: &MinionId, ts: i64, nonce: u64, oldest: i64) -> Seen {
        if ts < oldest {
            return Seen::Again; // its window is over
        }
        let minion = match self.minions.get_mut(id) {
            Some(minion) => minion,
            None => self.minions.entry(id.clone()).or_default(),
        };
        self.kept -= minion.kept;
        let seen = minion.see(ts, nonce, oldest);
        self.kept += minion.kept;
        seen
    }

    fn write(&mut self, id: &MinionId, ts: i64, nonce: u64) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        if let Err(error) = journal.add(id, ts, nonce) {
            tracing::error!(%error, path = %journal.path.display(), "cannot record requests; requests replayed after a restart may be acted on twice");
            self.journal = None;
            return;
        }
        if journal.is_mostly_old(self.kept) {
            let path = journal.path.clone();
            self.rewrite(&path);
        }
    }

    /// Writes the current entries to a new file, which replaces the old one.
    fn rewrite(&mut self, path: &Path) {
        self.journal = match Journal::create(path, &self.minions) {
            Ok(journal) => Some(journal),
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "cannot record requests; requests replayed after a restart may be acted on twice");
                None
            }
        };
    }
}

impl Minion {
    fn see(&mut self, ts: i64, nonce: u64, oldest: i64) -> Seen {
        while let Some(first) = self.by_time.first_entry()
            && *first.key() < oldest
        {
            self.kept -= first.remove().len();
        }
        if self.forgotten.is_some_and(|until| ts <= until) {
            return Seen::Again;
        }
        if !self.by_time.entry(ts).or_default().insert(nonce) {
            return Seen::Again;
        }
        self.kept += 1;
        if self.kept > MAX_NONCES
            && let Some((until, dropped)) = self.by_time.pop_first()
        {
            self.kept -= dropped.len();
            self.forgotten = Some(until);
        }
        Seen::First
    }
}

/// A nonce hashed to 8 bytes (FNV-1a). Minions choose their nonces, so a minion can only make its own requests collide.
fn shortened(nonce: &Nonce) -> u64 {
    let bytes = nonce.as_str().bytes();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The file: entries one after the other. One that a crash cut short is the last and is ignored.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
}

struct Entry {
    id: MinionId,
    ts: i64,
    nonce: u64,
}

impl Entry {
    /// The length of the id, the id, time and nonce (big-endian).
    fn to_bytes(id: &MinionId, ts: i64, nonce: u64) -> Vec<u8> {
        let id = id.as_str().as_bytes();
        let length = u8::try_from(id.len()).unwrap_or(0); // ids have 255 bytes at most
        [&[length][..], id, &ts.to_be_bytes(), &nonce.to_be_bytes()].concat()
    }

    /// The first entry, and what follows it.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (ts, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let entry = Self {
            id: MinionId::parse(std::str::from_utf8(id).ok()?).ok()?,
            ts: i64::from_be_bytes(*ts),
            nonce: u64::from_be_bytes(*nonce),
        };
        Some((entry, rest))
    }
}

impl Journal {
    fn read(path: &Path) -> Vec<Entry> {
        let bytes = std::fs::read(path).unwrap_or_default();
        let (mut entries, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((entry, more)) = Entry::parse(rest) {
            entries.push(entry);
            rest = more;
        }
        entries
    }

    fn create(path: &Path, minions: &HashMap<MinionId, Minion>) -> io::Result<Self> {
        let beside = path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        let mut writer = BufWriter::new(file);
        let mut bytes = 0;
        for (id, minion) in minions {
            for (ts, nonces) in &minion.by_time {
                for nonce in nonces {
                    let entry = Entry::to_bytes(id, *ts, *nonce);
                    bytes += entry.len() as u64;
                    writer.write_all(&entry)?;
                }
            }
        }
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(&beside, path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
        })
    }

    fn add(&mut self, id: &MinionId, ts: i64, nonce: u64) -> io::Result<()> {
        let entry = Entry::to_bytes(id, ts, nonce);
        self.bytes += entry.len() as u64;
        self.file.write_all(&entry)
    }

    /// Whether a file with `kept` entries would be less than half as large. An entry is some 32 bytes.
    const fn is_mostly_old(&self, kept: usize) -> bool {
        self.bytes > MIN_REWRITE_BYTES && self.bytes / 64 > kept as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn id(text: &str) -> MinionId {
        MinionId::parse(text).unwrap()
    }

    fn nonce(number: u32) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Nonce::from_random(bytes)
    }

    #[test]
    fn a_request_is_known_again_for_all_of_its_window() {
        let root = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(root.path(), WINDOW, 1000);
        let m1 = id("m1");
        for number in 0..1000 {
            let ts = 1000 + i64::from(number % 7);
            assert_eq!(nonces.see(&m1, &nonce(number), ts, 1000), Seen::First);
            assert_eq!(nonces.see(&m1, &nonce(number), ts, 1000), Seen::Again);
        }
        assert_eq!(nonces.see(&m1, &nonce(7), 1000, 1300), Seen::Again);
        assert_eq!(nonces.see(&id("m2"), &nonce(7), 1000, 1300), Seen::First);
        assert_eq!(nonces.see(&m1, &nonce(5000), 1400, 1400), Seen::First);
        assert_eq!(nonces.lock().minions[&m1].kept, 1);
    }

    #[test]
    fn a_restart_forgets_nothing_and_a_torn_entry_is_ignored() {
        let root = tempfile::tempdir().unwrap();
        let m1 = id("m1");
        let first = Nonces::open(root.path(), WINDOW, 1000);
        assert_eq!(first.see(&m1, &nonce(1), 1000, 1000), Seen::First);
        assert_eq!(first.see(&m1, &nonce(2), 1200, 1000), Seen::First);
        drop(first);
        let path = root.path().join(".seen_requests");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\x02m1\0\0").unwrap();
        let second = Nonces::open(root.path(), WINDOW, 1350);
        assert_eq!(second.see(&m1, &nonce(2), 1200, 1350), Seen::Again);
        assert_eq!(second.see(&m1, &nonce(3), 1200, 1350), Seen::First);
        let third = Nonces::open(root.path(), WINDOW, 1350);
        assert_eq!(third.see(&m1, &nonce(3), 1200, 1350), Seen::Again);
        assert_eq!(Journal::read(&path).len(), 2);
    }

    #[test]
    fn a_minion_that_sends_very_much_has_a_shorter_window() {
        let root = tempfile::tempdir().unwrap();
        let nonces = Nonces::open(root.path(), WINDOW, 1000);
        let m1 = id("m1");
        for number in 0..80_000 {
            let ts = 1000 + i64::from(number / 10_000);
            assert_eq!(nonces.see(&m1, &nonce(number), ts, ts), Seen::First);
        }
        assert!(nonces.lock().minions[&m1].kept <= MAX_NONCES);
        assert_eq!(nonces.see(&m1, &nonce(1), 1000, 1008), Seen::Again);
        assert_eq!(nonces.see(&m1, &nonce(100_000), 1001, 1008), Seen::Again);
        assert_eq!(nonces.see(&m1, &nonce(79_999), 1007, 1008), Seen::Again);
        assert_eq!(nonces.see(&m1, &nonce(100_001), 1008, 1008), Seen::First);
    }
}
