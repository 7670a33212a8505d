//! What must hold for any bytes that come over the network: the bodies of the fuzz targets.
//!
//! Each takes what a stranger may send, and panics if a rule of this module is broken. Not part of
//! the crate's interface.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;
use core::time::Duration;

use super::auth::{AuthEnvelope, AuthReply, AuthRequest};
use super::job::Job;
use super::minion_event::Policy;
use super::payload::{Payload, Reply};
use super::pillar::PillarData;
use super::publish::Publish;
use super::request::{Freshness, Load};
use super::tag_policy::{self, Sender};
use super::{Jid, MinionId, Nonce, crypticle, job_return, minion_event, tcp, x931, zmtp};
use crate::compat::Compat;
use crate::event::check_tag;
use crate::msgpack;
use crate::value::Value;

/// A request that is understood is the same when it is written and read again.
pub fn fuzz_payload(bytes: &[u8]) {
    let Ok(payload) = Payload::parse(bytes, 0) else {
        return;
    };
    if let Payload::Clear { load, .. } = &payload
        && let Ok(request) = AuthRequest::parse(load)
        && let Payload::Clear { load, .. } = request.to_payload()
    {
        same(&AuthRequest::parse(&load), &Ok(request));
    }
    let again = Payload::parse(&payload.to_bytes(), 0);
    if let Payload::Encrypted(encrypted) = &payload
        && (encrypted.encryption.is_none() || encrypted.signing.is_none() || encrypted.id.is_none())
    {
        return; // unknown names are written as the default
    }
    same(&again, &Ok(payload));
}

/// Two are the same when they read the same; a NaN is not equal to itself.
fn same<T: Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

/// What a decrypted load makes is fit for a bus.
pub fn fuzz_load(bytes: &[u8]) {
    let Ok(value) = msgpack::decode_network(bytes) else {
        return;
    };
    let Ok(id) = MinionId::parse("m1") else {
        return;
    };
    let fresh = Freshness {
        now: 0,
        window: Some(Duration::from_secs(60)),
    };
    let fields = match Load::parse(value.clone(), &id, fresh) {
        Ok(load) => load.fields,
        Err(_) => match value {
            Value::Map(map) => map,
            _ => return,
        },
    };
    let _ = Job::parse(&fields).map(|job| same(&Job::parse(&job.to_map()).as_ref(), &Some(&job)));
    if let Ok(made) = job_return::read(fields.clone(), || Jid::at(Duration::ZERO), |_| false) {
        assert!(check_tag(&made.tag()).is_ok());
        assert_eq!(made.tag().matches('/').count(), 4);
    }
    let sender = Sender {
        id: "m1",
        syndic: false,
    };
    let policy = Policy {
        sender,
        audit_only: false,
    };
    for (tag, _) in minion_event::events(fields, Compat::NEWEST, policy).fired {
        assert!(tag_policy::permits(sender, &tag) && check_tag(&tag).is_ok());
    }
}

/// Replies and publishes are the same when they are written and read again.
pub fn fuzz_reply(bytes: &[u8]) {
    let _ = Reply::parse(bytes);
    if let Ok(reply) = AuthReply::parse(bytes) {
        assert_eq!(AuthReply::parse(&reply.to_bytes()), Ok(reply));
    }
    if let Ok(envelope) = AuthEnvelope::parse(bytes) {
        assert_eq!(AuthEnvelope::from_value(&envelope.to_value()), Ok(envelope));
    }
    if let Some(pillar) = PillarData::parse(bytes) {
        assert!(PillarData::parse(&pillar.to_bytes()).is_some_and(|again| again.key == pillar.key));
    }
    if let Ok(publish) = Publish::parse(bytes) {
        let known = (publish.signature.as_ref()).is_none_or(|sig| sig.algorithm.is_some());
        if known {
            assert_eq!(Publish::parse(&publish.to_bytes()), Ok(publish));
        }
    }
}

/// Messages of a stream are the same however it is cut. The first byte is how many bytes come at
/// a time.
pub fn fuzz_tcp(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    assert_eq!(
        cut(stream, usize::from(step).max(1)),
        cut(stream, stream.len().max(1))
    );
    let _ = tcp::Message::parse(stream);
}

/// What is found in a connection's bytes does not depend on how they are cut, and little is ever kept.
pub fn fuzz_zmtp(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let ready: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03";
    for (socket, peer) in [
        (zmtp::Socket::Router, b"REQ"),
        (zmtp::Socket::Pub, b"SUB"),
        (zmtp::Socket::Req, b"REP"),
        (zmtp::Socket::Sub, b"PUB"),
    ] {
        let opened = [&zmtp::GREETING[..], ready, peer, stream].concat();
        for stream in [stream, &opened] {
            let whole = zmtp_steps(socket, stream, stream.len().max(1));
            assert_eq!(zmtp_steps(socket, stream, usize::from(step).max(1)), whole);
        }
    }
}

/// All steps of a stream, and whether it ends in an error.
fn zmtp_steps(socket: zmtp::Socket, stream: &[u8], step: usize) -> (Vec<String>, bool) {
    const MAX_BYTES: usize = 4096;
    let mut decoder = zmtp::Decoder::new(socket, MAX_BYTES);
    let (mut steps, mut start, mut end) = (Vec::new(), 0, 0);
    while end < stream.len() {
        end = (end + step).min(stream.len());
        loop {
            match decoder.next(&stream[start..end]) {
                Ok(Some((length, step))) => {
                    steps.push(format!("{step:?}"));
                    start += length;
                }
                Ok(None) => break,
                Err(_) => return (steps, true),
            }
            assert!(decoder.wanted() <= MAX_BYTES + 9);
        }
    }
    (steps, false)
}

/// The lengths of a stream's messages, and whether it ends in an error.
fn cut(stream: &[u8], step: usize) -> (Vec<usize>, bool) {
    let mut decoder = tcp::Decoder::new(4096);
    let (mut lengths, mut start, mut end) = (Vec::new(), 0, 0);
    while end < stream.len() {
        end = (end + step).min(stream.len());
        loop {
            match decoder.next(&stream[start..end]) {
                Ok(Some(length)) => {
                    lengths.push(length);
                    start += length;
                }
                Ok(None) => break,
                Err(_) => return (lengths, true),
            }
        }
    }
    (lengths, false)
}

/// Decrypted texts and recovered blocks are read without panic; blocks are what padding makes.
pub fn fuzz_crypticle(bytes: &[u8]) {
    let nonce = Nonce::from_random([0; 16]);
    let _ = (
        crypticle::split(bytes),
        crypticle::read(bytes, Some(&nonce)),
    );
    if let Some(text) = crypticle::unpad(bytes) {
        let _ = crypticle::read(text, None);
    }
    if let Some(message) = x931::unpad(bytes) {
        assert_eq!(x931::pad(message, bytes.len()).as_deref(), Some(bytes));
    }
}

/// Reads some bytes.
pub type Reader = fn(&[u8]);

/// Everything that reads what comes over the network, by name: what each allocates must stay in proportion to what it
/// reads. Tests and the fuzz target `network_cost` measure them.
pub const READERS: [(&str, Reader); 8] = [
    ("value", |bytes| drop(msgpack::decode_network(bytes))),
    ("payload", fuzz_payload),
    ("load", fuzz_load),
    ("reply", fuzz_reply),
    ("crypticle", fuzz_crypticle),
    ("tcp", |bytes| drop(cut(bytes, bytes.len().max(1)))),
    ("zmtp", |bytes| {
        for socket in [
            zmtp::Socket::Router,
            zmtp::Socket::Req,
            zmtp::Socket::Pub,
            zmtp::Socket::Sub,
        ] {
            let mut decoder = zmtp::Decoder::new(socket, usize::MAX);
            let mut rest = bytes;
            while let Ok(Some((length, step))) = decoder.next(rest) {
                drop(step);
                rest = &rest[length..];
            }
        }
    }),
    ("tag", |bytes| {
        if let Ok(tag) = core::str::from_utf8(bytes) {
            let sender = Sender {
                id: "m1",
                syndic: false,
            };
            let _ = (
                tag_policy::permits(sender, tag),
                tag_policy::is_masters(tag),
            );
        }
    }),
];

/// A reader may allocate so many bytes for each byte that it reads, all its work together, and these besides. One
/// msgpack byte can be a value of [`Value`]'s size, in vectors that double, which some bodies above copy or print.
pub const PER_BYTE: usize = 2048;
/// See [`PER_BYTE`].
pub const BESIDES: usize = 64 * 1024;
