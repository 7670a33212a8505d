//! The mine beside real Salt's: the same requests get the same answers and leave the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use brine_wire::{Map, Value, msgpack};
use serde_json::{Value as Json, json};

use crate::oracle::{Oracle, packed, unpacked};
use crate::rogue::Rogue;
use crate::support::{Fixture, from_json};

const IDS: [&str; 3] = ["m1", "m2", "web.example.com"];

/// Who asks, for what, and with which fields.
type Case = (&'static str, &'static str, Json);

fn cases() -> Vec<Case> {
    let wrapped = |data: Json, more: Json| {
        let mut entry = json!({"__data__": data, "__saltmine_acl__": 1});
        for (name, value) in more.as_object().unwrap() {
            entry[name] = value.clone();
        }
        entry
    };
    let mut cases = vec![
        (
            "m1",
            "_mine",
            json!({"data": {"test.ping": true, "net.ips": ["10.0.0.1"]}}),
        ),
        (
            "m2",
            "_mine",
            json!({"data": {"test.ping": false, "deep": {"a": {"b": [1, 2.5, null]}}}}),
        ),
        (
            "m2",
            "_mine",
            json!({"data": {"test.ping": "again"}, "clear": false}),
        ),
        (
            "web.example.com",
            "_mine",
            json!({"data": {
                "for.m1": wrapped(json!("secret"), json!({"allow_tgt": "m1"})),
                "for.list": wrapped(json!([1]), json!({"allow_tgt": "m1,m2", "allow_tgt_type": "list"})),
                "for.nobody": wrapped(json!(1), json!({"allow_tgt": "none*"})),
                "for.all": wrapped(json!({"x": 1}), json!({})),
            }}),
        ),
        ("m1", "_mine", json!({"data": {}})),
        ("m1", "_mine", json!({})),
        ("m1", "_mine_delete", json!({})),
        ("m1", "_mine_delete", json!({"fun": "nope"})),
    ];
    let questions = |cases: &mut Vec<Case>| {
        for asks in IDS {
            for fun in [
                json!("test.ping"),
                json!("test.ping,net.ips"),
                json!("test.ping,test.ping"),
                json!(["test.ping"]),
                json!("deep"),
                json!("for.m1"),
                json!("for.list"),
                json!("for.nobody"),
                json!("for.all"),
                json!("for.m1,for.all,deep,nope"),
                json!("nope"),
                json!(7),
            ] {
                for (tgt, tgt_type) in [
                    (json!("*"), Some("glob")),
                    (json!("m?"), None),
                    (json!("m1,web.example.com,x"), Some("list")),
                    (json!("m[12]"), Some("pcre")),
                    (json!("nobody"), Some("glob")),
                ] {
                    let mut load = json!({"tgt": tgt, "fun": fun});
                    if let Some(tgt_type) = tgt_type {
                        load["tgt_type"] = tgt_type.into();
                    }
                    cases.push((asks, "_mine_get", load));
                }
            }
            cases.push((asks, "_mine_get", json!({"tgt": "*"})));
            cases.push((asks, "_mine_get", json!({"fun": "test.ping"})));
            let old = json!({"tgt": "m1,m2", "fun": "test.ping", "expr_form": "list"});
            cases.push((asks, "_mine_get", old));
        }
    };
    questions(&mut cases);
    cases.push(("m2", "_mine_delete", json!({"fun": "test.ping"})));
    cases.push(("m1", "_mine_flush", json!({})));
    cases.push(("m1", "_mine_flush", json!({})));
    questions(&mut cases);
    cases.push(("m1", "_mine", json!({"data": {"test.ping": 2}})));
    cases
}

async fn check(version: &str, more: &str) {
    println!("Salt {version}, {more:?}");
    let fixture = Fixture::new("tcp");
    let series = &version[..4];
    let options = format!("auto_accept: true\nbrine: {{compat: {series}}}\n{more}");
    let master = fixture.master(&options).await;
    let mut minions = BTreeMap::new();
    for id in IDS {
        minions.insert(id, Rogue::sign_in(&master, id).await);
    }
    // Salt's looks at the same keys, and keeps files of its own.
    let real = fixture.path("real");
    let config = format!(
        "root_dir: {root}\npki_dir: {root}/m/pki\ncachedir: {real}/cache\nsock_dir: {real}/s\n{more}\n",
        root = fixture.path("").display(),
        real = real.display()
    );
    fs::create_dir_all(real.join("cache")).unwrap();
    fs::create_dir_all(real.join("s")).unwrap();
    fs::write(real.join("master"), config).unwrap();
    let mut salt = Oracle::start(version, "mine.py", &[real.join("master")]);
    for (id, cmd, fields) in cases() {
        let load = json!({"id": id, "cmd": cmd});
        let Value::Map(mut load) = from_json(&load) else {
            panic!("a load is a map")
        };
        let Value::Map(fields) = from_json(&fields) else {
            panic!("fields are a map")
        };
        let mut pairs = Vec::new();
        for (name, value) in fields.iter() {
            let name = name.as_str().unwrap();
            load.insert(name, value.clone());
            pairs.push((name, value.clone()));
        }
        let found = minions[id].ask(cmd, &pairs).await;
        let expected = salt.ask(&json!([cmd, packed(load)]));
        let expected = unpacked(
            expected
                .as_str()
                .unwrap_or_else(|| panic!("{cmd} {fields:?}: {expected}")),
        );
        assert_eq!(sorted(found), sorted(expected), "{id} {cmd} {fields:?}");
    }
    let cache = |root: &Path| files(&root.join("cache"));
    assert_eq!(cache(&fixture.path("m")), cache(&real));
    assert!(!cache(&real).is_empty());
    master.end().await;
}

/// In the order of their keys, at every depth.
fn sorted(value: Value) -> String {
    match value {
        Value::Map(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| format!("{key:?}: {}", sorted(value.clone())));
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(", "))
        }
        value => format!("{value:?}"),
    }
}

/// The mine's files below a cache, by name.
fn files(cache: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["mine", "minions"] {
        for path in below(&cache.join(folder)) {
            let name = path.strip_prefix(cache).unwrap().display().to_string();
            if name.starts_with("mine/") || name.ends_with("/mine.p") {
                let value = msgpack::decode(&fs::read(&path).unwrap()).unwrap();
                found.insert(name, sorted(value));
            }
        }
    }
    found
}

fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mine_is_salts() {
    for version in ["3006.28", "3008.3"] {
        check(version, "").await;
        check(
            version,
            "mine_get: {'m.*': ['test.*', 'for.m1'], 'web.*': 'test.ping'}",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_minion_leaves_is_bounded_and_may_begin_anew() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let minion = Rogue::sign_in(&master, "m1").await;
    let put = async |fun: &str, data: Value, clear: bool| {
        let data: Map = [(fun, data)].into_iter().collect();
        minion
            .ask("_mine", &[("data", data.into()), ("clear", clear.into())])
            .await
    };
    let get = async || {
        let fields = [
            ("tgt", "m1".into()),
            ("fun", vec![Value::from("a"), "b".into()].into()),
        ];
        sorted(minion.ask("_mine_get", &fields).await)
    };
    assert_eq!(put("a", 1.into(), false).await, true.into());
    assert_eq!(
        put("b", Value::Bin(vec![0; 17 << 20]), false).await,
        false.into()
    );
    let only_a = get().await;
    assert!(
        only_a.contains("\"a\"") && !only_a.contains("\"b\""),
        "{only_a}"
    );
    assert_eq!(put("b", 2.into(), true).await, true.into());
    let only_b = get().await;
    assert!(
        only_b.contains("\"b\"") && !only_b.contains("\"a\""),
        "{only_b}"
    );
    master.end().await;
}
