//! Keys that are made here for a minion, whose private half is handed out once and kept nowhere.
//!
//! Facts: Salt 3008.3's and 3007.14's `wheel/key.py`.

use brine_net::crypto::rsa::{KeyError, PrivateKey};
use brine_net::keys::StoreError;
use brine_net::keys::store::KeyState;
use brine_wire::Map;
use brine_wire::network::MinionId;

use super::{Keys, KeysError, LeftoverFiles};

/// The smallest key that is made, in bits, as Salt documents it.
const FEWEST_BITS: u32 = 2048;

/// A new key pair as PEM files: `priv` and `pub`.
///
/// # Errors
/// [`KeysError`] for a size out of bounds.
pub fn generate(bits: u32) -> Result<Map, KeysError> {
    Ok(files(&new_key(bits)?)?)
}

impl Keys {
    /// Makes a key pair for a minion and accepts it; `None` if the minion has a key in any state and `force` is false.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn generate_accepted(
        &self,
        id: &MinionId,
        bits: u32,
        force: bool,
        leftover: &LeftoverFiles,
    ) -> Result<Option<Map>, KeysError> {
        if !force && self.has_key(id)? {
            return Ok(None);
        }
        // Takes too long to hold a lock.
        let key = new_key(bits)?;
        let changing = self.store.change()?;
        if !force && self.has_key(id)? {
            return Ok(None);
        }
        let before = self.store.find(id)?.map(|(state, _)| state);
        let files = files(&key)?;
        changing.put(id, before, KeyState::Accepted, key.public())?;
        drop(changing);
        if before == Some(KeyState::Accepted) {
            // Whoever has the key that was replaced reads nothing further.
            self.end_session(id, leftover)?;
        }
        Ok(Some(files))
    }

    /// Whether an id has a key in any state.
    fn has_key(&self, id: &MinionId) -> Result<bool, StoreError> {
        Ok(self.store.find(id)?.is_some() || self.store.get(KeyState::Denied, id)?.is_some())
    }
}

fn new_key(bits: u32) -> Result<PrivateKey, KeyError> {
    PrivateKey::generate(bits.max(FEWEST_BITS))
}

fn files(key: &PrivateKey) -> Result<Map, StoreError> {
    let mut files = Map::new();
    files.insert("priv", key.to_pem()?.as_str());
    files.insert("pub", format!("{}\n", key.public().pem()));
    Ok(files)
}
