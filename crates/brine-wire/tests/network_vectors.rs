//! The golden vectors and recorded conversations between minions and masters: what is layout alone.
//! The cryptographic rows are `brine-net`'s (`tests/vectors/network.json`, made as
//! `docs/protocol/network.md` §13 says).
//!
//! Every row of the tables named here is used, and the tables' lengths are asserted, so that none
//! is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use brine_wire::msgpack;
use brine_wire::network::auth::{AuthEnvelope, AuthReply, AuthRequest, Ret};
use brine_wire::network::job::Job;
use brine_wire::network::payload::{self, Payload, Reply};
use brine_wire::network::pillar::{PillarData, SignedPillar};
use brine_wire::network::publish::{BROADCAST, Publish};
use brine_wire::network::{MinionId, Nonce, crypticle, publish, tcp, x931};
use brine_wire::{Map, Value};
use serde_json::Value as Json;

#[test]
fn crypticle_texts_are_salts() {
    let vectors = vectors();
    let rows = vectors["crypticle"].as_array().unwrap();
    assert_eq!(rows.len(), 17);
    for row in rows {
        let nonce = row["nonce"]
            .as_str()
            .and_then(|text| Nonce::parse(text.as_bytes()));
        let plain = from_hex(&row["plaintext"]);
        let object = match row.get("object") {
            Some(object) => value(object),
            None => crypticle::read(&plain, nonce.as_ref()).unwrap(),
        };
        assert_eq!(
            crypticle::plaintext(&object, nonce.as_ref()),
            plain,
            "{}",
            row["note"]
        );
        assert_eq!(crypticle::read(&plain, nonce.as_ref()).unwrap(), object);
        let message = from_hex(&row["ciphertext"]);
        let parts = crypticle::split(&message).unwrap();
        assert_eq!(parts.iv[..], from_hex(&row["iv"]));
        assert_eq!(parts.mac, from_hex(&row["hmac"]));
        let mut padded = plain.clone();
        crypticle::pad(&mut padded);
        assert_eq!(padded.len(), parts.encrypted.len());
        assert_eq!(crypticle::unpad(&padded), Some(&plain[..]));
    }
}

#[test]
fn x931_blocks_are_salts() {
    let vectors = vectors();
    let rows = vectors["x931"]["cases"].as_array().unwrap();
    assert_eq!(rows.len(), 18);
    for row in rows {
        let (message, block) = (from_hex(&row["message"]), from_hex(&row["padded_block"]));
        assert_eq!(x931::pad(&message, block.len()), Some(block.clone()));
        assert_eq!(x931::unpad(&block), Some(&message[..]));
    }
}

#[test]
fn sign_in_messages_are_written_as_salt_writes_them() {
    let vectors = vectors();
    let built = &vectors["auth_built"];
    assert_eq!(built.as_object().unwrap().len(), 13);
    for (name, has_token) in [
        ("request", true),
        ("request_first_contact_without_token", false),
    ] {
        let bytes = from_hex(&built[name]);
        let Payload::Clear { load, version: 3 } = Payload::parse(&bytes, 3).unwrap() else {
            panic!("{name} is not clear");
        };
        let request = AuthRequest::parse(&load).unwrap();
        assert_eq!(request.token.is_some(), has_token);
        assert_eq!(request.to_payload().to_bytes(), bytes, "{name}");
    }
    let nonce = Nonce::parse(built["nonce"].as_str().unwrap().as_bytes());
    for (name, ret) in [
        ("response_pending", Ret::Pending),
        ("response_rejected", Ret::Rejected),
        ("response_full", Ret::Full),
    ] {
        let reply = assert_reply(&from_hex(&built[name]));
        assert_eq!(reply, AuthReply::Refused { ret, nonce });
    }
    assert!(matches!(
        assert_reply(&from_hex(&built["response_accept"])),
        AuthReply::Accepted(_)
    ));
    for (name, text) in [
        ("response_bad_sig_algo", "bad sig algo"),
        ("response_bad_enc_algo", "bad enc algo"),
    ] {
        let envelope = AuthEnvelope::parse(&from_hex(&built[name])).unwrap();
        assert_eq!(envelope, AuthEnvelope::BadAlgorithm { ret: text.into() });
        assert_eq!(packed(&envelope.to_value()), from_hex(&built[name]));
    }
    let bad_load = payload::clear_reply(&payload::BAD_LOAD.into());
    assert_eq!(bad_load, from_hex(&built["bad_load"]));
    for row in vectors["auth_replies_judged"]["cases"].as_array().unwrap() {
        if let Ok(AuthEnvelope::Signed { load, .. }) = AuthEnvelope::parse(&from_hex(&row["reply"]))
        {
            let _ = AuthReply::parse(&load); // what a minion makes of it is brine-net's
        }
    }
}

/// The signed load of a reply, which writes itself as it was.
fn assert_reply(bytes: &[u8]) -> AuthReply {
    let envelope = AuthEnvelope::parse(bytes).unwrap();
    assert_eq!(packed(&envelope.to_value()), bytes);
    let AuthEnvelope::Signed { load, .. } = envelope else {
        panic!("expected a signed reply");
    };
    let reply = AuthReply::parse(&load).unwrap();
    assert_eq!(reply.to_bytes(), load);
    reply
}

#[test]
fn a_pillar_is_laid_out_as_salt_does() {
    let vectors = vectors();
    let built = &vectors["pillar_built"];
    let Payload::Encrypted(request) = Payload::parse(&from_hex(&built["request"]), 3).unwrap()
    else {
        panic!("the request is encrypted");
    };
    assert_eq!(
        Payload::Encrypted(request).to_bytes(),
        from_hex(&built["request"])
    );

    let response = from_hex(&built["response"]);
    let Reply::Pillar(reply) = Reply::parse(&response).unwrap() else {
        panic!("the response is a pillar");
    };
    assert_eq!(packed(&reply.to_value()), response);

    let data = PillarData::parse(&from_hex(&built["signed_data"])).unwrap();
    assert_eq!(data.key, reply.key);
    assert_eq!(Value::Map(data.pillar.clone()), value(&built["pillar"]));
    assert_eq!(data.nonce.unwrap().as_str(), built["nonce"]);
    assert_eq!(data.to_bytes(), from_hex(&built["signed_data"]));

    let inner = from_hex(&built["inner_msgpack"]);
    let signed =
        SignedPillar::from_map(msgpack::decode_network(&inner).unwrap().as_map().unwrap()).unwrap();
    assert_eq!(signed.data, data.to_bytes());
    assert_eq!(packed(&signed.to_value()), inner);
}

#[test]
fn publishes_are_framed_for_every_transport() {
    let vectors = vectors();
    let built = &vectors["publish_built"];
    assert_eq!(built.as_object().unwrap().len(), 8);
    let bytes = from_hex(&built["payload"]);
    let publish = Publish::parse(&bytes).unwrap();
    assert_eq!(publish.to_bytes(), bytes);
    assert_eq!(
        parts(&built["zeromq_unfiltered"]),
        std::slice::from_ref(&bytes)
    );
    assert_eq!(
        parts(&built["zeromq_filtered_broadcast"]),
        [BROADCAST.as_bytes().to_vec(), bytes.clone()]
    );
    let topic = &vectors["topics"][0]["topic"];
    assert_eq!(
        parts(&built["zeromq_filtered_m1"]),
        [topic.as_str().unwrap().as_bytes().to_vec(), bytes.clone()]
    );
    let sent = tcp::encode(&Map::new(), &Value::Bin(bytes.clone()));
    assert_eq!(sent, from_hex(&built["tcp_frame_3007_3008"]));
    assert_eq!(
        tcp::encode_packed(&Map::new(), &bytes),
        from_hex(&built["tcp_frame_3006"])
    );
    for frame in ["tcp_frame_3007_3008", "tcp_frame_3006"] {
        let message = tcp::Message::parse(&from_hex(&built[frame])).unwrap();
        assert_eq!(
            Publish::from_value(&message.body),
            Ok(publish.clone()),
            "{frame}"
        );
    }
}

#[test]
fn tcp_frames_are_found_and_written() {
    let vectors = vectors();
    let rows = vectors["tcp_frames"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let stream: Vec<u8> = rows
        .iter()
        .flat_map(|row| from_hex(&row["frame"]))
        .collect();
    let (mut decoder, mut start) = (tcp::Decoder::new(1 << 20), 0);
    for row in rows {
        let length = decoder.next(&stream[start..]).unwrap().unwrap();
        let frame = &stream[start..start + length];
        assert_eq!(frame, from_hex(&row["frame"]), "{}", row["note"]);
        assert_eq!(tcp::Message::parse(frame).unwrap().to_bytes(), frame);
        start += length;
    }
    assert_eq!(start, stream.len());
}

#[test]
fn recorded_conversations_are_read_and_written_byte_for_byte() {
    let vectors = vectors();
    let mut counts = [0; 9];
    for conversation in vectors["recorded"].as_array().unwrap() {
        for message in conversation["messages"].as_array().unwrap() {
            counts[check_recorded(message)] += 1;
        }
    }
    // greetings and commands; auth requests, replies; encrypted requests; encrypted replies;
    // publishes; identifications; local requests; clear replies
    assert_eq!(counts, [33, 12, 12, 38, 38, 15, 3, 4, 2]);
}

/// Which kind a recorded message is, after all that can be checked without its keys.
fn check_recorded(message: &Json) -> usize {
    if message.get("hex").is_some() {
        return 0; // libzmq's, not ours
    }
    let bytes = recorded_payload(message);
    match message["kind"].as_str().unwrap() {
        "auth-request" => {
            let Payload::Clear { load, .. } = Payload::parse(&bytes, 3).unwrap() else {
                panic!("a sign-in is clear");
            };
            let request = AuthRequest::parse(&load).unwrap();
            assert_eq!(request.to_payload().to_bytes(), bytes);
            assert_eq!(Value::Map(load), value(&message["load"]));
            1
        }
        "auth-response" => {
            assert_reply(&bytes);
            2
        }
        "_minion_event" | "_return" => {
            let request = Payload::parse(&bytes, 3).unwrap();
            assert!(matches!(request, Payload::Encrypted(_)));
            assert_eq!(request.to_bytes(), bytes);
            3
        }
        "encrypted-response" => {
            assert!(matches!(Reply::parse(&bytes), Ok(Reply::Crypticle(_))));
            4
        }
        "publish" => {
            let publish = Publish::parse(&bytes).unwrap();
            assert_eq!(publish.to_bytes(), bytes);
            let Value::Map(mut load) = value(&message["load"]) else {
                panic!("a job is a map");
            };
            let job = Job::parse(&load).unwrap();
            load.remove("serial").unwrap();
            assert_eq!(job.to_map(), load);
            5
        }
        "send-id" => {
            let body = msgpack::decode_network(&bytes).unwrap();
            let crypticle = publish::identification_load(&body).unwrap().to_vec();
            assert_eq!(publish::identification_body(crypticle), body);
            // It carries no id outside, and so it is no request.
            assert!(Payload::parse(&bytes, 3).is_err());
            let load = value(&message["load"]);
            let (id, tok) = publish::read_identification(load.as_map().unwrap()).unwrap();
            assert_eq!(&publish::identification(&id, &tok), load.as_map().unwrap());
            6
        }
        "local-publish-request" => {
            let request = Payload::parse(&bytes, 3).unwrap();
            assert_eq!(request.to_bytes(), bytes);
            7
        }
        "clear-response" => {
            assert_eq!(packed(&msgpack::decode_network(&bytes).unwrap()), bytes);
            8
        }
        other => panic!("nobody checks {other}"),
    }
}

/// The payload inside a recorded message; tcp frames must write themselves as they were.
fn recorded_payload(message: &Json) -> Vec<u8> {
    if let Some(parts) = message.get("parts") {
        return from_hex(parts.as_array().unwrap().last().unwrap());
    }
    let frame = from_hex(&message["frame"]);
    assert_eq!(
        tcp::Decoder::new(1 << 20).next(&frame),
        Ok(Some(frame.len()))
    );
    let parsed = tcp::Message::parse(&frame).unwrap();
    assert_eq!(Value::Map(parsed.head.clone()), value(&message["head"]));
    assert_eq!(parsed.to_bytes(), frame);
    match (&parsed.body, message["kind"].as_str()) {
        (Value::Bin(bytes), Some("publish")) => bytes.clone(),
        (body, _) => packed(body),
    }
}

#[test]
fn ids_of_the_vectors_are_ids() {
    let vectors = vectors();
    let rows = vectors["topics"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for row in rows {
        assert!(MinionId::parse(row["id"].as_str().unwrap()).is_ok());
    }
}

fn parts(list: &Json) -> Vec<Vec<u8>> {
    list.as_array().unwrap().iter().map(from_hex).collect()
}

fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    msgpack::encode_network(value, &mut bytes);
    bytes
}

fn vectors() -> Json {
    serde_json::from_str(include_str!("vectors/network.json")).unwrap()
}

fn from_hex(hex: &Json) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(pairs) => match pairs.get("$bytes") {
            Some(hex) => Value::Bin(from_hex(hex)),
            None => Value::Map(pairs.iter().map(|(k, v)| (k.as_str(), value(v))).collect()),
        },
    }
}
