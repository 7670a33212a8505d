//! What hostile input costs: the allocations of every reader of the network stay in proportion to what it reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use brine_testkit::allocations::{Counting, measure};
use brine_wire::compat::Compat;
use brine_wire::network::fuzzing::{BESIDES, PER_BYTE, READERS};
use brine_wire::network::minion_event::{Policy, events};
use brine_wire::network::tag_policy::Sender;
use brine_wire::{Map, Value};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn check(name: &str, input: &[u8]) {
    for (reader, read) in READERS {
        let counts = measure(|| read(input));
        let allowed = input.len() * PER_BYTE + BESIDES;
        assert!(
            counts.total <= allowed,
            "{reader} allocates {} bytes for {} of {name}; {allowed} are allowed",
            counts.total,
            input.len()
        );
    }
}

#[test]
fn the_corpora_cost_what_they_weigh() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut replayed = 0;
    for folder in fs::read_dir(corpus).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("network_") {
            continue;
        }
        for input in fs::read_dir(folder).unwrap() {
            check(&name, &fs::read(input.unwrap().path()).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 50, "only {replayed} inputs");
}

#[test]
fn claims_of_size_cost_nothing() {
    for (name, claim) in [
        ("array of 2^32", &b"\xdd\xff\xff\xff\xff"[..]),
        ("map of 2^32", b"\xdf\xff\xff\xff\xff"),
        ("text of 2^32", b"\xdb\xff\xff\xff\xff"),
        ("bytes of 2^32", b"\xc6\xff\xff\xff\xff"),
        ("extension of 2^32", b"\xc9\xff\xff\xff\xff\x05"),
        ("frame of 2^63", b"\x02\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        check(name, claim);
        let within_map = [b"\x81\xa4load", claim].concat();
        check(name, &within_map);
    }
}

#[test]
fn refused_events_cost_no_more_memory_than_one() {
    const MANY: usize = 20_000;
    let policy = Policy {
        sender: Sender {
            id: "m1",
            syndic: false,
        },
        audit_only: false,
    };
    let long = "salt/key/".to_owned() + &"x".repeat(4000);
    let hidden = "\u{200b}".repeat(1000) + "salt/key";
    for tag in [
        "salt/key/x",
        "salt/minion/other/start",
        long.as_str(),
        hidden.as_str(),
        "a\n\n",
    ] {
        for refused_for in ["its tag", "the id in its data"] {
            let (tag, id) = match refused_for {
                "its tag" => (tag, "m1"),
                _ => ("my/tag", "m2"),
            };
            let data: Map = [("id", id)].into_iter().collect();
            let item: Map = [("tag", Value::from(tag)), ("data", data.into())]
                .into_iter()
                .collect();
            let fields = |items: usize| -> Map {
                let items = vec![Value::from(item.clone()); items];
                [("events", items)].into_iter().collect()
            };
            let (one, many) = (fields(1), fields(MANY));
            let mut refused = 0;
            let [one, many] = [one, many].map(|fields| {
                measure(|| {
                    let made = events(fields, Compat::NEWEST, policy);
                    assert_eq!(made.fired, []);
                    refused += made.refused.count;
                })
            });
            assert_eq!(refused, 1 + MANY);
            assert_eq!(many.total, one.total, "{tag:?}, refused for {refused_for}");
        }
    }
}

#[test]
fn many_and_deep_values_cost_what_they_weigh() {
    const MANY: usize = 60_000;
    let nils = [&b"\xdd\0\0\xea\x60"[..], &vec![0xc0; MANY]].concat();
    let empties = [&b"\xdd\0\0\xea\x60"[..], &vec![0x80; MANY]].concat();
    let mut keys = b"\xde\x75\x30".to_vec();
    for key in 0..30_000_u32 {
        keys.extend([0xce]);
        keys.extend(key.to_be_bytes());
        keys.push(0xc0);
    }
    for (name, input) in [
        ("nils", nils),
        ("empty maps", empties),
        ("keys", keys),
        ("arrays within arrays", vec![0x91; MANY]),
        ("maps within maps", b"\x81\xa1a".repeat(MANY / 3)),
        ("slashes", vec![b'/'; MANY]),
        (
            "invisible characters",
            "\u{200b}".repeat(MANY / 3).into_bytes(),
        ),
        ("frames without end", b"\x01\x00".repeat(MANY / 2)),
    ] {
        check(name, &input);
        let load = [b"\x81\xa4load", &input[..]].concat();
        check(name, &load);
    }
}
