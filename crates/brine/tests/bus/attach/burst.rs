//! A burst of large events for listeners that take their time: what Salt's publisher pays for them, with Brine in front
//! and without.
//!
//! The numbers are printed. Those of the full burst (`BRINE_BURST=2000`) are in `docs/attach.md`.

use std::fs;
use std::time::{Duration, Instant};

use brine_bus::client::PublisherConfig;
use brine_bus::client::blocking::Publisher;
use brine_testkit::salt::Node;
use brine_wire::Map;
use brine_wire::frame::Framing;

use super::{Site, until};

const VERSION: &str = "3008.3";
/// The data of one event, in bytes.
const SIZE: usize = 50_000;

/// What a process has used so far.
#[derive(Debug)]
struct Used {
    /// Of a processor, in seconds.
    processor: f64,
    /// At most, in KiB.
    memory: u64,
}

fn used(pid: u32) -> Used {
    /// Linux' own, on every architecture that Salt runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let peak = peak.unwrap().split_whitespace().nth(1);
    Used {
        processor: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
        memory: peak.unwrap().parse().unwrap(),
    }
}

/// Fires the burst at three real listeners; how many of the events each heard in order.
fn burst(in_front: bool, events: usize) -> Vec<usize> {
    let site = Site::new(Node::Master);
    let bus = site.start_bus(VERSION);
    let attached = in_front.then(|| {
        let mut attached = site.attach(&["--in-front"]);
        attached.says("in front: ", 1);
        attached
    });
    let mut listeners: Vec<_> = (0..3)
        .map(|_| site.listener(VERSION, &site.sock_dir()))
        .collect();
    let config = PublisherConfig {
        framing: Framing::Prefixed,
        ..PublisherConfig::default()
    };
    let mut publisher = Publisher::new(&site.address(&site.sock_dir()), config);
    for listener in &mut listeners {
        // Who has connected may still wait to be accepted; who has heard something is there.
        until("a listener that is there", || {
            let fired = publisher.fire_event("probe", &mut Map::new(), None);
            fired.unwrap();
            listener.run("bus.get_event(wait=1, tag='probe') is not None") == "True"
        });
        listener.request(&format!(
            "len([n for n in range({events}) if [(e or {{}}).get('n') for e in [bus.get_event(wait=30, tag='burst/')]] == [n] and time.sleep(0.002) is None])"
        ));
    }
    let before = used(bus.pid());
    let begun = Instant::now();
    for number in 0..events {
        let mut data: Map = [("return", "x".repeat(SIZE))].into_iter().collect();
        data.insert("n", i64::try_from(number).unwrap());
        let tag = format!("burst/{number}");
        let fired = publisher.fire_event(&tag, &mut data, Some(Duration::from_secs(60)));
        fired.unwrap();
    }
    let heard = listeners.iter_mut();
    let heard: Vec<usize> = heard
        .map(|listener| listener.answer().unwrap().parse().unwrap())
        .collect();
    let after = used(bus.pid());
    println!(
        "{events} x {SIZE} bytes, Brine in front: {in_front}: heard {heard:?} in {:.1} s; Salt's publisher: {:.2} s of a processor, {} MiB at most (before: {})",
        begun.elapsed().as_secs_f64(),
        after.processor - before.processor,
        after.memory / 1024,
        before.memory / 1024,
    );
    if let Some(attached) = attached {
        assert!(attached.end().success());
    }
    heard
}

#[test]
fn slow_listeners_in_front_lose_nothing_of_a_burst() {
    let events = std::env::var("BRINE_BURST").ok();
    let is_measured = events.is_some();
    let events = events.map_or(300, |events| events.parse().unwrap());
    assert_eq!(burst(true, events), [events; 3]);
    if is_measured {
        burst(false, events);
    }
}
