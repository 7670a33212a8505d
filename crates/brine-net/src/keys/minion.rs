//! A minion's keys: its own, and that of the master it trusts.
//!
//! Facts: `docs/protocol/network.md` §5, §6.4.

use std::path::PathBuf;

use super::master::{self, KeyOptions};
use super::{StoreError, file};
use crate::crypto::rsa::{PrivateKey, PublicKey};
use crate::crypto::sha256_hex;
use crate::serials::Serials;

/// The keys below a minion's `pki_dir`.
#[derive(Debug)]
pub struct MinionKeys {
    pki_dir: PathBuf,
    /// Its own.
    pub own: PrivateKey,
    /// The numbers of the last publishes, for as long as the minion runs.
    pub serials: Serials,
}

impl MinionKeys {
    /// Reads `minion.pem`, or creates it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(pki_dir: impl Into<PathBuf>, options: &KeyOptions) -> Result<Self, StoreError> {
        let pki_dir = pki_dir.into();
        Ok(Self {
            own: master::open(&pki_dir, "minion", options)?,
            pki_dir,
            serials: Serials::default(),
        })
    }

    /// The master's key that was trusted before.
    ///
    /// # Errors
    /// [`StoreError`], also if the file holds no valid key.
    pub fn trusted_master(&self) -> Result<Option<PublicKey>, StoreError> {
        self.public("minion_master.pub")
    }

    /// The key that signs masters' keys (`verify_master_pubkey_sign`).
    ///
    /// # Errors
    /// As for [`MinionKeys::trusted_master`].
    pub fn master_sign(&self, name: &str) -> Result<Option<PublicKey>, StoreError> {
        self.public(&format!("{name}.pub"))
    }

    fn public(&self, name: &str) -> Result<Option<PublicKey>, StoreError> {
        let path = self.pki_dir.join(name);
        let Some(pem) = file::read(&path)? else {
            return Ok(None);
        };
        match PublicKey::from_pem(&pem) {
            Ok(key) => Ok(Some(key)),
            Err(source) => Err(StoreError::Key { path, source }),
        }
    }

    /// The file that records that the trusted master signs its publishes.
    #[must_use]
    pub fn signing_record(&self) -> SigningRecord {
        SigningRecord(self.pki_dir.join("minion_master.signs"))
    }

    /// Stores a master's key as trusted. Only for keys whose owner has proved to have them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trust_master(&self, key: &PublicKey) -> Result<(), StoreError> {
        let path = self.pki_dir.join("minion_master.pub");
        file::write(&path, key.pem().as_bytes(), 0o644)
    }
}

/// A file that records the master's key whose owner signs publishes. An unsigned publish is then not from that
/// master.
#[derive(Debug, Clone)]
pub struct SigningRecord(PathBuf);

impl SigningRecord {
    /// Whether it records this key.
    #[must_use]
    pub fn names(&self, master: &PublicKey) -> bool {
        let named = file::read(&self.0).ok().flatten();
        named.is_some_and(|named| named.trim() == digest(master))
    }

    /// Records this key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(&self, master: &PublicKey) -> Result<(), StoreError> {
        file::write(&self.0, digest(master).as_bytes(), 0o600)
    }
}

fn digest(key: &PublicKey) -> String {
    sha256_hex(key.pem().as_bytes())
}
