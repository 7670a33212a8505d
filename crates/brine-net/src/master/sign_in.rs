//! Sign-ins: a minion shows its key and receives the keys it will use, or waits, or is refused.

use std::time::{Duration, SystemTime};

use brine_wire::network::algorithm::SigningAlgorithm;
use brine_wire::network::auth::{
    AcceptedReply, AuthEnvelope, AuthReply, AuthRequest, AuthRequestError, Ret,
};
use brine_wire::network::{MinionId, Nonce, events, payload};
use brine_wire::{Map, Value};

use super::MasterChannel;
use crate::crypto::rsa::PublicKey;
use crate::keys::StoreError;
use crate::keys::autosign::Accepts;
use crate::keys::decide::{Case, Decision, StoredIs, Verdict, decide};
use crate::keys::store::{Changing, KeyState, StoredKey};
use crate::log_text::log_text;

/// After so long another denied key of an id takes the place of the last one.
const DENIED_AGAIN: Duration = Duration::from_secs(1);

/// How many minions are connected, for `max_minions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// How many are connected.
    pub connected: usize,
    /// Whether the minion that signs in is one of them.
    pub includes_sender: bool,
}

/// The result of a sign-in.
#[derive(Debug, Clone, PartialEq)]
pub struct SignIn {
    /// The answer.
    pub reply: Value,
    /// The data of the event `salt/auth`, if one must be fired; without `_stamp`.
    pub event: Option<Map>,
    /// The minion that was accepted.
    pub accepted: Option<MinionId>,
    /// The id's key was not known before, and is now: it is pending, accepted by a rule, or rejected by one.
    pub is_new: bool,
}

impl MasterChannel {
    /// Answers a sign-in, and stores the key in the state that was decided on.
    ///
    /// # Errors
    /// [`StoreError`] when the master's own files fail; the answer then is
    /// [`payload::HANDLER_FAILED`].
    pub fn sign_in(
        &self,
        load: &Map,
        occupancy: Occupancy,
        now: SystemTime,
    ) -> Result<SignIn, StoreError> {
        let request = match AuthRequest::parse(load) {
            Ok(request) => request,
            Err(error) => return self.refuse_unread(&error),
        };
        if self.config.refuse_sha1 {
            if request.signing.uses_sha1() {
                return self.refuse_unread(&AuthRequestError::SigningAlgorithm);
            }
            if request.encryption.uses_sha1() {
                return self.refuse_unread(&AuthRequestError::EncryptionAlgorithm);
            }
        }
        // Before anything is stored: an invalid key must not occupy an id.
        let parsed = self.accepted.parsed(&request.id, &request.pub_key);
        let Ok(public) = parsed.map_or_else(|| PublicKey::from_pem(&request.pub_key), Ok) else {
            return self.refused(Ret::Rejected, request.nonce, request.signing);
        };
        if !request.id.is_plain() && self.store.find(&request.id)?.is_none() {
            let id = log_text(request.id.as_str());
            tracing::info!(
                id,
                "sign-in refused: a new id may contain only letters, digits and .-_:@+=,"
            );
            return self.refused(Ret::Rejected, request.nonce, request.signing);
        }
        let autosign =
            self.config
                .rules
                .accepts(&request.id, &request.autosign_grains, &self.store, now);
        let (decision, is_new) = self.decide(&request, &public, occupancy, autosign)?;
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
            is_new,
            ..answered
        })
    }

    /// Decides on a key, and stores it in the state that was decided on; whether that is a new id's.
    fn decide(
        &self,
        request: &AuthRequest,
        public: &PublicKey,
        occupancy: Occupancy,
        autosign: Accepts,
    ) -> Result<(Decision, bool), StoreError> {
        let id = &request.id;
        let compare = |state| -> Result<_, StoreError> {
            if state == KeyState::Accepted && self.accepted.holds(id, public) {
                return Ok(Some(StoredIs::Same));
            }
            let stored = self.store.get_like(state, id, Some(public))?;
            Ok(stored.map(|stored| match stored {
                StoredKey::Key(key) if key == *public => StoredIs::Same,
                _ => StoredIs::Other,
            }))
        };
        let look = |is_in_no_other: bool| -> Result<_, StoreError> {
            let stored = if is_in_no_other {
                compare(KeyState::Accepted)?.map(|stored| (KeyState::Accepted, stored))
            } else if self.accepted.holds_only(id, public) {
                Some((KeyState::Accepted, StoredIs::Same))
            } else {
                self.store.first(compare)?
            };
            let decision = decide(&Case {
                stored,
                full: self.is_full(occupancy),
                open_mode: self.config.open_mode,
                autosign: autosign != Accepts::No,
                autoreject: self.config.rules.rejects(id),
                compat: self.config.compat,
            });
            Ok((stored, decision))
        };
        let changes = self.accepted.changes_of_others();
        let (stored, decision) = look(false)?;
        if decision.put.is_none() {
            return Ok((decision, false));
        }
        let prepared = match decision.put {
            Some(KeyState::Accepted) => Some(self.store.prepare_accepted(id, public)?),
            _ => None,
        };
        // Under one lock: otherwise two keys that arrive together could both be accepted.
        let changing = self.store.change()?;
        let is_in_no_other = stored.is_none()
            && changes.is_some_and(|before| self.accepted.changes_of_others() == Some(before));
        let (stored, decision) = look(is_in_no_other)?;
        let is_new = match decision.put {
            // The same key as the last time: nothing to write. Nor does each of a thousand keys a second reach the disk.
            Some(KeyState::Denied)
                if self.is_denied(id, public)?
                    || self.store.is_younger(KeyState::Denied, id, DENIED_AGAIN) =>
            {
                false
            }
            Some(state) if stored.is_none() && !self.has_room(state, &changing)? => false,
            Some(state) => {
                let replaces = stored.map(|(state, _)| state);
                match prepared.filter(|_| state == KeyState::Accepted) {
                    Some(prepared) => {
                        let about = prepared.metadata()?;
                        changing.accept(id, replaces, prepared)?;
                        self.accepted.note_written(id, public, &about);
                    }
                    None => changing.put(id, replaces, state, public)?,
                }
                replaces.is_none() && state != KeyState::Denied
            }
            None => false,
        };
        Ok((decision, is_new))
    }

    /// Whether one more key may be added in a state, which the caller then does.
    fn has_room(&self, state: KeyState, changing: &Changing<'_>) -> Result<bool, StoreError> {
        let [pending, rejected] = &self.added;
        match state {
            KeyState::Pending => pending.admit(changing),
            KeyState::Rejected => rejected.admit(changing),
            KeyState::Accepted | KeyState::Denied => Ok(true),
        }
    }

    fn is_denied(&self, id: &MinionId, key: &PublicKey) -> Result<bool, StoreError> {
        let denied = self.store.get(KeyState::Denied, id)?;
        Ok(denied.as_ref().and_then(StoredKey::key) == Some(key))
    }

    fn is_full(&self, occupancy: Occupancy) -> bool {
        self.config.max_minions > 0
            && occupancy.connected > self.config.max_minions
            && !occupancy.includes_sender
    }

    fn refuse_unread(&self, error: &AuthRequestError) -> Result<SignIn, StoreError> {
        let reply = match *error {
            AuthRequestError::Id { nonce, signing }
            | AuthRequestError::PublicKey { nonce, signing }
                if !(self.config.refuse_sha1 && signing.uses_sha1()) =>
            {
                return self.refused(Ret::Rejected, nonce, signing);
            }
            AuthRequestError::Id { .. }
            | AuthRequestError::PublicKey { .. }
            | AuthRequestError::SigningAlgorithm => payload::unsigned_refusal("bad sig algo"),
            AuthRequestError::EncryptionAlgorithm => payload::unsigned_refusal("bad enc algo"),
            _ => payload::BAD_LOAD.into(),
        };
        Ok(SignIn {
            reply,
            event: None,
            accepted: None,
            is_new: false,
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
            is_new: false,
        })
    }

    fn accepted(
        &self,
        request: &AuthRequest,
        public: &PublicKey,
        now: SystemTime,
    ) -> Result<SignIn, StoreError> {
        // The key may have been removed meanwhile.
        let accepted = self.accepted.get_like(&request.id, Some(public));
        let Some(owner) = accepted.filter(|key| key.public == *public) else {
            return self.refused(Ret::Pending, request.nonce, request.signing);
        };
        let shared = self.shared();
        let session = self.sessions.get(&request.id, &owner, now)?;
        let to_minion = |text: &[u8]| public.encrypt(request.encryption, text);
        // A token encrypted for another master's key is left out, and the minion reports the mismatch.
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
            is_new: false,
        })
    }

    fn signed(&self, reply: &AuthReply, signing: SigningAlgorithm) -> Result<Value, StoreError> {
        let load = reply.to_bytes();
        let sig = self.key.sign(signing, &load)?;
        Ok(AuthEnvelope::Signed { load, sig }.to_value())
    }
}
