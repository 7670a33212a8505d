//! A cache of accepted keys: parsed once, and dropped as soon as their file is.
//!
//! Every request is checked here first, so that a stranger costs one look at the file system, and a minion none as long as
//! the kernel reports no change.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use brine_wire::network::MinionId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::store::{KeyState, KeyStore};
use crate::crypto::{self, rsa::PublicKey};

/// The text that a minion's token signs.
pub const TOKEN_TEXT: &[u8] = b"salt";

/// An accepted key.
#[derive(Debug)]
pub struct AcceptedKey {
    /// The key.
    pub public: PublicKey,
    /// The verified token; it never changes.
    tok: OnceLock<Vec<u8>>,
}

impl AcceptedKey {
    pub(crate) const fn new(public: PublicKey) -> Self {
        Self {
            public,
            tok: OnceLock::new(),
        }
    }

    /// Whether a token belongs to this key. Takes an RSA operation for the first token and for wrong ones.
    #[must_use]
    pub fn verifies(&self, tok: &[u8]) -> bool {
        if let Some(known) = self.tok.get() {
            return crypto::same(known, tok);
        }
        let fits = self.public.recover_x931(tok).as_deref() == Some(TOKEN_TEXT);
        if fits {
            let _ = self.tok.set(tok.to_vec());
        }
        fits
    }
}

/// Identifies a version of a file.
type Version = (u64, u64, i64, i64);

fn version(about: &Metadata) -> Version {
    (about.ino(), about.size(), about.mtime(), about.mtime_nsec())
}

/// After so long a file is looked at again even if the kernel reports no change, if it is a link, has another name or is on
/// a file system that may be shared: the kernel does not report changes by other machines, to what a link leads to, or under
/// the other name. And the folder is, because of the folders above.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// File systems that only this machine changes, and all of whose changes the kernel reports.
const OWN: [u64; 6] = [
    0xef53,      // ext2 to ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
];

/// The accepted keys of a store.
#[derive(Debug)]
pub struct AcceptedKeys {
    store: KeyStore,
    /// Locked for short look-ups; keys are read outside.
    known: Mutex<Known>,
}

/// The states other than accepted in which an id may have a key that counts.
const OTHERS: [KeyState; 2] = [KeyState::Rejected, KeyState::Pending];

#[derive(Debug)]
struct Known {
    /// Never more than accepted keys.
    keys: HashMap<MinionId, KnownKey>,
    accepted: Watched,
    /// The folders of [`OTHERS`].
    others: Watched,
}

/// Folders whose changes are counted.
#[derive(Debug)]
struct Watched {
    /// `None` if the kernel reports no changes: then every request looks at a file.
    watch: Option<FolderWatch>,
    /// How often they have changed.
    changes: u64,
}

/// When something was looked at, and how often its folder had changed then.
type Looked = (Instant, u64);

#[derive(Debug)]
struct KnownKey {
    key: Arc<AcceptedKey>,
    version: Version,
    /// Whether the file has other names, or is a link to one.
    is_link: bool,
    /// When the file was last looked at under its name.
    looked: Option<Looked>,
    /// When it was last seen that the id has no key in another state.
    alone: Option<Looked>,
}

impl AcceptedKeys {
    /// The accepted keys of a store.
    #[must_use]
    pub fn new(store: KeyStore) -> Self {
        let watched = |states: &[KeyState]| {
            let folders = states.iter().map(|state| store.folder(*state));
            Watched {
                watch: FolderWatch::of(folders).ok(),
                changes: 0,
            }
        };
        let known = Known {
            keys: HashMap::new(),
            accepted: watched(&[KeyState::Accepted]),
            others: watched(&OTHERS),
        };
        Self {
            store,
            known: Mutex::new(known),
        }
    }

    /// The accepted key of an id, as its file is now.
    #[must_use]
    pub fn get(&self, id: &MinionId) -> Option<Arc<AcceptedKey>> {
        self.get_like(id, None)
    }

    /// The key of this text, if it was an id's accepted key when that was last looked at: it need not be parsed again.
    /// Whether it still is accepted is another question.
    pub(crate) fn parsed(&self, id: &MinionId, pem: &str) -> Option<PublicKey> {
        let known = self.lock();
        let public = &known.keys.get(id)?.key.public;
        (public.pem() == pem).then(|| public.clone())
    }

    /// Takes note of a key that was written to a file, which has been put in the accepted state. Whether the id's file still
    /// is that one, the next look will show, without reading it.
    pub(crate) fn note_written(&self, id: &MinionId, key: &PublicKey, about: &Metadata) {
        let known = KnownKey {
            key: Arc::new(AcceptedKey::new(key.clone())),
            version: version(about),
            is_link: false,
            looked: None,
            alone: None,
        };
        self.lock().keys.insert(id.clone(), known);
    }

    /// How often the folders of rejected and pending keys have changed; `None` if the kernel may not report all changes.
    pub(crate) fn changes_of_others(&self) -> Option<u64> {
        let mut known = self.lock();
        known.others.note_changes(Instant::now());
        let sees_all = known.others.watch.as_ref()?.sees_all;
        sees_all.then_some(known.others.changes)
    }

    /// Whether this is an id's accepted key now, if that can be told without reading its file.
    pub(crate) fn holds(&self, id: &MinionId, shown: &PublicKey) -> bool {
        let is_shown = |key: Arc<AcceptedKey>| key.public == *shown;
        self.parsed(id, shown.pem()).is_some()
            && self.get_like(id, Some(shown)).is_some_and(is_shown)
    }

    /// Whether this is an id's accepted key now and the id has none that is rejected or pending, if that can be told without
    /// reading a file.
    pub(crate) fn holds_only(&self, id: &MinionId, shown: &PublicKey) -> bool {
        // In this order: a key that is rejected is put there before it is taken from the accepted ones.
        self.has_no_other(id) && self.holds(id, shown)
    }

    fn has_no_other(&self, id: &MinionId) -> bool {
        let now = Instant::now();
        let looked = {
            let mut locked = self.lock();
            let known = &mut *locked;
            let Some(key) = known.keys.get(id) else {
                return false;
            };
            known.others.note_changes(now);
            if (key.alone).is_some_and(|looked| known.others.is_current(looked, now, false)) {
                return true;
            }
            (now, known.others.changes)
        };
        // A link that leads nowhere is a file, too: the kernel does not report what it leads to.
        let is_missing = |state: &KeyState| {
            let about = fs::symlink_metadata(self.store.path(*state, id));
            about.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let is_alone = OTHERS.iter().all(is_missing);
        if let Some(known) = self.lock().keys.get_mut(id) {
            known.alone = is_alone.then_some(looked);
        }
        is_alone
    }

    /// As [`Self::get`]; `shown` is a key that the file may hold and that need not be parsed again.
    pub(crate) fn get_like(
        &self,
        id: &MinionId,
        shown: Option<&PublicKey>,
    ) -> Option<Arc<AcceptedKey>> {
        let now = Instant::now();
        let changes = {
            let mut known = self.lock();
            known.accepted.note_changes(now);
            if let Some(key) = known.unchanged(id, now) {
                return Some(key);
            }
            known.accepted.changes
        };
        let looked = Some((now, changes));
        let path = self.store.path(KeyState::Accepted, id);
        let own = fs::symlink_metadata(&path);
        let is_symlink = own.as_ref().is_ok_and(Metadata::is_symlink);
        let about = if is_symlink { fs::metadata(&path) } else { own };
        let Ok(about) = about else {
            self.lock().keys.remove(id);
            return None;
        };
        let is_link = is_symlink || about.nlink() > 1;
        let version = version(&about);
        if let Some(known) = self.lock().keys.get_mut(id)
            && known.version == version
        {
            (known.is_link, known.looked) = (is_link, looked);
            return Some(known.key.clone());
        }
        let stored = self.store.get_like(KeyState::Accepted, id, shown).ok()??;
        let key = Arc::new(AcceptedKey::new(stored.key()?.clone()));
        let known = KnownKey {
            key: key.clone(),
            version,
            is_link,
            looked,
            alone: None,
        };
        self.lock().keys.insert(id.clone(), known);
        Some(key)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The key of an id, if its file is as it was when it was looked at.
    fn unchanged(&self, id: &MinionId, now: Instant) -> Option<Arc<AcceptedKey>> {
        let known = self.keys.get(id)?;
        let is_current = |looked| self.accepted.is_current(looked, now, known.is_link);
        known
            .looked
            .is_some_and(is_current)
            .then(|| known.key.clone())
    }
}

impl Watched {
    fn note_changes(&mut self, now: Instant) {
        match (self.watch.as_mut()).map(|watch| watch.has_changed(now)) {
            Some(Ok(has_changed)) => self.changes += u64::from(has_changed),
            Some(Err(WatchEnded)) => self.watch = None,
            None => {}
        }
    }

    /// Whether a file is as it was when it was looked at.
    fn is_current(&self, (at, changes): Looked, now: Instant, is_link: bool) -> bool {
        let Some(watch) = &self.watch else {
            return false;
        };
        let is_reported = watch.sees_all && !is_link;
        changes == self.changes && (is_reported || now.duration_since(at) < LOOK_AGAIN)
    }
}

/// What the kernel reports of folders. It does so before a change has returned, so that who asks after it hears of it; and
/// asking costs a fifth of a look at a file.
#[derive(Debug)]
struct FolderWatch {
    reports: OwnedFd,
    /// Each with its device and inode.
    folders: Vec<(PathBuf, (u64, u64))>,
    /// When those were last looked at.
    looked: Instant,
    /// Whether the kernel reports all changes in them.
    sees_all: bool,
}

/// A folder is gone, or is another's place by now.
struct WatchEnded;

impl FolderWatch {
    fn of(folders: impl Iterator<Item = PathBuf>) -> io::Result<Self> {
        let reports = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let (mut watched, mut sees_all) = (Vec::new(), true);
        for folder in folders {
            // Before it is watched: if another takes its place meanwhile, that is noticed.
            let identity = identity(&folder)?;
            inotify::add_watch(&reports, &folder, changes | WatchFlags::ONLYDIR)?;
            let kind = rustix::fs::statfs(&folder)?.f_type;
            sees_all &= u64::try_from(kind).is_ok_and(|kind| OWN.contains(&kind));
            watched.push((folder, identity));
        }
        Ok(Self {
            reports,
            folders: watched,
            looked: Instant::now(),
            sees_all,
        })
    }

    /// Whether something in the folders has changed since this was last asked.
    fn has_changed(&mut self, now: Instant) -> Result<bool, WatchEnded> {
        if now.duration_since(self.looked) >= LOOK_AGAIN {
            self.looked = now;
            let is_there = |(folder, own): &(PathBuf, _)| {
                identity(folder).is_ok_and(|identity| identity == *own)
            };
            if !self.folders.iter().all(is_there) {
                return Err(WatchEnded);
            }
        }
        const ENDED: ReadFlags = ReadFlags::DELETE_SELF
            .union(ReadFlags::MOVE_SELF)
            .union(ReadFlags::UNMOUNT)
            .union(ReadFlags::IGNORED);
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reports = inotify::Reader::new(&self.reports, &mut buffer);
        let mut has_changed = false;
        loop {
            match reports.next() {
                Ok(report) if report.events().intersects(ENDED) => return Err(WatchEnded),
                Ok(_) => has_changed = true,
                Err(Errno::AGAIN) => return Ok(has_changed),
                Err(Errno::INTR) => {}
                Err(_) => return Err(WatchEnded),
            }
        }
    }
}

fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let about = fs::metadata(folder)?;
    Ok((about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use brine_wire::compat::Compat;

    use super::*;
    use crate::crypto::rsa::PrivateKey;

    fn two_keys() -> [PublicKey; 2] {
        [1024; 2].map(|bits| PrivateKey::generate(bits).unwrap().public().clone())
    }

    #[test]
    fn a_key_that_changes_counts_at_once_and_one_that_does_not_is_not_read_again() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let id = MinionId::parse("m1").unwrap();
        let path = store.path(KeyState::Accepted, &id);
        let pems = two_keys().map(|key| key.pem().to_owned());
        let pem = || accepted.get(&id).map(|key| key.public.pem().to_owned());
        let aside = root.path().join("aside");
        let change_all = || {
            assert_eq!(pem(), None);
            for written in &pems {
                // As keys are written: a new file takes the old one's place.
                fs::write(&aside, written).unwrap();
                fs::rename(&aside, &path).unwrap();
                assert_eq!(pem().as_ref(), Some(written));
                let same = Arc::ptr_eq(&accepted.get(&id).unwrap(), &accepted.get(&id).unwrap());
                assert!(same);
            }
            fs::rename(&path, &aside).unwrap();
            assert_eq!(pem(), None);
            fs::rename(&aside, &path).unwrap();
            assert_eq!(pem().as_ref(), Some(&pems[1]));
            fs::remove_file(&path).unwrap();
            assert_eq!(pem(), None);
        };
        change_all();
        assert!(accepted.lock().accepted.watch.is_some());
        // Another folder takes its place; from then on each request looks at the file.
        fs::write(&path, &pems[0]).unwrap();
        assert_eq!(pem().as_ref(), Some(&pems[0]));
        let folder = path.parent().unwrap();
        fs::rename(folder, root.path().join("old")).unwrap();
        fs::create_dir(folder).unwrap();
        change_all();
        assert!(accepted.lock().accepted.watch.is_none());
    }

    #[test]
    fn a_key_that_was_written_is_not_read_back_and_counts_only_while_its_file_is_there() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let id = MinionId::parse("m1").unwrap();
        let path = store.path(KeyState::Accepted, &id);
        let [key, other] = two_keys();
        let held = || accepted.get(&id).map(|held| held.public.clone());
        // Were it read, no key would be found in it.
        fs::write(&path, "not read").unwrap();
        let about = fs::metadata(&path).unwrap();
        accepted.note_written(&id, &key, &about);
        assert_eq!(held(), Some(key.clone()));
        let aside = root.path().join("aside");
        fs::write(&aside, other.pem()).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert_eq!(held(), Some(other));
        // Another took its place, or it was removed, before it was noted.
        accepted.note_written(&id, &key, &about);
        assert_ne!(held(), Some(key.clone()));
        fs::remove_file(&path).unwrap();
        accepted.note_written(&id, &key, &about);
        assert_eq!(held(), None);
    }

    #[test]
    fn a_key_that_is_parsed_is_held_only_while_its_file_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let id = MinionId::parse("m1").unwrap();
        let path = store.path(KeyState::Accepted, &id);
        let [key, other] = two_keys();
        fs::write(&path, key.pem()).unwrap();
        assert!(!accepted.holds(&id, &key), "nobody has looked yet");
        assert_eq!(accepted.get_like(&id, Some(&other)).unwrap().public, key);
        assert!(accepted.holds(&id, &key) && !accepted.holds(&id, &other));
        assert_eq!(accepted.parsed(&id, key.pem()).as_ref(), Some(&key));
        assert!(accepted.parsed(&id, other.pem()).is_none());
        fs::write(&path, other.pem()).unwrap();
        assert!(!accepted.holds(&id, &key));
        assert!(accepted.holds(&id, &other));
        fs::remove_file(&path).unwrap();
        assert!(!accepted.holds(&id, &other));
    }

    #[test]
    fn a_key_is_the_only_one_until_another_state_has_one() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let id = MinionId::parse("m1").unwrap();
        let key = PrivateKey::generate(1024).unwrap().public().clone();
        let path = |state| store.path(state, &id);
        fs::write(path(KeyState::Accepted), key.pem()).unwrap();
        let is_only = || {
            let is_only = accepted.holds_only(&id, &key);
            assert_eq!(accepted.holds_only(&id, &key), is_only);
            is_only
        };
        assert!(!is_only(), "nobody has looked yet");
        assert!(accepted.get(&id).is_some());
        assert!(is_only());
        for state in OTHERS {
            let changes = accepted.changes_of_others();
            assert!(changes.is_some() && accepted.changes_of_others() == changes);
            fs::write(path(state), "anything").unwrap();
            assert_ne!(accepted.changes_of_others(), changes);
            assert!(!is_only());
            fs::remove_file(path(state)).unwrap();
            assert!(is_only());
            std::os::unix::fs::symlink("nowhere", path(state)).unwrap();
            assert!(!is_only(), "a link may lead somewhere later");
            fs::remove_file(path(state)).unwrap();
            assert!(is_only());
        }
        // As `salt-key` rejects a key.
        fs::rename(path(KeyState::Accepted), path(KeyState::Rejected)).unwrap();
        assert!(!is_only());
        fs::rename(path(KeyState::Rejected), path(KeyState::Accepted)).unwrap();
        assert!(accepted.get(&id).is_some());
        assert!(is_only());
        assert!(accepted.changes_of_others().is_some());
        // Another folder takes a folder's place.
        let pending = path(KeyState::Pending);
        fs::rename(pending.parent().unwrap(), root.path().join("old")).unwrap();
        assert!(is_only());
        fs::create_dir(pending.parent().unwrap()).unwrap();
        fs::write(&pending, "anything").unwrap();
        assert!(!is_only());
        assert_eq!(accepted.changes_of_others(), None);
    }

    #[test]
    fn a_change_that_nobody_reports_is_seen_after_a_while() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path().join("pki"), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let id = MinionId::parse("m1").unwrap();
        let pem = PrivateKey::generate(1024)
            .unwrap()
            .public()
            .pem()
            .to_owned();
        fs::write(store.path(KeyState::Accepted, &id), pem).unwrap();
        assert!(accepted.get(&id).is_some());
        // A folder above.
        fs::rename(root.path().join("pki"), root.path().join("old")).unwrap();
        let mut known = accepted.lock();
        let looked = known.accepted.watch.as_ref().unwrap().looked;
        known.accepted.note_changes(looked + LOOK_AGAIN / 2);
        assert!(known.unchanged(&id, looked).is_some());
        known.accepted.note_changes(looked + LOOK_AGAIN);
        assert!(known.unchanged(&id, looked).is_none());
    }

    #[test]
    fn a_file_is_looked_at_again_if_the_kernel_may_not_report_its_changes() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let accepted = AcceptedKeys::new(store.clone());
        let ids = ["file", "link"].map(|id| MinionId::parse(id).unwrap());
        let [file, link] = ids.each_ref();
        let elsewhere = root.path().join("elsewhere");
        let pem = PrivateKey::generate(1024).unwrap();
        for path in [&store.path(KeyState::Accepted, file), &elsewhere] {
            fs::write(path, pem.public().pem()).unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, store.path(KeyState::Accepted, link)).unwrap();
        assert!(ids.iter().all(|id| accepted.get(id).is_some()));
        let mut known = accepted.lock();
        for sees_all in [true, false] {
            known.accepted.watch.as_mut().unwrap().sees_all = sees_all;
            let is_unchanged = |id: &MinionId, after| {
                let looked = known.keys[id].looked.unwrap().0;
                known.unchanged(id, looked + after).is_some()
            };
            assert!(ids.iter().all(|id| is_unchanged(id, LOOK_AGAIN / 2)));
            assert_eq!(is_unchanged(file, LOOK_AGAIN), sees_all);
            assert!(!is_unchanged(link, LOOK_AGAIN));
        }
        drop(known);
        // A link to what was the file: the same contents, and yet a link.
        let path = store.path(KeyState::Accepted, file);
        fs::rename(&path, root.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(root.path().join("moved"), &path).unwrap();
        assert!(accepted.get(file).is_some());
        assert!(accepted.lock().keys[file].is_link);
        // A second name of the same file.
        fs::remove_file(&path).unwrap();
        fs::hard_link(root.path().join("moved"), &path).unwrap();
        assert!(accepted.get(file).is_some());
        assert!(accepted.lock().keys[file].is_link);
    }
}
