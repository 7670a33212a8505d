//! The session keys of minions: one file per accepted id in `cachedir/sessions`.
//!
//! They survive a restart, so that minions continue without signing in again, but not a change of the minion's RSA
//! key: a session is bound to the accepted key, in memory and on disk. Facts:
//! `docs/protocol/network.md` §5, §7.2.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use brine_wire::network::MinionId;

use super::accepted::AcceptedKey;
use super::{StoreError, file};
use crate::crypto::crypticle::Key;
use crate::crypto::sha256_hex;

/// The session keys below a master's `cachedir`. Only for accepted minions, since a missing key is created.
#[derive(Debug)]
pub struct Sessions {
    files: Files,
    /// `publish_session`.
    max_age: Duration,
    /// Locked for short look-ups; files are read and keys made under `making`.
    known: Mutex<HashMap<MinionId, Known>>,
    /// Locked while a key is made.
    making: Mutex<()>,
}

#[derive(Debug)]
struct Known {
    made: SystemTime,
    /// The accepted key it was made for. The same key accepted again counts as another one, so that the files decide.
    owner: Arc<AcceptedKey>,
    session: Arc<Key>,
}

impl Sessions {
    /// The sessions in `cachedir`; keys older than `max_age` are replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(cachedir: impl Into<PathBuf>, max_age: Duration) -> Result<Self, StoreError> {
        let files = Files::below(&cachedir.into());
        file::private_folder(&files.bindings())?;
        Ok(Self {
            files,
            max_age,
            known: Mutex::default(),
            making: Mutex::default(),
        })
    }

    /// The session key of a minion. Creates one if it is missing, too old, or made for another key than the accepted
    /// one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(
        &self,
        id: &MinionId,
        owner: &Arc<AcceptedKey>,
        now: SystemTime,
    ) -> Result<Arc<Key>, StoreError> {
        if let Some(session) = self.in_memory(id, owner, now) {
            return Ok(session);
        }
        let _one_at_a_time = self.making.lock();
        if let Some(session) = self.in_memory(id, owner, now) {
            return Ok(session);
        }
        let (made, session) = match self.files.read(id, owner)? {
            Some((made, key)) if self.is_fresh(made, now) => (made, key),
            _ => {
                let key = Key::generate()?;
                self.files.write(id, owner, &key)?;
                (now, key)
            }
        };
        let session = Arc::new(session);
        if let Ok(mut known) = self.known.lock() {
            let known_now = Known {
                made,
                owner: owner.clone(),
                session: session.clone(),
            };
            known.insert(id.clone(), known_now);
        }
        Ok(session)
    }

    fn in_memory(
        &self,
        id: &MinionId,
        owner: &Arc<AcceptedKey>,
        now: SystemTime,
    ) -> Option<Arc<Key>> {
        let known = self.known.lock().ok()?;
        let known = known.get(id)?;
        let fits = Arc::ptr_eq(&known.owner, owner) && self.is_fresh(known.made, now);
        fits.then(|| known.session.clone())
    }

    fn is_fresh(&self, made: SystemTime, now: SystemTime) -> bool {
        now.duration_since(made).unwrap_or_default() <= self.max_age
    }

    /// Ends a minion's session, as when its key is deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&self, id: &MinionId) -> Result<(), StoreError> {
        if let Ok(mut known) = self.known.lock() {
            known.remove(id);
        }
        self.files.remove(id)
    }
}

/// Ends a minion's session when its key is deleted or rejected, from a process beside the master, such as
/// `salt-key`: the master sees that the key is no longer accepted, and finds no session if it is accepted again.
///
/// # Errors
/// [`StoreError`].
pub fn end(cachedir: &Path, id: &MinionId) -> Result<(), StoreError> {
    Files::below(cachedir).remove(id)
}

/// The files of sessions. Salt's files contain only the session key; the RSA key that a session is bound to is
/// recorded in another file, in a folder that Salt ignores.
#[derive(Debug)]
struct Files(PathBuf);

impl Files {
    fn below(cachedir: &Path) -> Self {
        Self(cachedir.join("sessions"))
    }

    fn bindings(&self) -> PathBuf {
        self.0.join(".bindings")
    }

    /// The session key and its age, if it is bound to this key.
    fn read(
        &self,
        id: &MinionId,
        owner: &AcceptedKey,
    ) -> Result<Option<(SystemTime, Key)>, StoreError> {
        let path = self.0.join(id.as_str());
        let Some(made) = fs::metadata(&path).and_then(|about| about.modified()).ok() else {
            return Ok(None);
        };
        let Some(key) = file::read(&path)?.and_then(|text| Key::parse(&text).ok()) else {
            return Ok(None);
        };
        let bound = file::read(&self.bindings().join(id.as_str()))?;
        Ok((bound.as_deref() == Some(&binding(owner, &key))).then_some((made, key)))
    }

    /// Without these files a minion signs in again, so they need not survive a crash of the machine.
    fn write(&self, id: &MinionId, owner: &AcceptedKey, key: &Key) -> Result<(), StoreError> {
        let bound = binding(owner, key);
        file::write_cache(&self.bindings().join(id.as_str()), bound.as_bytes(), 0o600)?;
        file::write_cache(&self.0.join(id.as_str()), key.as_str().as_bytes(), 0o600)
    }

    fn remove(&self, id: &MinionId) -> Result<(), StoreError> {
        file::remove(&self.0.join(id.as_str()))?;
        file::remove(&self.bindings().join(id.as_str())).map(drop)
    }
}

/// A digest of both keys, so that after a crash between writing the two files they do not match.
fn binding(owner: &AcceptedKey, session: &Key) -> String {
    sha256_hex(format!("{}\n{}", owner.public.pem(), session.as_str()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rsa::PrivateKey;

    fn owner(key: &PrivateKey) -> Arc<AcceptedKey> {
        Arc::new(AcceptedKey::new(key.public().clone()))
    }

    #[test]
    fn a_session_outlives_a_restart_but_not_its_age() {
        let root = tempfile::tempdir().unwrap();
        let id = MinionId::parse("m1").unwrap();
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let open = || Sessions::open(root.path(), day).unwrap();
        let owner = owner(&PrivateKey::generate(1024).unwrap());
        let first = open();
        let key = first.get(&id, &owner, now).unwrap();
        assert_eq!(first.get(&id, &owner, now).unwrap().as_str(), key.as_str());
        let second = open();
        assert_eq!(second.get(&id, &owner, now).unwrap().as_str(), key.as_str());
        let later = now + day + Duration::from_secs(60);
        let new = second.get(&id, &owner, later).unwrap();
        assert_ne!(new.as_str(), key.as_str());
        second.forget(&id).unwrap();
        assert_ne!(second.get(&id, &owner, now).unwrap().as_str(), new.as_str());
    }

    #[test]
    fn a_session_ends_with_the_key_it_was_made_for() {
        let root = tempfile::tempdir().unwrap();
        let id = MinionId::parse("m1").unwrap();
        let now = SystemTime::now();
        let open = || Sessions::open(root.path(), Duration::from_secs(86_400)).unwrap();
        let [one, other] = [1024; 2].map(|bits| PrivateKey::generate(bits).unwrap());
        let sessions = open();
        let of = |sessions: &Sessions, owner: &Arc<AcceptedKey>| {
            sessions.get(&id, owner, now).unwrap().as_str().to_owned()
        };
        let first = owner(&one);
        let session = of(&sessions, &first);
        // The file was only touched: the same key is the same minion's.
        assert_eq!(of(&sessions, &owner(&one)), session);
        let of_other = of(&sessions, &owner(&other));
        assert_ne!(of_other, session);
        // Neither in memory nor after a restart does the first key get back what was the other's.
        assert_ne!(of(&open(), &owner(&one)), of_other);
        let last = of(&sessions, &owner(&one));
        assert_eq!(of(&open(), &owner(&one)), last);
        // Deleted, and accepted again.
        end(root.path(), &id).unwrap();
        assert_ne!(of(&sessions, &owner(&one)), last);
        // A file of a release that did not bind sessions.
        fs::remove_file(root.path().join("sessions/.bindings/m1")).unwrap();
        let text = fs::read_to_string(root.path().join("sessions/m1")).unwrap();
        assert_ne!(of(&open(), &owner(&one)), text);
    }
}
