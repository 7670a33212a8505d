//! A minion that is nothing but its requests.

use std::time::{SystemTime, UNIX_EPOCH};

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, Session, SignIn, Trust};
use brine_net::tcp::client::Requester;
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::support::{DEADLINE, Running};

/// A minion that was let in and does as it likes.
pub(crate) struct Rogue {
    pub(crate) id: MinionId,
    pub(crate) requester: Requester,
    pub(crate) session: Session,
}

impl Rogue {
    pub(crate) async fn sign_in(master: &Running, id: &str) -> Self {
        let id = MinionId::parse(id).unwrap();
        let key = PrivateKey::generate(2048).unwrap();
        let requester = Requester::new(format!("127.0.0.1:{}", master.ret_port));
        let sign_in = SignIn::begin(&id, &key, Trust::default(), Map::new()).unwrap();
        let reply = requester
            .request(&sign_in.payload(), DEADLINE)
            .await
            .unwrap();
        let Answer::Accepted(session) = sign_in.judge(&reply, &key).unwrap() else {
            panic!("expected to be let in, found {reply:?}");
        };
        Self {
            id,
            requester,
            session: *session,
        }
    }

    pub(crate) async fn ask(&self, cmd: &str, fields: &[(&str, Value)]) -> Value {
        let mut load: Map = [("id", self.id.as_str()), ("cmd", cmd)]
            .into_iter()
            .collect();
        for (name, value) in fields {
            load.insert(*name, value.clone());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ts = i64::try_from(since.as_secs()).unwrap();
        let sealed = self.session.seal(load, ts).unwrap();
        let reply = self
            .requester
            .request(&sealed.payload, DEADLINE)
            .await
            .unwrap();
        // An answer in clear is an answer, too.
        self.session.open(&reply, &sealed.nonce).unwrap_or(reply)
    }
}
