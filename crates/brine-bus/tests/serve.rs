//! The server on real sockets: bytes in, bytes out. No client library, so that a mistake in one
//! cannot hide a mistake in the other.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brine_bus::address::{Address, Loopback, Node, Ports};
use brine_bus::{BindError, Bus, BusConfig, BusHandle, Modes, Peer, Served, Sockets};
use brine_log::{Framings, Incoming, Log, LogConfig, LogId, OverflowConfig, ReadsFrom, Seq, Start};
use brine_testkit::DEADLINE;
use brine_wire::frame::{Decoder, Framing, MAX_FRAME_BYTES, encode_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MODES: Modes = Modes {
    publish: 0o660,
    pull: 0o600,
};

struct TestBus {
    directory: tempfile::TempDir,
    handle: BusHandle,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestBus {
    fn start(config: BusConfig, log_bytes: usize) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let sockets = Sockets::bind(&address(directory.path()), MODES).expect("sockets");
        let log = Log::new(LogConfig {
            max_bytes: log_bytes,
            ..LogConfig::new(LogId(1))
        });
        Self::serve(
            directory,
            vec![Served {
                sockets,
                framing: Framing::Bare,
            }],
            log,
            config,
        )
    }

    fn serve(
        directory: tempfile::TempDir,
        buses: Vec<Served>,
        log: Arc<Log>,
        config: BusConfig,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let (bus, handle) = Bus::new(buses, log, config);
        let ended = async move {
            let _ = ended.await;
        };
        let task = tokio::spawn(async move { bus.run(ended).await.expect("sockets") });
        Self {
            directory,
            handle,
            end: Some(end),
            task,
        }
    }

    fn default() -> Self {
        Self::start(BusConfig::default(), 64 << 20)
    }

    fn socket(&self, side: &str) -> PathBuf {
        self.directory
            .path()
            .join(format!("master_event_{side}.ipc"))
    }

    async fn publisher(&self) -> UnixStream {
        UnixStream::connect(self.socket("pull"))
            .await
            .expect("the pull socket")
    }

    async fn subscriber(&self) -> Subscriber<UnixStream> {
        let path = self.socket("pub");
        self.accepted(UnixStream::connect(path)).await
    }

    /// A subscriber that the bus has accepted, so that it gets what comes from now on.
    async fn accepted<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Subscriber<S>
    where
        S: AsyncReadExt + Unpin,
    {
        let before = self.handle.stats().subscribers.len();
        let stream = connecting.await.expect("the publish socket");
        let is_accepted = async {
            while self.handle.stats().subscribers.len() <= before {
                tokio::task::yield_now().await;
            }
        };
        let accepted = tokio::time::timeout(DEADLINE, is_accepted);
        accepted.await.expect("the bus accepts");
        Subscriber::new(stream)
    }

    async fn end(mut self) {
        self.end.take().map(|end| end.send(()));
        self.task.await.expect("the bus ends by itself");
    }
}

struct Subscriber<S> {
    stream: S,
    buffer: Vec<u8>,
    decoder: Decoder,
}

impl<S: AsyncReadExt + Unpin> Subscriber<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            decoder: Decoder::new(MAX_FRAME_BYTES),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = self.decoder.next(&self.buffer).expect("whole frames") {
                let (event, length) = (frame.event.to_vec(), frame.length);
                self.buffer.drain(..length);
                return Some(event);
            }
            let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.buffer))
                .await
                .expect("an event or the end in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

fn address(directory: &Path) -> Address {
    Address::ipc(directory, &Node::Master).expect("a short path")
}

fn event(tag: &str, size: usize) -> Vec<u8> {
    let mut event = format!("{tag}\n\n").into_bytes();
    event.extend_from_slice(b"\x81\xa4fill\xc6");
    event.extend_from_slice(&u32::try_from(size).expect("a test's size").to_be_bytes());
    event.resize(event.len() + size, b'x');
    event
}

fn frame(framing: Framing, event: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(framing, event, &mut bytes);
    bytes
}

/// Whether the bus has closed this connection.
async fn is_closed(stream: &mut UnixStream) -> bool {
    tokio::time::timeout(DEADLINE, stream.read_u8())
        .await
        .is_ok_and(|read| read.is_err())
}

#[tokio::test]
async fn both_framings_are_taken_and_one_is_published() {
    let bus = TestBus::default();
    let mut subscriber = bus.subscriber().await;
    let (mut bare, mut prefixed) = (bus.publisher().await, bus.publisher().await);
    for (stream, framing, tag) in [
        (&mut bare, Framing::Bare, "from/bare"),
        (&mut prefixed, Framing::Prefixed, "from/prefixed"),
    ] {
        stream
            .write_all(&frame(framing, &event(tag, 10)))
            .await
            .expect("written");
        assert_eq!(subscriber.next().await, Some(event(tag, 10)));
        assert_eq!(subscriber.decoder.framing(), Some(Framing::Bare));
    }
    bus.end().await;
}

#[tokio::test]
async fn buses_in_several_directories_share_one_log_each_in_its_framing() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut buses = Vec::new();
    for (name, framing) in [("old", Framing::Prefixed), ("new", Framing::Bare)] {
        let path = directory.path().join(name);
        fs::create_dir(&path).expect("a directory");
        buses.push(Served {
            sockets: Sockets::bind(&address(&path), MODES).expect("sockets"),
            framing,
        });
    }
    let log = Log::new(LogConfig {
        framings: Framings::Both,
        ..LogConfig::new(LogId(1))
    });
    let bus = TestBus::serve(directory, buses, log, BusConfig::default());
    let connect = |name: &str, side: &str| {
        UnixStream::connect(
            bus.directory
                .path()
                .join(name)
                .join(format!("master_event_{side}.ipc")),
        )
    };
    let mut old = bus.accepted(connect("old", "pub")).await;
    let mut new = bus.accepted(connect("new", "pub")).await;
    let mut publisher = connect("old", "pull").await.expect("connected");
    publisher
        .write_all(&frame(Framing::Prefixed, &event("t", 300)))
        .await
        .expect("written");
    assert_eq!(old.next().await, Some(event("t", 300)));
    assert_eq!(new.next().await, Some(event("t", 300)));
    assert_eq!(old.decoder.framing(), Some(Framing::Prefixed));
    assert_eq!(new.decoder.framing(), Some(Framing::Bare));
    bus.end().await;
}

#[tokio::test]
async fn events_of_every_size_arrive_whole_however_they_are_written() {
    let bus = TestBus::default();
    let mut subscriber = bus.subscriber().await;
    let mut publisher = bus.publisher().await;
    for (size, step) in [
        (0, 1),
        (1, 1),
        (250, 7),
        (70_000, 4096),
        (300_000, 99_999),
        (20 << 20, 1 << 20),
    ] {
        let sent = event("size", size);
        let bytes = frame(Framing::Prefixed, &sent);
        let write = async {
            for piece in bytes.chunks(step) {
                publisher.write_all(piece).await.expect("written");
                tokio::task::yield_now().await;
            }
        };
        let ((), got) = tokio::join!(write, subscriber.next());
        assert!(got == Some(sent), "an event of {size} bytes");
    }
    bus.end().await;
}

#[tokio::test]
async fn the_handle_shows_what_a_bus_does_while_it_runs() {
    let bus = TestBus::default();
    let (mut reader, stuck) = (bus.subscriber().await, bus.subscriber().await);
    let mut publisher = bus.publisher().await;
    let mut bad = bus.publisher().await;
    bad.write_all(b"\0\0\0\x01x").await.expect("written");
    assert!(is_closed(&mut bad).await);
    let sent: Vec<_> = (0..500)
        .map(|number| event(&format!("n/{number}"), 5000))
        .collect();
    let write = async {
        for event in &sent {
            publisher
                .write_all(&frame(Framing::Bare, event))
                .await
                .expect("written");
        }
    };
    let read = async {
        for event in &sent {
            assert_eq!(reader.next().await.as_ref(), Some(event));
        }
    };
    tokio::join!(write, read);
    let mut follower = bus.handle.events(Start::Tail);
    let own = event("own", 1);
    let tag_bytes = 3;
    let appended = bus.handle.append([Incoming {
        event: &own,
        tag_bytes,
    }]);
    assert_eq!(appended, Seq(501)..Seq(502));
    assert_eq!(follower.ready().await.expect("an event").len(), 1);
    assert_eq!(reader.next().await, Some(own));

    let stats = bus.handle.stats();
    assert_eq!(stats.log.appended_events, 501);
    assert!(stats.log.appended_bytes > 500 * 5000);
    assert_eq!((stats.publishers, stats.refused_publishers), (1, 1));
    let [first, second] = &stats.subscribers[..] else {
        panic!("two subscribers: {stats:?}")
    };
    let pid = i32::try_from(std::process::id()).expect("a pid");
    for subscriber in [first, second] {
        assert!(matches!(subscriber.peer, Peer::Process { pid: found, .. } if found == pid));
        assert_eq!(subscriber.lag.reads_from, ReadsFrom::Memory);
    }
    assert_eq!(first.position, bus.handle.log().position());
    assert_eq!((first.lag.events, first.lag.bytes), (0, 0));
    // The kernel holds some of what the other does not read.
    assert!((1..501).contains(&second.lag.events), "{second:?}");
    assert!(
        second.lag.bytes >= (second.lag.events - 1) * 5000,
        "{second:?}"
    );
    let written = 501 + second.position.seq.0;
    assert_eq!(stats.deliveries, written);

    drop((reader, stuck, publisher));
    while !bus.handle.stats().subscribers.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bus.handle.stats().deliveries, written);
    bus.end().await;
}

#[tokio::test]
async fn who_has_connected_gets_what_is_appended_before_the_bus_could_accept() {
    let bus = TestBus::default();
    // The bus runs on the thread of this test, which nothing lets go before the event: the connection waits.
    let early = std::os::unix::net::UnixStream::connect(bus.socket("pub")).expect("connected");
    assert_eq!(bus.handle.stats().subscribers.len(), 0);
    let event_of = |n| event("own", n);
    bus.handle.append([Incoming {
        event: &event_of(1),
        tag_bytes: 3,
    }]);
    early.set_nonblocking(true).expect("a socket");
    let mut reader = Subscriber::new(UnixStream::from_std(early).expect("a socket"));
    assert_eq!(reader.next().await, Some(event_of(1)));
    let handle = bus.handle.clone();
    bus.end().await;
    // Nobody accepts any more, and nothing waits for it.
    handle.append([Incoming {
        event: &event_of(2),
        tag_bytes: 3,
    }]);
}

#[tokio::test]
async fn a_bus_on_a_thread_of_its_own_ends_with_its_shutdown() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let sockets = Sockets::bind(&address(directory.path()), MODES).expect("sockets");
    let served = Served {
        sockets,
        framing: Framing::Bare,
    };
    let log = Log::new(LogConfig::new(LogId(1)));
    let (bus, handle) = Bus::new(vec![served], log, BusConfig::default());
    let (end, ended) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = ended.await;
    };
    let thread = bus.spawn(shutdown).expect("a thread");
    let stream = UnixStream::connect(directory.path().join("master_event_pub.ipc"))
        .await
        .expect("connected");
    let mut subscriber = Subscriber::new(stream);
    while handle.stats().subscribers.is_empty() {
        tokio::task::yield_now().await;
    }
    handle.append([Incoming {
        event: &event("t", 1),
        tag_bytes: 1,
    }]);
    drop(end);
    thread.join().await.expect("it served");
    assert_eq!(subscriber.next().await, Some(event("t", 1)));
    assert_eq!(subscriber.next().await, None);
}

#[tokio::test]
async fn a_malformed_event_costs_only_that_event() {
    let bus = TestBus::default();
    let mut subscriber = bus.subscriber().await;
    let mut publisher = bus.publisher().await;
    let mut bytes = frame(Framing::Bare, &event("before", 1));
    for malformed in [&b"no blank line"[..], b"t\n\n\x01"] {
        bytes.extend_from_slice(&frame(Framing::Bare, malformed));
    }
    bytes.extend_from_slice(&frame(Framing::Bare, &event("after", 1)));
    publisher.write_all(&bytes).await.expect("written");
    for tag in ["before", "after"] {
        assert_eq!(subscriber.next().await, Some(event(tag, 1)));
    }
    let stats = bus.handle.stats();
    assert_eq!((stats.malformed_events, stats.refused_publishers), (2, 0));
    bus.end().await;
}

#[tokio::test]
async fn a_malformed_frame_ends_its_connection_and_no_other() {
    let bus = TestBus::default();
    let mut subscriber = bus.subscriber().await;
    let (mut bad, mut good) = (bus.publisher().await, bus.publisher().await);
    let mut bytes = frame(Framing::Bare, &event("before", 1));
    bytes.extend_from_slice(b"\xc1\xc1\xc1\xc1\xc1");
    bytes.extend_from_slice(&frame(Framing::Bare, &event("after", 1)));
    bad.write_all(&bytes).await.expect("written");
    assert!(is_closed(&mut bad).await);
    good.write_all(&frame(Framing::Bare, &event("good", 1)))
        .await
        .expect("written");
    assert_eq!(subscriber.next().await, Some(event("before", 1)));
    assert_eq!(subscriber.next().await, Some(event("good", 1)));
    bus.end().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_by_its_header() {
    let bus = TestBus::start(
        BusConfig {
            max_frame_bytes: 1000,
        },
        64 << 20,
    );
    let mut publisher = bus.publisher().await;
    publisher
        .write_all(&1001u32.to_be_bytes())
        .await
        .expect("written");
    assert!(is_closed(&mut publisher).await);
    bus.end().await;
}

#[tokio::test]
async fn unfinished_frames_of_many_publishers_are_bounded_together() {
    let limit = 1 << 20;
    let bus = TestBus::start(
        BusConfig {
            max_frame_bytes: limit,
        },
        64 << 20,
    );
    let mut publishers = Vec::new();
    for _ in 0..12 {
        let mut publisher = bus.publisher().await;
        let half = &frame(Framing::Bare, &event("half", limit - 100))[..limit / 2];
        // The bus may close in the middle of this; that is the point.
        let _ = publisher.write_all(half).await;
        publishers.push(publisher);
    }
    let refused = || bus.handle.stats().refused_publishers;
    let some_are_refused = async {
        while refused() == 0 {
            tokio::task::yield_now().await;
        }
    };
    let refusing = tokio::time::timeout(DEADLINE, some_are_refused);
    refusing.await.expect("the bus closes some");
    assert!(refused() < 12, "all are closed");
    bus.end().await;
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_closed_and_the_others_miss_nothing() {
    let bus = TestBus::start(BusConfig::default(), 2 << 20);
    let (mut stuck, mut reader) = (bus.subscriber().await, bus.subscriber().await);
    let mut publisher = bus.publisher().await;
    let events = 2000;
    let write = async {
        for number in 0..events {
            publisher
                .write_all(&frame(Framing::Bare, &event(&format!("n/{number}"), 5000)))
                .await
                .expect("written");
        }
    };
    let read = async {
        for number in 0..events {
            let got = reader.next().await.expect("an event");
            assert!(got.starts_with(format!("n/{number}\n\n").as_bytes()));
        }
    };
    tokio::join!(write, read);
    // It finds what the kernel held for it, and then the end.
    let mut found = 0;
    let mut rest = Vec::new();
    stuck
        .stream
        .read_to_end(&mut rest)
        .await
        .expect("the end of the stream");
    let mut at = 0;
    while let Ok(Some(frame)) = stuck.decoder.next(&rest[at..]) {
        at += frame.length;
        found += 1;
    }
    assert!((1..events).contains(&found), "{found} events");
    bus.end().await;
}

/// Some sleep through more than memory holds, and wake; one never lags.
#[tokio::test]
async fn frozen_subscribers_get_everything_when_they_wake() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let sockets = Sockets::bind(&address(directory.path()), MODES).expect("sockets");
    let served = Served {
        sockets,
        framing: Framing::Bare,
    };
    let log = Log::new(LogConfig {
        max_bytes: 4 << 20,
        overflow: Some(OverflowConfig {
            directory: directory.path().to_owned(),
            max_bytes: 1 << 30,
        }),
        ..LogConfig::new(LogId(1))
    });
    let bus = TestBus::serve(directory, vec![served], log, BusConfig::default());
    let mut frozen = Vec::new();
    for _ in 0..20 {
        frozen.push(bus.subscriber().await);
    }
    let mut reader = bus.subscriber().await;
    let mut publisher = bus.publisher().await;
    let events = 3000;
    let expected = |number| format!("n/{number}\n\n").into_bytes();
    let write = async {
        for number in 0..events {
            publisher
                .write_all(&frame(Framing::Bare, &event(&format!("n/{number}"), 5000)))
                .await
                .expect("written");
        }
    };
    let read = async {
        for number in 0..events {
            assert!(
                reader
                    .next()
                    .await
                    .expect("an event")
                    .starts_with(&expected(number))
            );
        }
    };
    tokio::join!(write, read);
    let stats = bus.handle.stats();
    assert!(stats.log.overflow_bytes > 8 << 20, "{stats:?}");
    assert!(stats.log.bytes <= 4 << 20, "{stats:?}");
    assert_eq!(stats.subscribers[0].lag.reads_from, ReadsFrom::Disk);
    let mut woken = tokio::task::JoinSet::new();
    for mut subscriber in frozen {
        woken.spawn(async move {
            for number in 0..events {
                let event = subscriber.next().await.expect("an event");
                assert!(event.starts_with(&expected(number)));
            }
        });
    }
    woken.join_all().await;
    while bus.handle.stats().log.overflow_bytes > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bus.handle.stats().overrun_subscribers, 0);
    bus.end().await;
}

#[tokio::test]
async fn what_publishers_have_sent_is_delivered_before_the_bus_ends() {
    let bus = TestBus::default();
    let mut subscriber = bus.subscriber().await;
    let mut publisher = bus.publisher().await;
    for number in 0..100 {
        publisher
            .write_all(&frame(Framing::Bare, &event(&format!("n/{number}"), 1000)))
            .await
            .expect("written");
    }
    let (pub_socket, directory) = (bus.socket("pub"), bus.directory.path().to_owned());
    let read = async {
        let mut events = 0;
        while subscriber.next().await.is_some() {
            events += 1;
        }
        // Before the scratch directory goes.
        assert!(
            !pub_socket.exists() || !directory.exists(),
            "the socket is removed at the end"
        );
        events
    };
    let (events, ()) = tokio::join!(read, bus.end());
    assert_eq!(events, 100);
}

#[tokio::test]
async fn a_second_bus_on_the_same_sockets_is_refused_and_a_dead_one_replaced() {
    let bus = TestBus::default();
    let address = address(bus.directory.path());
    match Sockets::bind(&address, MODES) {
        Err(BindError::InUse { pid, .. }) => {
            assert_eq!(pid, i32::try_from(std::process::id()).ok())
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    // Whoever dies without removing its sockets leaves them like this.
    let dead = tempfile::tempdir().expect("a scratch directory");
    let name = dead.path().join("master_event_pub.ipc");
    drop(std::os::unix::net::UnixListener::bind(&name).expect("a socket"));
    let sockets =
        Sockets::bind(&self::address(dead.path()), MODES).expect("the dead socket replaced");
    let mode = |path: &Path| fs::metadata(path).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode(&name), 0o660);
    assert_eq!(mode(&dead.path().join("master_event_pull.ipc")), 0o600);
    drop(sockets);
    assert_eq!(
        fs::read_dir(dead.path()).expect("the directory").count(),
        0,
        "names are removed"
    );
    bus.end().await;
}

#[tokio::test]
async fn something_else_under_the_sockets_name_is_named() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    fs::write(directory.path().join("master_event_pub.ipc"), "mine").expect("a file");
    let error = Sockets::bind(&address(directory.path()), MODES).expect_err("a file is in the way");
    assert!(
        error.to_string().ends_with("found a file; move it away"),
        "{error}"
    );
    let missing = directory.path().join("missing");
    let error = Sockets::bind(&address(&missing), MODES).expect_err("no directory");
    assert!(matches!(error, BindError::Directory { .. }), "{error}");
}

#[tokio::test]
async fn a_bus_on_tcp_speaks_the_same() {
    // Ports of our own choice, free a moment ago.
    let free = || {
        Some(
            std::net::TcpListener::bind("127.0.0.1:0")
                .ok()?
                .local_addr()
                .ok()?
                .port(),
        )
    };
    let ports = Ports {
        publish: free().expect("a port"),
        pull: free().expect("a port"),
    };
    let sockets = Sockets::bind(&Address::tcp(Loopback::V4, ports), MODES).expect("sockets");
    let directory = tempfile::tempdir().expect("a scratch directory");
    let buses = vec![Served {
        sockets,
        framing: Framing::Bare,
    }];
    let bus = TestBus::serve(
        directory,
        buses,
        Log::new(LogConfig::new(LogId(1))),
        BusConfig::default(),
    );
    let connect = |port| TcpStream::connect(("127.0.0.1", port));
    let mut subscriber = bus.accepted(connect(ports.publish)).await;
    let mut publisher = connect(ports.pull).await.expect("connected");
    publisher
        .write_all(&frame(Framing::Prefixed, &event("t", 100)))
        .await
        .expect("written");
    assert_eq!(subscriber.next().await, Some(event("t", 100)));
    bus.end().await;
}

#[tokio::test]
async fn a_subscriber_that_talks_disturbs_nobody() {
    let bus = TestBus::default();
    let (mut talker, mut reader) = (bus.subscriber().await, bus.subscriber().await);
    let mut publisher = bus.publisher().await;
    for number in 0..50 {
        talker
            .stream
            .write_all(&[0xff; 10_000])
            .await
            .expect("taken and thrown away");
        publisher
            .write_all(&frame(Framing::Bare, &event(&format!("n/{number}"), 10)))
            .await
            .expect("written");
        assert_eq!(reader.next().await, Some(event(&format!("n/{number}"), 10)));
        assert_eq!(talker.next().await, Some(event(&format!("n/{number}"), 10)));
    }
    bus.end().await;
}

/// Until its mode is set, the umask decides who may connect to a socket.
#[tokio::test]
async fn no_socket_can_be_reached_before_its_mode_is_set() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let directory = tempfile::tempdir().expect("a scratch directory");
    let done = AtomicBool::new(false);
    let is_open = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let mode = metadata.permissions().mode() & 0o777;
        let is_folder = metadata.is_dir();
        (is_folder && mode != 0o700 || !is_folder && mode & !MODES.publish != 0).then_some(mode)
    };
    let found = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut found = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let entries = fs::read_dir(directory.path()).expect("a directory");
                found.extend(entries.flatten().filter_map(is_open));
            }
            found
        });
        let bind = |_| Sockets::bind(&address(directory.path()), MODES).map(drop);
        let bound: Result<Vec<()>, _> = (0..300).map(bind).collect();
        done.store(true, Ordering::Relaxed);
        bound.expect("sockets");
        watcher.join().expect("the watcher ends")
    });
    assert_eq!(found, Vec::<u32>::new());
    assert_eq!(
        fs::read_dir(directory.path()).expect("a directory").count(),
        0
    );
}
