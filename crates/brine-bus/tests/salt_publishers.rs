//! The client on the buses of real Salt, three releases, beside real Salt's own client.
#![allow(clippy::unwrap_used)] // a test's helpers are tests

use std::path::Path;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, Loopback, Node, Ports};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait, blocking, tokio as async_client};
use brine_testkit::{DEADLINE, salt};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};
use tempfile::TempDir;

const LARGE: usize = 20 * 1024 * 1024;
/// Both sides send twenty megabytes untrimmed.
const OPTIONS: &str = "'max_event_size': 100_000_000";

/// A real bus, our client on it and a real one.
struct Scene {
    version: &'static str,
    node: salt::Node<'static>,
    sock_dir: TempDir,
    bus: salt::Bus,
    theirs: salt::Client,
    subscriber: blocking::Subscriber,
    publisher: blocking::Publisher,
}

impl Scene {
    fn new(version: &'static str, node: salt::Node<'static>) -> Self {
        let sock_dir = TempDir::new().unwrap();
        let bus = salt::Bus::start(version, node, sock_dir.path());
        let address = address(sock_dir.path(), node);
        let mut subscriber = blocking::Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).unwrap();
        Self {
            version,
            node,
            theirs: salt::Client::start_with(version, node, sock_dir.path(), OPTIONS),
            publisher: blocking::Publisher::new(&address, publisher_config(version)),
            sock_dir,
            bus,
            subscriber,
        }
    }

    fn get(&mut self, tag: &str) -> Map {
        let event = self
            .subscriber
            .get_event(&exactly(tag), Wait::For(DEADLINE))
            .unwrap()
            .unwrap();
        data(event.decode().unwrap())
    }

    fn fire(&mut self, tag: &str, data: &Map) {
        self.publisher
            .fire_event(tag, &mut data.clone(), Some(DEADLINE))
            .unwrap();
    }
}

fn address(sock_dir: &Path, node: salt::Node<'_>) -> Address {
    let node = match node {
        salt::Node::Master => Node::Master,
        salt::Node::Minion(id) => Node::minion(id),
    };
    Address::ipc(sock_dir, &node).unwrap()
}

fn publisher_config(version: &str) -> PublisherConfig {
    PublisherConfig {
        max_event_size: 100_000_000,
        ..PublisherConfig::for_compat(version.parse().unwrap())
    }
}

fn exactly(tag: &str) -> TagMatch {
    TagMatch::new(MatchType::Fnmatch, tag).unwrap()
}

/// An event's data without the stamp, which must be there.
fn data(value: Value) -> Map {
    let Value::Map(mut map) = value else {
        panic!("expected a map, found {value:?}");
    };
    assert!(map.remove("_stamp").is_some());
    map
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Map {
    pairs.into_iter().collect()
}

/// The same data as Python writes them and as we do.
fn samples() -> Vec<(&'static str, Map)> {
    let nested = map([(
        "inner",
        Value::Array(vec![1.into(), Value::Nil, "x".into()]),
    )]);
    vec![
        ("{}", Map::new()),
        ("{'a': ''}", map([("a", "".into())])),
        (
            "{'text': 'größe 日本 \\U0001f9c2', 'lines': 'a\\n\\nb'}",
            map([("text", "größe 日本 🧂".into()), ("lines", "a\n\nb".into())]),
        ),
        (
            "{'raw': b'\\x00\\xff\\n\\n', 'none': b''}",
            map([
                ("raw", Value::Bin(b"\x00\xff\n\n".to_vec())),
                ("none", Value::Bin(Vec::new())),
            ]),
        ),
        (
            "{'when': datetime.datetime(2026, 11, 23, 21, 30, 1, 42)}",
            map([("when", Value::Ext(78, b"20261123T21:30:01.000042".to_vec()))]),
        ),
        (
            "{'most': 2**64 - 1, 'least': -2**63, 'half': 0.5, 'yes': True}",
            map([
                ("most", u64::MAX.into()),
                ("least", i64::MIN.into()),
                ("half", 0.5.into()),
                ("yes", true.into()),
            ]),
        ),
        (
            "{'outer': {'inner': [1, None, 'x']}, 'list': []}",
            map([("outer", nested.into()), ("list", Value::Array(Vec::new()))]),
        ),
        (
            "{1: 'int', b'k': 'bytes', None: 'none'}",
            Map::from(vec![
                (1.into(), "int".into()),
                (Value::Bin(b"k".to_vec()), "bytes".into()),
                (Value::Nil, "none".into()),
            ]),
        ),
    ]
}

fn values_pass_both_ways(scene: &mut Scene) {
    for (number, (python, ours)) in samples().into_iter().enumerate() {
        let tag = format!("theirs/{number}");
        assert_eq!(
            scene
                .theirs
                .run(&format!("bus.fire_event({python}, {tag:?})")),
            "True"
        );
        assert_eq!(scene.get(&tag), ours, "{}: {python}", scene.version);

        let tag = format!("ours/{number}");
        scene.fire(&tag, &ours);
        let same = format!(
            "{{k: v for k, v in bus.get_event(wait=30, tag={tag:?}).items() if k != '_stamp'}} == {python}"
        );
        assert_eq!(
            scene.theirs.run(&same),
            "True",
            "{}: {python}",
            scene.version
        );
    }
}

/// Everybody reads everything, since a 3007 bus waits for a listener that does not and serves
/// nobody meanwhile.
fn sizes_pass_both_ways(scene: &mut Scene) {
    for size in [1, 1000, 100_000, 1_100_000, LARGE] {
        let blob = map([("blob", Value::Bin(vec![b'x'; size]))]);
        for (tag, first) in [
            (
                "theirs/size",
                format!("bus.fire_event({{'blob': b'x' * {size}}}, 'theirs/size')"),
            ),
            ("ours/size", "True".to_owned()),
        ] {
            let got = format!("bus.get_event(wait=60, tag={tag:?})['blob'] == b'x' * {size}");
            scene.theirs.request(&format!("{first} and {got}"));
            if tag == "ours/size" {
                scene.fire(tag, &blob);
            }
            assert!(scene.get(tag) == blob, "{}: {tag} {size}", scene.version);
            assert_eq!(scene.theirs.answer(), Ok("True".to_owned()), "{tag} {size}");
        }
    }
}

/// Few enough for a socket's buffer: while one side fires, it does not read.
fn order_is_kept_both_ways(scene: &mut Scene) {
    let fire = "all(bus.fire_event({'n': n}, 'theirs/many') for n in range(200))";
    scene.theirs.request(fire);
    for n in 0..200 {
        assert_eq!(
            scene.get("theirs/many"),
            map([("n", n.into())]),
            "{}",
            scene.version
        );
    }
    assert_eq!(scene.theirs.answer(), Ok("True".to_owned()));

    for n in 0..200 {
        let mut data = map([("n", n.into())]);
        scene.publisher.queue_event("ours/many", &mut data).unwrap();
    }
    scene.publisher.flush(Some(DEADLINE)).unwrap();
    let got =
        "[bus.get_event(wait=30, tag='ours/many')['n'] for _ in range(200)] == list(range(200))";
    assert_eq!(scene.theirs.run(got), "True", "{}", scene.version);
}

fn a_restarted_bus_is_found_again(scene: &mut Scene) {
    scene.bus.kill();
    let start = Instant::now();
    let wait = Duration::from_millis(300);
    let gone = scene
        .subscriber
        .get_event(&exactly("x"), Wait::For(wait))
        .unwrap_err();
    assert!(start.elapsed() >= wait, "{gone}");
    assert!(
        gone.to_string().contains("nobody listens on that socket"),
        "{gone}"
    );

    scene.bus = salt::Bus::start(scene.version, scene.node, scene.sock_dir.path());
    scene.subscriber.connect(DEADLINE).unwrap();
    scene.theirs =
        salt::Client::start_with(scene.version, scene.node, scene.sock_dir.path(), OPTIONS);
    scene.fire("ours/again", &Map::new());
    assert_eq!(scene.get("ours/again"), Map::new());
    let got = "bus.get_event(wait=30, tag='ours/again', full=True)['tag']";
    assert_eq!(scene.theirs.run(got), "'ours/again'", "{}", scene.version);
}

/// One bus at a time: starting Python is what these tests mostly do.
fn everything_passes(version: &'static str, node: salt::Node<'static>) {
    let mut scene = Scene::new(version, node);
    values_pass_both_ways(&mut scene);
    sizes_pass_both_ways(&mut scene);
    order_is_kept_both_ways(&mut scene);
    a_restarted_bus_is_found_again(&mut scene);
    assert_eq!(scene.subscriber.counters().malformed, 0);
}

#[test]
fn events_pass_over_a_3006_master_bus() {
    everything_passes("3006.28", salt::Node::Master);
}

#[test]
fn events_pass_over_a_3006_minion_bus() {
    everything_passes("3006.28", salt::Node::Minion("m1"));
}

#[test]
fn events_pass_over_a_3007_master_bus() {
    everything_passes("3007.14", salt::Node::Master);
}

#[test]
fn events_pass_over_a_3007_minion_bus() {
    everything_passes(salt::LATER_3007, salt::Node::Minion("m1"));
}

#[test]
fn events_pass_over_a_3008_master_bus() {
    everything_passes("3008.3", salt::Node::Master);
}

#[test]
fn events_pass_over_a_3008_minion_bus() {
    everything_passes("3008.3", salt::Node::Minion("münchen"));
}

#[test]
fn fire_master_is_what_real_salt_fires() {
    let mut scene = Scene::new("3008.3", salt::Node::Minion("m1"));
    let sample = map([("finished", true.into())]);
    assert_eq!(
        scene
            .theirs
            .run("bus.fire_master({'finished': True}, 'my/tag')"),
        "True"
    );
    let theirs = scene.get("fire_master");
    scene
        .publisher
        .fire_master("my/tag", sample, Some(DEADLINE))
        .unwrap();
    assert_eq!(scene.get("fire_master"), theirs);
}

#[test]
fn without_a_bus_both_say_so() {
    let sock_dir = TempDir::new().unwrap();
    let address = address(sock_dir.path(), salt::Node::Master);
    let mut publisher = blocking::Publisher::new(&address, PublisherConfig::default());
    let start = Instant::now();
    let timeout = Duration::from_millis(200);
    publisher
        .fire_event("t", &mut Map::new(), Some(timeout))
        .unwrap_err();
    assert!(start.elapsed() >= timeout);
}

#[test]
fn events_pass_over_tcp() {
    for version in salt::VERSIONS {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let ports = Ports {
            publish: free(),
            pull: free(),
        };
        let options = format!(
            "'ipc_mode': 'tcp', 'tcp_master_pub_port': {}, 'tcp_master_pull_port': {}",
            ports.publish, ports.pull
        );
        let sock_dir = TempDir::new().unwrap();
        let node = salt::Node::Master;
        let _bus = salt::Bus::start_with(version, node, sock_dir.path(), &options);
        let address = Address::tcp(Loopback::V4, ports);
        let mut subscriber = blocking::Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).unwrap();
        let mut theirs = salt::Client::start_with(version, node, sock_dir.path(), &options);
        assert_eq!(theirs.run("bus.fire_event({}, 'theirs')"), "True");
        let event = subscriber
            .get_event(&exactly("theirs"), Wait::For(DEADLINE))
            .unwrap();
        assert!(event.is_some(), "{version}");
        let mut publisher = blocking::Publisher::new(&address, publisher_config(version));
        publisher
            .fire_event("ours", &mut Map::new(), Some(DEADLINE))
            .unwrap();
        let got = theirs.run("bus.get_event(wait=30, tag='ours', full=True)['tag']");
        assert_eq!(got, "'ours'", "{version}");
    }
}

#[tokio::test]
async fn the_async_client_is_heard_and_hears() {
    for version in salt::VERSIONS {
        let sock_dir = TempDir::new().unwrap();
        let node = salt::Node::Master;
        let _bus = salt::Bus::start(version, node, sock_dir.path());
        let address = address(sock_dir.path(), node);
        let mut subscriber = async_client::Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).await.unwrap();
        let mut publisher = async_client::Publisher::new(&address, publisher_config(version));
        let mut theirs = salt::Client::start(version, node, sock_dir.path());
        let blob = map([("blob", Value::Bin(vec![7; 3_000_000]))]);
        theirs.request("len(bus.get_event(wait=30, tag='ours')['blob'])");
        publisher
            .fire_event("ours", &mut blob.clone(), Some(DEADLINE))
            .await
            .unwrap();
        let event = subscriber
            .get_event(&exactly("ours"), Wait::For(DEADLINE))
            .await
            .unwrap();
        assert_eq!(theirs.answer(), Ok("3000000".to_owned()), "{version}");
        assert!(data(event.unwrap().decode().unwrap()) == blob, "{version}");
    }
}
