//! The bus and attach end and begin under load: nothing is missed but what the log says may be.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, ReceiveError, SubscriberConfig, Wait};
use brine_testkit::salt::Node;
use brine_wire::Map;
use brine_wire::frame::Framing;
use brine_wire::time::{Bound, Clock, parse_time};

use super::{Site, data, text};

/// How many events go out together, a hundred times a second.
const TOGETHER: u32 = 10;

/// The same for a measurement: those of `BRINE_TOGETHER=50`, 5,000 events a second, are in `docs/attach.md`.
fn together() -> u32 {
    let set = std::env::var("BRINE_TOGETHER").ok();
    set.map_or(TOGETHER, |together| together.parse().unwrap())
}

fn time(text: &str) -> Duration {
    let clock = Clock {
        now: Duration::ZERO,
        zone: &|_| 0,
    };
    parse_time(text, Bound::Since, clock).unwrap()
}

/// Fires numbered events until told to end.
fn fire(site: &Site, framing: Framing, end: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (address, end) = (site.address(&site.sock_dir()), Arc::clone(end));
    thread::spawn(move || {
        let config = PublisherConfig {
            framing,
            ..PublisherConfig::default()
        };
        let mut publisher = Publisher::new(&address, config);
        let (begun, mut n) = (Instant::now(), 0);
        let (together, rate) = (together(), together() * 100);
        while !end.load(Ordering::Relaxed) {
            for _ in 0..together {
                let mut event: Map = [("n", i64::from(n))].into_iter().collect();
                publisher.queue_event("load/event", &mut event).unwrap();
                n += 1;
            }
            // The bus may be away.
            let _ = publisher.flush(Some(Duration::from_millis(100)));
            let due = begun + Duration::from_secs(1) * n / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    })
}

/// Listens, and connects again whenever it has to; the numbers and times it hears.
fn listen(site: &Site, end: &Arc<AtomicBool>) -> JoinHandle<Vec<(i128, Duration)>> {
    let (address, end) = (site.address(&site.sock_dir()), Arc::clone(end));
    thread::spawn(move || {
        let mut heard = Vec::new();
        let mut subscriber = Subscriber::new(&address, SubscriberConfig::default());
        while !end.load(Ordering::Relaxed) {
            match subscriber.next_ref(Wait::For(Duration::from_millis(50))) {
                Ok(Some(event)) if event.tag() == "load/event" => {
                    heard.push(of(&data(event.data())))
                }
                Ok(_) | Err(ReceiveError::Connect(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        heard
    })
}

fn of(data: &Map) -> (i128, Duration) {
    let n = data.get("n").unwrap().as_int().unwrap();
    (n, time(text(data, "_stamp")))
}

fn misses_only_what_it_says(version: &str, framing: Framing) {
    let site = Site::new(Node::Master);
    let end = Arc::new(AtomicBool::new(false));
    let mut bus = site.start_bus(version);
    let mut attached = site.attach(&[]);
    let (publisher, listener) = (fire(&site, framing, &end), listen(&site, &end));
    for restart in 1..=2 {
        thread::sleep(Duration::from_secs(1));
        bus.kill();
        bus = site.start_bus(version);
        attached.says("joined the bus", restart + 1);
    }
    thread::sleep(Duration::from_secs(1));
    attached.kill();
    let attached = site.attach(&[]);
    thread::sleep(Duration::from_secs(1));
    end.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
    let heard = listener.join().unwrap();
    assert!(attached.end().success());
    drop(bus);

    let stored = site.stored();
    let gaps: Vec<_> = stored
        .iter()
        .filter(|(tag, _)| tag == "brine/gap")
        .map(|(_, gap)| {
            (
                time(text(gap, "from")),
                time(text(gap, "to")),
                text(gap, "reason"),
            )
        })
        .collect();
    let reasons: Vec<_> = gaps.iter().map(|(_, _, reason)| *reason).collect();
    let (bus, process) = (
        "the bus ended its connections",
        "nothing was attached to the bus",
    );
    assert_eq!(reasons, [bus, bus, process]);
    let events: Vec<_> = stored
        .iter()
        .filter(|(tag, _)| tag == "load/event")
        .map(|(_, data)| of(data).0)
        .collect();
    assert!(
        events.is_sorted_by(|one, next| one < next),
        "in order, and once"
    );
    let events: HashSet<_> = events.into_iter().collect();
    let is_said = |at: Duration| gaps.iter().any(|(from, to, _)| (*from..=*to).contains(&at));
    let missed = heard.iter().filter(|(n, _)| !events.contains(n));
    let unsaid: Vec<_> = missed.clone().filter(|(_, at)| !is_said(*at)).collect();
    assert!(
        unsaid.is_empty(),
        "{unsaid:?} of {} are not in {gaps:?}",
        heard.len()
    );
    println!(
        "{version}: a listener heard {}, the log holds {}, {} were heard and are in recorded gaps: {gaps:?}",
        heard.len(),
        events.len(),
        missed.count(),
    );
    assert!(heard.len() > together() as usize * 200, "{}", heard.len());
}

#[test]
fn nothing_is_missed_but_what_the_log_says_beside_3006() {
    misses_only_what_it_says("3006.28", Framing::Prefixed);
}

#[test]
fn nothing_is_missed_but_what_the_log_says_beside_3008() {
    misses_only_what_it_says("3008.3", Framing::Prefixed);
}
