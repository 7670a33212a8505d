//! The public keys of minions: accepted, pending, rejected and denied.
//!
//! Whether a key may change its state is [`super::decide`]'s for sign-ins and the user's for
//! everything else. Facts: `docs/protocol/network.md` §5.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use brine_wire::compat::{Compat, Series};
use brine_wire::network::MinionId;

use super::{StoreError, file};
use crate::crypto::rsa::PublicKey;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// The minion may sign in.
    Accepted,
    /// Somebody must say whether it may.
    Pending,
    /// It may not.
    Rejected,
    /// Another key came for a known id; independent of the others.
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

/// What a key file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKey {
    /// A key.
    Key(PublicKey),
    /// Something else, which is the same as no key that a minion may bring.
    Invalid,
}

impl StoredKey {
    fn read(pem: &str) -> Self {
        PublicKey::from_pem(pem).map_or(Self::Invalid, Self::Key)
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

    fn folder(&self, state: KeyState) -> PathBuf {
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
        let path = self.path(state, id);
        match file::read(&path) {
            Ok(text) => Ok(text.map(|pem| StoredKey::read(&pem))),
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                Ok(Some(StoredKey::Invalid))
            }
            Err(error) => Err(error),
        }
    }

    /// Where an id's key stands (accepted, pending or rejected), and the key. Where files
    /// contradict each other the releases differ in which they look at first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &MinionId) -> Result<Option<(KeyState, StoredKey)>, StoreError> {
        let order = match self.series {
            Series::S3008 => [KeyState::Rejected, KeyState::Pending, KeyState::Accepted],
            _ => [KeyState::Rejected, KeyState::Accepted, KeyState::Pending],
        };
        for state in order {
            if let Some(key) = self.get(state, id)? {
                return Ok(Some((state, key)));
            }
        }
        Ok(None)
    }

    /// Puts a key in a state and takes the id out of the others. [`KeyState::Denied`] leaves the
    /// others as they are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, state: KeyState, id: &MinionId, key: &PublicKey) -> Result<(), StoreError> {
        // The new file first: a crash between the two steps loses no key.
        file::write(&self.path(state, id), key.pem().as_bytes(), 0o600)?;
        self.leave_others(state, id)
    }

    fn leave_others(&self, state: KeyState, id: &MinionId) -> Result<(), StoreError> {
        if state != KeyState::Denied {
            for other in [KeyState::Accepted, KeyState::Pending, KeyState::Rejected] {
                if other != state {
                    file::remove(&self.path(other, id))?;
                }
            }
        }
        Ok(())
    }

    /// Moves a key from one state to another, as a user asks; the key, or `None` if there is none. A file that
    /// holds no key may be moved, but not be accepted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn change(
        &self,
        id: &MinionId,
        from: KeyState,
        to: KeyState,
    ) -> Result<Option<StoredKey>, StoreError> {
        let Some(stored) = self.get(from, id)? else {
            return Ok(None);
        };
        match &stored {
            StoredKey::Key(key) => {
                self.put(to, id, key)?;
                if from == KeyState::Denied {
                    file::remove(&self.path(from, id))?;
                }
            }
            StoredKey::Invalid if to == KeyState::Accepted => {}
            StoredKey::Invalid => {
                file::rename(&self.path(from, id), &self.path(to, id))?;
                self.leave_others(to, id)?;
            }
        }
        Ok(Some(stored))
    }

    /// Deletes a key in one state; `false` if there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, state: KeyState, id: &MinionId) -> Result<bool, StoreError> {
        file::remove(&self.path(state, id))
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

/// The folder of stubs below `pki_dir`.
const AUTOSIGN: &str = "minions_autosign";

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
        store.put(KeyState::Pending, &id("m1"), &key).unwrap();
        store
            .put(KeyState::Denied, &id("m1"), &self::key())
            .unwrap();
        let stored = StoredKey::Key(key);
        assert_eq!(
            store.find(&id("m1")).unwrap(),
            Some((KeyState::Pending, stored.clone()))
        );
        let moved = store
            .change(&id("m1"), KeyState::Pending, KeyState::Accepted)
            .unwrap();
        assert_eq!(moved, Some(stored));
        assert_eq!(store.list(KeyState::Pending).unwrap(), []);
        assert_eq!(store.list(KeyState::Accepted).unwrap(), [id("m1")]);
        assert_eq!(store.list(KeyState::Denied).unwrap(), [id("m1")]);
        assert!(store.delete(KeyState::Accepted, &id("m1")).unwrap());
        assert!(!store.delete(KeyState::Accepted, &id("m1")).unwrap());
        assert_eq!(store.find(&id("m1")).unwrap(), None);
        assert_eq!(
            store
                .change(&id("x"), KeyState::Pending, KeyState::Accepted)
                .unwrap(),
            None
        );
    }

    #[test]
    fn nobody_else_may_look_and_hidden_files_are_no_keys() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        store.put(KeyState::Accepted, &id("m1"), &key()).unwrap();
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
            let change = |from, to| store.change(&id("m1"), from, to).unwrap();
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
}
