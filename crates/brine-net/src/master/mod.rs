//! The master's side of the protocol: decides on sign-ins, opens requests, seals replies and publishes.
//!
//! Bytes in, bytes out: the transports own the sockets, and the caller acts on requests. RSA operations take a
//! fraction of a millisecond each; call [`MasterChannel::sign_in`] off the I/O thread.
//! Facts: `docs/protocol/network.md` §3, §6, §7, §8.1, §15.

mod request;
mod sign_in;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_wire::compat::Compat;
use brine_wire::network::algorithm::SigningAlgorithm;
use brine_wire::network::publish::{self, Publish, Signature};
use brine_wire::network::{MinionId, VERSION};
use brine_wire::{Map, Value};

pub use self::request::{AuthenticatedMinion, MessageSignature, Refused, Request};
pub use self::sign_in::{Occupancy, SignIn};
use crate::crypto::crypticle::Key;
use crate::crypto::rsa::{PrivateKey, PublicKey, RsaError};
use crate::crypto::{NoRandom, sha256_hex};
use crate::keys::accepted::AcceptedKeys;
use crate::keys::autosign::Rules;
use crate::keys::counted::CountedKeys;
use crate::keys::master::{KeyOptions, PubkeySignature};
use crate::keys::sessions::Sessions;
use crate::keys::shared::SharedKeyFile;
use crate::keys::store::{KeyState, KeyStore};
use crate::keys::{StoreError, master as master_keys};
use crate::replay::Nonces;

/// How far a minion's clock may be off by default.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(300);

/// How many keys may be pending by default; each is a file.
pub const DEFAULT_PENDING_KEYS: usize = 10_000;

/// How long nonces are kept if requests of any age are accepted: until there are too many.
const NO_WINDOW: Duration = Duration::from_secs(u32::MAX as u64);

/// How a master authenticates; fields are named as Salt's options.
#[derive(Debug, Clone)]
pub struct MasterConfig {
    /// Where the keys are.
    pub pki_dir: PathBuf,
    /// Where session keys are.
    pub cachedir: PathBuf,
    /// The Salt release whose behaviour to show.
    pub compat: Compat,
    /// The port that minions subscribe to.
    pub publish_port: u16,
    /// Which minions to accept and reject without an administrator.
    pub rules: Rules,
    /// Accept every minion (`open_mode`).
    pub open_mode: bool,
    /// With more minions than this connected, no other may sign in (so that there is one more than
    /// the option says, as in Salt); 0 for any number.
    pub max_minions: usize,
    /// With more keys than this pending, a new one is not stored; its minion asks again. The same for keys that
    /// `autoreject_file` rejects.
    pub max_pending_keys: usize,
    /// The age at which session keys are replaced.
    pub publish_session: Duration,
    /// The lowest protocol version answered.
    pub minimum_auth_version: u32,
    /// How far a request's `ts` may differ from the clock; `None` for any age. Within this window no request is acted
    /// on twice.
    pub request_server_ttl: Option<Duration>,
    /// How publishes are signed; `None`: they are not.
    pub publish_signing_algorithm: Option<SigningAlgorithm>,
    /// Refuse signatures and encryption with SHA-1, and make none (`fips_mode`).
    pub refuse_sha1: bool,
    /// The signature of the master's own key, where minions ask for one.
    pub pubkey_signature: Option<PubkeySignature>,
    /// How the master's key is made and opened.
    pub key_options: KeyOptions,
}

impl MasterConfig {
    /// Salt's defaults, with these folders.
    #[must_use]
    pub fn new(pki_dir: impl Into<PathBuf>, cachedir: impl Into<PathBuf>) -> Self {
        Self {
            pki_dir: pki_dir.into(),
            cachedir: cachedir.into(),
            compat: Compat::NEWEST,
            publish_port: 4505,
            rules: Rules::default(),
            open_mode: false,
            max_minions: 0,
            max_pending_keys: DEFAULT_PENDING_KEYS,
            publish_session: Duration::from_secs(86_400),
            minimum_auth_version: VERSION,
            request_server_ttl: Some(DEFAULT_WINDOW),
            publish_signing_algorithm: Some(SigningAlgorithm::default()),
            refuse_sha1: false,
            pubkey_signature: None,
            key_options: KeyOptions::default(),
        }
    }
}

/// The master's side.
#[derive(Debug)]
pub struct MasterChannel {
    config: MasterConfig,
    key: PrivateKey,
    pub_sig: Option<Vec<u8>>,
    store: KeyStore,
    accepted: AcceptedKeys,
    sessions: Sessions,
    /// Replaced as a whole by a rotation; read for a clone of the `Arc` only.
    shared: RwLock<Arc<SharedKey>>,
    shared_file: SharedKeyFile,
    nonces: Nonces,
    /// Pending keys, and those that `autoreject_file` rejects.
    added: [CountedKeys; 2],
}

/// The key that all minions share, and the state that belongs to it.
#[derive(Debug)]
struct SharedKey {
    key: Key,
    /// X9.31 signature of its digest: the same for every minion.
    sig: Vec<u8>,
    /// The serial number of the last publish under it.
    serial: AtomicI64,
    /// The previous key, for minions that reconnect with it (tcp).
    previous: Option<Key>,
}

/// A reply or publish could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// An RSA operation.
    #[error(transparent)]
    Rsa(#[from] RsaError),
    /// The request names an algorithm we do not know.
    #[error("the request names unknown algorithms")]
    Algorithm,
}

impl MasterChannel {
    /// Opens the keys, makes missing ones, and a new shared key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(config: MasterConfig) -> Result<Self, StoreError> {
        let store = KeyStore::open(&config.pki_dir, config.compat)?;
        let key = master_keys::open(&config.pki_dir, "master", &config.key_options)?;
        let pub_sig = (config.pubkey_signature.as_ref())
            .map(|wanted| {
                master_keys::pubkey_signature(&config.pki_dir, &key, wanted, &config.key_options)
            })
            .transpose()?;
        let sessions = Sessions::open(&config.cachedir, config.publish_session, &key)?;
        let shared_file = SharedKeyFile::new(&config.cachedir);
        let shared = SharedKey::replace(&key, &shared_file)?;
        let window = config.request_server_ttl.unwrap_or(NO_WINDOW);
        let max_pending_keys = config.max_pending_keys;
        let nonces = Nonces::open(&config.cachedir, window, seconds(SystemTime::now()));
        Ok(Self {
            accepted: AcceptedKeys::new(store.clone()),
            shared: RwLock::new(Arc::new(shared)),
            config,
            key,
            pub_sig,
            store,
            sessions,
            shared_file,
            nonces,
            added: [KeyState::Pending, KeyState::Rejected]
                .map(|state| CountedKeys::new(state, max_pending_keys)),
        })
    }

    /// The minions' keys.
    #[must_use]
    pub const fn store(&self) -> &KeyStore {
        &self.store
    }

    /// The master's public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// The lowest protocol version that is answered, for parsing payloads.
    #[must_use]
    pub fn minimum_version(&self) -> u32 {
        self.config.minimum_auth_version.max(VERSION)
    }

    /// The minion that identifies itself on a tcp publish connection, with the shared key or the previous one.
    #[must_use]
    pub fn identify(&self, body: &Value) -> Option<MinionId> {
        let sealed = publish::identification_load(body)?;
        let shared = self.shared();
        let opened = shared.key.open(sealed, None).or_else(|error| {
            let previous = shared.previous.as_ref().ok_or(error)?;
            previous.open(sealed, None)
        });
        let (id, tok) = publish::read_identification(opened.ok()?.as_map()?)?;
        self.accepted.get(&id)?.verifies(&tok).then_some(id)
    }

    /// Whether an id has an accepted key.
    #[must_use]
    pub fn is_accepted(&self, id: &MinionId) -> bool {
        self.accepted.get(id).is_some()
    }

    /// The bytes to publish for a job; each call takes the next serial number.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn publish(&self, mut job: Map) -> Result<Vec<u8>, SealError> {
        let shared = self.shared();
        job.insert("serial", shared.serial.fetch_add(1, Ordering::Relaxed) + 1);
        let load = shared.key.seal(&Value::Map(job), None)?;
        let signature = match self.config.publish_signing_algorithm {
            Some(algorithm) => Some(Signature {
                algorithm: Some(algorithm),
                sig: self.key.sign(algorithm, &load)?,
            }),
            None => None,
        };
        Ok(Publish { load, signature }.to_bytes())
    }

    /// Makes a new shared key: minions sign in again with the next publish.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rotate(&self) -> Result<(), StoreError> {
        let new = SharedKey::replace(&self.key, &self.shared_file)?;
        if let Ok(mut shared) = self.shared.write() {
            *shared = Arc::new(new);
        }
        Ok(())
    }

    /// Removes a minion's accepted key, as the minion or a user requests, and ends its session. Call
    /// [`MasterChannel::rotate`] after it: the minion still has the shared key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke(&self, id: &MinionId) -> Result<bool, StoreError> {
        self.sessions.forget(id)?;
        self.nonces.forget(id);
        self.store.change()?.delete(KeyState::Accepted, id)
    }

    fn shared(&self) -> Arc<SharedKey> {
        match self.shared.read() {
            Ok(shared) => shared.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

/// Seconds since the UNIX epoch.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl SharedKey {
    /// Makes a new key and keeps the old one beside it.
    fn replace(master: &PrivateKey, file: &SharedKeyFile) -> Result<Self, StoreError> {
        let previous = file.read();
        let key = Key::generate()?;
        file.write(&key)?;
        let digest = sha256_hex(key.as_str().as_bytes());
        Ok(Self {
            sig: master.sign_x931(digest.as_bytes())?,
            key,
            serial: AtomicI64::new(0),
            previous,
        })
    }
}
