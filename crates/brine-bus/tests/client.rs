//! The client's two shells against a bus that does exactly what each test says.
#![allow(clippy::unwrap_used)] // a test's helpers are tests

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, Loopback, Node, Ports};
use brine_bus::client::{
    EventRef, PublishError, PublisherConfig, ReceiveError, Reconnect, SubscriberConfig, Wait,
    blocking, tokio as async_client,
};
use brine_testkit::DEADLINE;
use brine_wire::Map;
use brine_wire::frame::{Decoder, Framing, encode_frame};
use brine_wire::matching::{MatchType, TagMatch};
use tempfile::TempDir;

const SHORT: Duration = Duration::from_millis(30);

/// The two sockets of a bus, in the hands of the test.
struct Bus {
    dir: TempDir,
    publish: UnixListener,
    pull: UnixListener,
}

impl Bus {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (publish, pull) = Self::bind(dir.path());
        Self { dir, publish, pull }
    }

    fn bind(dir: &Path) -> (UnixListener, UnixListener) {
        let bind = |name: &str| {
            let path = dir.join(name);
            let _ = std::fs::remove_file(&path);
            UnixListener::bind(path).unwrap()
        };
        (bind("master_event_pub.ipc"), bind("master_event_pull.ipc"))
    }

    /// Ends, as far as clients without a connection can tell, and begins again.
    fn restart(self) -> Self {
        let Self { dir, publish, pull } = self;
        drop((publish, pull));
        let (publish, pull) = Self::bind(dir.path());
        Self { dir, publish, pull }
    }

    fn address(&self) -> Address {
        Address::ipc(self.dir.path(), &Node::Master).unwrap()
    }

    fn subscriber(&self) -> blocking::Subscriber {
        blocking::Subscriber::new(&self.address(), SubscriberConfig::default())
    }

    fn publisher(&self) -> blocking::Publisher {
        blocking::Publisher::new(&self.address(), PublisherConfig::default())
    }

    /// A listener and the bus's end of its connection.
    fn connected(&self) -> (blocking::Subscriber, UnixStream) {
        let mut subscriber = self.subscriber();
        subscriber.connect(DEADLINE).unwrap();
        (subscriber, self.publish.accept().unwrap().0)
    }
}

fn frame(event: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(Framing::Bare, event, &mut bytes);
    bytes
}

fn starts_with(pattern: &str) -> TagMatch {
    TagMatch::new(MatchType::StartsWith, pattern).unwrap()
}

/// The bus's end of a publisher's connection.
struct Reader {
    stream: UnixStream,
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Reader {
    fn accept(listener: &UnixListener) -> Self {
        Self {
            stream: listener.accept().unwrap().0,
            decoder: Decoder::new(1 << 26),
            bytes: Vec::new(),
        }
    }

    /// The tag of the next event.
    fn next_tag(&mut self) -> String {
        loop {
            if let Some(frame) = self.decoder.next(&self.bytes).unwrap() {
                let tag = EventRef::parse(frame.event).unwrap().tag().to_owned();
                self.bytes.drain(..frame.length);
                return tag;
            }
            let mut some = vec![0; 65536];
            let read = self.stream.read(&mut some).unwrap();
            assert!(read > 0, "the publisher closed");
            self.bytes.extend_from_slice(&some[..read]);
        }
    }
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("t/{number}")).collect()
}

/// An event of 4 KiB.
fn page(tag: &str) -> Vec<u8> {
    [tag.as_bytes(), b"\n\n\xc5\x10\x00", &[0; 0x1000]].concat()
}

#[test]
fn an_event_is_matched_in_order_of_arrival() {
    let (mut subscriber, mut bus) = Bus::new().connected();
    for tag in ["a/1", "b/1", "b/2"] {
        bus.write_all(&frame(format!("{tag}\n\n\u{7f}").as_bytes()))
            .unwrap();
    }
    for tag in ["b/1", "b/2"] {
        let event = subscriber
            .get_event(&starts_with("b/"), Wait::For(DEADLINE))
            .unwrap();
        assert_eq!(event.unwrap().tag(), tag);
    }
}

#[test]
fn the_time_of_a_call_is_one_budget_however_much_is_passed_over() {
    let (mut subscriber, mut bus) = Bus::new().connected();
    let flood = thread::spawn(move || while bus.write_all(&frame(b"other\n\n\x80")).is_ok() {});
    let start = Instant::now();
    let event = subscriber
        .get_event(&starts_with("wanted"), Wait::For(5 * SHORT))
        .unwrap();
    assert!(event.is_none() && start.elapsed() >= 5 * SHORT);
    drop(subscriber);
    flood.join().unwrap();
}

#[test]
fn no_block_takes_one_event_a_call() {
    let (mut subscriber, mut bus) = Bus::new().connected();
    bus.write_all(&[frame(b"other\n\n\x80"), frame(b"wanted\n\n\x80")].concat())
        .unwrap();
    let wanted = starts_with("wanted");
    assert_eq!(subscriber.get_event(&wanted, Wait::NO_BLOCK).unwrap(), None);
    let event = subscriber.get_event(&wanted, Wait::NO_BLOCK).unwrap();
    assert_eq!(event.unwrap().tag(), "wanted");
    assert_eq!(subscriber.get_event(&wanted, Wait::NO_BLOCK).unwrap(), None);
}

#[test]
fn without_time_what_has_arrived_is_looked_at_once() {
    let (mut subscriber, mut bus) = Bus::new().connected();
    let all = TagMatch::any();
    assert_eq!(
        subscriber
            .get_event(&all, Wait::For(Duration::ZERO))
            .unwrap(),
        None
    );
    bus.write_all(&frame(b"t\n\n\x80")).unwrap();
    assert!(subscriber.socket().is_some());
    let event = subscriber
        .get_event(&all, Wait::For(Duration::ZERO))
        .unwrap();
    assert_eq!(event.unwrap().tag(), "t");
}

#[test]
fn a_call_outlives_the_bus_and_finds_the_next_one() {
    let bus = Bus::new();
    let (mut subscriber, old) = bus.connected();
    (&old)
        .write_all(&frame(b"cut short\n\n\x80")[..20])
        .unwrap();
    let restart = thread::spawn(move || {
        thread::sleep(SHORT);
        drop(old);
        let bus = bus.restart();
        let mut connection = bus.publish.accept().unwrap().0;
        connection.write_all(&frame(b"t\n\n\x80")).unwrap();
        (bus, connection)
    });
    let event = subscriber
        .get_event(&TagMatch::any(), Wait::For(DEADLINE))
        .unwrap()
        .unwrap();
    assert_eq!((event.tag(), subscriber.counters().connections), ("t", 2));
    restart.join().unwrap();
}

#[test]
fn a_listener_that_does_not_reconnect_is_told() {
    let bus = Bus::new();
    let config = SubscriberConfig {
        reconnect: Reconnect::Never,
        ..SubscriberConfig::default()
    };
    let mut subscriber = blocking::Subscriber::new(&bus.address(), config);
    subscriber.connect(DEADLINE).unwrap();
    drop(bus.publish.accept().unwrap());
    let error = subscriber
        .get_event(&TagMatch::any(), Wait::For(DEADLINE))
        .unwrap_err();
    assert!(matches!(error, ReceiveError::Closed { .. }), "{error}");
}

#[test]
fn garbage_ends_the_call_and_the_next_one_connects_again() {
    let bus = Bus::new();
    let (mut subscriber, mut connection) = bus.connected();
    connection.write_all(b"\xc1garbage").unwrap();
    let error = subscriber
        .get_event(&TagMatch::any(), Wait::For(DEADLINE))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not the publish socket of a bus"),
        "{error}"
    );
    let serve = thread::spawn(move || {
        let mut connection = bus.publish.accept().unwrap().0;
        connection.write_all(&frame(b"t\n\n\x80")).unwrap();
        (bus, connection)
    });
    let event = subscriber
        .get_event(&TagMatch::any(), Wait::For(DEADLINE))
        .unwrap();
    assert_eq!(event.unwrap().tag(), "t");
    serve.join().unwrap();
}

#[test]
fn borrowed_events_come_one_by_one_whatever_their_tag() {
    let (mut subscriber, mut bus) = Bus::new().connected();
    let bytes: Vec<u8> = (0..1000)
        .flat_map(|i| frame(format!("t/{i}\n\n\u{1}").as_bytes()))
        .collect();
    let write = thread::spawn(move || bus.write_all(&bytes).map(|()| bus));
    for i in 0..1000 {
        let event = subscriber.next_ref(Wait::For(DEADLINE)).unwrap().unwrap();
        assert_eq!(
            (event.tag(), event.data()),
            (format!("t/{i}").as_str(), &b"\x01"[..])
        );
    }
    write.join().unwrap().unwrap();
}

#[test]
fn a_check_ends_a_wait() {
    let (mut subscriber, _bus) = Bus::new().connected();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    subscriber.check_while_waiting(move || match counted.fetch_add(1, Ordering::Relaxed) {
        2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let error = subscriber
        .get_event(&TagMatch::any(), Wait::Forever)
        .unwrap_err();
    assert!(matches!(error, ReceiveError::Interrupted));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn without_a_bus_the_error_says_what_is_there_and_what_to_do() {
    let text = |dir: &Path| {
        let address = Address::ipc(dir, &Node::Master).unwrap();
        let mut subscriber = blocking::Subscriber::new(&address, SubscriberConfig::default());
        let error = subscriber.connect(Duration::ZERO).unwrap_err();
        error.to_string().replace(dir.to_str().unwrap(), "DIR")
    };
    let dir = TempDir::new().unwrap();
    assert_eq!(
        text(&dir.path().join("missing")),
        "no bus at DIR/master_event_pub.ipc: directory DIR does not exist; start the bus, or set sock_dir to the directory it uses"
    );
    assert_eq!(
        text(dir.path()),
        "no bus at DIR/master_event_pub.ipc: no such socket; start the bus, or set sock_dir, node or id to those of a running one"
    );
    std::fs::write(dir.path().join("minion_event_ca0df2c95a_pub.ipc"), "").unwrap();
    assert_eq!(
        text(dir.path()),
        "no bus at DIR/master_event_pub.ipc: no such socket (beside it: minion_event_ca0df2c95a_pub.ipc); start the bus, or set sock_dir, node or id to those of a running one"
    );
    drop(Bus::bind(dir.path()));
    let left = text(dir.path());
    assert!(
        left.starts_with(
            "no bus at DIR/master_event_pub.ipc: nobody listens on that socket, left by user "
        ) && left.ends_with("; start the bus"),
        "{left}"
    );
    std::fs::remove_file(dir.path().join("master_event_pub.ipc")).unwrap();
    std::fs::write(dir.path().join("master_event_pub.ipc"), "").unwrap();
    assert_eq!(
        text(dir.path()),
        "no bus at DIR/master_event_pub.ipc: it is not a socket; remove it and start the bus"
    );
}

#[test]
fn a_bus_that_comes_up_within_the_time_is_found() {
    let bus = Bus::new();
    let (mut subscriber, mut publisher) = (bus.subscriber(), bus.publisher());
    let Bus { dir, publish, pull } = bus;
    drop((publish, pull));
    let start = thread::spawn(move || {
        thread::sleep(2 * SHORT);
        (Bus::bind(dir.path()), dir)
    });
    subscriber.connect(DEADLINE).unwrap();
    publisher
        .fire_event("t", &mut Map::new(), Some(DEADLINE))
        .unwrap();
    start.join().unwrap();
}

#[test]
fn a_fired_event_is_framed_and_stamped_as_its_release_does() {
    let bus = Bus::new();
    for (release, first_byte, stamp) in [
        ("3006.25", 0x82, "+"),
        ("3006", 0, "+"),
        ("3008.1", 0x82, "+00:00"),
        ("3008", 0, "+00:00"),
    ] {
        let config = PublisherConfig::for_compat(release.parse().unwrap());
        let mut publisher = blocking::Publisher::new(&bus.address(), config);
        let mut data = Map::new();
        publisher
            .fire_event("my/tag", &mut data, Some(DEADLINE))
            .unwrap();
        let mut connection = bus.pull.accept().unwrap().0;
        drop(publisher);
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes[0], first_byte, "{release}");
        let own = data.get("_stamp").unwrap().as_str().unwrap();
        assert_eq!(
            own.contains("+00:00"),
            stamp == "+00:00",
            "{release}: {own}"
        );
    }
}

#[test]
fn an_event_that_is_none_reaches_nobody() {
    let bus = Bus::new();
    let mut publisher = bus.publisher();
    for tag in ["", "a\n\nb", "a\n"] {
        let error = publisher
            .fire_event(tag, &mut Map::new(), Some(DEADLINE))
            .unwrap_err();
        assert!(matches!(error, PublishError::Event(_)), "{tag:?}: {error}");
    }
    assert_eq!(publisher.queued_bytes(), 0);
}

#[test]
fn many_events_go_out_in_one_write() {
    let bus = Bus::new();
    let mut publisher = bus.publisher();
    for i in 0..100 {
        publisher
            .queue_event(&format!("t/{i}"), &mut Map::new())
            .unwrap();
    }
    let queued = publisher.queued_bytes();
    publisher.flush(Some(DEADLINE)).unwrap();
    let mut connection = bus.pull.accept().unwrap().0;
    let mut bytes = vec![0; queued + 1];
    assert_eq!(connection.read(&mut bytes).unwrap(), queued);
}

#[test]
fn a_bus_that_restarted_between_two_events_gets_the_second() {
    let mut bus = Bus::new();
    let mut publisher = bus.publisher();
    publisher
        .fire_event("first", &mut Map::new(), Some(DEADLINE))
        .unwrap();
    let mut connection = Reader::accept(&bus.pull);
    assert_eq!(connection.next_tag(), "first");
    drop(connection);
    bus = bus.restart();
    publisher
        .fire_event("second", &mut Map::new(), Some(DEADLINE))
        .unwrap();
    let mut connection = Reader::accept(&bus.pull);
    assert_eq!(connection.next_tag(), "second");
}

#[test]
fn a_restart_is_noticed_over_tcp_too() {
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = listen();
    let pull = listener.local_addr().unwrap().port();
    let address = Address::tcp(Loopback::V4, Ports { publish: 1, pull });
    let mut publisher = blocking::Publisher::new(&address, PublisherConfig::default());
    for tag in ["first", "second", "third"] {
        publisher
            .fire_event(tag, &mut Map::new(), Some(DEADLINE))
            .unwrap();
        let mut connection = listener.accept().unwrap().0;
        let mut some = [0; 1000];
        let read = connection.read(&mut some).unwrap();
        let text = String::from_utf8_lossy(&some[..read]);
        assert!(text.contains(tag), "{tag}: {text}");
        // Ends the connection properly, so that only its end tells.
        drop(connection);
        thread::sleep(SHORT);
    }
}

#[test]
fn a_stalled_bus_ends_the_call_and_the_event_is_not_sent_later() {
    let bus = Bus::new();
    let mut publisher = bus.publisher();
    let large = [b"large\n\n\xc6\x00\x20\x00\x00".as_slice(), &[0; 0x20_0000]].concat();
    let error = publisher.fire_raw(&large, Some(SHORT)).unwrap_err();
    assert!(matches!(error, PublishError::Stalled { .. }), "{error}");
    assert_eq!(publisher.queued_bytes(), 0);
    publisher
        .fire_event("next", &mut Map::new(), Some(DEADLINE))
        .unwrap();
    let half = bus.pull.accept().unwrap().0;
    assert_eq!(Reader::accept(&bus.pull).next_tag(), "next");
    drop(half);
}

#[test]
fn a_bus_that_closes_instead_of_reading_is_given_up() {
    let bus = Bus::new();
    let mut publisher = bus.publisher();
    thread::spawn(move || {
        while let Ok((connection, _)) = bus.pull.accept() {
            drop(connection);
        }
    });
    let large = [b"large\n\n\xc6\x00\x20\x00\x00".as_slice(), &[0; 0x20_0000]].concat();
    let error = publisher.fire_raw(&large, Some(DEADLINE)).unwrap_err();
    assert!(matches!(error, PublishError::Closed { .. }), "{error}");
}

#[test]
fn a_batch_goes_on_with_the_next_bus_where_it_broke_off() {
    let bus = Bus::new();
    let mut publisher = bus.publisher();
    numbered(0..2000)
        .iter()
        .for_each(|tag| publisher.queue_raw(&page(tag)));
    let read = thread::spawn(move || {
        let mut first = Reader::accept(&bus.pull);
        let before: Vec<_> = (0..10).map(|_| first.next_tag()).collect();
        let bus = bus.restart();
        drop(first);
        let mut second = Reader::accept(&bus.pull);
        let mut after = vec![second.next_tag()];
        while after.last().is_some_and(|tag| tag != "t/1999") {
            after.push(second.next_tag());
        }
        (before, after)
    });
    publisher.flush(Some(DEADLINE)).unwrap();
    let (before, after) = read.join().unwrap();
    assert_eq!(before, numbered(0..10));
    assert_eq!(after, numbered(2000 - after.len()..2000));
}

#[tokio::test]
async fn a_dropped_call_loses_no_event() {
    let bus = Bus::new();
    let mut subscriber = async_client::Subscriber::new(&bus.address(), SubscriberConfig::default());
    subscriber.connect(DEADLINE).await.unwrap();
    let mut connection = bus.publish.accept().unwrap().0;
    let all = TagMatch::any();
    let bytes = frame(b"t\n\n\x80");
    connection.write_all(&bytes[..10]).unwrap();
    let waiting = subscriber.get_event(&all, Wait::Forever);
    assert!(tokio::time::timeout(SHORT, waiting).await.is_err());
    connection.write_all(&bytes[10..]).unwrap();
    let event = subscriber
        .get_event(&all, Wait::For(DEADLINE))
        .await
        .unwrap();
    assert_eq!(event.unwrap().tag(), "t");
    assert_eq!(
        subscriber
            .get_event(&all, Wait::For(Duration::ZERO))
            .await
            .unwrap(),
        None
    );
    connection.write_all(&frame(b"u\n\n\x80")).unwrap();
    let event = subscriber
        .next_ref(Wait::For(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(event.unwrap().tag(), "u");
}

#[tokio::test]
async fn an_async_call_outlives_the_bus() {
    let bus = Bus::new();
    let mut subscriber = async_client::Subscriber::new(&bus.address(), SubscriberConfig::default());
    subscriber.connect(DEADLINE).await.unwrap();
    drop(bus.publish.accept().unwrap());
    let restart = thread::spawn(move || {
        let bus = bus.restart();
        let mut connection = bus.publish.accept().unwrap().0;
        connection.write_all(&frame(b"t\n\n\x80")).unwrap();
        (bus, connection)
    });
    let event = subscriber
        .get_event(&starts_with("t"), Wait::For(DEADLINE))
        .await
        .unwrap();
    assert_eq!(event.unwrap().tag(), "t");
    restart.join().unwrap();
}

#[tokio::test]
async fn a_dropped_flush_is_gone_on_with() {
    let bus = Bus::new();
    let mut publisher = async_client::Publisher::new(&bus.address(), PublisherConfig::default());
    numbered(0..500)
        .iter()
        .for_each(|tag| publisher.queue_raw(&page(tag)));
    assert!(
        tokio::time::timeout(SHORT, publisher.flush(None))
            .await
            .is_err()
    );
    let read = thread::spawn(move || {
        let mut connection = Reader::accept(&bus.pull);
        (0..500).map(|_| connection.next_tag()).collect::<Vec<_>>()
    });
    publisher.flush(Some(DEADLINE)).await.unwrap();
    assert_eq!(read.join().unwrap(), numbered(0..500));
}

#[tokio::test]
async fn an_async_publisher_fires_and_finds_a_restarted_bus() {
    let mut bus = Bus::new();
    let mut publisher = async_client::Publisher::new(&bus.address(), PublisherConfig::default());
    for tag in ["first", "second"] {
        publisher
            .fire_event(tag, &mut Map::new(), Some(DEADLINE))
            .await
            .unwrap();
        let mut connection = Reader::accept(&bus.pull);
        assert_eq!(connection.next_tag(), tag);
        drop(connection);
        bus = bus.restart();
    }
    drop(bus);
    let error = publisher
        .fire_event("third", &mut Map::new(), Some(SHORT))
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::Connect(_)), "{error}");
}
