//! Whatever a publisher sends, the bus stays up, others notice nothing, and one log line says why
//! its connection ended or an event was left out. The listing of every case and its outcome is the snapshot beside this.

mod cases;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use brine_wire::frame::Framing;
use cases::{Case, Outcome};

use crate::peers::{Publisher, Subscriber};
use crate::process::{Bus, Setup};

/// More resident memory than this, in KiB, and something was reserved because a stranger said so.
const MOST_MEMORY: u64 = 64 << 10;

#[test]
fn every_malformed_frame_ends_as_listed() {
    let cases = cases::all();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    let listings =
        [("3006", Framing::Prefixed), ("3008", Framing::Bare)].map(|(compat, framing)| {
            let mut bus = Setup::new(compat).start();
            let pair = HealthyPair::start(&bus, framing);
            let listing = run(&cases, &mut bus, framing);
            let heard = pair.stop();
            assert!(heard > 100, "a healthy pair exchanged {heard} events only");
            assert!(bus.is_alive());
            let memory = peak_memory(&bus);
            assert!(memory < MOST_MEMORY, "{memory} KiB");
            listing
        });
    assert_eq!(
        listings[0], listings[1],
        "the dialect of subscribers is no affair of publishers"
    );
    insta::assert_snapshot!("outcomes", listings[1]);
}

/// Sends each case on a connection of its own and tells what came of it, a line per case.
fn run(cases: &[Case], bus: &mut Bus, framing: Framing) -> String {
    let mut others = Others {
        publisher: Publisher::connect(&bus.socket("pull")),
        subscriber: Subscriber::connect(&bus.socket("pub"), framing),
        fired: 0,
    };
    others.heard_meanwhile();
    let (mut listing, mut wrong) = (String::new(), String::new());
    for Case {
        name,
        bytes,
        expected,
    } in cases
    {
        let warned = bus.warnings().len();
        let mut stranger = Publisher::connect(&bus.socket("pull"));
        stranger.send(bytes);
        // After two rounds through the bus's one thread the stranger's bytes have been looked at.
        let mut published = others.heard_meanwhile() + others.heard_meanwhile();
        let closed = stranger.is_closed();
        drop(stranger);
        published += others.heard_meanwhile();
        let warnings = bus.warnings().split_off(warned);
        let left_out = warnings
            .iter()
            .any(|line| line.contains("left out a malformed event"));
        let outcome = match (closed, left_out, published) {
            (true, _, 0) => Outcome::Closed,
            (true, _, published) => Outcome::PublishedAndClosed(published),
            (false, true, published) => Outcome::LeftOut(published),
            (false, false, 0) => Outcome::Waits,
            (false, false, published) => Outcome::Published(published),
        };
        let fine = expected.map_or(published == 0, |expected| outcome == expected);
        if !fine || warnings.len() != usize::from(closed) + usize::from(left_out) {
            writeln!(
                wrong,
                "{name}: expected {expected:?}, {outcome:?} came, logged {warnings:?}"
            )
            .unwrap();
        }
        let reason = warnings.first().map_or("", |line| reason(line));
        let line = format!("{name:<44} {:<22} {reason}", outcome.to_string());
        writeln!(listing, "{}", line.trim_end()).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
    listing
}

/// What a log line says of the error, without whose connection it was.
fn reason(line: &str) -> &str {
    line.split_once("err=").map_or(line, |(_, reason)| reason)
}

/// A publisher and a subscriber that work all the time; what they exchange marks the time.
struct Others {
    publisher: Publisher,
    subscriber: Subscriber,
    fired: u32,
}

impl Others {
    /// Sends a mark through the bus; how many events of strangers came before it.
    fn heard_meanwhile(&mut self) -> u32 {
        self.fired += 1;
        assert!(self.publisher.fire("mark", self.fired));
        let mut strangers = 0;
        loop {
            let (tag, _) = self.subscriber.next().unwrap();
            match tag.as_str() {
                "mark" => return strangers,
                "healthy" => {}
                _ => strangers += 1,
            }
        }
    }
}

/// Two more, in threads of their own, that check every event of each other.
struct HealthyPair {
    stop: Arc<AtomicBool>,
    publishing: thread::JoinHandle<u32>,
    listening: thread::JoinHandle<u32>,
}

impl HealthyPair {
    fn start(bus: &Bus, framing: Framing) -> Self {
        let mut subscriber = Subscriber::connect(&bus.socket("pub"), framing);
        let mut publisher = Publisher::connect(&bus.socket("pull"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let publishing = thread::spawn(move || {
            let mut fired = 0;
            while !stopped.load(Ordering::Relaxed) {
                assert!(publisher.fire("healthy", fired));
                fired += 1;
                thread::sleep(Duration::from_micros(200));
            }
            publisher.fire("healthy", u32::MAX);
            fired
        });
        let listening = thread::spawn(move || {
            let first = subscriber.next_of("healthy").unwrap();
            let mut expected = first + 1;
            loop {
                match subscriber.next_of("healthy").unwrap() {
                    u32::MAX => return expected,
                    heard => assert_eq!(heard, expected),
                }
                expected += 1;
            }
        });
        Self {
            stop,
            publishing,
            listening,
        }
    }

    /// Ends it; how many events the two exchanged, none of them lost.
    fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let fired = self.publishing.join().unwrap();
        assert_eq!(self.listening.join().unwrap(), fired);
        fired
    }
}

/// The most resident memory the bus has had, in KiB.
fn peak_memory(bus: &Bus) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bus.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
