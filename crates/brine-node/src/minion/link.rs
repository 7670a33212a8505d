//! The way to one master: signing in, and requests that survive a lost session.
//!
//! A link is there whether or not its master is. A request whose reply does not come is sent again as
//! the same bytes, so that a master of ours acts on it once; one that the session key no longer fits is
//! sealed anew after another sign-in. Facts: `docs/protocol/network.md` §6.4, §7.3, §15.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use brine_net::crypto::NoRandom;
use brine_net::keys::StoreError;
use brine_net::keys::minion::MinionKeys;
use brine_net::minion::{Answer, BeginError, Distrust, OpenReplyError, Session, SignIn, Trust};
use brine_wire::network::auth::Ret;
use brine_wire::{Map, Value};
use tokio::sync::Mutex;

use super::options::{MasterAddress, MinionOptions};
use super::transport::{Requester, Subscription, TransportError};
use crate::own_bus::since_epoch;

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
        let wait = shared.options.auth_timeout;
        let reply = shared.requester.request(&sign_in.payload(), wait).await?;
        let keys = shared.keys.clone();
        // RSA: a millisecond or two that others need not wait for.
        let judged = tokio::task::spawn_blocking(move || sign_in.judge(&reply, &keys.own)).await;
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
        self.exchange(load, |session, reply, nonce| session.open(reply, nonce))
            .await
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
        self.exchange(load, move |session, reply, nonce| {
            session.open_pillar(reply, nonce, &keys.own)
        })
        .await
    }

    async fn exchange<T>(
        &self,
        mut load: Map,
        open: impl Fn(&Session, &Value, &brine_wire::network::Nonce) -> Result<T, OpenReplyError>,
    ) -> Result<T, RequestError> {
        load.insert("id", self.0.options.id.as_str());
        let mut session = match self.session() {
            Some(session) => session,
            None => self.sign_in(None).await?,
        };
        let mut signed_in_again = false;
        let mut sealed = session.seal(load.clone(), now())?;
        let mut tries = 0;
        loop {
            tries += 1;
            let wait = self.0.options.request_timeout;
            let reply = match self.0.requester.request(&sealed.payload, wait).await {
                Ok(reply) => reply,
                Err(error) if tries >= self.0.options.request_tries => return Err(error.into()),
                Err(_) => continue,
            };
            match open(&session, &reply, &sealed.nonce) {
                Ok(answer) => return Ok(answer),
                Err(OpenReplyError::SignInAgain { .. }) if !signed_in_again => {
                    signed_in_again = true;
                    session = self.sign_in(Some(&session)).await?;
                    sealed = session.seal(load.clone(), now())?;
                }
                Err(error) if tries >= self.0.options.request_tries => return Err(error.into()),
                Err(_) => sealed = session.seal(load.clone(), now())?,
            }
        }
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
