//! Strangers that are slow, many, silent or greedy, and a bus that is killed: those that behave
//! notice nothing, and the log has one clear line for each.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use brine_wire::frame::Framing;

use crate::peers::{Publisher, Subscriber, event, frame};
use crate::process::{Bus, DEADLINE, Setup};

/// A publisher and a subscriber, and the rounds they made through the bus.
struct Pair {
    publisher: Publisher,
    subscriber: Subscriber,
    tag: &'static str,
    rounds: u32,
}

impl Pair {
    fn connect(bus: &Bus, tag: &'static str) -> Self {
        let publisher = Publisher::connect(&bus.socket("pull"));
        let mut subscriber = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
        subscriber.wait_accepted(&bus.socket("pull"));
        Self {
            publisher,
            subscriber,
            tag,
            rounds: 0,
        }
    }

    /// Every event comes back, the next after the last.
    fn go_round(&mut self, times: u32) {
        for _ in 0..times {
            self.rounds += 1;
            assert!(self.publisher.fire(self.tag, self.rounds));
            assert_eq!(self.subscriber.next_of(self.tag), Some(self.rounds));
        }
    }
}

#[test]
fn half_open_connections_disturb_nobody() {
    let mut bus = Setup::new("3008").start();
    let mut pair = Pair::connect(&bus, "round");
    let half = frame(Framing::Prefixed, &event("half", 1));
    let mut kept = Vec::new();
    for number in 0..300 {
        // Connected and silent; half a frame and silent; no more to write, or to read.
        let silent = UnixStream::connect(bus.socket("pull")).unwrap();
        let mut begun = Publisher::connect(&bus.socket("pull"));
        assert!(begun.send(&half[..1 + number % (half.len() - 1)]));
        let deaf = UnixStream::connect(bus.socket("pub")).unwrap();
        let mute = UnixStream::connect(bus.socket("pub")).unwrap();
        mute.shutdown(Shutdown::Write).unwrap();
        let gone = UnixStream::connect(bus.socket("pull")).unwrap();
        gone.shutdown(Shutdown::Both).unwrap();
        kept.push((silent, begun, deaf, mute, gone));
        pair.go_round(1);
    }
    pair.go_round(500);
    drop(kept);
    pair.go_round(500);
    // A subscriber that says something is listened to by nobody, and served.
    let mut talker = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
    let talk = Publisher::connect(&bus.socket("pub")).send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(talk);
    pair.go_round(1);
    assert_eq!(talker.next_of("round"), Some(pair.rounds));
    assert_eq!(bus.warnings(), [""; 0]);
    assert!(bus.is_alive());
}

#[test]
fn a_publisher_may_send_one_byte_per_second() {
    let bus = Setup::new("3008").start();
    let mut pair = Pair::connect(&bus, "round");
    let mut subscriber = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
    let dribble = |pause: Duration, event: Vec<u8>, framing| {
        let mut publisher = Publisher::connect(&bus.socket("pull"));
        thread::spawn(move || {
            for byte in frame(framing, &event) {
                assert!(publisher.send(&[byte]));
                sleep(pause);
            }
        })
    };
    let slowest = dribble(Duration::from_secs(1), b"s\n\n\x80".to_vec(), Framing::Bare);
    let slow: Vec<_> = (0..20)
        .map(|n| {
            dribble(
                Duration::from_millis(50),
                event("slow", n),
                Framing::Prefixed,
            )
        })
        .collect();
    let mut heard = 0;
    let start = Instant::now();
    while !slowest.is_finished() {
        pair.go_round(20);
        sleep(Duration::from_millis(20));
    }
    slow.into_iter()
        .chain([slowest])
        .for_each(|thread| thread.join().unwrap());
    assert!(start.elapsed() > Duration::from_secs(15));
    while heard < 21 {
        let (tag, _) = subscriber.next().unwrap();
        heard += u32::from(tag == "slow" || tag == "s");
    }
    assert_eq!(bus.warnings(), [""; 0]);
}

#[test]
fn without_descriptors_those_inside_go_on_and_others_come_in_later() {
    let mut bus = Setup::new("3008").open_files(64).start();
    let mut pair = Pair::connect(&bus, "round");
    // More than it has descriptors for; the rest wait in the backlog.
    let crowd: Vec<_> = (0..100)
        .map(|_| UnixStream::connect(bus.socket("pub")).unwrap())
        .collect();
    let deadline = Instant::now() + DEADLINE;
    while bus.warnings().is_empty() {
        assert!(Instant::now() < deadline, "nothing is logged about it");
        pair.go_round(10);
    }
    let before = processor_time(&bus);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        pair.go_round(1);
        sleep(Duration::from_millis(50));
    }
    let busy = processor_time(&bus) - before;
    assert!(
        busy < Duration::from_millis(500),
        "busy for {busy:?} of 2 s while it cannot accept"
    );
    let warnings = bus.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("ulimit -n"), "{warnings:#?}");
    drop(crowd);
    Pair::connect(&bus, "late").go_round(100);
    pair.go_round(100);
    assert!(bus.is_alive());
}

/// User and system time the bus has taken.
fn processor_time(bus: &Bus) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bus.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // In ticks, of which every Linux that runs this has 100 a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_bus_killed_under_load_comes_back_for_everybody() {
    let mut bus = Setup::new("3006").start();
    let stop = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicU32::new(0));
    let publishers: Vec<_> = (0..3_u32)
        .map(|number| {
            let (pull, stop) = (bus.socket("pull"), Arc::clone(&stop));
            thread::spawn(move || {
                let tag = format!("load/{number}");
                while !stop.load(Ordering::Relaxed) {
                    let Ok(stream) = UnixStream::connect(&pull) else {
                        sleep(Duration::from_millis(5));
                        continue;
                    };
                    let mut publisher = Publisher::from(stream);
                    let mut n = 0;
                    while !stop.load(Ordering::Relaxed) && publisher.fire(&tag, n) {
                        n += 1;
                    }
                }
            })
        })
        .collect();
    let subscribers: Vec<_> = (0..3)
        .map(|_| {
            let (publish, stop, heard) = (bus.socket("pub"), Arc::clone(&stop), Arc::clone(&heard));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(stream) = UnixStream::connect(&publish) else {
                        sleep(Duration::from_millis(5));
                        continue;
                    };
                    let mut subscriber = Subscriber::new(stream, Framing::Prefixed);
                    let mut last = [None; 3];
                    // Until the bus is gone, perhaps in the middle of a frame. Every event that
                    // came is whole, and the next of its publisher.
                    while let Some((tag, data)) = subscriber.next() {
                        let number: usize = tag.strip_prefix("load/").unwrap().parse().unwrap();
                        let n = crate::peers::number(&data);
                        // A publisher that has connected again begins at 0.
                        assert!(
                            n == 0 || last[number].is_none_or(|last| n == last + 1),
                            "{last:?} {n}"
                        );
                        last[number] = Some(n);
                        heard.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = heard.load(Ordering::Relaxed);
        let deadline = Instant::now() + DEADLINE;
        while heard.load(Ordering::Relaxed) < before + 3000 {
            assert!(
                Instant::now() < deadline,
                "nothing is heard after a restart"
            );
            sleep(Duration::from_millis(5));
        }
        bus.kill();
        bus.start_again();
    }
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert!(bus.stop().success());
    for subscriber in subscribers {
        subscriber.join().unwrap();
    }
    assert_eq!(bus.warnings(), [""; 0]);
}

#[test]
fn what_was_sent_before_the_end_is_delivered() {
    let mut bus = Setup::new("3008").start();
    let mut subscriber = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
    let mut publisher = Publisher::connect(&bus.socket("pull"));
    for n in 0..5000 {
        assert!(publisher.fire("last", n));
    }
    let reader = thread::spawn(move || {
        let mut heard = Vec::new();
        while let Some(n) = subscriber.next_of("last") {
            heard.push(n);
        }
        heard
    });
    assert!(bus.stop().success());
    assert_eq!(reader.join().unwrap(), (0..5000).collect::<Vec<_>>());
}

#[test]
fn without_overflow_a_subscriber_that_never_reads_costs_its_place_and_one_line() {
    let (mut bus, mut stuck) = stuck_for_five_logs("brine: {overflow_bytes: 0}");
    for subscriber in &mut stuck {
        // What the kernel held is there, whole frames but the last; then the end.
        let held = std::iter::from_fn(|| subscriber.next()).count();
        assert!(held > 10, "{held}");
    }
    let warnings = bus.warnings();
    assert_eq!(warnings.len(), stuck.len(), "{warnings:#?}");
    assert!(
        warnings
            .iter()
            .all(|line| line.contains("closed the subscriber furthest behind; it missed events")),
        "{warnings:#?}"
    );
    assert!(bus.is_alive());
}

#[test]
fn with_overflow_a_subscriber_that_wakes_late_gets_everything() {
    let (bus, mut stuck) = stuck_for_five_logs("");
    for subscriber in &mut stuck {
        for _ in 0..FIVE_LOGS {
            assert!(subscriber.next().is_some());
        }
    }
    assert_eq!(bus.warnings(), [""; 0]);
}

/// How many events of 4 KiB are five times what a log of 4 MiB keeps.
const FIVE_LOGS: u64 = 5 * 1024;

/// A bus on which twenty subscribers read nothing while five times what its log keeps goes by, and a pair reads along.
fn stuck_for_five_logs(config: &str) -> (Bus, Vec<Subscriber>) {
    let bus = Setup::new("3008")
        .argument("--log-bytes=4MiB")
        .config(config)
        .start();
    let mut pair = Pair::connect(&bus, "round");
    let stuck: Vec<_> = (0..20)
        .map(|_| Subscriber::connect(&bus.socket("pub"), Framing::Bare))
        .collect();
    let mut payload = event("big", 0);
    payload.truncate(b"big\n\n".len());
    payload.extend_from_slice(b"\x81\xa1v\xc5\x10\x00");
    payload.extend_from_slice(&[0; 4096]);
    let payload = frame(Framing::Prefixed, &payload);
    for n in 0..FIVE_LOGS {
        assert!(pair.publisher.send(&payload));
        if n % 8 == 0 {
            pair.go_round(1);
        }
    }
    pair.go_round(100);
    (bus, stuck)
}
