//! The session keys of minions: one file per accepted id in `cachedir/sessions`.
//!
//! They survive a restart, so that minions continue without signing in again, but not a change of the minion's RSA
//! key: a session is bound to the accepted key, in memory and on disk. On disk there is nothing but the session key, as
//! Salt has it: its second half is a digest of the first half and of the accepted key, which only the master can make.
//! Facts: `docs/protocol/network.md` §5, §7.2.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use brine_wire::network::MinionId;
use brine_wire::network::crypticle::AES_KEY_BYTES;
use zeroize::Zeroizing;

use super::accepted::AcceptedKey;
use super::{StoreError, file};
use crate::crypto::crypticle::Key;
use crate::crypto::rsa::{PrivateKey, RsaError};
use crate::crypto::{self, NoRandom};

/// The session keys below a master's `cachedir`. Only for accepted minions, since a missing key is created.
#[derive(Debug)]
pub struct Sessions {
    files: Files,
    binding: Binding,
    /// `publish_session`.
    max_age: Duration,
    /// Locked for short look-ups; files are read and keys made under `making`.
    known: Mutex<HashMap<MinionId, Known>>,
    /// Locked while a key is made, one for each of so many parts of the ids: minions do not wait for each other's files.
    making: [Mutex<()>; 16],
}

#[derive(Debug)]
struct Known {
    made: SystemTime,
    /// The accepted key it was made for. The same key accepted again counts as another one, so that the files decide.
    owner: Arc<AcceptedKey>,
    session: Arc<Key>,
}

impl Sessions {
    /// The sessions of a master in `cachedir`; keys older than `max_age` are replaced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        cachedir: impl Into<PathBuf>,
        max_age: Duration,
        master: &PrivateKey,
    ) -> Result<Self, StoreError> {
        let files = Files::below(&cachedir.into());
        file::private_folder(&files.0)?;
        Ok(Self {
            files,
            binding: Binding::of(master)?,
            max_age,
            known: Mutex::default(),
            making: Default::default(),
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
        let part = id.as_str().bytes().map(usize::from).sum::<usize>() % self.making.len();
        let _one_at_a_time = self.making[part].lock();
        if let Some(session) = self.in_memory(id, owner, now) {
            return Ok(session);
        }
        let is_its = |key: &Key| self.binding.is_of(owner, key);
        let (made, session) = match self.files.read(id)? {
            Some((made, key)) if self.is_fresh(made, now) && is_its(&key) => (made, key),
            _ => {
                let key = self.binding.make(owner)?;
                self.files.write(id, &key)?;
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

/// The files of sessions.
#[derive(Debug)]
struct Files(PathBuf);

impl Files {
    fn below(cachedir: &Path) -> Self {
        Self(cachedir.join("sessions"))
    }

    /// The session key of a minion and its age.
    fn read(&self, id: &MinionId) -> Result<Option<(SystemTime, Key)>, StoreError> {
        let path = self.0.join(id.as_str());
        let Some(made) = fs::metadata(&path).and_then(|about| about.modified()).ok() else {
            return Ok(None);
        };
        let key = file::read(&path)?.and_then(|text| Key::parse(&text).ok());
        Ok(key.map(|key| (made, key)))
    }

    /// Without this file a minion signs in again, so it need not survive a crash of the machine.
    fn write(&self, id: &MinionId, key: &Key) -> Result<(), StoreError> {
        file::write_cache(&self.0.join(id.as_str()), key.as_str().as_bytes(), 0o600)
    }

    fn remove(&self, id: &MinionId) -> Result<(), StoreError> {
        file::remove(&self.0.join(id.as_str())).map(drop)
    }
}

/// Makes session keys, and tells for which accepted key one was made.
struct Binding(hmac::Key);

impl Binding {
    fn of(master: &PrivateKey) -> Result<Self, RsaError> {
        let text = Zeroizing::new(format!("session keys\n{}", &*master.to_pem()?));
        let secret = Zeroizing::new(crypto::sha256_hex(text.as_bytes()));
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    fn make(&self, owner: &AcceptedKey) -> Result<Key, NoRandom> {
        let first = Zeroizing::new(crypto::random::<AES_KEY_BYTES>()?);
        Ok(self.key(&first, owner))
    }

    fn is_of(&self, owner: &AcceptedKey, key: &Key) -> bool {
        let expected = self.key(&key.first_half(), owner);
        crypto::same(expected.as_str().as_bytes(), key.as_str().as_bytes())
    }

    fn key(&self, first: &[u8; AES_KEY_BYTES], owner: &AcceptedKey) -> Key {
        let mut second = hmac::Context::with_key(&self.0);
        second.update(first);
        second.update(owner.public.pem().as_bytes());
        let second = second.sign();
        Key::of(
            first,
            second.as_ref().first_chunk().expect("SHA-256 has 32 bytes"),
        )
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Binding([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rsa::PrivateKey;

    const DAY: Duration = Duration::from_secs(86_400);

    fn owner(key: &PrivateKey) -> Arc<AcceptedKey> {
        Arc::new(AcceptedKey::new(key.public().clone()))
    }

    #[test]
    fn a_session_outlives_a_restart_but_not_its_age() {
        let root = tempfile::tempdir().unwrap();
        let id = MinionId::parse("m1").unwrap();
        let now = SystemTime::now();
        let [master, minion] = [1024; 2].map(|bits| PrivateKey::generate(bits).unwrap());
        let open = || Sessions::open(root.path(), DAY, &master).unwrap();
        let owner = owner(&minion);
        let first = open();
        let key = first.get(&id, &owner, now).unwrap();
        assert_eq!(first.get(&id, &owner, now).unwrap().as_str(), key.as_str());
        let second = open();
        assert_eq!(second.get(&id, &owner, now).unwrap().as_str(), key.as_str());
        let later = now + DAY + Duration::from_secs(60);
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
        let [master, one, other] = [1024; 3].map(|bits| PrivateKey::generate(bits).unwrap());
        let open = || Sessions::open(root.path(), DAY, &master).unwrap();
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
        // A file of Salt's, which binds no sessions, and one of another master.
        let path = root.path().join("sessions/m1");
        let text = Key::generate().unwrap().as_str().to_owned();
        fs::write(&path, &text).unwrap();
        let bound = of(&open(), &owner(&one));
        assert_ne!(bound, text);
        assert_eq!(fs::read_to_string(&path).unwrap(), bound);
        let of_another = Sessions::open(root.path(), DAY, &other).unwrap();
        assert_ne!(of(&of_another, &owner(&one)), bound);
    }
}
