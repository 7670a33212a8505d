//! Versions of the protocol that are not spoken: no downgrade.

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, SignIn, Trust};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::honest::Minion;
use crate::master::{ALL, Master};

fn with_version(payload: &Value, version: Option<Value>) -> Value {
    let mut payload = payload.clone();
    if let Value::Map(map) = &mut payload {
        map.remove("version");
        if let Some(version) = version {
            map.insert("version", version);
        }
    }
    payload
}

/// Versions below ours, and what counts as none.
fn low() -> Vec<Option<Value>> {
    let mut low: Vec<_> = (0..3).map(|version| Some(Value::from(version))).collect();
    low.extend([
        None,
        Some((-1).into()),
        Some(Value::Nil),
        Some("4".into()),
        Some(Value::Array(vec![3.into()])),
    ]);
    low
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lower_versions_are_refused_for_sign_ins_and_requests() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let before = master.files();
        let key = PrivateKey::generate(2048).unwrap();
        let id = MinionId::parse("m2").unwrap();
        let sign_in = SignIn::begin(&id, &key, Trust::default(), Map::new()).unwrap();
        for version in low() {
            let event = minion.seal(minion.event("my/tag")).payload;
            for payload in [sign_in.payload(), event] {
                let reply = minion
                    .requester
                    .request(&with_version(&payload, version.clone()))
                    .await;
                assert_eq!(reply, "bad load".into(), "{version:?}");
            }
        }
        assert_eq!(master.reached(), []);
        assert_eq!(master.files(), before);
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_version_gets_the_checks_of_ours() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let liar = Minion::sign_in(&master, "liar").await;
        master.reached();
        for version in [4.into(), 255.into(), Value::from(i64::MAX)] {
            // In another's name: refused as in version 3.
            let forged = liar.seal(minion.event("my/tag")).payload;
            let reply = liar
                .requester
                .request(&with_version(&forged, Some(version.clone())))
                .await;
            assert_eq!(reply, "bad load".into(), "{version:?}");
        }
        assert_eq!(master.reached(), []);
        // An answer to a later sign-in is what version 3 says, or a refusal; never less.
        let sign_in = SignIn::begin(&liar.id, &liar.key, Trust::default(), Map::new()).unwrap();
        let payload = with_version(&sign_in.payload(), Some(4.into()));
        let reply = liar.requester.request(&payload).await;
        let judged = sign_in.judge(&reply, &liar.key);
        assert!(matches!(judged, Ok(Answer::Accepted(_)) | Err(_)));
        minion.works().await;
    }
}
