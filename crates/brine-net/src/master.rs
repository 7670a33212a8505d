//! The master's side of every message: who may sign in, what a request holds, how replies and
//! publishes are sealed.
//!
//! Bytes in, bytes out: sockets are the transports', and what requests ask for is the caller's. RSA
//! operations take a part of a millisecond each; call [`MasterChannel::sign_in`] off the I/O thread.
//! Facts: `docs/protocol/network.md` §3, §6, §7, §8.1, §15.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_wire::compat::Compat;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::auth::{
    AcceptedReply, AuthEnvelope, AuthReply, AuthRequest, AuthRequestError, Ret,
};
use brine_wire::network::payload::{self, Encrypted};
use brine_wire::network::pillar::{PillarData, PillarReply, SignedPillar};
use brine_wire::network::publish::{self, Publish, Signature};
use brine_wire::network::request::{Freshness, Load, LoadError, signed_bytes};
use brine_wire::network::{MinionId, Nonce, VERSION, events, field};
use brine_wire::{Map, Value};

use crate::crypto::crypticle::{Key, OpenError};
use crate::crypto::rsa::{PrivateKey, PublicKey, RsaError};
use crate::crypto::{NoRandom, sha256_hex};
use crate::keys::accepted::{AcceptedKey, AcceptedKeys};
use crate::keys::autosign::{Accepts, Rules};
use crate::keys::decide::{Case, Decision, StoredIs, Verdict, decide};
use crate::keys::master::{KeyOptions, PubkeySignature};
use crate::keys::pending::PendingKeys;
use crate::keys::sessions::Sessions;
use crate::keys::shared::SharedKeyFile;
use crate::keys::store::{KeyState, KeyStore, StoredKey};
use crate::keys::{StoreError, master as master_keys};
use crate::log_text::log_text;
use crate::replay::{Nonces, Seen};

/// How far a minion's clock may be off if the configuration does not say.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(300);

/// How many keys may be pending: a file each.
pub const DEFAULT_PENDING_KEYS: usize = 10_000;

/// How long nonces are kept if requests of any time are taken: until there are too many.
const NO_WINDOW: Duration = Duration::from_secs(u32::MAX as u64);

/// What a master's side needs to know; Salt's options of the same names.
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
    /// With more minions than this connected, no other is let in (so that there is one more than
    /// the option says, as in Salt); 0 for any number.
    pub max_minions: usize,
    /// With more keys than this pending, a new one is not kept; its minion asks again.
    pub max_pending_keys: usize,
    /// The age at which session keys are replaced.
    pub publish_session: Duration,
    /// The lowest protocol version answered.
    pub minimum_auth_version: u32,
    /// How far a request's `ts` may be off, either way; `None` for any. Within it no request is acted on twice.
    pub request_server_ttl: Option<Duration>,
    /// How publishes are signed; `None` for not at all.
    pub publish_signing_algorithm: Option<SigningAlgorithm>,
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
    pending: PendingKeys,
}

/// The key that all minions have, and what goes with it.
#[derive(Debug)]
struct SharedKey {
    key: Key,
    /// X9.31 signature of its digest: the same for every minion.
    sig: Vec<u8>,
    /// The last publish under it.
    serial: AtomicI64,
    /// The one before, for minions that come back with it (tcp).
    previous: Option<Key>,
}

/// How many minions there are, as the caller sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seats {
    /// How many are connected.
    pub connected: usize,
    /// Whether the one that signs in is among them.
    pub present: bool,
}

/// The result of a sign-in.
#[derive(Debug, Clone, PartialEq)]
pub struct SignIn {
    /// The answer.
    pub reply: Value,
    /// The data of `salt/auth`, if there is to be one. `_stamp` is the sender's to set.
    pub event: Option<Map>,
    /// The minion that was accepted.
    pub accepted: Option<MinionId>,
}

/// A minion that has proved its session key and its token: only [`MasterChannel::open_request`] makes one.
#[derive(Debug, Clone)]
pub struct AuthenticatedMinion {
    id: MinionId,
    key: Arc<AcceptedKey>,
    session: Arc<Key>,
}

impl AuthenticatedMinion {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &MinionId {
        &self.id
    }
}

/// A request of an accepted minion.
#[derive(Debug, Clone)]
pub struct Request {
    /// The minion that sent it.
    pub minion: AuthenticatedMinion,
    /// Its content.
    pub load: Load,
    /// Whether the same request came before: answer it, and do nothing twice.
    pub seen: Seen,
    encryption: Option<EncryptionAlgorithm>,
    signing: Option<SigningAlgorithm>,
}

/// Whether a message is signed by its minion (`minion_sign_messages`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageSignature {
    /// It is not signed.
    Missing,
    /// It is, rightly.
    Valid,
    /// It is, wrongly.
    Invalid,
}

/// Why an encrypted request is refused; [`Refused::reply`] is the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Below version 3, without an id. Not answered by ours, whatever `minimum_auth_version`.
    #[error("protocol version below 3")]
    Version,
    /// No accepted key.
    #[error("{id} has no accepted key")]
    Unknown {
        /// Whom it names.
        id: MinionId,
    },
    /// Not sealed with the minion's session key, or not a message.
    #[error("request of {id}: {source}")]
    Seal {
        /// Whom it names.
        id: MinionId,
        /// What is wrong.
        source: OpenError,
    },
    /// A field of the load.
    #[error("request of {id}: {source}")]
    Load {
        /// Whose session key sealed it.
        id: MinionId,
        /// What is wrong.
        source: LoadError,
    },
    /// The token is not the accepted key's.
    #[error("the token is not that of the accepted key of {id}")]
    Token {
        /// Whose session key sealed it.
        id: MinionId,
    },
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    /// What to answer.
    #[must_use]
    pub const fn reply(&self) -> &'static str {
        match self {
            Self::Load { source, .. } => source.reply(),
            _ => payload::BAD_LOAD,
        }
    }
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
    /// Opens the keys, makes what is missing, and a new shared key.
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
        let sessions = Sessions::open(&config.cachedir, config.publish_session)?;
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
            pending: PendingKeys::new(max_pending_keys),
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

    /// Answers a sign-in, and puts the key where it belongs.
    ///
    /// # Errors
    /// [`StoreError`] when the master's own files fail; the answer then is
    /// [`payload::HANDLER_FAILED`].
    pub fn sign_in(&self, load: &Map, seats: Seats, now: SystemTime) -> Result<SignIn, StoreError> {
        let request = match AuthRequest::parse(load) {
            Ok(request) => request,
            Err(error) => return self.refuse_unread(&error),
        };
        // Before anything is stored: rubbish must not block an id.
        let Ok(public) = PublicKey::from_pem(&request.pub_key) else {
            return self.refused(Ret::Rejected, request.nonce, request.signing);
        };
        if !request.id.is_plain() && self.store.find(&request.id)?.is_none() {
            let id = log_text(request.id.as_str());
            tracing::info!(
                id,
                "sign-in refused: a new id may hold letters, digits and .-_:@+=, alone"
            );
            return self.refused(Ret::Rejected, request.nonce, request.signing);
        }
        let autosign =
            self.config
                .rules
                .accepts(&request.id, &request.autosign_grains, &self.store, now);
        let decision = self.decide(&request, &public, seats, autosign)?;
        if decision.verdict == Verdict::Accept && autosign == Accepts::Stub {
            let _ = std::fs::remove_file(self.store.autosign_stub(&request.id));
        }
        let (act, place) = decision.event;
        let event = events::auth(act, place, &request.id, public.pem());
        let answered = match decision.verdict {
            Verdict::Accept => self.accepted(&request, &public, now)?,
            Verdict::Pending => self.refused(Ret::Pending, request.nonce, request.signing)?,
            Verdict::Reject => self.refused(Ret::Rejected, request.nonce, request.signing)?,
            Verdict::Full => self.refused(Ret::Full, request.nonce, request.signing)?,
        };
        Ok(SignIn {
            event: Some(event),
            ..answered
        })
    }

    /// Decides on a key, and puts it where it belongs.
    fn decide(
        &self,
        request: &AuthRequest,
        public: &PublicKey,
        seats: Seats,
        autosign: Accepts,
    ) -> Result<Decision, StoreError> {
        let id = &request.id;
        let is = |stored: &StoredKey| match stored {
            StoredKey::Key(key) if key == public => StoredIs::Same,
            _ => StoredIs::Other,
        };
        let look = || -> Result<_, StoreError> {
            let stored = self.store.find(id)?;
            let stored = stored.as_ref().map(|(state, key)| (*state, is(key)));
            let decision = decide(&Case {
                stored,
                full: self.is_full(seats),
                open_mode: self.config.open_mode,
                autosign: autosign != Accepts::No,
                autoreject: self.config.rules.rejects(id),
                compat: self.config.compat,
            });
            Ok((stored, decision))
        };
        let (_, decision) = look()?;
        if decision.put.is_none() {
            return Ok(decision);
        }
        // Looking, deciding and storing are one step, or two keys that come at once are both accepted.
        let changing = self.store.change()?;
        let (stored, decision) = look()?;
        match decision.put {
            // The same key as the last time: nothing is written for it.
            Some(KeyState::Denied) if self.is_denied(id, public)? => {}
            Some(KeyState::Pending) if stored.is_none() && !self.pending.admit(&changing)? => {
                tracing::warn!(
                    limit = self.config.max_pending_keys,
                    "too many keys are pending: a new one is not kept (salt-key -d removes them)"
                );
            }
            Some(state) => {
                let replaces = stored.map(|(state, _)| state);
                changing.put(id, replaces, state, public)?;
            }
            None => {}
        }
        Ok(decision)
    }

    fn is_denied(&self, id: &MinionId, key: &PublicKey) -> Result<bool, StoreError> {
        let denied = self.store.get(KeyState::Denied, id)?;
        Ok(denied.as_ref().and_then(StoredKey::key) == Some(key))
    }

    fn is_full(&self, seats: Seats) -> bool {
        self.config.max_minions > 0 && seats.connected > self.config.max_minions && !seats.present
    }

    fn refuse_unread(&self, error: &AuthRequestError) -> Result<SignIn, StoreError> {
        let reply = match *error {
            AuthRequestError::Id { nonce, signing }
            | AuthRequestError::PublicKey { nonce, signing } => {
                return self.refused(Ret::Rejected, nonce, signing);
            }
            AuthRequestError::SigningAlgorithm => payload::unsigned_refusal("bad sig algo"),
            AuthRequestError::EncryptionAlgorithm => payload::unsigned_refusal("bad enc algo"),
            _ => payload::BAD_LOAD.into(),
        };
        Ok(SignIn {
            reply,
            event: None,
            accepted: None,
        })
    }

    fn refused(
        &self,
        ret: Ret,
        nonce: Option<Nonce>,
        signing: SigningAlgorithm,
    ) -> Result<SignIn, StoreError> {
        Ok(SignIn {
            reply: self.signed(&AuthReply::Refused { ret, nonce }, signing)?,
            event: None,
            accepted: None,
        })
    }

    fn accepted(
        &self,
        request: &AuthRequest,
        public: &PublicKey,
        now: SystemTime,
    ) -> Result<SignIn, StoreError> {
        // Somebody may have taken the key away meanwhile.
        let accepted = self.accepted.get(&request.id);
        let Some(owner) = accepted.filter(|key| key.public == *public) else {
            return self.refused(Ret::Pending, request.nonce, request.signing);
        };
        let shared = self.shared();
        let session = self.sessions.get(&request.id, &owner, now)?;
        let to_minion = |text: &[u8]| public.encrypt(request.encryption, text);
        // A token for another master's key is left out: the minion then says what is wrong.
        let token = (request.token.as_deref())
            .and_then(|token| self.key.decrypt(request.encryption, token).ok())
            .map(|token| to_minion(&token))
            .transpose()?;
        let reply = AuthReply::Accepted(AcceptedReply {
            pub_key: self.key.public().pem().to_owned(),
            publish_port: self.config.publish_port,
            pub_sig: self.pub_sig.clone(),
            token,
            aes: to_minion(shared.key.as_str().as_bytes())?,
            session: to_minion(session.as_str().as_bytes())?,
            sig: shared.sig.clone(),
            knows_deliveries: true,
            nonce: request.nonce,
        });
        Ok(SignIn {
            reply: self.signed(&reply, request.signing)?,
            event: None,
            accepted: Some(request.id.clone()),
        })
    }

    fn signed(&self, reply: &AuthReply, signing: SigningAlgorithm) -> Result<Value, StoreError> {
        let load = reply.to_bytes();
        let sig = self.key.sign(signing, &load)?;
        Ok(AuthEnvelope::Signed { load, sig }.to_value())
    }

    /// Opens an encrypted request: accepted key, session key, fields and token, in this order.
    /// Nothing is made or kept for a stranger.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open_request(&self, request: &Encrypted, now: SystemTime) -> Result<Request, Refused> {
        let Some(id) = request.id.as_ref().filter(|_| request.version >= VERSION) else {
            return Err(Refused::Version);
        };
        let unknown = || Refused::Unknown { id: id.clone() };
        let key = self.accepted.get(id).ok_or_else(unknown)?;
        let session = self.sessions.get(id, &key, now)?;
        let load = session
            .open(&request.load, None)
            .map_err(|source| Refused::Seal {
                id: id.clone(),
                source,
            })?;
        let fresh = Freshness {
            now: seconds(now),
            window: self.config.request_server_ttl,
        };
        let load = Load::parse(load, id, fresh).map_err(|source| Refused::Load {
            id: id.clone(),
            source,
        })?;
        if !load.tok.as_deref().is_some_and(|tok| key.verifies(tok)) {
            return Err(Refused::Token { id: id.clone() });
        }
        Ok(Request {
            seen: match &load.nonce {
                Some(nonce) => self
                    .nonces
                    .see(id, nonce, load.ts.unwrap_or(fresh.now), fresh.now),
                None => Seen::First,
            },
            minion: AuthenticatedMinion {
                id: id.clone(),
                key,
                session,
            },
            load,
            encryption: request.encryption,
            signing: request.signing,
        })
    }

    /// The minion that identifies itself on a tcp publish connection, with the shared key or the one before.
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

    /// The bytes to publish for a job map; counts up.
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

    /// Seals the reply to a pillar request: with a key of its own, signed.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_pillar(&self, request: &Request, pillar: Map) -> Result<Value, SealError> {
        let encryption = request.encryption.ok_or(SealError::Algorithm)?;
        let signing = request.signing.ok_or(SealError::Algorithm)?;
        let one_time = Key::generate()?;
        let public = &request.minion.key.public;
        let key = public.encrypt(encryption, one_time.as_str().as_bytes())?;
        let data = PillarData {
            key: key.clone(),
            pillar,
            nonce: request.load.nonce,
        }
        .to_bytes();
        let sig = self.key.sign(signing, &data)?;
        let pillar = one_time.seal(&SignedPillar { data, sig }.to_value(), None)?;
        Ok(PillarReply { key, pillar }.to_value())
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
    /// A new key; the one that was is kept beside it.
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

impl Request {
    /// Seals the answer.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, answer: &Value) -> Result<Value, SealError> {
        let nonce = self.load.nonce.as_ref();
        Ok(Value::Bin(self.minion.session.seal(answer, nonce)?))
    }

    /// Whether the message is signed by its minion, with the algorithm it names or, as 3007's minions do
    /// whatever they name, with SHA-1. One RSA operation, or a few if it is signed otherwise.
    #[must_use]
    pub fn message_signature(&self) -> MessageSignature {
        let Some(sig) = field::bytes(&self.load.fields, "sig") else {
            return MessageSignature::Missing;
        };
        let key = &self.minion.key.public;
        let default = SigningAlgorithm::default();
        let other = self.signing.filter(|named| *named != default);
        let fits = |bytes: &Vec<u8>| {
            let mut algorithms = other.into_iter().chain([default]);
            algorithms.any(|algorithm| key.verify(algorithm, bytes, sig))
        };
        if signed_bytes(&self.load.fields).iter().any(fits) {
            MessageSignature::Valid
        } else {
            MessageSignature::Invalid
        }
    }
}
