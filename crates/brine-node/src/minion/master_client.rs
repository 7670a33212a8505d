//! The client of one master: signing in, and requests that survive a lost session.
//!
//! A client exists whether or not its master can be reached. A request without a reply is sent again as the same
//! bytes, so that a Brine master acts on it once; a request encrypted with an expired session key is encrypted again
//! after another sign-in. Facts: `docs/protocol/network.md` §6.4, §7.3, §15.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_net::client::{Requester, Subscription};
use brine_net::crypto::NoRandom;
use brine_net::keys::StoreError;
use brine_net::keys::minion::MinionKeys;
use brine_net::minion::{
    Answer, BeginError, Distrust, OpenReplyError, Sealed, Session, SignIn, Trust,
};
use brine_wire::network::auth::Ret;
use brine_wire::network::delivery::Delivery;
use brine_wire::network::payload::Payload;
use brine_wire::network::{Nonce, VERSION};
use brine_wire::{Map, Value};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::masters::MasterAddress;
use super::options::MinionOptions;
use super::transport::{self, TransportError};
use crate::node_bus::since_epoch;

/// The first wait before an unanswered sign-in is sent again.
const RETRY: Duration = Duration::from_millis(200);

/// The client of one master; cheap to clone.
#[derive(Debug, Clone)]
pub struct MasterClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Arc<MinionOptions>,
    keys: Arc<MinionKeys>,
    /// What `autosign_grains` shows the master.
    autosign_grains: Map,
    master: MasterAddress,
    requester: Requester,
    /// Held for a look, never across an await.
    session: StdMutex<Option<Arc<Session>>>,
    /// One sign-in at a time.
    signing_in: Mutex<()>,
}

/// A request that every master answers, whoever asks, and that changes nothing.
fn ping() -> Value {
    let payload = Payload::Clear {
        version: VERSION,
        load: [("cmd", "ping")].into_iter().collect(),
    };
    payload.to_value()
}

/// Whether a master leaves a ping without any reply for so long; a refusal is a reply. The minion does not sign in, and
/// leaves its own source port to one that runs.
pub async fn is_silent(options: &MinionOptions, master: &MasterAddress, wait: Duration) -> bool {
    let options = MinionOptions {
        source_ret_port: 0,
        ..options.clone()
    };
    let Ok(requester) = transport::requester(&options, master) else {
        return false;
    };
    // The requester's own limit would be one error among others.
    let ping = ping();
    let asked = requester.request(&ping, wait.saturating_mul(2));
    tokio::time::timeout(wait, asked).await.is_err()
}

/// Why signing in failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// The key waits to be accepted.
    #[error("the master has not accepted this minion's key yet; accept it there: salt-key -a {id}")]
    Pending {
        /// Who we are.
        id: String,
    },
    /// The key was rejected.
    #[error("the master has rejected this minion's key")]
    Rejected,
    /// The master takes no more minions.
    #[error("the master accepts no more minions (max_minions)")]
    Full,
    /// An unsigned answer, from a master whose key is not known yet.
    #[error("an unsigned answer from the master's address says: {}", meaning(.ret))]
    Unproven {
        /// The answer.
        ret: Ret,
    },
    /// The master does not know an algorithm.
    #[error("the master refuses encryption_algorithm or signing_algorithm of this minion: {ret}")]
    Algorithm {
        /// The master's words.
        ret: String,
    },
    /// The answer does not prove that it is the master's.
    #[error("the master's answer to the sign-in cannot be trusted: {0}")]
    Distrust(#[from] Distrust),
    /// No connection or no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Our own key.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const fn meaning(ret: &Ret) -> &'static str {
    match ret {
        Ret::Pending => "the key waits to be accepted",
        Ret::Rejected => "the key is rejected",
        Ret::Full => "the master accepts no more minions (max_minions)",
    }
}

/// What a master has against a minion, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// What the master did.
    pub(super) what: String,
    /// What an administrator can do, here or there.
    pub(super) remedy: String,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not signed in.
    #[error(transparent)]
    SignInError(#[from] SignInError),
    /// No connection or no reply, as often as it was tried.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The reply cannot be used.
    #[error(transparent)]
    Reply(#[from] OpenReplyError),
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

impl RequestError {
    /// Whether the master will not take this request, however often it comes, because it is too large.
    pub(super) const fn is_too_large(&self) -> bool {
        matches!(self, Self::Transport(TransportError::Request(error)) if error.is_too_large())
    }
}

/// A request that may need several tries: sent again, it is the same bytes as long as the session is the same.
#[derive(Debug)]
pub(super) struct PendingRequest {
    load: Map,
    /// What a master of ours knows it by.
    delivery: Option<Delivery>,
    sealed: Option<(Arc<Session>, Sealed)>,
}

impl PendingRequest {
    pub(super) const fn new(load: Map) -> Self {
        Self {
            load,
            delivery: None,
            sealed: None,
        }
    }

    /// Known to a master of ours by this, however often it comes.
    pub(super) const fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// The load for the master of this session. Others would show their listeners what they do not know.
    fn load_for(&self, session: &Session) -> Map {
        let mut load = self.load.clone();
        if let Some(delivery) = self.delivery.filter(|_| session.knows_deliveries()) {
            delivery.add_to(&mut load);
        }
        load
    }
}

impl MasterClient {
    /// A client of this master, which may accept the key because of these grains. Connects when needed.
    ///
    /// # Errors
    /// [`TransportError`] if the address is none.
    pub fn new(
        options: Arc<MinionOptions>,
        keys: Arc<MinionKeys>,
        grains: &Map,
        master: MasterAddress,
    ) -> Result<Self, TransportError> {
        let requester = transport::requester(&options, &master)?;
        Ok(Self(Arc::new(Shared {
            autosign_grains: autosign_grains(&options, grains),
            options,
            keys,
            master,
            requester,
            session: StdMutex::default(),
            signing_in: Mutex::default(),
        })))
    }

    /// Its `host:port`.
    pub(crate) fn name(&self) -> String {
        let master = &self.0.master;
        master.with_port(master.port)
    }

    /// Which master.
    #[must_use]
    pub fn master(&self) -> &MasterAddress {
        &self.0.master
    }

    /// The session, if the minion is signed in.
    #[must_use]
    pub fn session(&self) -> Option<Arc<Session>> {
        let session = self
            .0
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// Signs in once, unless another task has done so since `than`.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn sign_in(&self, than: Option<&Arc<Session>>) -> Result<Arc<Session>, SignInError> {
        let _one_at_a_time = self.0.signing_in.lock().await;
        if let Some(session) = self.session()
            && than.is_none_or(|than| !Arc::ptr_eq(than, &session))
        {
            return Ok(session);
        }
        let sign_in = self.begin()?;
        let shared = &self.0;
        let reply = self.until_answered(&sign_in.payload()).await?;
        let keys = shared.keys.clone();
        // RSA: a millisecond or two that others need not wait for.
        let judged = spawn_blocking(move || sign_in.judge(&reply, &keys.own)).await;
        let answer = judged.map_err(|_| TransportError::Closed)??;
        let session = self.take(answer)?;
        shared.requester.trust();
        let known = shared.keys.trusted_master()?;
        if known.is_none_or(|known| known.pem() != session.master().pem()) {
            shared.keys.trust_master(session.master())?;
        }
        *shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        Ok(session)
    }

    /// Sends the sign-in until it is answered, at most for `auth_tries` times `auth_timeout`.
    async fn until_answered(&self, payload: &Value) -> Result<Value, TransportError> {
        let Shared {
            options, master, ..
        } = &*self.0;
        let tries = options.retry.auth_tries.get();
        let until = Instant::now() + options.auth_timeout.saturating_mul(tries);
        let mut retry = Backoff::new(RETRY, options.auth_timeout);
        let mut is_logged = false;
        loop {
            let asked = self.0.requester.request(payload, options.auth_timeout);
            let error = match asked.await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let wait = retry.wait();
            if tries == 1 || Instant::now() + wait >= until {
                return Err(error.into());
            }
            if !is_logged {
                tracing::warn!(
                    "cannot sign in to master {}: {error}; retrying",
                    master.with_port(master.port)
                );
                is_logged = true;
            }
            sleep(wait).await;
        }
    }

    /// Whether the master answers at all, which needs no sign-in.
    pub(super) async fn answers(&self) -> bool {
        let wait = self.0.options.auth_timeout;
        let asked = self.0.requester.request(&ping(), wait).await;
        asked.is_ok()
    }

    /// Whether both are clients of the same master.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Why this master did not let the minion in, and what an administrator can do about it.
    pub(super) fn advice(&self, error: &SignInError) -> Advice {
        let options = &self.0.options;
        let id = options.id.as_str();
        let known = options.known_master_key();
        let is_known = known.exists();
        let (known, place) = (known.display(), self.name());
        let (what, remedy) = match error {
            SignInError::Distrust(Distrust::KeyChanged) => (
                format!("has another key than the one in {known}"),
                format!(
                    "if its key was replaced on purpose, remove {known}; if not, find out what answers at {place} \
                     (salt-key -F master there)"
                ),
            ),
            // A master that was set up anew knows neither the old key nor this minion: its refusal comes first.
            SignInError::Distrust(Distrust::Signature) if is_known => (
                format!("does not sign with the key in {known}"),
                format!(
                    "if the master was set up anew, remove {known}, and accept this minion there (salt-key -a {id}); \
                     if not, find out what answers at {place} (salt-key -F master there)"
                ),
            ),
            SignInError::Rejected | SignInError::Unproven { ret: Ret::Rejected } => (
                "has rejected or denied this minion's key".to_owned(),
                format!(
                    "if the key is the right one, salt-key -d {id} there, restart this minion if it has ended, and \
                     accept its key: salt-key -a {id}"
                ),
            ),
            SignInError::Pending { .. } => (
                "has not accepted this minion's key yet".to_owned(),
                format!("accept it there: salt-key -a {id}"),
            ),
            SignInError::Full => (
                "takes no more minions".to_owned(),
                "raise max_minions there".to_owned(),
            ),
            error => (
                error.to_string(),
                "compare the options of master and minion".to_owned(),
            ),
        };
        Advice { what, remedy }
    }

    fn begin(&self) -> Result<SignIn, SignInError> {
        let Shared { options, keys, .. } = &*self.0;
        let trust = Trust {
            master: keys.trusted_master()?,
            open_mode: options.open_mode,
            master_sign: match &options.master_sign_key_name {
                Some(name) => keys.master_sign(name)?,
                None => None,
            },
            always_verify_signature: options.always_verify_signature,
            master_finger: options.master_finger.clone(),
            encryption: options.encryption,
            signing: options.signing,
            refuse_sha1: options.refuse_sha1,
            serials: keys.serials.clone(),
            signing_record: Some(keys.signing_record()),
        };
        Ok(SignIn::begin(
            &options.id,
            &keys.own,
            trust,
            self.0.autosign_grains.clone(),
        )?)
    }

    fn take(&self, answer: Answer) -> Result<Arc<Session>, SignInError> {
        match answer {
            Answer::Accepted(session) => Ok(Arc::from(session)),
            Answer::Pending => Err(SignInError::Pending {
                id: self.0.options.id.as_str().to_owned(),
            }),
            Answer::Rejected => Err(SignInError::Rejected),
            Answer::Full => Err(SignInError::Full),
            Answer::Unproven { ret: Ret::Pending } => Err(SignInError::Pending {
                id: self.0.options.id.as_str().to_owned(),
            }),
            Answer::Unproven { ret } => Err(SignInError::Unproven { ret }),
            Answer::BadAlgorithm { ret } => Err(SignInError::Algorithm { ret }),
        }
    }

    /// Sends a request and gives its answer. The load needs `cmd`; `id` is set here.
    ///
    /// # Errors
    /// [`RequestError`], after all tries.
    pub async fn request(&self, load: Map) -> Result<Value, RequestError> {
        self.ask(load, |session, reply, nonce| session.open(reply, nonce))
            .await
    }

    /// Sends a request once, and once more after another sign-in if the session has expired. The sealed bytes stay in
    /// `pending`, to be sent again.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(super) async fn deliver(
        &self,
        pending: &mut PendingRequest,
        wait: Duration,
    ) -> Result<Value, RequestError> {
        let open = |session: &Session, reply: &Value, nonce: &Nonce| session.open(reply, nonce);
        self.exchange(pending, wait, &open).await
    }

    /// Requests the pillar.
    ///
    /// # Errors
    /// [`RequestError`], after all tries.
    pub async fn pillar(&self, grains: Map) -> Result<Map, RequestError> {
        let mut load: Map = [("cmd", "_pillar")].into_iter().collect();
        load.insert("grains", grains);
        for name in ["saltenv", "pillarenv"] {
            load.insert(name, Value::Nil);
        }
        for name in ["pillar_override", "extra_minion_data"] {
            load.insert(name, Map::new());
        }
        load.insert("ver", "2");
        let keys = self.0.keys.clone();
        self.ask(load, move |session, reply, nonce| {
            session.open_pillar(reply, nonce, &keys.own)
        })
        .await
    }

    async fn ask<T>(
        &self,
        load: Map,
        open: impl Fn(&Session, &Value, &Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        let mut pending = PendingRequest::new(load);
        let mut tries = 0;
        loop {
            tries += 1;
            let wait = self.0.options.request_timeout;
            match self.exchange(&mut pending, wait, &open).await {
                Ok(answer) => return Ok(answer),
                Err(error @ RequestError::SignInError(_)) => return Err(error),
                Err(error) if tries >= self.0.options.request_tries => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn exchange<T>(
        &self,
        pending: &mut PendingRequest,
        wait: Duration,
        open: &impl Fn(&Session, &Value, &Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        let session = match self.session() {
            Some(session) => session,
            None => self.sign_in(None).await?,
        };
        match self.exchange_in(&session, pending, wait, open).await {
            Err(RequestError::Reply(OpenReplyError::SignInAgain { .. })) => {
                let session = self.sign_in(Some(&session)).await?;
                self.exchange_in(&session, pending, wait, open).await
            }
            other => other,
        }
    }

    async fn exchange_in<T>(
        &self,
        session: &Arc<Session>,
        pending: &mut PendingRequest,
        wait: Duration,
        open: &impl Fn(&Session, &Value, &Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        let sealed = match pending.sealed.take() {
            Some((by, sealed)) if Arc::ptr_eq(&by, session) => sealed,
            _ => self.seal(session, pending.load_for(session)).await?,
        };
        let reply = match self.0.requester.request(&sealed.payload, wait).await {
            Ok(reply) => reply,
            Err(error) => {
                pending.sealed = Some((session.clone(), sealed));
                return Err(TransportError::from(error).into());
            }
        };
        Ok(open(session, &reply, &sealed.nonce)?)
    }

    async fn seal(&self, session: &Arc<Session>, mut load: Map) -> Result<Sealed, RequestError> {
        load.insert("id", self.0.options.id.as_str());
        if !self.0.options.minion_sign_messages {
            return Ok(session.seal(load, now())?);
        }
        let (session, keys) = (session.clone(), self.0.keys.clone());
        // RSA, as in a sign-in.
        let signing = spawn_blocking(move || session.seal_signed(load, now(), &keys.own));
        let sealed = signing.await.map_err(|_| TransportError::Closed)?;
        Ok(sealed.map_err(SignInError::from)?)
    }

    /// Subscribes to what the master publishes.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn subscribe(&self, session: &Session) -> Result<Subscription, TransportError> {
        transport::subscribe(&self.0.options, &self.0.master, session).await
    }
}

/// The grains that `autosign_grains` names; one that the minion lacks is nil, as in Salt.
fn autosign_grains(options: &MinionOptions, grains: &Map) -> Map {
    let names = options.autosign_grains.iter().map(String::as_str);
    let shown = names.map(|name| (name, grains.get(name).cloned().unwrap_or(Value::Nil)));
    shown.collect()
}

fn now() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}
