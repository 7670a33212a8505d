//! The job cache, against Salt's own: the same jobs leave the same files, and either reads what the other wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use brine_node::jobs::{FunctionJobs, JobCache};
use brine_wire::network::{Jid, MinionId, job_return};
use brine_wire::{Map, Value, msgpack};
use serde_json::{Value as Json, json};

use crate::oracle::{Oracle, Random, cases, packed, unpacked};

const IDS: [&str; 4] = ["m1", "m2", "web.example.com", "é x"];

#[test]
fn the_job_cache_is_salts_3006() {
    check("3006.28");
}

#[test]
fn the_job_cache_is_salts_3008() {
    check("3008.3");
}

fn check(version: &'static str) {
    let mut salt = Salt(Oracle::start(version, "jobs.py", &IDS), version);
    for hash in ["sha256", "md5"] {
        jobs_leave_the_same_files(&mut salt, hash);
    }
    a_return_nobody_asked_for_can_be_read_which_salts_cannot(&mut salt);
    what_old_releases_and_others_left_is_read(&mut salt);
    a_masters_own_functions_leave_the_same_files(&mut salt);
}

/// Salt's own code.
struct Salt(Oracle, &'static str);

impl Salt {
    /// Asks about the cache in a directory.
    fn ask(&mut self, cachedir: &Path, hash: &str, question: &Json) -> Json {
        let cache = json!(["cache", cachedir.to_str().unwrap(), hash]);
        assert_eq!(self.0.ask(&cache), Json::Null);
        self.0.ask(question)
    }
}

/// What happens on a master.
#[derive(Debug, Clone)]
enum Act {
    Publish {
        jid: String,
        load: Map,
        ids: Vec<&'static str>,
    },
    /// `jid` is the one in the load, or the one that is allotted.
    Return { jid: String, load: Map },
}

fn jobs_leave_the_same_files(salt: &mut Salt, hash: &str) {
    let acts = acts();
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let cache = JobCache::open(ours.path(), hash, None).unwrap();
    for act in &acts {
        act_on(&cache, act);
        let answer = salt.ask(theirs.path(), hash, &question(act));
        assert_eq!(answer, Json::Null, "{} {act:?}", salt.1);
    }
    same_files(&files(ours.path()), files(theirs.path()), salt.1);

    // Syndics tell a master of masters of their minions, which is written by Salt alone.
    let jid = jid_of(&acts[0]);
    for (syndic, ids) in [("syndic.1", vec!["s2", "m1"]), ("s", vec!["s1"])] {
        salt.ask(theirs.path(), hash, &json!(["syndic", jid, ids, syndic]));
    }
    for root in [ours.path(), theirs.path()] {
        same_reading(salt, root, hash, &acts);
    }
    let cache = JobCache::open(theirs.path(), hash, None).unwrap();
    let load = cache.load(&Jid::parse(jid).unwrap()).unwrap();
    let minions = ["m1", "m2", "s1", "s2", "é x"].map(Value::from).to_vec();
    assert_eq!(load.get("Minions"), Some(&minions.into()));
}

/// Salt's reading of a cache is ours.
fn same_reading(salt: &mut Salt, root: &Path, hash: &str, acts: &[Act]) {
    let cache = JobCache::open(root, hash, None).unwrap();
    let listed = cache.list().into_iter();
    let listed: Vec<_> = listed.map(|(jid, _)| jid.as_str().to_owned()).collect();
    assert_eq!(
        json!(listed),
        salt.ask(root, hash, &json!(["jobs"])),
        "{}",
        salt.1
    );
    let jids: BTreeSet<&str> = acts.iter().map(jid_of).collect();
    for text in jids {
        let jid = Jid::parse(text).unwrap();
        let load = map(&salt.ask(root, hash, &json!(["load", text])));
        assert_eq!(
            cache.load(&jid).unwrap_or_default(),
            load,
            "{} {jid}",
            salt.1
        );
        let by_id = |map: Map| -> BTreeMap<_, _> {
            let pairs = map.into_iter();
            pairs
                .map(|(id, ret)| (id.as_str().unwrap().to_owned(), ret))
                .collect()
        };
        let returns = map(&salt.ask(root, hash, &json!(["returns", text])));
        assert_eq!(
            by_id(cache.returns(&jid)),
            by_id(returns),
            "{} {jid}",
            salt.1
        );
    }
}

fn a_return_nobody_asked_for_can_be_read_which_salts_cannot(salt: &mut Salt) {
    let jid = "20261124034048000009";
    let load = [("id", "m1"), ("fun", "x.y"), ("return", "é"), ("jid", jid)];
    let act = Act::Return {
        jid: jid.to_owned(),
        load: load.into_iter().collect(),
    };
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let cache = JobCache::open(ours.path(), "sha256", None).unwrap();
    act_on(&cache, &act);
    salt.ask(theirs.path(), "sha256", &question(&act));
    let read = salt.ask(theirs.path(), "sha256", &json!(["load", jid]));
    let raised = read["raised"].as_str().unwrap();
    assert!(raised.contains(".minions.p does not exist"), "{raised}");
    let mut own = files(ours.path());
    own.retain(|name, _| !name.ends_with(".minions.p"));
    same_files(&own, files(theirs.path()), salt.1);
    same_reading(salt, ours.path(), "sha256", std::slice::from_ref(&act));
    let cache = JobCache::open(theirs.path(), "sha256", None).unwrap();
    assert_eq!(cache.list().len(), 1);
}

/// But for the return, which Salt writes into the load once more.
fn a_masters_own_functions_leave_the_same_files(salt: &mut Salt) {
    const MASTER: &str = "m.example.com_master";
    let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let cache = JobCache::open(ours.path(), "sha256", None).unwrap();
    let functions = FunctionJobs::new(Some(cache.clone()), MASTER);
    for (number, fun) in ["runner.test.arg", "wheel.key.finger"]
        .into_iter()
        .enumerate()
    {
        let jid = format!("2026112403404800010{number}");
        let mut data = Map::from_iter([("fun", fun), ("jid", jid.as_str()), ("user", "fred")]);
        data.insert("fun_args", vec![Value::from(Map::from_iter([("é", 1)]))]);
        data.insert("_stamp", "2026-11-24T03:40:48.000100");
        data.insert("return", Map::from_iter([("args", Vec::<Value>::new())]));
        data.insert("success", true);
        functions.record(&data);
        let recorded = salt.ask(
            theirs.path(),
            "sha256",
            &json!(["function", MASTER, packed(data)]),
        );
        assert_eq!(recorded, Json::Null);
    }
    let mut expected = files(theirs.path());
    for (_, load) in expected
        .iter_mut()
        .filter(|(name, _)| name.ends_with(".load.p"))
    {
        let Ok(Value::Map(mut kept)) = msgpack::decode(load) else {
            panic!("a load")
        };
        assert!(kept.remove("return").is_some());
        *load = bytes(&kept.into());
    }
    assert_eq!(expected.len(), 8);
    same_files(&files(ours.path()), expected, salt.1);
    assert_eq!(
        salt.ask(ours.path(), "sha256", &json!(["jobs"]))
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

fn what_old_releases_and_others_left_is_read(salt: &mut Salt) {
    let root = tempfile::tempdir().unwrap();
    let cache = JobCache::open(root.path(), "sha256", None).unwrap();
    let jid = "20261124034048000010";
    let published = Act::Publish {
        jid: jid.to_owned(),
        load: Map::from_iter([("jid", jid), ("fun", "x.y")]),
        ids: vec!["m1"],
    };
    act_on(&cache, &published);
    let (file, _) = files(root.path()).pop_first().unwrap();
    let job = root.path().join("jobs").join(file);
    let job = job.parent().unwrap();
    // Returns alone, without what they came to; an end time; a list that is none.
    for (id, ret) in [("m1", Value::from("text")), ("m2", Map::new().into())] {
        fs::create_dir(job.join(id)).unwrap();
        fs::write(job.join(id).join("return.p"), bytes(&ret)).unwrap();
    }
    salt.ask(
        root.path(),
        "sha256",
        &json!(["endtime", jid, "2026, Nov 24 03:40:48.000010"]),
    );
    fs::write(job.join(".minions.odd.p"), bytes(&5.into())).unwrap();
    same_reading(
        salt,
        root.path(),
        "sha256",
        std::slice::from_ref(&published),
    );
}

/// Jobs as they occur, and as they seldom do.
fn acts() -> Vec<Act> {
    let random = &mut Random::new(3);
    let mut acts = Vec::new();
    for number in 0..cases(20) {
        let jid = match number {
            5 => format!("20261124034048{number:06}_4711"),
            6 => "chosen by a client".to_owned(),
            _ => format!("20261124034048{number:06}"),
        };
        let ids = match number {
            0 => vec!["m2", "é x", "m1"],
            _ => random.some(3, |random| random.one(&IDS)),
        };
        if random.is(85) || number < 7 {
            acts.push(publish(random, &jid, ids.clone()));
            for id in ids {
                acts.push(returned(random, &jid, &jid, id));
            }
        } else {
            // `salt-call`
            let id = random.one(&IDS);
            acts.push(returned(random, &jid, "req", id));
        }
    }
    // Of which nothing is to be seen.
    acts.push(returned(random, "nocache", "nocache", "m1"));
    acts
}

fn publish(random: &mut Random, jid: &str, ids: Vec<&'static str>) -> Act {
    let mut load = Map::new();
    load.insert("cmd", "publish");
    load.insert(
        "tgt",
        random
            .item(&[Value::from("*"), vec!["m1".into(), "é".into()].into()])
            .clone(),
    );
    load.insert(
        "fun",
        random
            .item(&[
                Value::from("test.ping"),
                vec!["a.b".into(), "c.d".into()].into(),
            ])
            .clone(),
    );
    load.insert("arg", random.some(3, value));
    load.insert("tgt_type", random.one(&["glob", "list"]));
    load.insert("ret", "");
    load.insert("jid", jid);
    let mut kwargs = Map::from_iter([("show_jid", false)]);
    if random.is(30) {
        kwargs.insert("metadata", Map::from_iter([("é", value(random))]));
    }
    if random.is(20) {
        kwargs.insert("nocache", random.is(80));
    }
    if random.is(80) {
        load.insert("kwargs", kwargs);
    }
    load.insert("user", "root");
    Act::Publish {
        jid: jid.to_owned(),
        load,
        ids,
    }
}

fn returned(random: &mut Random, jid: &str, own: &str, id: &str) -> Act {
    let mut load = Map::from_iter([("cmd", "_return"), ("id", id)]);
    load.insert("jid", own);
    load.insert("return", value(random));
    if random.is(80) {
        load.insert("retcode", random.one(&[0, 1, 254]));
    }
    if random.is(80) {
        load.insert("success", random.is(80));
    }
    if random.is(40) {
        load.insert(
            "out",
            random
                .item(&["nested".into(), "highstate".into(), Value::Nil])
                .clone(),
        );
    }
    load.insert("fun", "test.ping");
    load.insert("fun_args", random.some(2, value));
    if random.is(30) {
        load.insert("metadata", Map::from_iter([("a", 1)]));
    }
    Act::Return {
        jid: jid.to_owned(),
        load,
    }
}

fn value(random: &mut Random) -> Value {
    match random.below(12) {
        0 => random.some(3, value).into(),
        1 => Map::from_iter(random.some(3, |random| (random.one(&["a", "é", ""]), value(random))))
            .into(),
        2 => Value::Bin(vec![0, 0xff, b'x']),
        3 => Value::Nil,
        4 => random.is(50).into(),
        5 => Value::Int(random.one(&[0, -1, i128::from(u64::MAX), i128::from(i64::MIN)])),
        6 => random.one(&[0.5, 1e300, f64::INFINITY]).into(),
        7 => Value::Ext(msgpack::DATE, b"20240102T03:04:05.000600".to_vec()),
        8 => Map::from_iter([(Value::from(1), value(random)), (Value::Nil, value(random))]).into(),
        _ => random
            .one(&["", "text", "é☃🧂", "a\nb\0c", "x"])
            .repeat(random.below(40))
            .into(),
    }
}

fn jid_of(act: &Act) -> &str {
    match act {
        Act::Publish { jid, .. } | Act::Return { jid, .. } => jid,
    }
}

fn question(act: &Act) -> Json {
    match act {
        Act::Publish { jid, load, ids } => json!(["publish", jid, packed(load.clone()), ids]),
        Act::Return { jid, load } => json!(["return", jid, packed(load.clone())]),
    }
}

/// The same on ours, as its master does it.
fn act_on(cache: &JobCache, act: &Act) {
    match act {
        Act::Publish { jid, load, ids } => {
            let ids: Vec<_> = ids.iter().map(|id| MinionId::parse(id).unwrap()).collect();
            cache.begin(&Jid::parse(jid).unwrap(), load, &ids).unwrap();
        }
        Act::Return { jid, load } => {
            let allot = || Jid::parse(jid).unwrap();
            let returned = job_return::read(load.clone(), allot, |_| true).unwrap();
            cache
                .returned(&returned.jid, &returned.id, &returned.data)
                .unwrap();
        }
    }
}

/// The files of a job cache by their paths.
type Files = BTreeMap<String, Vec<u8>>;

fn files(cachedir: &Path) -> Files {
    let root = cachedir.join("jobs");
    let mut all = Files::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                all.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// Byte for byte; but for the order of minions in 3006, which neither minds when it reads.
fn same_files(ours: &Files, mut theirs: Files, version: &str) {
    let lists = theirs
        .iter_mut()
        .filter(|(name, _)| name.ends_with(".minions.p"));
    for (_, list) in lists.filter(|_| version == "3006.28") {
        *list = sorted(list);
    }
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let shown = |files: &Files, name: &str| files.get(name).map(|bytes| msgpack::decode(bytes));
    for name in names {
        assert!(
            ours.get(name) == theirs.get(name),
            "{version} {name}: ours {:?}, theirs {:?}",
            shown(ours, name),
            shown(&theirs, name),
        );
    }
}

fn sorted(list: &[u8]) -> Vec<u8> {
    let Ok(Value::Array(ids)) = msgpack::decode(list) else {
        panic!("a list of minions")
    };
    let ids: BTreeSet<&str> = ids.iter().map(|id| id.as_str().unwrap()).collect();
    bytes(&Value::Array(ids.into_iter().map(Value::from).collect()))
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    msgpack::encode(value, &mut bytes);
    bytes
}

fn map(answer: &Json) -> Map {
    match unpacked(answer.as_str().unwrap_or_else(|| panic!("{answer}"))) {
        Value::Map(map) => map,
        other => panic!("expected a mapping, found {other:?}"),
    }
}
