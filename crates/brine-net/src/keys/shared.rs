//! The shared key of the last run: kept for one purpose only.
//!
//! A 3008 minion that comes back on tcp after a master's restart identifies itself with the key of
//! before; a master that cannot read that does not know whose the connection is. Facts:
//! `docs/protocol/network.md` §2.2.

use std::path::{Path, PathBuf};

use super::{StoreError, file};
use crate::crypto::crypticle::Key;

/// The file, 0600.
#[derive(Debug, Clone)]
pub struct SharedKeyFile(PathBuf);

impl SharedKeyFile {
    /// In a master's `cachedir`.
    #[must_use]
    pub fn new(cachedir: &Path) -> Self {
        Self(cachedir.join(".aes_of_last_run"))
    }

    /// The key of before, if it is there.
    #[must_use]
    pub fn read(&self) -> Option<Key> {
        Key::parse(&file::read(&self.0).ok()??).ok()
    }

    /// Keeps a key for the next run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write(&self, key: &Key) -> Result<(), StoreError> {
        file::write(&self.0, key.as_str().as_bytes(), 0o600)
    }
}
