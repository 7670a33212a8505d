//! The minion's side of the protocol: signs in, seals requests, opens replies and publishes.
//!
//! Bytes in, bytes out. A minion trusts a master's answer only after every check has passed, and stores its key only
//! then. Facts: `docs/protocol/network.md` §6.4, §7, §8.1.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::auth::{
    AcceptedReply, AuthEnvelope, AuthReply, AuthReplyError, AuthRequest, Ret,
};
use brine_wire::network::crypticle::LastSerial;
use brine_wire::network::payload::{Encrypted, Payload, Reply};
use brine_wire::network::pillar::{PillarData, SignedPillar};
use brine_wire::network::publish::{self, Publish};
use brine_wire::network::request::{self, signed_bytes};
use brine_wire::network::{MinionId, Nonce, VERSION, key_text};
use brine_wire::{Map, Value};
use zeroize::Zeroizing;

use crate::crypto::crypticle::{Key, OpenError};
use crate::crypto::rsa::{PrivateKey, PublicKey, RsaError};
use crate::crypto::{self, FingerprintHash, NoRandom, fingerprint, sha256_hex};
use crate::keys::accepted::TOKEN_TEXT;
use crate::keys::minion::SigningRecord;
use crate::serials::Serials;

/// How a minion authenticates its master; fields are named as Salt's options.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The master's key that was trusted before.
    pub master: Option<PublicKey>,
    /// Accept another key of the master (`open_mode`).
    pub open_mode: bool,
    /// The key that signs masters' keys, with `verify_master_pubkey_sign`.
    pub master_sign: Option<PublicKey>,
    /// Ask for that signature even if the key is known.
    pub always_verify_signature: bool,
    /// The fingerprint that the master's key must have.
    pub master_finger: Option<(String, FingerprintHash)>,
    /// How keys are to be encrypted.
    pub encryption: EncryptionAlgorithm,
    /// How replies are to be signed.
    pub signing: SigningAlgorithm,
    /// Refuse signatures with SHA-1 (`fips_mode`); `encryption` and `signing` must not name it then.
    pub refuse_sha1: bool,
    /// The numbers of the last publishes, which a new session under the same shared key goes on with.
    pub serials: Serials,
    /// The file that records that this master signs its publishes; with `None` it is forgotten with the session.
    pub signing_record: Option<SigningRecord>,
}

/// A sign-in in progress: the request, to check the answer against.
#[derive(Debug)]
pub struct SignIn {
    request: AuthRequest,
    /// The unencrypted token, if a master's key was known to encrypt it with.
    token: Option<Zeroizing<String>>,
    trust: Trust,
}

/// The meaning of a master's answer.
#[derive(Debug)]
pub enum Answer {
    /// The minion is accepted.
    Accepted(Box<Session>),
    /// The key waits to be accepted: ask again after `acceptance_wait_time`.
    Pending,
    /// The key was refused.
    Rejected,
    /// The master accepts no more minions.
    Full,
    /// A refusal by a master whose key is not known yet, so that it cannot be verified: wait and try again. (Real
    /// minions believe it.)
    Unproven {
        /// The kind of refusal.
        ret: Ret,
    },
    /// The master does not know an algorithm from this minion's configuration.
    BadAlgorithm {
        /// The master's words.
        ret: String,
    },
}

/// An answer is not trusted: it is not from the master, or not to this request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It cannot be parsed.
    #[error(transparent)]
    Reply(#[from] AuthReplyError),
    /// It holds no valid key.
    #[error("the master's answer holds no valid public key")]
    NoKey,
    /// The key is not the trusted one.
    #[error(
        "the master's key is not the one trusted before; if it has changed on purpose, remove minion_master.pub"
    )]
    KeyChanged,
    /// The key is not signed, or signed though `verify_master_pubkey_sign` is off.
    #[error(
        "only one side uses signatures of the master's key; set master_sign_pubkey on the master and verify_master_pubkey_sign here, or neither"
    )]
    KeySignatureUnexpected,
    /// The key is not signed by the signing key of this minion.
    #[error("the master's key is not signed by master_sign.pub")]
    KeySignature,
    /// Masters' keys are signed with SHA-1, by every release of Salt.
    #[error(
        "the master's key is signed with SHA-1, which fips_mode refuses; turn off verify_master_pubkey_sign"
    )]
    KeySignatureSha1,
    /// The fingerprint differs.
    #[error("the master's key has the fingerprint {found}, not {expected} (master_finger)")]
    Finger {
        /// The configured fingerprint.
        expected: String,
        /// The key's fingerprint.
        found: String,
    },
    /// The outer signature is not the master's.
    #[error("the answer is not signed by the master's key")]
    Signature,
    /// The answer is to another request.
    #[error("the answer is to another request")]
    Nonce,
    /// The token differs from the one sent.
    #[error("the answer does not return the token sent")]
    Token,
    /// The keys in it are invalid or encrypted for another key.
    #[error("the keys in the answer are not encrypted to this minion")]
    Keys,
    /// The shared key is not signed by the master.
    #[error("the shared key is not signed by the master")]
    SharedKeySignature,
}

/// A sign-in could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// The known master's key cannot encrypt.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

impl SignIn {
    /// Starts a sign-in.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn begin(
        id: &MinionId,
        own: &PrivateKey,
        trust: Trust,
        autosign_grains: Map,
    ) -> Result<Self, BeginError> {
        let token = match &trust.master {
            Some(_) => Some(Zeroizing::new(Key::generate()?.as_str().to_owned())),
            None => None,
        };
        let encrypted = match (&trust.master, &token) {
            (Some(master), Some(token)) => {
                Some(master.encrypt(trust.encryption, token.as_bytes())?)
            }
            _ => None,
        };
        let request = AuthRequest {
            id: id.clone(),
            nonce: Some(crypto::nonce()?),
            encryption: trust.encryption,
            signing: trust.signing,
            autosign_grains,
            token: encrypted,
            pub_key: own.public().pem().to_owned(),
        };
        Ok(Self::resume(request, token, trust))
    }

    /// A sign-in with an existing request.
    #[must_use]
    pub const fn resume(
        request: AuthRequest,
        token: Option<Zeroizing<String>>,
        trust: Trust,
    ) -> Self {
        Self {
            request,
            token,
            trust,
        }
    }

    /// The payload to send.
    #[must_use]
    pub fn payload(&self) -> Value {
        self.request.to_payload().to_value()
    }

    /// Verifies the answer.
    ///
    /// # Errors
    /// [`Distrust`]: ignore the answer, as if none had arrived.
    pub fn judge(&self, reply: &Value, own: &PrivateKey) -> Result<Answer, Distrust> {
        let (load, sig) = match AuthEnvelope::from_value(reply)? {
            AuthEnvelope::BadAlgorithm { ret } => return Ok(Answer::BadAlgorithm { ret }),
            AuthEnvelope::Signed { load, sig } => (load, sig),
        };
        match AuthReply::parse(&load)? {
            AuthReply::Refused { ret, nonce } => {
                let Some(master) = &self.trust.master else {
                    self.check_nonce(nonce)?;
                    return Ok(Answer::Unproven { ret });
                };
                self.check_signature(master, &load, &sig)?;
                self.check_nonce(nonce)?;
                Ok(match ret {
                    Ret::Pending => Answer::Pending,
                    Ret::Rejected => Answer::Rejected,
                    Ret::Full => Answer::Full,
                })
            }
            AuthReply::Accepted(accepted) => {
                let master = self.check_master(&accepted)?;
                self.check_signature(&master, &load, &sig)?;
                self.check_nonce(accepted.nonce)?;
                self.take_keys(&accepted, master, own)
            }
        }
    }

    fn check_signature(&self, by: &PublicKey, load: &[u8], sig: &[u8]) -> Result<(), Distrust> {
        let valid = by.verify(self.request.signing, load, sig);
        valid.then_some(()).ok_or(Distrust::Signature)
    }

    fn check_nonce(&self, nonce: Option<Nonce>) -> Result<(), Distrust> {
        (nonce == self.request.nonce)
            .then_some(())
            .ok_or(Distrust::Nonce)
    }

    /// The master's key, if it may be trusted.
    fn check_master(&self, accepted: &AcceptedReply) -> Result<PublicKey, Distrust> {
        let key = PublicKey::from_pem(&accepted.pub_key).map_err(|_| Distrust::NoKey)?;
        let trust = &self.trust;
        if trust.master_sign.is_some() != accepted.pub_sig.is_some() {
            return Err(Distrust::KeySignatureUnexpected);
        }
        let known = trust.master.as_ref() == Some(&key);
        match (&trust.master_sign, &accepted.pub_sig) {
            (Some(_), Some(_)) if trust.refuse_sha1 && !known => {
                return Err(Distrust::KeySignatureSha1);
            }
            (Some(by), Some(sig)) if !known || trust.always_verify_signature => {
                let sig = STANDARD.decode(sig.trim_ascii()).unwrap_or_default();
                // The signature is over the text as sent, with SHA-1 whatever algorithm the request names.
                let valid = by.verify(
                    SigningAlgorithm::default(),
                    key_text::clean(&accepted.pub_key).as_bytes(),
                    &sig,
                );
                valid.then_some(()).ok_or(Distrust::KeySignature)?;
            }
            (None, _) if trust.master.is_some() && !known && !trust.open_mode => {
                return Err(Distrust::KeyChanged);
            }
            _ => {}
        }
        if let Some((expected, hash)) = &trust.master_finger {
            let found = fingerprint(&key, *hash);
            if *expected != found {
                return Err(Distrust::Finger {
                    expected: expected.clone(),
                    found,
                });
            }
        }
        Ok(key)
    }

    fn take_keys(
        &self,
        accepted: &AcceptedReply,
        master: PublicKey,
        own: &PrivateKey,
    ) -> Result<Answer, Distrust> {
        if let Some(token) = &self.token {
            let back = (accepted.token.as_deref())
                .and_then(|token| own.decrypt(self.request.encryption, token).ok());
            if !back.is_some_and(|back| crypto::same(&back, token.as_bytes())) {
                return Err(Distrust::Token);
            }
        }
        let key = |encrypted: &[u8]| -> Result<Key, Distrust> {
            let text = own
                .decrypt(self.request.encryption, encrypted)
                .map_err(|RsaError| Distrust::Keys)?;
            let text = std::str::from_utf8(&text).map_err(|_| Distrust::Keys)?;
            Key::parse(text).map_err(|_| Distrust::Keys)
        };
        let aes = key(&accepted.aes)?;
        let digest = sha256_hex(aes.as_str().as_bytes());
        if master.recover_x931(&accepted.sig).as_deref() != Some(digest.as_bytes()) {
            return Err(Distrust::SharedKeySignature);
        }
        Ok(Answer::Accepted(Box::new(Session {
            id: self.request.id.clone(),
            session: key(&accepted.session)?,
            tok: own
                .sign_x931(TOKEN_TEXT)
                .map_err(|RsaError| Distrust::Keys)?,
            aes,
            publish_port: accepted.publish_port,
            knows_deliveries: accepted.knows_deliveries,
            encryption: self.request.encryption,
            signing: self.request.signing,
            refuse_sha1: self.trust.refuse_sha1,
            last_serial: self.trust.serials.under(&digest),
            signs: AtomicBool::new(
                (self.trust.signing_record.as_ref()).is_some_and(|record| record.names(&master)),
            ),
            signing_record: self.trust.signing_record.clone(),
            master,
        })))
    }
}

/// A session with a master: everything it needs to talk to its master.
#[derive(Debug)]
pub struct Session {
    id: MinionId,
    session: Key,
    aes: Key,
    tok: Vec<u8>,
    master: PublicKey,
    publish_port: u16,
    knows_deliveries: bool,
    encryption: EncryptionAlgorithm,
    signing: SigningAlgorithm,
    refuse_sha1: bool,
    /// The last serial number of a publish under `aes`; the next must be larger.
    last_serial: Arc<Mutex<LastSerial>>,
    /// Whether the master has ever signed a publish; it then signs and numbers all of them.
    signs: AtomicBool,
    signing_record: Option<SigningRecord>,
}

/// A sealed request, with the nonce that its reply must carry.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The payload to send.
    pub payload: Value,
    /// The nonce that the reply must carry.
    pub nonce: Nonce,
}

/// A reply or publish cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenReplyError {
    /// Not sealed with the session key: sign in again and repeat. Any clear text counts as this.
    #[error("the reply is not encrypted with the session key{}", .text.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    SignInAgain {
        /// The clear text, such as `bad load`. Not authenticated.
        text: Option<String>,
    },
    /// It answers another request, or cannot be parsed: repeat.
    #[error("the reply is to another request")]
    OtherReply,
    /// The pillar's signature or key.
    #[error("the pillar is not signed by the master for this request")]
    Pillar,
    /// The publish lacks the required signature.
    #[error(
        "publish not signed by the master; if the master has stopped signing (sign_pub_messages), remove minion_master.signs from pki_dir"
    )]
    PublishSignature,
    /// The publish was seen before, or lacks the number that this master's publishes have.
    #[error(
        "publish received before, or without the serial number that this master's publishes have"
    )]
    Replayed,
    /// It is not a message of this protocol.
    #[error("not a valid message from a master")]
    NotAMessage,
}

impl Session {
    /// Whether the master takes a request that comes again only once, by its
    /// [`Delivery`](brine_wire::network::delivery::Delivery).
    #[must_use]
    pub const fn knows_deliveries(&self) -> bool {
        self.knows_deliveries
    }

    /// The minion's id.
    #[must_use]
    pub const fn id(&self) -> &MinionId {
        &self.id
    }

    /// The master's key, which may be stored now that it is trusted.
    #[must_use]
    pub const fn master(&self) -> &PublicKey {
        &self.master
    }

    /// The master's publish port.
    #[must_use]
    pub const fn publish_port(&self) -> u16 {
        self.publish_port
    }

    /// The shared key string: what 3006 to 3008 show in `salt/auth/creds`. Never to be forwarded.
    #[must_use]
    pub fn aes(&self) -> &str {
        self.aes.as_str()
    }

    /// Seals a request: adds nonce, time (seconds since the UNIX epoch) and token.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn seal(&self, mut load: Map, ts: i64) -> Result<Sealed, NoRandom> {
        let nonce = crypto::nonce()?;
        request::complete(&mut load, &nonce, ts, &self.tok);
        self.seal_complete(load, nonce)
    }

    /// Seals a request signed with the minion's own key (`minion_sign_messages`) and `signing_algorithm`.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn seal_signed(
        &self,
        mut load: Map,
        ts: i64,
        own: &PrivateKey,
    ) -> Result<Sealed, BeginError> {
        let nonce = crypto::nonce()?;
        request::complete(&mut load, &nonce, ts, &self.tok);
        let [bytes, _] = signed_bytes(&load);
        load.insert("sig", Value::Bin(own.sign(self.signing, &bytes)?));
        Ok(self.seal_complete(load, nonce)?)
    }

    fn seal_complete(&self, load: Map, nonce: Nonce) -> Result<Sealed, NoRandom> {
        let payload = Payload::Encrypted(Encrypted {
            version: VERSION,
            id: Some(self.id.clone()),
            load: self.session.seal(&Value::Map(load), None)?,
            encryption: Some(self.encryption),
            signing: Some(self.signing),
        });
        Ok(Sealed {
            payload: payload.to_value(),
            nonce,
        })
    }

    /// Opens the reply to a request.
    ///
    /// # Errors
    /// [`OpenReplyError`].
    pub fn open(&self, reply: &Value, nonce: &Nonce) -> Result<Value, OpenReplyError> {
        let Ok(Reply::Crypticle(bytes)) = Reply::from_value(reply) else {
            return Err(OpenReplyError::NotAMessage);
        };
        self.session
            .open(&bytes, Some(nonce))
            .map_err(|error| match error {
                OpenError::NotAuthentic => OpenReplyError::SignInAgain {
                    text: clear_text(reply),
                },
                OpenError::Read(_) => OpenReplyError::OtherReply,
            })
    }

    /// Opens the reply to `_pillar`.
    ///
    /// # Errors
    /// [`OpenReplyError`].
    pub fn open_pillar(
        &self,
        reply: &Value,
        nonce: &Nonce,
        own: &PrivateKey,
    ) -> Result<Map, OpenReplyError> {
        let outer = match Reply::from_value(reply) {
            Ok(Reply::Pillar(outer)) => outer,
            Ok(Reply::Crypticle(_)) => {
                return Err(OpenReplyError::SignInAgain {
                    text: clear_text(reply),
                });
            }
            Err(_) => return Err(OpenReplyError::NotAMessage),
        };
        let opened = || -> Option<PillarData> {
            let text = own.decrypt(self.encryption, &outer.key).ok()?;
            let one_time = Key::parse(std::str::from_utf8(&text).ok()?).ok()?;
            let inner = one_time.open(&outer.pillar, None).ok()?;
            let signed = SignedPillar::from_map(inner.as_map()?)?;
            let valid = (self.master).verify(self.signing, &signed.data, &signed.sig);
            PillarData::parse(&signed.data).filter(|_| valid)
        };
        let data = opened().ok_or(OpenReplyError::Pillar)?;
        if data.key != outer.key || data.nonce != Some(*nonce) {
            return Err(OpenReplyError::Pillar);
        }
        Ok(data.pillar)
    }

    /// Opens a publish. A signature is checked wherever there is one. It is required with `sign_pub_messages`, and
    /// from a master that has signed a publish before: whoever else holds the shared key, as every minion does,
    /// cannot sign.
    ///
    /// # Errors
    /// [`OpenReplyError`]; after [`OpenReplyError::SignInAgain`] the same publish is to be opened
    /// again with the new session.
    pub fn open_publish(
        &self,
        publish: &Publish,
        must_be_signed: MustBeSigned,
    ) -> Result<Map, OpenReplyError> {
        match &publish.signature {
            Some(signature) => {
                let valid = (signature.algorithm).is_some_and(|algorithm| {
                    !(self.refuse_sha1 && algorithm.uses_sha1())
                        && (self.master).verify(algorithm, &publish.load, &signature.sig)
                });
                valid
                    .then_some(())
                    .ok_or(OpenReplyError::PublishSignature)?;
            }
            None if must_be_signed == MustBeSigned::Yes || self.signs.load(Ordering::Relaxed) => {
                return Err(OpenReplyError::PublishSignature);
            }
            None => {}
        }
        let opened = self
            .aes
            .open(&publish.load, None)
            .map_err(|error| match error {
                OpenError::NotAuthentic => OpenReplyError::SignInAgain { text: None },
                OpenError::Read(_) => OpenReplyError::NotAMessage,
            })?;
        let Value::Map(mut job) = opened else {
            return Err(OpenReplyError::NotAMessage);
        };
        let is_numbered = job.get("serial").is_some();
        let counts = (self.last_serial.lock()).is_ok_and(|mut last| last.accept(&mut job));
        if !counts || (self.signs.load(Ordering::Relaxed) && !is_numbered) {
            return Err(OpenReplyError::Replayed);
        }
        if publish.signature.is_some() && is_numbered && !self.signs.swap(true, Ordering::Relaxed) {
            self.record_signing();
        }
        Ok(job)
    }

    fn record_signing(&self) {
        if let Some(record) = &self.signing_record
            && let Err(error) = record.set(&self.master)
        {
            tracing::warn!(%error, "cannot record that the master signs its publishes; unsigned ones are refused until the minion restarts");
        }
    }

    /// The first message on a tcp publish connection.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn identification(&self) -> Result<Value, NoRandom> {
        let map = publish::identification(&self.id, &self.tok);
        Ok(publish::identification_body(
            self.aes.seal(&Value::Map(map), None)?,
        ))
    }
}

/// Whether unsigned publishes are refused (`sign_pub_messages` of a minion).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustBeSigned {
    /// They are.
    Yes,
    /// They are not.
    No,
}

fn clear_text(reply: &Value) -> Option<String> {
    /// The clear text of a reply that is not a Crypticle, for a log line.
    const MAX_BYTES: usize = 200;
    let text = reply.as_str()?;
    (text.len() <= MAX_BYTES).then(|| text.to_owned())
}
