//! The public keys of minions: accepted, pending, rejected and denied.
//!
//! [`super::decide`] decides on changes of state at a sign-in, the administrator on all others. Facts: `docs/protocol/network.md` §5.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_wire::compat::{Compat, Series};
use brine_wire::network::MinionId;

use super::{StoreError, file};
use crate::crypto::rsa::PublicKey;

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// The minion may sign in.
    Accepted,
    /// An administrator must decide whether it may.
    Pending,
    /// The minion may not sign in.
    Rejected,
    /// A second key was shown for a known id; independent of the other states.
    Denied,
}

impl KeyState {
    /// All of them, in the order in which `salt-key` lists them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Denied, Self::Pending, Self::Rejected];

    /// The folder below `pki_dir`, which is also `salt-key`'s word in its output.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Accepted => "minions",
            Self::Pending => "minions_pre",
            Self::Rejected => "minions_rejected",
            Self::Denied => "minions_denied",
        }
    }
}

/// The contents of a key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKey {
    /// A key.
    Key(PublicKey),
    /// Something else, which equals no key that a minion can show.
    Invalid,
}

impl StoredKey {
    /// What a file holds; `shown` is a key that it may hold and that need not be parsed again.
    fn read(pem: &str, shown: Option<&PublicKey>) -> Self {
        match shown {
            Some(shown) if shown.pem() == pem => Self::Key(shown.clone()),
            _ => PublicKey::from_pem(pem).map_or(Self::Invalid, Self::Key),
        }
    }

    /// The key, if it is one.
    #[must_use]
    pub const fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Invalid => None,
        }
    }
}

/// The keys below a master's `pki_dir`.
#[derive(Debug, Clone)]
pub struct KeyStore {
    pki_dir: PathBuf,
    series: Series,
}

impl KeyStore {
    /// Opens the store and makes what is missing of it, mode 0700.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(pki_dir: impl Into<PathBuf>, compat: Compat) -> Result<Self, StoreError> {
        let store = Self {
            pki_dir: pki_dir.into(),
            series: compat.series(),
        };
        file::private_folder(&store.pki_dir)?;
        for state in KeyState::ALL {
            file::private_folder(&store.folder(state))?;
        }
        file::private_folder(&store.pki_dir.join(AUTOSIGN))?;
        Ok(store)
    }

    pub(super) fn folder(&self, state: KeyState) -> PathBuf {
        self.pki_dir.join(state.folder())
    }

    /// The file of a key.
    #[must_use]
    pub fn path(&self, state: KeyState, id: &MinionId) -> PathBuf {
        self.folder(state).join(id.as_str())
    }

    /// The stub that accepts an id once.
    #[must_use]
    pub fn autosign_stub(&self, id: &MinionId) -> PathBuf {
        self.pki_dir.join(AUTOSIGN).join(id.as_str())
    }

    /// The key of an id in a state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, state: KeyState, id: &MinionId) -> Result<Option<StoredKey>, StoreError> {
        self.get_like(state, id, None)
    }

    /// The same; `shown` is a key that the file may hold and that need not be parsed again.
    pub(crate) fn get_like(
        &self,
        state: KeyState,
        id: &MinionId,
        shown: Option<&PublicKey>,
    ) -> Result<Option<StoredKey>, StoreError> {
        let path = self.path(state, id);
        match file::read(&path) {
            Ok(text) => Ok(text.map(|pem| StoredKey::read(&pem, shown))),
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                Ok(Some(StoredKey::Invalid))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the file of an id in a state is younger than this.
    pub(crate) fn is_younger(&self, state: KeyState, id: &MinionId, than: Duration) -> bool {
        let written = fs::metadata(self.path(state, id)).and_then(|about| about.modified());
        written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < than))
    }

    /// Where an id's key stands (accepted, pending or rejected), and the key. Where files
    /// contradict each other the releases differ in which they look at first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &MinionId) -> Result<Option<(KeyState, StoredKey)>, StoreError> {
        self.first(|state| self.get(state, id))
    }

    /// The first of these states in which `look` finds something, and what it finds.
    pub(crate) fn first<T>(
        &self,
        look: impl Fn(KeyState) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<(KeyState, T)>, StoreError> {
        let order = match self.series {
            Series::S3008 => [KeyState::Rejected, KeyState::Pending, KeyState::Accepted],
            _ => [KeyState::Rejected, KeyState::Accepted, KeyState::Pending],
        };
        for state in order {
            if let Some(found) = look(state)? {
                return Ok(Some((state, found)));
            }
        }
        Ok(None)
    }

    /// Writes an accepted key to disk, to be put in its state later: nobody else who changes keys waits for the disk.
    pub(crate) fn prepare_accepted(
        &self,
        id: &MinionId,
        key: &PublicKey,
    ) -> Result<PreparedKey, StoreError> {
        let path = self.path(KeyState::Accepted, id);
        file::Unnamed::prepare(&path, key.pem().as_bytes(), 0o600).map(PreparedKey)
    }

    /// Waits until nobody else changes keys, and keeps others out until the guard is dropped. `salt-key` does the
    /// same; Salt's own does not know of it, for which [`Changing::put`] names what it replaces.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn change(&self) -> Result<Changing<'_>, StoreError> {
        Ok(Changing {
            store: self,
            _lock: file::lock(&self.pki_dir.join(LOCK))?,
        })
    }

    /// The ids in a state, sorted. Names that are no ids, such as hidden files, are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, state: KeyState) -> Result<Vec<MinionId>, StoreError> {
        let folder = self.folder(state);
        let mut ids = names(&folder).map_err(|source| StoreError::file(folder, source))?;
        ids.sort();
        Ok(ids)
    }
}

/// An accepted key that is on disk and has yet to be put in its state.
#[derive(Debug)]
pub(crate) struct PreparedKey(file::Unnamed);

impl PreparedKey {
    /// What the file system knows of its file.
    pub(crate) fn metadata(&self) -> Result<Metadata, StoreError> {
        self.0.metadata()
    }
}

/// The right to change the keys of a store: one at a time has it, in all processes.
#[derive(Debug)]
pub struct Changing<'a> {
    store: &'a KeyStore,
    _lock: File,
}

impl Changing<'_> {
    /// The store.
    #[must_use]
    pub const fn store(&self) -> &KeyStore {
        self.store
    }

    /// Puts a key in a state, in place of the one in the state `replaces`. Keys of the id in other states, which the
    /// caller has not seen, stay; so does everything when the key is put among the denied ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(
        &self,
        id: &MinionId,
        replaces: Option<KeyState>,
        state: KeyState,
        key: &PublicKey,
    ) -> Result<(), StoreError> {
        // The new file first: a crash between the two steps loses no key.
        file::write(&self.store.path(state, id), key.pem().as_bytes(), 0o600)?;
        self.leave(id, replaces, state)
    }

    /// The same for an accepted key that was prepared.
    pub(crate) fn accept(
        &self,
        id: &MinionId,
        replaces: Option<KeyState>,
        key: PreparedKey,
    ) -> Result<(), StoreError> {
        key.0.name()?;
        self.leave(id, replaces, KeyState::Accepted)
    }

    /// The same, whatever the state the id's key is in now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(&self, id: &MinionId, state: KeyState, key: &PublicKey) -> Result<(), StoreError> {
        let replaces = self.store.find(id)?.map(|(state, _)| state);
        self.put(id, replaces, state, key)
    }

    /// Moves a key from one state to another, as a user asks; the key, or `None` if there is none. A file that
    /// holds no key may be moved, but not be accepted. The id's keys in other states are removed, but for denied
    /// ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn transfer(
        &self,
        id: &MinionId,
        from: KeyState,
        to: KeyState,
    ) -> Result<Option<StoredKey>, StoreError> {
        let Some(stored) = self.store.get(from, id)? else {
            return Ok(None);
        };
        match &stored {
            StoredKey::Key(key) => self.put(id, Some(from), to, key)?,
            StoredKey::Invalid if to == KeyState::Accepted => return Ok(Some(stored)),
            StoredKey::Invalid => {
                file::rename(&self.store.path(from, id), &self.store.path(to, id))?;
            }
        }
        if from == KeyState::Denied {
            self.delete(from, id)?;
        }
        for other in [KeyState::Accepted, KeyState::Pending, KeyState::Rejected] {
            self.leave(id, Some(other), to)?;
        }
        Ok(Some(stored))
    }

    /// Deletes a key in one state; `false` if there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, state: KeyState, id: &MinionId) -> Result<bool, StoreError> {
        file::remove(&self.store.path(state, id))
    }

    /// Takes an id out of a state when it is in another. Denied keys stand beside the others.
    fn leave(&self, id: &MinionId, from: Option<KeyState>, to: KeyState) -> Result<(), StoreError> {
        match from {
            Some(from) if from != to && from != KeyState::Denied && to != KeyState::Denied => {
                self.delete(from, id).map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// The folder of stubs below `pki_dir`.
const AUTOSIGN: &str = "minions_autosign";

/// The file below `pki_dir` that is locked while keys change. It is empty, and no key's name.
const LOCK: &str = ".brine.lock";

fn names(folder: &Path) -> io::Result<Vec<MinionId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(id) = name.to_str().and_then(|name| MinionId::parse(name).ok()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use crate::crypto::rsa::PrivateKey;

    fn id(text: &str) -> MinionId {
        MinionId::parse(text).unwrap()
    }

    fn key() -> PublicKey {
        PrivateKey::generate(1024).unwrap().public().clone()
    }

    #[test]
    fn a_key_stands_in_one_place_and_denied_ones_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path().join("pki"), Compat::NEWEST).unwrap();
        let key = key();
        let changing = store.change().unwrap();
        (changing.set(&id("m1"), KeyState::Pending, &key)).unwrap();
        (changing.set(&id("m1"), KeyState::Denied, &self::key())).unwrap();
        let stored = StoredKey::Key(key);
        assert_eq!(
            store.find(&id("m1")).unwrap(),
            Some((KeyState::Pending, stored.clone()))
        );
        let moved = changing
            .transfer(&id("m1"), KeyState::Pending, KeyState::Accepted)
            .unwrap();
        assert_eq!(moved, Some(stored));
        assert_eq!(store.list(KeyState::Pending).unwrap(), []);
        assert_eq!(store.list(KeyState::Accepted).unwrap(), [id("m1")]);
        assert_eq!(store.list(KeyState::Denied).unwrap(), [id("m1")]);
        assert!(changing.delete(KeyState::Accepted, &id("m1")).unwrap());
        assert!(!changing.delete(KeyState::Accepted, &id("m1")).unwrap());
        assert_eq!(store.find(&id("m1")).unwrap(), None);
        assert_eq!(
            changing
                .transfer(&id("x"), KeyState::Pending, KeyState::Accepted)
                .unwrap(),
            None
        );
    }

    #[test]
    fn a_key_that_was_prepared_is_accepted_later_or_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let files = || fs::read_dir(root.path().join("minions")).unwrap().count();
        let key = key();
        let changing = store.change().unwrap();
        (changing.set(&id("m1"), KeyState::Pending, &key)).unwrap();
        // Not even while somebody changes keys does it wait.
        drop(store.prepare_accepted(&id("m1"), &key).unwrap());
        assert_eq!(files(), 0);
        let prepared = store.prepare_accepted(&id("m1"), &key).unwrap();
        assert_eq!(store.list(KeyState::Accepted).unwrap(), []);
        (changing.accept(&id("m1"), Some(KeyState::Pending), prepared)).unwrap();
        assert_eq!(files(), 1);
        let stored = Some((KeyState::Accepted, StoredKey::Key(key)));
        assert_eq!(store.find(&id("m1")).unwrap(), stored);
        assert_eq!(store.list(KeyState::Pending).unwrap(), []);
    }

    #[test]
    fn nobody_else_may_look_and_hidden_files_are_no_keys() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let changing = store.change().unwrap();
        (changing.set(&id("m1"), KeyState::Accepted, &key())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root.path().join("minions")), 0o700);
        assert_eq!(mode(&store.path(KeyState::Accepted, &id("m1"))), 0o600);
        fs::write(root.path().join("minions/.key_cache"), b"\x90").unwrap();
        assert_eq!(store.list(KeyState::Accepted).unwrap(), [id("m1")]);
        assert_eq!(
            fs::read_dir(root.path().join("minions")).unwrap().count(),
            2
        );
    }

    #[test]
    fn releases_differ_where_files_contradict_each_other() {
        for (release, first) in [("3006", KeyState::Accepted), ("3008", KeyState::Pending)] {
            let root = tempfile::tempdir().unwrap();
            let store = KeyStore::open(root.path(), release.parse().unwrap()).unwrap();
            for folder in ["minions", "minions_pre"] {
                fs::write(root.path().join(folder).join("m1"), folder).unwrap();
            }
            assert_eq!(
                store.find(&id("m1")).unwrap().unwrap().0,
                first,
                "{release}"
            );
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_moved_as_it_is_but_never_accepted() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let (pending, rejected) = (KeyState::Pending, KeyState::Rejected);
        for contents in [&b"rubbish"[..], b"", b"\xff\xfe"] {
            fs::write(store.path(pending, &id("m1")), contents).unwrap();
            let changing = store.change().unwrap();
            let change = |from, to| changing.transfer(&id("m1"), from, to).unwrap();
            assert_eq!(
                change(pending, KeyState::Accepted),
                Some(StoredKey::Invalid)
            );
            assert_eq!(store.list(KeyState::Accepted).unwrap(), []);
            assert_eq!(change(pending, rejected), Some(StoredKey::Invalid));
            assert_eq!(store.list(pending).unwrap(), []);
            assert_eq!(fs::read(store.path(rejected, &id("m1"))).unwrap(), contents);
        }
    }

    #[test]
    fn one_at_a_time_changes_keys_and_removes_no_state_it_has_not_seen() {
        let root = tempfile::tempdir().unwrap();
        let open = || KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let store = open();
        let (one, other) = (key(), key());
        let changing = store.change().unwrap();
        let (send, changed) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let store = open();
                let changing = store.change().unwrap();
                send.send(store.find(&id("m1")).unwrap()).unwrap();
                drop(changing);
            });
            changing
                .put(&id("m1"), None, KeyState::Pending, &one)
                .unwrap();
            drop(changing);
        });
        let seen = changed.recv().unwrap();
        assert_eq!(seen, Some((KeyState::Pending, StoredKey::Key(one.clone()))));
        // Salt's own salt-key does not wait: it accepts between our look and our change.
        let changing = store.change().unwrap();
        fs::rename(
            store.path(KeyState::Pending, &id("m1")),
            store.path(KeyState::Accepted, &id("m1")),
        )
        .unwrap();
        (changing.put(&id("m1"), None, KeyState::Pending, &other)).unwrap();
        let accepted = store.get(KeyState::Accepted, &id("m1")).unwrap();
        assert_eq!(accepted, Some(StoredKey::Key(one)));
    }
}
