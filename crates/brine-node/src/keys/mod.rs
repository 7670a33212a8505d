//! A master's minion keys as administrators see them: listed by state or glob, printed, and changed.
//!
//! Shared by `salt-key` and the master's wheel functions. The key files and their locking belong to `brine-net`.
//! Facts: Salt 3008.3 and 3006.28, by running them.

mod change;
mod generate;

use std::io;
use std::path::{Path, PathBuf};

use brine_net::crypto::rsa::{KeyError, PublicKey};
use brine_net::crypto::{self, FingerprintHash};
use brine_net::keys::StoreError;
use brine_net::keys::store::{KeyState, KeyStore, StoredKey};
use brine_wire::compat::{Compat, Series};
use brine_wire::matching::{MatchError, MatchType, TagMatch};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

pub use self::change::{Action, Include, LeftoverFiles};
pub use self::generate::generate;

/// Keys could not be listed or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A key file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An invalid glob.
    #[error("invalid key glob '{glob}': {source}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong.
        source: MatchError,
    },
    /// A key of this size is not made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeysError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

/// The keys of a master.
#[derive(Debug)]
pub struct Keys {
    /// Their files.
    pub store: KeyStore,
    pki_dir: PathBuf,
    compat: Compat,
}

/// Ids by state, in the order of the configured release; empty states are left out.
pub type Found = Vec<(KeyState, Vec<MinionId>)>;

impl Keys {
    /// The keys in a store, below its `pki_dir`, as a release shows them.
    #[must_use]
    pub const fn new(store: KeyStore, pki_dir: PathBuf, compat: Compat) -> Self {
        Self {
            store,
            pki_dir,
            compat,
        }
    }

    /// Whether the release keeps all states of an id in one key cache, as 3008 does.
    const fn is_cache(&self) -> bool {
        matches!(self.compat.series(), Series::S3008)
    }

    /// The states in the order in which the release lists them.
    const fn states(&self) -> [KeyState; 4] {
        if self.is_cache() {
            [
                KeyState::Pending,
                KeyState::Rejected,
                KeyState::Accepted,
                KeyState::Denied,
            ]
        } else {
            [
                KeyState::Accepted,
                KeyState::Pending,
                KeyState::Rejected,
                KeyState::Denied,
            ]
        }
    }

    /// The ids in a state, sorted as Salt sorts them.
    fn ids(&self, state: KeyState) -> Result<Vec<MinionId>, KeysError> {
        let mut ids = self.store.list(state)?;
        ids.sort_by_key(|id| id.as_str().to_lowercase());
        Ok(ids)
    }

    /// The ids in the states that a word such as `acc` names; in all states if it names none.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn list(&self, word: &str) -> Result<Value, KeysError> {
        let states = state_of(word).map_or_else(|| self.states().to_vec(), |state| vec![state]);
        let mut listed = Map::new();
        for state in states {
            listed.insert(state.folder(), names(&self.ids(state)?));
        }
        Ok(listed.into())
    }

    /// All ids, and the names of the master's own key files.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn list_all(&self) -> Result<Value, KeysError> {
        let mut listed = self.list("all")?;
        if let Value::Map(listed) = &mut listed {
            let own = self.own()?.into_iter().map(Value::from);
            listed.insert("local", own.collect::<Vec<_>>());
        }
        Ok(listed)
    }

    /// The ids that a glob, or several with commas, matches.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn matching(&self, glob: &str) -> Result<Found, KeysError> {
        let globs = globs(glob)?;
        let mut found = Vec::new();
        for state in self.states() {
            let ids = self.ids(state)?.into_iter();
            let ids: Vec<_> = ids
                .flat_map(|id| {
                    let times = globs.iter().filter(|glob| glob.matches(id.as_str()));
                    std::iter::repeat_n(id.clone(), times.count())
                })
                .collect();
            if !ids.is_empty() {
                found.push((state, ids));
            }
        }
        Ok(found)
    }

    /// The current states of ids, in the order of the states they had before.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn now(&self, before: &Found) -> Result<Vec<MinionId>, KeysError> {
        let mut by_state: [Vec<MinionId>; 4] = Default::default();
        let states = [
            KeyState::Accepted,
            KeyState::Pending,
            KeyState::Rejected,
            KeyState::Denied,
        ];
        let mut order = Vec::new();
        for id in before.iter().flat_map(|(_, ids)| ids) {
            for (at, state) in states.into_iter().enumerate() {
                if self.store.path(state, id).is_file() {
                    if !order.contains(&at) {
                        order.push(at);
                    }
                    by_state[at].push(id.clone());
                }
            }
        }
        Ok(order
            .into_iter()
            .flat_map(|at| std::mem::take(&mut by_state[at]))
            .collect())
    }

    /// The keys themselves (`--print`).
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn texts(&self, glob: &str) -> Result<Value, KeysError> {
        self.each(&self.matching(glob)?, |key| key.pem().to_owned())
    }

    /// Fingerprints (`--finger`), including those of the master's own keys.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn fingerprints(&self, glob: &str, hash: FingerprintHash) -> Result<Value, KeysError> {
        let print = |key: &PublicKey| crypto::fingerprint(key, hash);
        let mut prints = self.each(&self.matching(glob)?, print)?;
        let globs = globs(glob)?;
        let mut local = Map::new();
        for name in self.own()? {
            if globs.iter().any(|glob| glob.matches(&name)) {
                let path = self.pki_dir.join(&name);
                let pem = std::fs::read_to_string(&path);
                let pem = pem.map_err(KeysError::file(&path))?;
                local.insert(name, crypto::own_file_fingerprint(&pem, hash));
            }
        }
        if let Value::Map(prints) = &mut prints
            && !local.is_empty()
        {
            prints.insert("local", local);
        }
        Ok(prints)
    }

    /// The names of the master's own key files, sorted. 3008 leaves links out.
    fn own(&self) -> Result<Vec<String>, KeysError> {
        let folder = std::fs::read_dir(&self.pki_dir);
        let mut names = Vec::new();
        for entry in folder.map_err(KeysError::file(&self.pki_dir))? {
            let entry = entry.map_err(KeysError::file(&self.pki_dir))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_file = if self.is_cache() {
                entry.file_type().is_ok_and(|kind| kind.is_file()) && MinionId::parse(&name).is_ok()
            } else {
                entry.path().is_file()
            };
            if is_file && (name.ends_with(".pub") || name.ends_with(".pem")) {
                names.push(name);
            }
        }
        names.sort_by_key(|name| name.to_lowercase());
        Ok(names)
    }

    /// Applies a function to each key; the results by state and id.
    fn each(&self, found: &Found, make: impl Fn(&PublicKey) -> String) -> Result<Value, KeysError> {
        let mut all = Map::new();
        for (state, ids) in found {
            let mut made = Map::new();
            for id in ids {
                // `None`: another process has just removed it.
                let shown = match self.store.get(*state, id)? {
                    Some(StoredKey::Key(key)) => make(&key),
                    Some(StoredKey::Invalid) => "invalid RSA public key".to_owned(),
                    None => continue,
                };
                made.insert(id.as_str(), shown);
            }
            all.insert(state.folder(), made);
        }
        Ok(all.into())
    }
}

/// The state that a word such as `acc`, `pre`, `un`, `rej` or `den` names.
#[must_use]
pub fn state_of(word: &str) -> Option<KeyState> {
    let words = [
        ("acc", KeyState::Accepted),
        ("pre", KeyState::Pending),
        ("un", KeyState::Pending),
        ("rej", KeyState::Rejected),
        ("den", KeyState::Denied),
    ];
    let found = words.into_iter().find(|(start, _)| word.starts_with(start));
    found.map(|(_, state)| state)
}

/// Ids by state as `salt-key` prints them.
#[must_use]
pub fn by_state(found: &Found) -> Value {
    let pairs = found.iter();
    let pairs = pairs.map(|(state, ids)| (state.folder(), names(ids)));
    Map::from_iter(pairs).into()
}

fn names(ids: &[MinionId]) -> Value {
    Value::Array(ids.iter().map(|id| id.as_str().into()).collect())
}

fn globs(text: &str) -> Result<Vec<TagMatch>, KeysError> {
    text.split(',')
        .map(|glob| {
            TagMatch::new(MatchType::Fnmatch, glob).map_err(|source| KeysError::Glob {
                glob: glob.to_owned(),
                source,
            })
        })
        .collect()
}
