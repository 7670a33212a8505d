//! Faults of Salt's that were published, as far as they are about what a master does with a request:
//! each cannot happen on ours. Those about the two ports are tested in `brine-net`; the table is in
//! `docs/security.md`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use brine_net::tcp::client::{Destination, Requester, Subscription};
use brine_wire::network::payload::Payload;
use brine_wire::{Map, Value};
use tokio::time::timeout;

use crate::rogue::Rogue;
use crate::support::{DEADLINE, Fixture, Listener, Running};

impl Rogue {
    /// Fires a tag that is its own, and waits until that is on the bus: what came before it and is
    /// not there by then does not come.
    async fn mark(&self, bus: &mut Listener) -> Vec<String> {
        self.ask(
            "_minion_event",
            &[("tag", "the/mark".into()), ("data", Map::new().into())],
        )
        .await;
        bus.tags_until("the/mark").await
    }
}

async fn clear(master: &Running, fields: &[(&str, Value)]) -> Value {
    let load: Map = fields.iter().cloned().collect();
    let payload = Payload::Clear { version: 3, load }.to_value();
    let requester = Requester::new(format!("127.0.0.1:{}", master.ret_port));
    requester.request(&payload, DEADLINE).await.unwrap()
}

/// Whether a text stands anywhere in a value.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::Str(found) => found.contains(text),
        Value::Bin(found) => found
            .windows(text.len())
            .any(|part| part == text.as_bytes()),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Map(map) => map
            .iter()
            .any(|(key, value)| holds(key, text) || holds(value, text)),
        _ => false,
    }
}

/// All files below a folder, and when they were written.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found.sort();
    found
}

const PATHS: [&str; 5] = [
    "../../../../etc/hostname",
    "/etc/hostname",
    "..",
    "a/../../b",
    "x\0y",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2020_11651_nobody_learns_roots_key_or_publishes_without_it() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let mut bus = fixture.master_bus().await;
    let key = fs::read_dir(fixture.path("m/cache"))
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.ends_with("_key")
                .then(|| fs::read_to_string(entry.path()).unwrap())
        });
    let key = key.expect("the master keeps the key of local clients in its cachedir");
    for cmd in [
        "_prep_auth_info",
        "_send_pub",
        "_prep_pub",
        "runner",
        "wheel",
        "mk_token",
    ] {
        let fields = [
            ("cmd", cmd.into()),
            ("fun", "test.ping".into()),
            ("tgt", "*".into()),
            ("user", "root".into()),
            ("arg", Value::Array(Vec::new())),
        ];
        let answer = clear(&master, &fields).await;
        assert!(!holds(&answer, key.trim()), "{cmd}: {answer:?}");
    }
    for wrong in [
        Value::Nil,
        "".into(),
        "0".repeat(76).into(),
        Value::Map(Map::new()),
    ] {
        let fields = [
            ("cmd", "publish".into()),
            ("fun", "test.ping".into()),
            ("tgt", "*".into()),
            ("user", "root".into()),
            ("arg", Value::Array(Vec::new())),
            ("key", wrong),
        ];
        let answer = clear(&master, &fields).await;
        assert!(!holds(&answer, "jid"), "{answer:?}");
    }
    let tags = rogue.mark(&mut bus).await;
    assert!(!tags.iter().any(|tag| tag.ends_with("/new")), "{tags:?}");
    master.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2020_11652_no_name_in_a_request_becomes_a_path() {
    let fixture = Fixture::new("tcp");
    let secret = fixture.path("secret");
    fs::write(&secret, "not for the network").unwrap();
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let before = files(fixture.root.path());
    let outside = format!("../../../{}", secret.display());
    let paths = PATHS
        .into_iter()
        .chain([outside.as_str(), secret.to_str().unwrap()]);
    for path in paths {
        for cmd in ["get_token", "wheel", "runner"] {
            let fields = [
                ("cmd", cmd.into()),
                ("token", path.into()),
                ("fun", "file_roots.read".into()),
                ("path", path.into()),
            ];
            let answer = clear(&master, &fields).await;
            assert!(!holds(&answer, "not for the network"), "{cmd} {path}");
        }
        for cmd in [
            "_serve_file",
            "_file_find",
            "_file_hash",
            "_file_list",
            "_file_recv",
        ] {
            let fields = [
                ("path", path.into()),
                ("saltenv", "base".into()),
                ("prefix", path.into()),
                ("loc", 0.into()),
                ("data", "x".into()),
            ];
            let answer = rogue.ask(cmd, &fields).await;
            assert!(!holds(&answer, "not for the network"), "{cmd} {path}");
        }
    }
    assert_eq!(files(fixture.root.path()), before);
    master.end().await;
}

/// A minion's key was enough to have a job run on every other minion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2025_22236_a_minion_publishes_nothing() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let victim = Rogue::sign_in(&master, "victim").await;
    let mut bus = fixture.master_bus().await;
    let address = format!("127.0.0.1:{}", victim.session.publish_port());
    let identification = victim.session.identification().unwrap();
    let destination = Destination::from(address);
    let mut publishes = Subscription::open(destination, &identification)
        .await
        .unwrap();
    let order: Map = [
        ("tgt", Value::from("*")),
        ("fun", "test.ping".into()),
        ("arg", Value::Array(Vec::new())),
        ("tgt_type", "glob".into()),
        ("user", "root".into()),
        ("ret", "".into()),
        ("jid", "".into()),
    ]
    .into_iter()
    .collect();
    let fields: Vec<_> = order
        .iter()
        .map(|(key, value)| (key.as_str().unwrap(), value.clone()))
        .collect();
    for cmd in [
        "publish",
        "minion_pub",
        "minion_publish",
        "minion_runner",
        "_send_pub",
    ] {
        let answer = rogue.ask(cmd, &fields).await;
        assert!(!holds(&answer, "jid"), "{cmd}: {answer:?}");
    }
    for tag in ["brine/publish/1f2e", "salt/job/1/publish", "fire_master"] {
        let data = ("data", order.clone().into());
        rogue
            .ask("_minion_event", &[("tag", tag.into()), data.clone()])
            .await;
        let item: Map = [("tag", tag.into()), data].into_iter().collect();
        rogue
            .ask(
                "_minion_event",
                &[("events", Value::Array(vec![item.into()]))],
            )
            .await;
    }
    let tags = rogue.mark(&mut bus).await;
    assert!(!tags.iter().any(|tag| tag.ends_with("/new")), "{tags:?}");
    let published = timeout(Duration::from_millis(500), publishes.next()).await;
    assert!(published.is_err(), "something was published");
    master.end().await;
}

/// A minion could put any event on its master's bus.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2025_22239_what_is_the_masters_to_say_no_minion_says() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let mut bus = fixture.master_bus().await;
    let tags = [
        "salt/key",
        "salt/auth",
        "salt/job/20260101000000000000/new",
        "salt/job/20260101000000000000/publish",
        "salt/job/20260101000000000000/ret/victim",
        "salt/run/20260101000000000000/new",
        "salt/run/20260101000000000000/ret",
        "salt/wheel/20260101000000000000/new",
        "salt/cloud/x/created",
        "salt/cluster/x",
        "salt/presence/present",
        "brine/publish/1f2e",
    ];
    for tag in tags {
        let data = ("data", Value::from(Map::new()));
        rogue
            .ask("_minion_event", &[("tag", tag.into()), data.clone()])
            .await;
        // As the end of a tag whose beginning is the prefix.
        let (start, end) = tag.split_once('/').unwrap();
        let item: Map = [("tag", end.into()), data].into_iter().collect();
        let events = Value::Array(vec![item.into()]);
        rogue
            .ask(
                "_minion_event",
                &[("events", events), ("pretag", start.into())],
            )
            .await;
    }
    let seen = rogue.mark(&mut bus).await;
    for tag in ["salt/auth", "salt/presence/present"] {
        // A syndic passes these on in batches, so that a batch may hold them.
        assert!(
            seen.iter().filter(|found| *found == tag).count() <= 1,
            "{seen:?}"
        );
    }
    let others = tags
        .iter()
        .filter(|tag| !["salt/auth", "salt/presence/present"].contains(tag));
    for tag in others {
        assert!(!seen.iter().any(|found| found == tag), "{tag} in {seen:?}");
    }
    master.end().await;
}

/// A jid became a path that was opened: a pipe there held a worker process for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2025_22242_a_jid_is_never_a_path() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let before = files(&fixture.path("m"));
    let mut bus = fixture.master_bus().await;
    for jid in PATHS {
        for cmd in ["pub_ret", "_return", "_syndic_return"] {
            let fields = [
                ("jid", jid.into()),
                ("fun", "test.ping".into()),
                ("return", true.into()),
                ("success", true.into()),
            ];
            rogue.ask(cmd, &fields).await;
        }
    }
    let tags = rogue.mark(&mut bus).await;
    assert!(!tags.iter().any(|tag| tag.contains("/ret/")), "{tags:?}");
    assert_eq!(files(&fixture.path("m")), before);
    master.end().await;
}

/// A minion could act as another in what it returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2024_38822_a_return_is_its_senders() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "rogue").await;
    let _victim = Rogue::sign_in(&master, "victim").await;
    let mut bus = fixture.master_bus().await;
    let jid = "20260101000000000000";
    let fields = [
        ("id", Value::from("victim")),
        ("jid", jid.into()),
        ("fun", "test.ping".into()),
        ("return", true.into()),
    ];
    assert_eq!(rogue.ask("_return", &fields).await, "bad load".into());
    let mut resource = fields.to_vec();
    resource[0] = ("resource_id", "victim".into());
    rogue.ask("_return", &resource).await;
    let tags = rogue.mark(&mut bus).await;
    assert!(
        !tags.iter().any(|tag| tag.ends_with("/ret/victim")),
        "{tags:?}"
    );
    master.end().await;
}

/// Jobs and returns that came again were acted on again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2024_38823_a_request_that_comes_again_makes_no_second_event() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let rogue = Rogue::sign_in(&master, "m1").await;
    let mut bus = fixture.master_bus().await;
    let load: Map = [
        ("id", "m1"),
        ("cmd", "_minion_event"),
        ("tag", "once"),
        ("data", "x"),
    ]
    .into_iter()
    .collect();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(since.unwrap().as_secs()).unwrap();
    let sealed = rogue.session.seal(load, now).unwrap();
    for _ in 0..3 {
        let thief = Requester::new(format!("127.0.0.1:{}", master.ret_port));
        thief.request(&sealed.payload, DEADLINE).await.unwrap();
    }
    let tags = rogue.mark(&mut bus).await;
    assert_eq!(
        tags.iter().filter(|tag| *tag == "once").count(),
        1,
        "{tags:?}"
    );
    master.end().await;
}
