//! The way to one master: signing in, and requests that survive a lost session.
//!
//! A link is there whether or not its master is. A request whose reply does not come is sent again as
//! the same bytes, so that a master of ours acts on it once; one that the session key no longer fits is
//! sealed anew after another sign-in. Facts: `docs/protocol/network.md` §6.4, §7.3, §15.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_net::crypto::NoRandom;
use brine_net::keys::StoreError;
use brine_net::keys::minion::MinionKeys;
use brine_net::minion::{
    Answer, BeginError, Distrust, OpenReplyError, Sealed, Session, SignIn, Trust,
};
use brine_wire::network::auth::Ret;
use brine_wire::network::payload::Payload;
use brine_wire::network::{Nonce, VERSION};
use brine_wire::{Map, Value};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::options::{MasterAddress, MinionOptions};
use super::transport::{Requester, Subscription, TransportError};
use crate::node_bus::since_epoch;

/// The first wait before a sign-in that nobody answered is sent again.
const RETRY: Duration = Duration::from_millis(200);

/// A way to one master; cheap to clone.
#[derive(Debug, Clone)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Arc<MinionOptions>,
    keys: Arc<MinionKeys>,
    master: MasterAddress,
    requester: Requester,
    /// Held for a look, never across an await.
    session: StdMutex<Option<Arc<Session>>>,
    /// One sign-in at a time.
    signing_in: Mutex<()>,
}

/// Why the minion is not in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotIn {
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
    #[error("the master is full")]
    Full,
    /// Somebody whose key is not known says so.
    #[error("somebody at the master's address, whose key is not known yet, says: {}", said(.ret))]
    Unproven {
        /// What it says.
        ret: Ret,
    },
    /// The master does not know an algorithm.
    #[error("the master refuses an algorithm of this minion's configuration: {ret}")]
    Algorithm {
        /// The master's words.
        ret: String,
    },
    /// The answer is not the master's.
    #[error("answer not believed: {0}")]
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

const fn said(ret: &Ret) -> &'static str {
    match ret {
        Ret::Pending => "the key waits to be accepted",
        Ret::Rejected => "the key is rejected",
        Ret::Full => "the master is full",
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not signed in.
    #[error(transparent)]
    NotIn(#[from] NotIn),
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

/// A request on its way, which may need several tries: sent again, it is the same bytes as long as the session
/// is the same.
#[derive(Debug)]
pub(super) struct Letter {
    load: Map,
    sealed: Option<(Arc<Session>, Sealed)>,
}

impl Letter {
    pub(super) const fn new(load: Map) -> Self {
        Self { load, sealed: None }
    }
}

impl Link {
    /// A way to this master. Connects when it must.
    ///
    /// # Errors
    /// [`TransportError`] if the address is none.
    pub fn new(
        options: Arc<MinionOptions>,
        keys: Arc<MinionKeys>,
        master: MasterAddress,
    ) -> Result<Self, TransportError> {
        let requester = Requester::open(&options, &master)?;
        Ok(Self(Arc::new(Shared {
            options,
            keys,
            master,
            requester,
            session: StdMutex::default(),
            signing_in: Mutex::default(),
        })))
    }

    /// Which master.
    #[must_use]
    pub fn master(&self) -> &MasterAddress {
        &self.0.master
    }

    /// The session, if the minion is in.
    #[must_use]
    pub fn session(&self) -> Option<Arc<Session>> {
        let session = self
            .0
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    /// Signs in once, unless another has done so since `than`.
    ///
    /// # Errors
    /// [`NotIn`].
    pub async fn sign_in(&self, than: Option<&Arc<Session>>) -> Result<Arc<Session>, NotIn> {
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

    /// Asks until there is an answer, for the time that `auth_tries` of `auth_timeout` each would take.
    async fn until_answered(&self, payload: &Value) -> Result<Value, TransportError> {
        let Shared {
            options, master, ..
        } = &*self.0;
        let tries = options.tries.auth_tries.get();
        let until = Instant::now() + options.auth_timeout.saturating_mul(tries);
        let mut retry = Backoff::new(RETRY, options.auth_timeout);
        let mut is_told = false;
        loop {
            let asked = self.0.requester.request(payload, options.auth_timeout);
            let error = match asked.await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let wait = retry.wait();
            if tries == 1 || Instant::now() + wait >= until {
                return Err(error);
            }
            if !is_told {
                tracing::warn!(master = %master.host, %error, "not signed in; asking again");
                is_told = true;
            }
            sleep(wait).await;
        }
    }

    /// Whether the master answers at all, which needs no sign-in.
    pub(super) async fn answers(&self) -> bool {
        let ping = Payload::Clear {
            version: VERSION,
            load: [("cmd", "ping")].into_iter().collect(),
        };
        let wait = self.0.options.auth_timeout;
        let asked = self.0.requester.request(&ping.to_value(), wait).await;
        asked.is_ok()
    }

    /// Whether both are the way to the same master.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn begin(&self) -> Result<SignIn, NotIn> {
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
        };
        Ok(SignIn::begin(
            &options.id,
            &keys.own,
            trust,
            options.autosign_grains.clone(),
        )?)
    }

    fn take(&self, answer: Answer) -> Result<Arc<Session>, NotIn> {
        match answer {
            Answer::Accepted(session) => Ok(Arc::from(session)),
            Answer::Pending => Err(NotIn::Pending {
                id: self.0.options.id.as_str().to_owned(),
            }),
            Answer::Rejected => Err(NotIn::Rejected),
            Answer::Full => Err(NotIn::Full),
            Answer::Unproven { ret: Ret::Pending } => Err(NotIn::Pending {
                id: self.0.options.id.as_str().to_owned(),
            }),
            Answer::Unproven { ret } => Err(NotIn::Unproven { ret }),
            Answer::BadAlgorithm { ret } => Err(NotIn::Algorithm { ret }),
        }
    }

    /// Asks the master. The load needs `cmd`; `id` is set here.
    ///
    /// # Errors
    /// [`RequestError`], after all tries.
    pub async fn request(&self, load: Map) -> Result<Value, RequestError> {
        self.ask(load, |session, reply, nonce| session.open(reply, nonce))
            .await
    }

    /// Asks once, and once more after another sign-in if the session is over. What was sent stays in `letter`, to
    /// be sent again.
    ///
    /// # Errors
    /// [`RequestError`].
    pub(super) async fn deliver(
        &self,
        letter: &mut Letter,
        wait: Duration,
    ) -> Result<Value, RequestError> {
        let open = |session: &Session, reply: &Value, nonce: &Nonce| session.open(reply, nonce);
        self.exchange(letter, wait, &open).await
    }

    /// Asks for the pillar.
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
        let mut letter = Letter::new(load);
        let mut tries = 0;
        loop {
            tries += 1;
            let wait = self.0.options.request_timeout;
            match self.exchange(&mut letter, wait, &open).await {
                Ok(answer) => return Ok(answer),
                Err(error @ RequestError::NotIn(_)) => return Err(error),
                Err(error) if tries >= self.0.options.request_tries => return Err(error),
                Err(_) => {}
            }
        }
    }

    async fn exchange<T>(
        &self,
        letter: &mut Letter,
        wait: Duration,
        open: &impl Fn(&Session, &Value, &Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        let session = match self.session() {
            Some(session) => session,
            None => self.sign_in(None).await?,
        };
        match self.exchange_in(&session, letter, wait, open).await {
            Err(RequestError::Reply(OpenReplyError::SignInAgain { .. })) => {
                let session = self.sign_in(Some(&session)).await?;
                self.exchange_in(&session, letter, wait, open).await
            }
            other => other,
        }
    }

    async fn exchange_in<T>(
        &self,
        session: &Arc<Session>,
        letter: &mut Letter,
        wait: Duration,
        open: &impl Fn(&Session, &Value, &Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        let sealed = match letter.sealed.take() {
            Some((by, sealed)) if Arc::ptr_eq(&by, session) => sealed,
            _ => self.seal(session, letter.load.clone()).await?,
        };
        let reply = match self.0.requester.request(&sealed.payload, wait).await {
            Ok(reply) => reply,
            Err(error) => {
                letter.sealed = Some((session.clone(), sealed));
                return Err(error.into());
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
        Ok(sealed.map_err(NotIn::from)?)
    }

    /// Subscribes to what the master publishes.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn subscribe(&self, session: &Session) -> Result<Subscription, TransportError> {
        Subscription::open(&self.0.options, &self.0.master, session).await
    }
}

fn now() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}
