//! The fleet's RSA keys: made once, kept in a folder, and put among a master's accepted ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use brine_net::crypto::rsa::PrivateKey;
use brine_net::keys::master::{self, KeyOptions};
use brine_net::keys::store::{KeyState, KeyStore, StoredKey};
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;

use super::FleetError;

pub(super) type Keys = Vec<Arc<PrivateKey>>;

/// Reads so many keys of the folder; makes those that are missing, on all cores.
pub(super) fn open(folder: &Path, count: usize) -> Result<Keys, FleetError> {
    fs::create_dir_all(folder).map_err(|source| FleetError::File {
        path: folder.to_owned(),
        source,
    })?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let options = KeyOptions::default();
    let share = |first: usize| -> Result<Vec<(usize, PrivateKey)>, FleetError> {
        let numbers = (first..count).step_by(threads);
        numbers
            .map(|number| {
                let key = master::open(folder, &format!("key-{number:05}"), &options)?;
                Ok((number, key))
            })
            .collect()
    };
    let shares = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || share(first)))
            .collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        ended.flatten().collect::<Result<Vec<_>, _>>()
    })?;
    let mut keys: Vec<_> = shares.into_iter().flatten().collect();
    keys.sort_by_key(|(number, _)| *number);
    Ok(keys.into_iter().map(|(_, key)| Arc::new(key)).collect())
}

/// Puts the key of every id among the accepted ones of a master.
pub(super) fn accept(pki_dir: &Path, ids: &[MinionId], keys: &Keys) -> Result<(), FleetError> {
    let store = KeyStore::open(pki_dir, Compat::NEWEST)?;
    let changing = store.change()?;
    for (number, id) in ids.iter().enumerate() {
        let key = keys[number % keys.len()].public();
        let stored = store.get(KeyState::Accepted, id)?;
        if stored.as_ref().and_then(StoredKey::key) != Some(key) {
            changing.set(id, KeyState::Accepted, key)?;
        }
    }
    Ok(())
}
