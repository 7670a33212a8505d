//! Ciphertext that somebody changed on the way.

use brine_net::minion::{MustBeSigned, SignIn, Trust};
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};

use crate::honest::Minion;
use crate::master::{ALL, Master, Transport};

/// The payload with another load.
fn with_load(payload: &Value, load: Vec<u8>) -> Value {
    let mut payload = payload.clone();
    if let Value::Map(map) = &mut payload {
        map.insert("load", Value::Bin(load));
    }
    payload
}

fn load_of(payload: &Value) -> Vec<u8> {
    match payload.as_map().and_then(|map| map.get("load")) {
        Some(Value::Bin(load)) => load.clone(),
        other => panic!("expected a Crypticle, found {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_request_counts() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "m1").await;
        master.reached();
        let payload = minion.seal(minion.event("my/tag")).payload;
        let load = load_of(&payload);
        let thief = master.requester();
        for at in 0..load.len() {
            let mut changed = load.clone();
            changed[at] ^= 1 << (at % 8);
            let reply = thief.request(&with_load(&payload, changed)).await;
            assert_eq!(reply, "bad load".into(), "byte {at}");
        }
        for length in [
            0,
            1,
            15,
            16,
            31,
            32,
            47,
            48,
            load.len() - 16,
            load.len() - 1,
        ] {
            let reply = thief
                .request(&with_load(&payload, load[..length].to_vec()))
                .await;
            assert_eq!(reply, "bad load".into(), "{length} bytes");
        }
        assert_eq!(master.reached(), []);
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_sign_in_answer_counts() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let trust = Trust {
        master: Some(minion.session.master().clone()),
        ..Trust::default()
    };
    let sign_in = SignIn::begin(&minion.id, &minion.key, trust, Map::new()).unwrap();
    let reply = minion.requester.request(&sign_in.payload()).await;
    assert!(sign_in.judge(&reply, &minion.key).is_ok());
    let load = load_of(&reply);
    // A step that meets every field, and every byte of none twice: each costs RSA operations.
    for at in (0..load.len()).step_by(7) {
        let mut changed = load.clone();
        changed[at] ^= 0x20;
        let reply = with_load(&reply, changed);
        assert!(sign_in.judge(&reply, &minion.key).is_err(), "byte {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_publish_counts() {
    let master = Master::start(Transport::Tcp).await;
    let minion = Minion::sign_in(&master, "m1").await;
    let job: Map = [("fun", "test.ping"), ("jid", "1"), ("tgt", "*")]
        .into_iter()
        .collect();
    let bytes = master.channel.publish(job).unwrap();
    let publish = Publish::parse(&bytes).unwrap();
    let opens = |publish: &Publish| minion.session.open_publish(publish, MustBeSigned::Yes);
    for at in 0..publish.load.len() {
        let mut changed = publish.clone();
        changed.load[at] ^= 1 << (at % 8);
        assert!(opens(&changed).is_err(), "byte {at}");
    }
    let mut unsigned = publish.clone();
    unsigned.signature = None;
    assert!(opens(&unsigned).is_err());
    assert!(opens(&publish).is_ok());
    // Once is enough: it counts upwards.
    assert!(opens(&publish).is_err());
}
