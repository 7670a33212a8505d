//! Brine's bus in the hands of real Salt's clients, three releases, and of our own.
#![allow(clippy::unwrap_used)] // a test's helpers are tests

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use brine_bus::address::{Address, Node};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait, blocking};
use brine_bus::{Bus, BusConfig, BusHandle, Modes, Served, Sockets};
use brine_log::{Framings, Log, LogConfig, LogId, OverflowConfig};
use brine_testkit::{DEADLINE, salt};
use brine_wire::Map;
use brine_wire::compat::Compat;
use brine_wire::frame::Framing;
use brine_wire::matching::{MatchType, TagMatch};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A bus of ours in a thread; ends when dropped.
struct TestBus {
    handle: BusHandle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestBus {
    fn start(sock_dir: &Path, node: salt::Node<'_>, version: &str) -> Self {
        Self::start_with(sock_dir, node, version, LogConfig::new(LogId(1)))
    }

    fn start_with(sock_dir: &Path, node: salt::Node<'_>, version: &str, config: LogConfig) -> Self {
        let compat: Compat = version.parse().unwrap();
        let framing = compat.publish_framing();
        let address = address(sock_dir, node);
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let modes = Modes {
                    publish: 0o600,
                    pull: 0o600,
                };
                let sockets = Sockets::bind(&address, modes).unwrap();
                let log = Log::new(LogConfig {
                    framings: match framing {
                        Framing::Bare => Framings::Bare,
                        Framing::Prefixed => Framings::Prefixed,
                    },
                    ..config
                });
                let ended = async {
                    let _ = ended.await;
                };
                let served = vec![Served { sockets, framing }];
                let (bus, handle) = Bus::new(served, log, BusConfig::default());
                ready.send(handle).unwrap();
                bus.run(ended).await.unwrap();
            });
        });
        Self {
            handle: is_ready.recv().unwrap(),
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        self.end.take().map(|end| end.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

fn address(sock_dir: &Path, node: salt::Node<'_>) -> Address {
    let node = match node {
        salt::Node::Master => Node::Master,
        salt::Node::Minion(id) => Node::minion(id),
    };
    Address::ipc(sock_dir, &node).unwrap()
}

#[test]
fn a_listener_sees_what_is_fired_after_it_has_connected() {
    let dir = TempDir::new().unwrap();
    let _bus = TestBus::start(dir.path(), salt::Node::Master, "3008");
    let address = address(dir.path(), salt::Node::Master);
    let busy = Arc::new(AtomicBool::new(true));
    let flood = {
        let (busy, address) = (Arc::clone(&busy), address.clone());
        thread::spawn(move || {
            let mut publisher = blocking::Publisher::new(&address, PublisherConfig::default());
            while busy.load(Ordering::Relaxed) {
                (0..32).for_each(|_| publisher.queue_raw(b"flood\n\n\x80"));
                publisher.flush(Some(DEADLINE)).unwrap();
            }
        })
    };
    let wanted = TagMatch::new(MatchType::StartsWith, "wanted").unwrap();
    let mut publisher = blocking::Publisher::new(&address, PublisherConfig::default());
    for round in 0..200 {
        let mut subscriber = blocking::Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).unwrap();
        publisher
            .fire_event("wanted", &mut Map::new(), Some(DEADLINE))
            .unwrap();
        let event = subscriber.get_event(&wanted, Wait::For(DEADLINE)).unwrap();
        assert!(event.is_some(), "round {round}");
    }
    busy.store(false, Ordering::Relaxed);
    flood.join().unwrap();
}

/// A bus of ours in the dialect of a release, and that release's clients on it.
struct Scene {
    version: &'static str,
    node: salt::Node<'static>,
    sock_dir: TempDir,
    bus: Option<TestBus>,
    client: salt::Client,
}

impl Scene {
    fn new(version: &'static str, node: salt::Node<'static>) -> Self {
        let sock_dir = TempDir::new().unwrap();
        Self {
            version,
            node,
            bus: Some(TestBus::start(sock_dir.path(), node, version)),
            client: salt::Client::start_with(version, node, sock_dir.path(), OPTIONS),
            sock_dir,
        }
    }

    /// Runs expressions on one client and compares what each comes to.
    fn check<const N: usize>(&mut self, steps: [(&str, &str); N]) {
        for (expression, expected) in steps {
            let found = self.client.run(expression);
            assert_eq!(found, expected, "{}: {expression}", self.version);
        }
    }

    fn subscriber(&self) -> blocking::Subscriber {
        let address = address(self.sock_dir.path(), self.node);
        let mut subscriber = blocking::Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).unwrap();
        subscriber
    }
}

/// Twenty megabytes are sent untrimmed.
const OPTIONS: &str = "'max_event_size': 100_000_000";

/// All options of `get_event`. No call here times out, since a 3007 client then connects anew and
/// misses what comes meanwhile.
fn events_are_got_as_from_salt(scene: &mut Scene) {
    scene.check([
        ("[bus.fire_event({'n': n}, t) for n, t in enumerate(['a/1', 'b/1', 'b/2', 'c/1'])]", "[True, True, True, True]"),
        ("bus.get_event(tag='b/')['n']", "1"),
        ("bus.get_event(tag='/1', match_type='endswith', full=True)['tag']", "'c/1'"),
        ("[bus.fire_event({}, t) for t in ['x/yz/1', 'k/1', 'k/2', 'fin', 'end']]", "[True, True, True, True, True]"),
        ("bus.get_event(tag='yz', match_type='find', full=True)['tag']", "'x/yz/1'"),
        ("bus.get_event(tag='(k|q)/[2-9]', match_type='regex', full=True)['tag']", "'k/2'"),
        ("bus.get_event(tag='f?n', match_type='fnmatch', full=True)['tag']", "'fin'"),
        ("next(bus.iter_events(full=True))['tag']", "'end'"),
        ("bus.subscribe('kept/')", "None"),
        ("[bus.fire_event({}, t) for t in ['kept/1', 'lost/1', 'wanted/1', 'kept/2']]", "[True, True, True, True]"),
        ("bus.get_event(tag='wanted/', full=True)['tag']", "'wanted/1'"),
        ("[bus.get_event(tag='kept/', full=True)['tag'] for _ in range(2)]", "['kept/1', 'kept/2']"),
        ("bus.unsubscribe('kept/')", "None"),
        ("bus.fire_event({}, 'other/1') and bus.fire_event({}, 'last/1')", "True"),
        ("[e and e['tag'] for e in [(time.sleep(1), bus.get_event(no_block=True, tag='last', full=True))[1] for _ in range(2)]][-1]", "'last/1'"),
        ("bus.fire_event({'raw': b'\\xff', 'when': datetime.datetime(2026, 1, 2), 'größe': 2**63}, 'ü/日本')", "True"),
        ("[v for k, v in bus.get_event(tag='ü/').items() if k != '_stamp']", "[b'\\xff', datetime.datetime(2026, 1, 2, 0, 0), 9223372036854775808]"),
        ("bus.get_event(wait=0.2)", "None"),
    ]);
}

fn large_and_small_events_pass(scene: &mut Scene) {
    for size in [1, 65_536, 1_100_000, 20 * 1024 * 1024] {
        let expression = format!(
            "bus.fire_event({{'blob': b'x' * {size}}}, 'size') and bus.get_event(wait=60, tag='size')['blob'] == b'x' * {size}"
        );
        scene.check([(expression.as_str(), "True")]);
    }
}

/// Four publishers at once, two hundred listeners: each publisher's events come in its order.
fn everybody_gets_everything_in_order(scene: &mut Scene) {
    let mut listeners: Vec<_> = (0..199).map(|_| scene.subscriber()).collect();
    let mut publishers: Vec<_> = (0..4)
        .map(|_| salt::Client::start(scene.version, scene.node, scene.sock_dir.path()))
        .collect();
    scene.client.request(
        "[(e['from'], e['n']) for e in (bus.get_event(wait=120, tag='many/') for _ in range(400))]",
    );
    for (number, publisher) in publishers.iter_mut().enumerate() {
        publisher.request(&format!(
            "all(bus.fire_event({{'from': {number}, 'n': n}}, 'many/{number}/%02d' % n) for n in range(100))"
        ));
    }
    let wanted = TagMatch::new(MatchType::StartsWith, "many/").unwrap();
    for listener in &mut listeners {
        let mut tags: Vec<_> = (0..400)
            .map(|_| {
                listener
                    .get_event(&wanted, Wait::For(DEADLINE))
                    .unwrap()
                    .unwrap()
                    .tag()
                    .to_owned()
            })
            .collect();
        for number in 0..4 {
            let own: Vec<_> = tags
                .extract_if(.., |tag| tag.starts_with(&format!("many/{number}/")))
                .collect();
            let expected: Vec<_> = (0..100).map(|n| format!("many/{number}/{n:02}")).collect();
            assert_eq!(own, expected, "{}", scene.version);
        }
    }
    let got = scene.client.answer().unwrap();
    for number in 0..4 {
        let order: Vec<_> = (0..100)
            .map(|n| got.find(&format!("({number}, {n})")))
            .collect();
        assert!(
            order.is_sorted() && order[0].is_some(),
            "{}: {got}",
            scene.version
        );
    }
    for publisher in &mut publishers {
        assert_eq!(publisher.answer(), Ok("True".to_owned()));
    }
}

/// A 3006 client gives up the call in which the bus dies and waits in the next; the others go on
/// within one call.
fn a_restarted_bus_is_found_again(scene: &mut Scene) {
    let calls = if scene.version.starts_with("3006") {
        2
    } else {
        1
    };
    scene.client.request(&format!(
        "[bus.get_event(wait=30, tag='again', full=True) for _ in range({calls})][-1]['tag']"
    ));
    thread::sleep(Duration::from_millis(300));
    drop(scene.bus.take());
    scene.bus = Some(TestBus::start(
        scene.sock_dir.path(),
        scene.node,
        scene.version,
    ));
    let mut firing = salt::Client::start(scene.version, scene.node, scene.sock_dir.path());
    // It fires until the listener, which has to come back first, has heard it.
    let heard = scene.sock_dir.path().join("heard");
    firing.request(&format!(
        "[(bus.fire_event({{}}, 'again'), time.sleep(0.1))[0] for _ in iter(lambda: pathlib.Path({heard:?}).exists(), True)][-1]"
    ));
    assert_eq!(
        scene.client.answer(),
        Ok("'again'".to_owned()),
        "{}",
        scene.version
    );
    std::fs::write(heard, "").unwrap();
    assert_eq!(firing.answer(), Ok("True".to_owned()));
}

fn salt_is_at_home(version: &'static str, node: salt::Node<'static>) {
    let mut scene = Scene::new(version, node);
    events_are_got_as_from_salt(&mut scene);
    large_and_small_events_pass(&mut scene);
    everybody_gets_everything_in_order(&mut scene);
    a_restarted_bus_is_found_again(&mut scene);
}

#[test]
fn a_3006_master_is_at_home() {
    salt_is_at_home("3006.28", salt::Node::Master);
}

#[test]
fn a_3006_minion_is_at_home() {
    salt_is_at_home("3006.28", salt::Node::Minion("m1"));
}

#[test]
fn a_3007_master_is_at_home() {
    salt_is_at_home("3007.14", salt::Node::Master);
}

#[test]
fn a_3007_minion_is_at_home() {
    salt_is_at_home(salt::LATER_3007, salt::Node::Minion("m1"));
}

#[test]
fn a_3008_master_is_at_home() {
    salt_is_at_home("3008.3", salt::Node::Master);
}

#[test]
fn a_3008_minion_is_at_home() {
    salt_is_at_home("3008.3", salt::Node::Minion("m1"));
}

/// A highstate's returns in one burst: far more than the log keeps in memory, to real listeners that
/// take their time for each.
fn slow_listeners_lose_nothing(version: &str) {
    const EVENTS: usize = 500;
    let dir = TempDir::new().unwrap();
    let node = salt::Node::Master;
    let config = LogConfig {
        max_bytes: 8 << 20,
        overflow: Some(OverflowConfig {
            directory: dir.path().to_owned(),
            max_bytes: 1 << 30,
        }),
        ..LogConfig::new(LogId(1))
    };
    let bus = TestBus::start_with(dir.path(), node, version, config);
    let mut listeners: Vec<_> = (0..3)
        .map(|_| salt::Client::start(version, node, dir.path()))
        .collect();
    for listener in &mut listeners {
        listener.request(&format!(
            "[(bus.get_event(wait=60, tag='burst/')['n'], time.sleep(0.002))[0] for _ in range({EVENTS})] == list(range({EVENTS}))"
        ));
    }
    let address = address(dir.path(), node);
    let mut publisher = blocking::Publisher::new(&address, PublisherConfig::default());
    for number in 0..EVENTS {
        let mut data: Map = [("return", "x".repeat(50_000))].into_iter().collect();
        data.insert("n", i64::try_from(number).unwrap());
        publisher
            .fire_event(&format!("burst/{number}"), &mut data, Some(DEADLINE))
            .unwrap();
    }
    let stats = bus.handle.stats();
    assert_eq!(stats.subscribers.len(), 3);
    assert!(stats.log.overflow_bytes > 4 << 20, "{stats:?}");
    assert!(stats.log.bytes <= 8 << 20, "{stats:?}");
    for listener in &mut listeners {
        assert_eq!(listener.answer(), Ok("True".to_owned()), "{version}");
    }
    let stats = bus.handle.stats();
    assert_eq!(
        (stats.overrun_subscribers, stats.log.overflow_bytes),
        (0, 0)
    );
}

#[test]
fn slow_3006_listeners_lose_nothing_of_a_burst() {
    slow_listeners_lose_nothing("3006.28");
}

#[test]
fn slow_3008_listeners_lose_nothing_of_a_burst() {
    slow_listeners_lose_nothing("3008.3");
}
