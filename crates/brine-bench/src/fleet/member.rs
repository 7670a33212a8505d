//! One simulated minion: id, key, session, and its way to the master.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_net::client::RequestError;
use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::minion::{OpenReplyError, Session};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use super::link::Link;

pub(super) struct Member {
    pub(super) id: MinionId,
    pub(super) key: Arc<PrivateKey>,
    pub(super) link: Link,
    /// The master's key, if it signed in before.
    pub(super) master: Option<PublicKey>,
    /// Set when it is in; locked for a clone only.
    session: Mutex<Option<Arc<Session>>>,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("not signed in")]
    NotIn,
    #[error(transparent)]
    NoRandom(#[from] brine_net::crypto::NoRandom),
    #[error(transparent)]
    Link(#[from] RequestError),
    #[error(transparent)]
    Reply(#[from] OpenReplyError),
}

impl Member {
    pub(super) const fn new(id: MinionId, key: Arc<PrivateKey>, link: Link) -> Self {
        Self {
            id,
            key,
            link,
            master: None,
            session: Mutex::new(None),
        }
    }

    /// The same minion on a new connection.
    pub(super) fn again(before: &Self, link: Link, master: Option<PublicKey>) -> Self {
        Self {
            master,
            ..Self::new(before.id.clone(), before.key.clone(), link)
        }
    }

    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().ok()?.clone()
    }

    pub(super) fn set_session(&self, session: Session) {
        if let Ok(mut slot) = self.session.lock() {
            *slot = Some(Arc::new(session));
        }
    }

    /// Sends one request and opens its reply.
    pub(super) async fn ask(
        &self,
        cmd: &str,
        fields: Map,
        wait: Duration,
    ) -> Result<Value, AskError> {
        let session = self.session().ok_or(AskError::NotIn)?;
        let mut load: Map = [("id", self.id.as_str()), ("cmd", cmd)]
            .into_iter()
            .collect();
        for (key, value) in fields.iter() {
            if let Some(key) = key.as_str() {
                load.insert(key, value.clone());
            }
        }
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let sealed = session.seal(load, seconds)?;
        let reply = self.link.request(&sealed.payload, wait).await?;
        Ok(session.open(&reply, &sealed.nonce)?)
    }
}
