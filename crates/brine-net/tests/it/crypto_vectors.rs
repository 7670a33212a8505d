//! The cryptographic rows of the golden vectors, and everything the recorded conversations of real
//! masters and minions encrypted and signed. Every row is used; the tables' lengths are asserted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_net::crypto::crypticle::{Key, OpenError};
use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::crypto::{FingerprintHash, fingerprint, sha256_hex, topic};
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::auth::{AuthEnvelope, AuthReply, AuthRequest};
use brine_wire::network::crypticle::ReadError;
use brine_wire::network::payload::{Payload, Reply};
use brine_wire::network::pillar::{PillarData, SignedPillar};
use brine_wire::network::publish::{self, Publish};
use brine_wire::network::request::signed_bytes;
use brine_wire::network::{MinionId, Nonce, tcp};
use brine_wire::{Map, Value, msgpack};
use serde_json::Value as Json;

use crate::vectors::{from_hex, named, private, public, text, value, vectors};

#[test]
fn keys_and_their_fingerprints() {
    let vectors = vectors();
    for name in ["master", "minion", "master_sign"] {
        let row = &vectors["rsa"][name];
        let key = named(&vectors, name);
        assert_eq!(key.public().pem(), text(&row["public_pem_on_wire"]));
        assert_eq!(public(&row["public_pem"]).pem(), key.public().pem());
        assert_eq!(key.public().size(), 256);
        for (pem, print) in [
            ("public_pem", "fingerprint_sha256"),
            ("public_pem_on_wire", "fingerprint_of_clean_file"),
        ] {
            let print = text(&row[print]);
            assert_eq!(
                fingerprint(&public(&row[pem]), FingerprintHash::Sha256),
                print
            );
        }
    }
    assert_eq!(vectors["rsa"].as_object().unwrap().len(), 3);
}

#[test]
fn x931_signatures() {
    let vectors = vectors();
    let rows = vectors["x931"]["cases"].as_array().unwrap();
    assert_eq!(rows.len(), 18);
    for row in rows {
        let key = named(&vectors, text(&row["key"]));
        let (message, signature) = (from_hex(&row["message"]), from_hex(&row["signature"]));
        assert_eq!(key.sign_x931(&message).unwrap(), signature);
        assert_eq!(key.public().recover_x931(&signature), Some(message));
    }
}

#[test]
fn oaep_is_decrypted() {
    let vectors = vectors();
    let rows = vectors["oaep_decrypt"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let key = named(&vectors, text(&row["key"]));
        let algorithm = EncryptionAlgorithm::parse(text(&row["algorithm"])).unwrap();
        let plain = key
            .decrypt(algorithm, &from_hex(&row["ciphertext"]))
            .unwrap();
        assert_eq!(plain[..], *text(&row["message"]).as_bytes());
        let again = key.public().encrypt(algorithm, &plain).unwrap();
        assert_eq!(key.decrypt(algorithm, &again).unwrap(), plain);
    }
}

#[test]
fn pkcs1v15_signatures() {
    let vectors = vectors();
    let rows = vectors["pkcs1v15_sign"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let key = named(&vectors, text(&row["key"]));
        let algorithm = SigningAlgorithm::parse(text(&row["algorithm"])).unwrap();
        let (message, signature) = (from_hex(&row["message"]), from_hex(&row["signature"]));
        assert_eq!(key.sign(algorithm, &message).unwrap(), signature);
        assert!(key.public().verify(algorithm, &message, &signature));
    }
    let row = &vectors["pub_sig"];
    let signed = named(&vectors, "master_sign")
        .sign(
            SigningAlgorithm::default(),
            text(&row["signed_text"]).as_bytes(),
        )
        .unwrap();
    assert_eq!(
        format!("{}\n", STANDARD.encode(signed)),
        text(&row["pub_sig"])
    );
}

#[test]
fn crypticles_that_must_not_be_believed() {
    let vectors = vectors();
    let rows = vectors["crypticle_negative"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let key = Key::parse(text(&row["key_string"])).unwrap();
        let nonce = row["expected_nonce"]
            .as_str()
            .map(|nonce| Nonce::parse(nonce.as_bytes()).unwrap());
        let opened = key.open(&from_hex(&row["ciphertext"]), nonce.as_ref());
        let expected = match text(&row["expect"]) {
            "authentication-error" => Err(OpenError::NotAuthentic),
            "empty-map" => Ok(Value::Map(Map::new())),
            "nonce-error" => Err(OpenError::Read(ReadError::OtherNonce)),
            other => panic!("nobody expects {other}"),
        };
        assert_eq!(opened, expected, "{}", row["note"]);
    }
}

#[test]
fn topics() {
    let vectors = vectors();
    let rows = vectors["topics"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        let id = MinionId::parse(text(&row["id"])).unwrap();
        assert_eq!(topic(&id), text(&row["topic"]));
    }
}

#[test]
fn a_pillar_is_opened_step_by_step() {
    let vectors = vectors();
    let built = &vectors["pillar_built"];
    let Reply::Pillar(reply) = Reply::parse(&from_hex(&built["response"])).unwrap() else {
        panic!("the response is a pillar");
    };
    let minion = named(&vectors, "minion");
    let one_time = minion
        .decrypt(EncryptionAlgorithm::default(), &reply.key)
        .unwrap();
    assert_eq!(
        one_time[..],
        *text(&built["one_time_key_string"]).as_bytes()
    );
    let key = Key::parse(text(&built["one_time_key_string"])).unwrap();
    let inner = key.open(&reply.pillar, None).unwrap();
    let signed = SignedPillar::from_map(inner.as_map().unwrap()).unwrap();
    let master = named(&vectors, "master");
    assert!(
        master
            .public()
            .verify(SigningAlgorithm::default(), &signed.data, &signed.sig)
    );
    let data = PillarData::parse(&signed.data).unwrap();
    assert_eq!(Value::Map(data.pillar), value(&built["pillar"]));

    let Payload::Encrypted(request) = Payload::parse(&from_hex(&built["request"]), 3).unwrap()
    else {
        panic!("the request is encrypted");
    };
    let session = Key::parse(text(&built["request_key_string"])).unwrap();
    assert_eq!(
        session.open(&request.load, None).unwrap(),
        value(&built["request_load"])
    );
}

#[test]
fn a_publish_is_signed_and_opened() {
    let vectors = vectors();
    let built = &vectors["publish_built"];
    let publish = Publish::parse(&from_hex(&built["payload"])).unwrap();
    let signature = publish.signature.unwrap();
    let master = named(&vectors, text(&built["signed_by"]));
    let algorithm = signature.algorithm.unwrap();
    assert_eq!(
        master.sign(algorithm, &publish.load).unwrap(),
        signature.sig
    );
    let key = Key::parse(text(&built["key_string"])).unwrap();
    assert!(key.open(&publish.load, None).is_ok());
}

#[test]
fn everything_recorded_opens_with_the_keys_of_its_ends() {
    let vectors = vectors();
    let conversations = vectors["recorded"].as_array().unwrap();
    assert_eq!(conversations.len(), 6);
    let mut checked = 0;
    for conversation in conversations {
        let ends = Ends {
            master: private(&conversation["master_private_pkcs1_der_base64"]),
            minion: private(&conversation["minion_private_pkcs1_der_base64"]),
            master_sign: conversation["master_sign_public_pem"]
                .as_str()
                .map(|pem| PublicKey::from_pem(pem).unwrap()),
        };
        for message in conversation["messages"].as_array().unwrap() {
            checked += usize::from(ends.check(message));
        }
    }
    assert_eq!(checked, 12 + 12 + 38 + 38 + 15 + 3);
}

struct Ends {
    master: PrivateKey,
    minion: PrivateKey,
    master_sign: Option<PublicKey>,
}

impl Ends {
    /// Whether there was something to check.
    fn check(&self, message: &Json) -> bool {
        let Some(body) = recorded_body(message) else {
            return false;
        };
        let key = || Key::parse(text(&message["key_string"])).unwrap();
        match text(&message["kind"]) {
            "auth-request" => self.check_request(message, body),
            "auth-response" => self.check_reply(message, &body),
            "_minion_event" | "_return" => {
                let Ok(Payload::Encrypted(request)) = Payload::from_value(body, 3) else {
                    panic!("a request of a minion is encrypted");
                };
                let load = key().open(&request.load, None).unwrap();
                assert_eq!(load, value(&message["load"]));
                self.check_load(load.as_map().unwrap());
            }
            "encrypted-response" => {
                let Ok(Reply::Crypticle(bytes)) = Reply::from_value(&body) else {
                    panic!("a reply is encrypted");
                };
                let nonce = Nonce::parse(text(&message["nonce"]).as_bytes()).unwrap();
                let object = key().open(&bytes, Some(&nonce)).unwrap();
                assert_eq!(object, value(&message["object"]));
            }
            "publish" => {
                let publish = Publish::from_value(&body).unwrap();
                let load = key().open(&publish.load, None).unwrap();
                assert_eq!(load, value(&message["load"]));
                if let Some(signature) = publish.signature {
                    let algorithm = signature.algorithm.unwrap();
                    assert_eq!(
                        self.master.sign(algorithm, &publish.load).unwrap(),
                        signature.sig
                    );
                }
            }
            "send-id" => {
                let load = publish::identification_load(&body).unwrap();
                let load = key().open(load, None).unwrap();
                let (_, tok) = publish::read_identification(load.as_map().unwrap()).unwrap();
                assert_eq!(tok, self.minion.sign_x931(b"salt").unwrap());
            }
            _ => return false,
        }
        true
    }

    fn check_request(&self, message: &Json, body: Value) {
        let Ok(Payload::Clear { load, .. }) = Payload::from_value(body, 3) else {
            panic!("a sign-in is clear");
        };
        let request = AuthRequest::parse(&load).unwrap();
        assert_eq!(request.pub_key, self.minion.public().pem());
        if let Some(token) = &request.token {
            let plain = self.master.decrypt(request.encryption, token).unwrap();
            assert_eq!(plain.len(), 76, "{message:.0}");
        }
    }

    fn check_reply(&self, message: &Json, body: &Value) {
        let Ok(AuthEnvelope::Signed { load, sig }) = AuthEnvelope::from_value(body) else {
            panic!("a reply is signed");
        };
        let algorithm = SigningAlgorithm::default();
        assert_eq!(self.master.sign(algorithm, &load).unwrap(), sig);
        let AuthReply::Accepted(reply) = AuthReply::parse(&load).unwrap() else {
            panic!("all recorded sign-ins are let in");
        };
        assert_eq!(reply.pub_key, self.master.public().pem());
        for (name, encrypted) in [
            ("aes", Some(&reply.aes)),
            ("session", Some(&reply.session)),
            ("token", reply.token.as_ref()),
        ] {
            let plain = encrypted.map(|bytes| {
                let plain = self
                    .minion
                    .decrypt(EncryptionAlgorithm::default(), bytes)
                    .unwrap();
                String::from_utf8(plain.to_vec()).unwrap()
            });
            assert_eq!(plain.as_deref(), message.get(name).map(text), "{name}");
        }
        let digest = sha256_hex(text(&message["aes"]).as_bytes());
        assert_eq!(self.master.sign_x931(digest.as_bytes()).unwrap(), reply.sig);
        if let Some(pub_sig) = reply.pub_sig {
            let pub_sig = STANDARD.decode(pub_sig.trim_ascii_end()).unwrap();
            let by = self.master_sign.as_ref().unwrap();
            assert!(by.verify(algorithm, reply.pub_key.as_bytes(), &pub_sig));
        }
    }

    fn check_load(&self, load: &Map) {
        let Some(Value::Bin(tok)) = load.get("tok") else {
            panic!("every request has a token");
        };
        assert_eq!(*tok, self.minion.sign_x931(b"salt").unwrap());
        if let Some(Value::Bin(sig)) = load.get("sig") {
            let fits = |bytes: &Vec<u8>| {
                (self.minion.public()).verify(SigningAlgorithm::default(), bytes, sig)
            };
            assert!(signed_bytes(load).iter().any(fits));
        }
    }
}

/// The payload of a recorded message of ours; `None` for what is libzmq's.
fn recorded_body(message: &Json) -> Option<Value> {
    if let Some(parts) = message.get("parts") {
        let bytes = from_hex(parts.as_array().unwrap().last().unwrap());
        return Some(msgpack::decode_network(&bytes).unwrap());
    }
    let frame = from_hex(message.get("frame")?);
    Some(tcp::Message::parse(&frame).unwrap().body)
}
