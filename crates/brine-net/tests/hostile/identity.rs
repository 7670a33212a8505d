//! Who claims to be another, and ids that are none.

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, SignIn, Trust};
use brine_wire::network::MinionId;
use brine_wire::network::payload::Payload;
use brine_wire::{Map, Value};

use crate::honest::Minion;
use crate::master::{ALL, Master, Transport};

/// Ids that must not become a path, a key's name or an event's data.
pub(crate) const BAD_IDS: &[&str] = &[
    "",
    ".",
    "..",
    "/",
    "../m1",
    "../../etc/cron.d/x",
    "a/b",
    "a\\b",
    "..\\m1",
    "m1\0",
    "\0",
    "m1\n",
    "m1\r\nx",
    "\u{7f}",
    "\u{1b}[2J",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_for_a_known_id_is_denied() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        let liar = PrivateKey::generate(2048).unwrap();
        let id = MinionId::parse("m1").unwrap();
        let sign_in = SignIn::begin(&id, &liar, Trust::default(), Map::new()).unwrap();
        let reply = master.requester().request(&sign_in.payload()).await;
        let answer = sign_in.judge(&reply, &liar).unwrap();
        assert!(!matches!(answer, Answer::Accepted(_)));
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_speaks_for_itself_alone() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let victim = Minion::sign_in(&master, "victim").await;
        let liar = Minion::sign_in(&master, "liar").await;
        master.reached();
        let inner_of_another = liar.seal(victim.event("salt/minion/victim/start"));
        let mut outer_of_another = liar.seal(liar.event("my/tag")).payload;
        if let Value::Map(map) = &mut outer_of_another {
            map.insert("id", "victim");
        }
        for payload in [inner_of_another.payload, outer_of_another] {
            let reply = liar.requester.request(&payload).await;
            assert_eq!(reply, "bad load".into());
        }
        assert_eq!(master.reached(), []);
        victim.works().await;
        liar.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_must_be_of_the_accepted_key() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let other = Minion::sign_in(&master, "m2").await;
    master.reached();
    // The right session key with another's token, with none, and with rubbish: taken apart and
    // sealed again by one who has the session key.
    let channel_key = std::fs::read_to_string(master.root.path().join("cache/sessions/m1"));
    let session = brine_net::crypto::crypticle::Key::parse(channel_key.unwrap().trim()).unwrap();
    let other_key = std::fs::read_to_string(master.root.path().join("cache/sessions/m2"));
    let others = brine_net::crypto::crypticle::Key::parse(other_key.unwrap().trim()).unwrap();
    let opened = |key: &brine_net::crypto::crypticle::Key, payload: Value| -> Map {
        let Ok(Payload::Encrypted(sealed)) = Payload::from_value(payload, 3) else {
            panic!("expected an encrypted payload");
        };
        let Value::Map(load) = key.open(&sealed.load, None).unwrap() else {
            panic!("expected a map");
        };
        load
    };
    let theirs = opened(&others, other.seal(other.event("my/tag")).payload);
    for tok in [
        theirs.get("tok").cloned(),
        None,
        Some(Value::Bin(vec![0; 256])),
    ] {
        let mut load = opened(&session, minion.seal(minion.event("my/tag")).payload);
        load.remove("tok");
        if let Some(tok) = tok {
            load.insert("tok", tok);
        }
        let mut payload = minion.seal(minion.event("my/tag")).payload;
        if let Value::Map(map) = &mut payload {
            map.insert(
                "load",
                Value::Bin(session.seal(&load.into(), None).unwrap()),
            );
        }
        assert_eq!(minion.requester.request(&payload).await, "bad load".into());
    }
    assert_eq!(master.reached(), []);
    minion.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_paths_or_hold_nul_get_nowhere() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let before = master.files();
        let key = PrivateKey::generate(2048).unwrap();
        let id = MinionId::parse("x").unwrap();
        let sign_in = SignIn::begin(&id, &key, Trust::default(), Map::new()).unwrap();
        let long = "x".repeat(256);
        for bad in BAD_IDS.iter().copied().chain([long.as_str()]) {
            let mut auth = sign_in.payload();
            if let Value::Map(map) = &mut auth
                && let Some(Value::Map(mut load)) = map.remove("load")
            {
                load.insert("id", bad);
                map.insert("load", load);
            }
            let reply = minion.requester.request(&auth).await;
            assert!(
                !matches!(sign_in.judge(&reply, &key), Ok(Answer::Accepted(_))),
                "{bad:?}"
            );
            let mut outer = minion.seal(minion.event("my/tag")).payload;
            if let Value::Map(map) = &mut outer {
                map.insert("id", bad);
            }
            assert_eq!(
                minion.requester.request(&outer).await,
                "bad load".into(),
                "{bad:?}"
            );
            let mut event = minion.event("my/tag");
            event.insert("id", bad);
            let inner = minion.seal(event);
            let reply = minion.requester.request(&inner.payload).await;
            assert!(
                reply
                    .as_str()
                    .is_some_and(|text| text.starts_with("bad load")),
                "{bad:?}"
            );
        }
        assert_eq!(master.reached(), []);
        assert_eq!(master.files(), before);
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_no_texts_get_nowhere() {
    let master = Master::start(Transport::ZeroMq).await;
    let minion = Minion::sign_in(&master, "m1").await;
    master.reached();
    for bad in [
        Value::Nil,
        1.into(),
        Value::Bool(true),
        Value::Array(vec!["m1".into()]),
    ] {
        let mut event = minion.event("my/tag");
        event.insert("id", bad.clone());
        let inner = minion.seal(event);
        let reply = minion.requester.request(&inner.payload).await;
        assert!(
            reply
                .as_str()
                .is_some_and(|text| text.starts_with("bad load")),
            "{bad:?}"
        );
    }
    assert_eq!(master.reached(), []);
    minion.works().await;
}
