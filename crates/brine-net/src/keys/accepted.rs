//! A cache of accepted keys: parsed once, and dropped as soon as their file is.
//!
//! Every request is checked here first, so that a stranger costs one look at the file system.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, OnceLock};

use brine_wire::network::MinionId;

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

/// The accepted keys of a store.
#[derive(Debug)]
pub struct AcceptedKeys {
    store: KeyStore,
    /// Locked for short look-ups; parsing happens outside. Never more entries than accepted keys.
    known: Mutex<HashMap<MinionId, (Version, Arc<AcceptedKey>)>>,
}

impl AcceptedKeys {
    /// The accepted keys of a store.
    #[must_use]
    pub fn new(store: KeyStore) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// The accepted key of an id, as its file is now.
    #[must_use]
    pub fn get(&self, id: &MinionId) -> Option<Arc<AcceptedKey>> {
        let path = self.store.path(KeyState::Accepted, id);
        let Ok(about) = fs::metadata(&path) else {
            if let Ok(mut known) = self.known.lock() {
                known.remove(id);
            }
            return None;
        };
        let version = (about.ino(), about.size(), about.mtime(), about.mtime_nsec());
        if let Ok(known) = self.known.lock()
            && let Some((seen, key)) = known.get(id)
            && *seen == version
        {
            return Some(key.clone());
        }
        let stored = self.store.get(KeyState::Accepted, id).ok()??;
        let key = Arc::new(AcceptedKey::new(stored.key()?.clone()));
        if let Ok(mut known) = self.known.lock() {
            known.insert(id.clone(), (version, key.clone()));
        }
        Some(key)
    }
}
