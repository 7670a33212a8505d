//! What a minion has for its master arrives once and in order, whoever is killed meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::blocking::Publisher;
use brine_log::history::{HistoryReader, Read, TagQuery};
use brine_wire::{Map, Value, msgpack};
use rustix::process::Signal;

use crate::site::{PATIENCE, Site, wait_until};

/// Fires numbered events for the master on the minion's bus.
fn fire(site: &Site, numbers: std::ops::Range<i64>) {
    let address = Address::ipc(site.path("n/s"), &Node::minion("m1")).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    for n in numbers {
        let data: Map = [("n", n)].into_iter().collect();
        publisher.fire_master("away", data, Some(PATIENCE)).unwrap();
    }
}

/// Waits until the spool has so many bytes of events, which is when a killed minion loses none of them.
fn spooled(site: &Site, number: i64) {
    let directory = site.path("n/cache/spool/master");
    let data: Map = [("n", number)].into_iter().collect();
    let mut wanted = Vec::new();
    msgpack::encode_map(&data, &mut wanted);
    wait_until("the event in the spool", || {
        let Ok(entries) = fs::read_dir(&directory) else {
            return false;
        };
        let mut files = entries.filter_map(|entry| fs::read(entry.ok()?.path()).ok());
        files.any(|bytes| bytes.windows(wanted.len()).any(|found| found == wanted))
    });
}

/// The numbers of the events in the master's history.
fn stored(history: &Path) -> Vec<i128> {
    let Ok(mut reader) = HistoryReader::open(history) else {
        return Vec::new();
    };
    let mut numbers = Vec::new();
    while let Some(read) = reader.next(&TagQuery::default()).unwrap() {
        let Read::Events(events) = read else { continue };
        numbers.extend(events.iter().filter_map(|event| {
            let data = event.event.strip_prefix(b"away\n\n")?;
            let Value::Map(data) = msgpack::decode(data).ok()? else {
                return None;
            };
            data.get("data")?.as_map()?.get("n")?.as_int()
        }));
    }
    numbers
}

#[test]
fn everything_arrives_once_and_in_order_whoever_is_killed() {
    let mut site = Site::up("tcp");
    // The master is away; the minion is killed twice.
    drop(site.master.take());
    for round in 0..2_i64 {
        fire(&site, round * 50..(round + 1) * 50);
        spooled(&site, round * 50 + 49);
        drop(site.minion.take());
        site.start_minion();
        wait_until("the minion's bus", || {
            std::os::unix::net::UnixStream::connect(
                site.path("n/s/minion_event_ca0df2c95a_pull.ipc"),
            )
            .is_ok()
        });
    }
    // The master is killed while events come, again and again.
    let history = site.path("m/cache/history");
    for round in 0..4_i64 {
        site.start_master();
        fire(&site, 100 + round * 100..200 + round * 100);
        let enough = 100 * usize::try_from(round + 1).unwrap();
        wait_until("some events", || stored(&history).len() >= enough);
        site.master.take().unwrap().signal(Signal::KILL);
    }
    site.start_master();
    let all = 500;
    wait_until("all events", || stored(&history).len() >= all);
    // What is sent twice has been by then.
    thread::sleep(Duration::from_millis(500));
    let numbers = stored(&history);
    let known: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(known.len(), all);
    assert!(
        numbers.is_sorted_by(|one, next| one < next),
        "in order, and once: {numbers:?}"
    );
}
