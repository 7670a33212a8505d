//! The session keys of minions: one file per accepted id in `cachedir/sessions`.
//!
//! They outlive a restart, so that minions go on without signing in again. Facts:
//! `docs/protocol/network.md` §5, §7.2.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use brine_wire::network::MinionId;

use super::{StoreError, file};
use crate::crypto::crypticle::Key;

/// The session keys below a master's `cachedir`. Ask for accepted minions only: asking makes one.
#[derive(Debug)]
pub struct Sessions {
    folder: PathBuf,
    /// `publish_session`.
    max_age: Duration,
    /// Short look-ups only; files are read and keys made outside, so that two who ask at once for
    /// the same new minion may make two: the file decides, see [`Sessions::get`].
    known: Mutex<HashMap<MinionId, (SystemTime, Arc<Key>)>>,
    /// One maker of keys at a time.
    making: Mutex<()>,
}

impl Sessions {
    /// Those in `cachedir`, which are replaced when older than `max_age`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(cachedir: impl Into<PathBuf>, max_age: Duration) -> Result<Self, StoreError> {
        let folder = cachedir.into().join("sessions");
        file::private_folder(&folder)?;
        Ok(Self {
            folder,
            max_age,
            known: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// The session key of a minion; a new one if there is none or it is too old.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, id: &MinionId, now: SystemTime) -> Result<Arc<Key>, StoreError> {
        if let Some(key) = self.at_hand(id, now) {
            return Ok(key);
        }
        let _one_at_a_time = self.making.lock();
        if let Some(key) = self.at_hand(id, now) {
            return Ok(key);
        }
        let path = self.folder.join(id.as_str());
        let made = fs::metadata(&path).and_then(|about| about.modified()).ok();
        let kept = match made {
            Some(made) if self.is_fresh(made, now) => file::read(&path)?
                .and_then(|text| Key::parse(&text).ok())
                .map(|key| (made, key)),
            _ => None,
        };
        let (made, key) = match kept {
            Some(kept) => kept,
            None => {
                let key = Key::generate()?;
                // Without it a minion signs in again.
                file::write_cache(&path, key.as_str().as_bytes(), 0o600)?;
                (now, key)
            }
        };
        let key = Arc::new(key);
        if let Ok(mut known) = self.known.lock() {
            known.insert(id.clone(), (made, key.clone()));
        }
        Ok(key)
    }

    fn at_hand(&self, id: &MinionId, now: SystemTime) -> Option<Arc<Key>> {
        let known = self.known.lock().ok()?;
        let (made, key) = known.get(id)?;
        self.is_fresh(*made, now).then(|| key.clone())
    }

    fn is_fresh(&self, made: SystemTime, now: SystemTime) -> bool {
        now.duration_since(made).unwrap_or_default() <= self.max_age
    }

    /// Drops a minion's session key, as when its key is deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&self, id: &MinionId) -> Result<(), StoreError> {
        if let Ok(mut known) = self.known.lock() {
            known.remove(id);
        }
        file::remove(&self.folder.join(id.as_str())).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_outlives_a_restart_but_not_its_age() {
        let root = tempfile::tempdir().unwrap();
        let id = MinionId::parse("m1").unwrap();
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let open = || Sessions::open(root.path(), day).unwrap();
        let first = open();
        let key = first.get(&id, now).unwrap();
        assert_eq!(first.get(&id, now).unwrap().as_str(), key.as_str());
        let second = open();
        assert_eq!(second.get(&id, now).unwrap().as_str(), key.as_str());
        let later = now + day + Duration::from_secs(60);
        let new = second.get(&id, later).unwrap();
        assert_ne!(new.as_str(), key.as_str());
        second.forget(&id).unwrap();
        assert_ne!(second.get(&id, now).unwrap().as_str(), new.as_str());
    }
}
