//! Faults of Salt's that were published, as far as they are about the two ports: each cannot
//! happen here. What they were, and those about what a master does with a request, is in
//! `docs/security.md`.

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, Distrust, MustBeSigned, OpenReplyError, SignIn, Trust};
use brine_net::replay::Seen;
use brine_wire::network::algorithm::SigningAlgorithm;
use brine_wire::network::publish::Publish;
use brine_wire::network::{MinionId, Nonce};
use brine_wire::{Map, Value, msgpack};

use crate::honest::{Minion, now};
use crate::identity::BAD_IDS;
use crate::master::{ALL, Master, Transport, pillar};

fn clear(fields: &[(&str, Value)]) -> Value {
    let load: Map = fields.iter().cloned().collect();
    let payload: Map = [
        ("enc", Value::from("clear")),
        ("load", load.into()),
        ("version", 3.into()),
    ]
    .into_iter()
    .collect();
    Value::Map(payload)
}

/// Methods of the master's class could be called by name without authentication, among them the
/// one that tells root's key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2020_11651_methods_are_no_commands() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let stranger = master.requester();
        for cmd in [
            "_prep_auth_info",
            "_send_pub",
            "_prep_pub",
            "__init__",
            "connect",
            "auth",
        ] {
            let payload = clear(&[("cmd", cmd.into()), ("user", "root".into())]);
            assert_eq!(stranger.request(&payload).await, "bad load".into(), "{cmd}");
        }
        assert_eq!(master.reached(), []);
    }
}

/// Names from requests became paths.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2017_12791_an_id_never_leaves_its_folder() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let before = master.files();
        let stranger = master.requester();
        let key = PrivateKey::generate(2048).unwrap();
        for id in BAD_IDS {
            let payload = clear(&[
                ("cmd", "_auth".into()),
                ("id", (*id).into()),
                ("nonce", "0123456789abcdef0123456789abcdef".into()),
                ("enc_algo", "OAEP-SHA1".into()),
                ("sig_algo", "PKCS1v15-SHA1".into()),
                ("pub", key.public().pem().into()),
            ]);
            let _refused = stranger.request(&payload).await;
        }
        assert_eq!(master.files(), before);
    }
}

/// Pillar data were not signed: who sat between could make them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2022_22934_a_pillar_is_the_masters_or_none() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let ask = || {
        let load: Map = [("cmd", "_pillar"), ("id", "m1"), ("ver", "2")]
            .into_iter()
            .collect();
        minion.seal(load)
    };
    let first = ask();
    let reply = minion.requester.request(&first.payload).await;
    let open = |reply: &Value, nonce: &Nonce| minion.session.open_pillar(reply, nonce, &minion.key);
    assert_eq!(open(&reply, &first.nonce), Ok(pillar()));
    // For another request, sealed with another's key, or changed.
    assert_eq!(open(&reply, &ask().nonce), Err(OpenReplyError::Pillar));
    let other = Minion::sign_in(&master, "m2").await;
    let load: Map = [("cmd", "_pillar"), ("id", "m2"), ("ver", "2")]
        .into_iter()
        .collect();
    let theirs = other.seal(load);
    let others = other.requester.request(&theirs.payload).await;
    assert_eq!(open(&others, &theirs.nonce), Err(OpenReplyError::Pillar));
    for name in ["key", "pillar"] {
        let mut changed = reply.clone();
        if let Value::Map(map) = &mut changed
            && let Some(Value::Bin(mut bytes)) = map.remove(name)
        {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            map.insert(name, Value::Bin(bytes));
        }
        assert_eq!(
            open(&changed, &first.nonce),
            Err(OpenReplyError::Pillar),
            "{name}"
        );
    }
}

/// Answers to sign-ins were not signed: who sat between could say "rejected", and minions ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2022_22935_a_refusal_must_be_the_masters() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let liar = PrivateKey::generate(2048).unwrap();
    let known = Trust {
        master: Some(minion.session.master().clone()),
        ..Trust::default()
    };
    for ret in [false.into(), true.into(), Value::from("full")] {
        let sign_in = SignIn::begin(&minion.id, &minion.key, known.clone(), Map::new()).unwrap();
        let nonce = sign_in.payload().as_map().and_then(|payload| {
            let load = payload.get("load")?.as_map()?;
            load.get("nonce").cloned()
        });
        let mut load = Map::new();
        load.insert("ret", ret.clone());
        load.insert("nonce", nonce.unwrap());
        let mut bytes = Vec::new();
        msgpack::encode_network(&load.clone().into(), &mut bytes);
        let sig = liar.sign(SigningAlgorithm::default(), &bytes).unwrap();
        let mut signed = Map::new();
        signed.insert("enc", "clear");
        signed.insert("load", Value::Bin(bytes));
        signed.insert("sig", Value::Bin(sig));
        let judged = sign_in.judge(&signed.into(), &minion.key);
        assert_eq!(judged.unwrap_err(), Distrust::Signature, "{ret:?}");
        let mut unsigned = Map::new();
        unsigned.insert("enc", "clear");
        unsigned.insert("load", load);
        assert!(sign_in.judge(&unsigned.into(), &minion.key).is_err());
        // Who knows no master yet cannot tell, and must not take it for the last word.
        let first = SignIn::begin(&minion.id, &minion.key, Trust::default(), Map::new()).unwrap();
        let unsigned: Map = [("ret", ret)].into_iter().collect();
        let reply: Map = [("enc", Value::from("clear")), ("load", unsigned.into())]
            .into_iter()
            .collect();
        let judged = first.judge(&reply.into(), &minion.key);
        assert!(matches!(judged, Err(_) | Ok(Answer::Unproven { .. })));
    }
}

/// Jobs and the file server's answers could be sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2022_22936_jobs_and_answers_are_good_once() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        let job: Map = [("fun", "test.ping"), ("jid", "1"), ("tgt", "*")]
            .into_iter()
            .collect();
        let first = Publish::parse(&master.channel.publish(job.clone()).unwrap()).unwrap();
        let second = Publish::parse(&master.channel.publish(job).unwrap()).unwrap();
        let open = |publish| minion.session.open_publish(publish, MustBeSigned::No);
        assert!(open(&first).is_ok());
        assert_eq!(open(&first), Err(OpenReplyError::Replayed));
        assert!(open(&second).is_ok());
        for old in [&first, &second] {
            assert_eq!(open(old), Err(OpenReplyError::Replayed));
        }
        let asked = minion.seal(minion.event("my/tag"));
        let answer = minion.requester.request(&asked.payload).await;
        let later = minion.seal(minion.event("my/tag"));
        let opened = minion.session.open(&answer, &later.nonce);
        assert_eq!(opened, Err(OpenReplyError::OtherReply));
    }
}

/// As many bad packets as there were worker processes, and the master answered nobody any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2023_20897_bad_packets_cost_no_worker() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        let stranger = master.requester();
        for number in 0..200 {
            let bad = match number % 5 {
                0 => Value::Nil,
                1 => Value::Map(Map::new()),
                2 => clear(&[("cmd", "_auth".into())]),
                3 => clear(&[
                    ("cmd", "_auth".into()),
                    ("id", "m9".into()),
                    ("enc_algo", "none".into()),
                    ("token", Value::Bin(vec![0; 256])),
                ]),
                _ => {
                    let mut payload = minion.seal(minion.event("my/tag")).payload;
                    if let Value::Map(map) = &mut payload {
                        map.insert("load", Value::Bin(vec![7; number]));
                    }
                    payload
                }
            };
            let _answered = stranger.request(&bad).await;
        }
        minion.works().await;
        Minion::sign_in(&master, "m2").await;
    }
}

/// Some requests were served without a look at the token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2024_38822_every_request_shows_its_token() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    master.reached();
    let file = master.root.path().join("cache/sessions/m1");
    let text = std::fs::read_to_string(file).unwrap();
    let session = brine_net::crypto::crypticle::Key::parse(text.trim()).unwrap();
    let commands = [
        "_file_list",
        "_master_opts",
        "_mine",
        "_minion_event",
        "_pillar",
        "_return",
        "_serve_file",
        "_syndic_return",
        "minion_pub",
        "pub_ret",
        "revoke_auth",
    ];
    for cmd in commands {
        for tok in [
            None,
            Some(Value::Nil),
            Some("".into()),
            Some(Value::Bin(vec![1; 256])),
        ] {
            let mut load: Map = [("cmd", cmd), ("id", "m1")].into_iter().collect();
            load.insert("ts", now());
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
            assert_eq!(
                minion.requester.request(&payload).await,
                "bad load".into(),
                "{cmd}"
            );
        }
    }
    assert_eq!(master.reached(), []);
}

/// Requests could be sent again by who had listened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2024_38823_a_request_is_acted_on_once() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let sealed = minion.seal(minion.event("my/tag"));
        let thief = master.requester();
        thief.request(&sealed.payload).await;
        minion.works().await;
        thief.request(&sealed.payload).await;
        let seen: Vec<_> = master.reached().iter().map(|one| one.seen).collect();
        assert_eq!(
            seen,
            [Some(Seen::First), Some(Seen::First), Some(Seen::Again)]
        );
    }
}

/// A minion could name an older version of the protocol and be spared its checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2025_62349_older_versions_are_not_spoken() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let id = MinionId::parse("m2").unwrap();
        let sign_in = SignIn::begin(&id, &minion.key, Trust::default(), Map::new()).unwrap();
        for version in 0..3 {
            for mut payload in [sign_in.payload(), minion.seal(minion.event("x")).payload] {
                if let Value::Map(map) = &mut payload {
                    map.insert("version", version);
                }
                let reply = minion.requester.request(&payload).await;
                assert_eq!(reply, "bad load".into(), "version {version}");
            }
        }
        assert_eq!(master.reached(), []);
        assert!(!master.channel.is_accepted(&id));
    }
}
