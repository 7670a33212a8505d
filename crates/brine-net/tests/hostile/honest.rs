//! A minion that minds its own business, to see whether others can disturb it.

use std::time::{SystemTime, UNIX_EPOCH};

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, Sealed, Session, SignIn, Trust};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::master::{Master, Requester};

pub(crate) struct Minion {
    pub(crate) id: MinionId,
    pub(crate) key: PrivateKey,
    pub(crate) session: Session,
    pub(crate) requester: Requester,
}

impl Minion {
    /// Signs in and sends its first event.
    pub(crate) async fn sign_in(master: &Master, id: &str) -> Self {
        let id = MinionId::parse(id).unwrap();
        let key = PrivateKey::generate(2048).unwrap();
        let requester = master.requester();
        let sign_in = SignIn::begin(&id, &key, Trust::default(), Map::new()).unwrap();
        let reply = requester.request(&sign_in.payload()).await;
        let Answer::Accepted(session) = sign_in.judge(&reply, &key).unwrap() else {
            panic!("expected to be let in, found {reply:?}");
        };
        let minion = Self {
            id,
            key,
            session: *session,
            requester,
        };
        minion.works().await;
        minion
    }

    /// Sends an event on the connection it has; fails if that is not answered.
    pub(crate) async fn works(&self) {
        let sealed = self.seal(self.event("honest/event"));
        let reply = self.requester.request(&sealed.payload).await;
        let answer = self.session.open(&reply, &sealed.nonce);
        assert_eq!(answer, Ok(Value::Nil));
    }

    pub(crate) fn event(&self, tag: &str) -> Map {
        let mut load: Map = [("id", self.id.as_str()), ("cmd", "_minion_event")]
            .into_iter()
            .collect();
        load.insert("tag", tag);
        load.insert("data", Map::new());
        load
    }

    pub(crate) fn seal(&self, load: Map) -> Sealed {
        self.session.seal(load, now()).unwrap()
    }
}

/// Seconds since the UNIX epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
