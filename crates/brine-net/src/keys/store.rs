//! The public keys of minions: accepted, pending, rejected and denied.
//!
//! Whether a key may change its state is [`super::decide`]'s for sign-ins and the user's for
//! everything else. Facts: `docs/protocol/network.md` §5.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use brine_wire::compat::{Compat, Series};
use brine_wire::network::{MinionId, key_text};

use super::{StoreError, file};

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

    /// The key of an id in a state, cleaned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, state: KeyState, id: &MinionId) -> Result<Option<String>, StoreError> {
        Ok(file::read(&self.path(state, id))?.map(|pem| key_text::clean(&pem)))
    }

    /// Where an id's key stands (accepted, pending or rejected), and the key. Where files
    /// contradict each other the releases differ in which they look at first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &MinionId) -> Result<Option<(KeyState, String)>, StoreError> {
        let order = match self.series {
            Series::S3008 => [KeyState::Rejected, KeyState::Pending, KeyState::Accepted],
            _ => [KeyState::Rejected, KeyState::Accepted, KeyState::Pending],
        };
        for state in order {
            if let Some(pem) = self.get(state, id)? {
                return Ok(Some((state, pem)));
            }
        }
        Ok(None)
    }

    /// Puts a key in a state and takes the id out of the others. [`KeyState::Denied`] leaves the
    /// others as they are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, state: KeyState, id: &MinionId, pem: &str) -> Result<(), StoreError> {
        // The new file first: a crash between the two steps loses no key.
        file::write(&self.path(state, id), pem.as_bytes(), 0o600)?;
        if state != KeyState::Denied {
            for other in [KeyState::Accepted, KeyState::Pending, KeyState::Rejected] {
                if other != state {
                    file::remove(&self.path(other, id))?;
                }
            }
        }
        Ok(())
    }

    /// Moves a key from one state to another, as a user asks; its PEM, or `None` if there is no
    /// such key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn change(
        &self,
        id: &MinionId,
        from: KeyState,
        to: KeyState,
    ) -> Result<Option<String>, StoreError> {
        let Some(pem) = self.get(from, id)? else {
            return Ok(None);
        };
        self.put(to, id, &pem)?;
        if from == KeyState::Denied {
            file::remove(&self.path(from, id))?;
        }
        Ok(Some(pem))
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

    fn id(text: &str) -> MinionId {
        MinionId::parse(text).unwrap()
    }

    #[test]
    fn a_key_stands_in_one_place_and_denied_ones_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path().join("pki"), Compat::NEWEST).unwrap();
        store.put(KeyState::Pending, &id("m1"), "PEM\r\n").unwrap();
        store.put(KeyState::Denied, &id("m1"), "OTHER").unwrap();
        assert_eq!(
            store.find(&id("m1")).unwrap(),
            Some((KeyState::Pending, "PEM".into()))
        );
        let moved = store
            .change(&id("m1"), KeyState::Pending, KeyState::Accepted)
            .unwrap();
        assert_eq!(moved.as_deref(), Some("PEM"));
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
        store.put(KeyState::Accepted, &id("m1"), "PEM").unwrap();
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
}
