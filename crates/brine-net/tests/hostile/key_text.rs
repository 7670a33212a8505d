//! Texts made so that different readers find different keys in them.
//!
//! A fingerprint that an administrator compares must be of the key that is used. So a text is one key and nothing
//! else, or it is refused.

use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::keys::store::{KeyState, StoredKey};
use brine_net::minion::{Answer, SignIn, Trust};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::honest::Minion;
use crate::master::{ALL, Master};

/// Texts that hold the key of `used` and show that of `shown`, or more than a key.
fn ambiguous(used: &PublicKey, shown: &PublicKey) -> Vec<String> {
    let (used, shown) = (used.pem(), shown.pem());
    let lines: Vec<&str> = used.lines().collect();
    let (shown_body, used_body) = (
        &shown[27..shown.len() - 25],
        &lines[1..lines.len() - 1].join("\n"),
    );
    vec![
        format!("{used}\n{shown}"),
        format!("{shown}\n{used}"),
        format!("x\n{shown_body}\n{used}"),
        format!("{used}\n{shown_body}\n-----END PUBLIC KEY-----"),
        format!(
            "-----BEGIN PUBLIC KEY-----\n{used_body}\n\n{shown_body}\n-----END PUBLIC KEY-----"
        ),
        format!("{}\n{used}", shown.replace("PUBLIC KEY", "NOTE")),
        used.replace(
            "-----BEGIN PUBLIC KEY-----\n",
            "-----BEGIN PUBLIC KEY-----\nNote: x\n\n",
        ),
        format!("{used}\n\u{1b}[2J\u{1b}[1;1Hanother text"),
        used.replacen('\n', "\n\u{1b}]0;title\u{7}", 2),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_shows_another_key_than_it_holds_is_refused_and_not_kept() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let honest = Minion::sign_in(&master, "m1").await;
        let liar = PrivateKey::generate(2048).unwrap();
        let id = MinionId::parse("liar").unwrap();
        for text in ambiguous(liar.public(), honest.key.public()) {
            let sign_in = SignIn::begin(&id, &liar, Trust::default(), Map::new()).unwrap();
            let mut payload = sign_in.payload();
            let Value::Map(map) = &mut payload else {
                panic!("a payload is a map");
            };
            let mut load = map.get("load").and_then(Value::as_map).unwrap().clone();
            load.insert("pub", text.as_str());
            map.insert("load", load);
            let reply = master.requester().request(&payload).await;
            let answer = sign_in.judge(&reply, &liar).unwrap();
            assert!(!matches!(answer, Answer::Accepted(_)), "{text}");
            assert_eq!(master.channel.store().find(&id).unwrap(), None, "{text}");
        }
        let stored = master.channel.store().get(KeyState::Accepted, &honest.id);
        assert_eq!(
            stored.unwrap(),
            Some(StoredKey::Key(honest.key.public().clone()))
        );
        honest.works().await;
    }
}

#[test]
fn a_master_whose_key_shows_another_fingerprint_is_not_believed() {
    use brine_net::crypto::{FingerprintHash, fingerprint};
    use brine_net::minion::Distrust;
    use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
    use brine_wire::network::auth::{AcceptedReply, AuthEnvelope, AuthReply};

    let [rogue, expected, own] = [0; 3].map(|_| PrivateKey::generate(2048).unwrap());
    let hash = FingerprintHash::Sha256;
    let trust = Trust {
        master_finger: Some((fingerprint(expected.public(), hash), hash)),
        ..Trust::default()
    };
    let id = MinionId::parse("m1").unwrap();
    let sign_in = SignIn::begin(&id, &own, trust, Map::new()).unwrap();
    let encrypt = |text: &[u8]| {
        (own.public())
            .encrypt(EncryptionAlgorithm::default(), text)
            .unwrap()
    };
    let mut texts = ambiguous(rogue.public(), expected.public());
    texts.push(rogue.public().pem().to_owned());
    for pub_key in texts {
        let reply = AuthReply::Accepted(AcceptedReply {
            pub_key,
            publish_port: 4505,
            pub_sig: None,
            token: None,
            aes: encrypt(b"key"),
            session: encrypt(b"key"),
            sig: Vec::new(),
            knows_deliveries: false,
            nonce: None,
        });
        let load = reply.to_bytes();
        let sig = rogue.sign(SigningAlgorithm::default(), &load).unwrap();
        let found = sign_in.judge(&AuthEnvelope::Signed { load, sig }.to_value(), &own);
        assert!(
            matches!(found, Err(Distrust::NoKey | Distrust::Finger { .. })),
            "{found:?}"
        );
    }
}
