//! What a minion has for its master arrives once and in order, whoever is killed meanwhile.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::blocking::Publisher;
use brine_log::history::{HistoryReader, Read, TagQuery};
use brine_wire::{Map, Value, msgpack};
use rustix::process::Signal;

use crate::site::{DEADLINE, Process, Site, wait_until};

/// Fires numbered events for the master on the bus of a minion in this directory.
fn fire(directory: &Path, id: &str, numbers: std::ops::Range<i64>) {
    let address = Address::ipc(directory.join("s"), &Node::minion(id)).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    for n in numbers {
        let data: Map = [("n", n)].into_iter().collect();
        publisher.fire_master("away", data, Some(DEADLINE)).unwrap();
    }
}

/// Waits until the event with this number is in the spool, which is when a killed minion loses none of them.
fn spooled(directory: &Path, number: i64) {
    let directory = directory.join("cache/spool/master");
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

/// Waits until a minion serves its bus.
fn has_bus(directory: &Path, id: &str) {
    let address = Address::ipc(directory.join("s"), &Node::minion(id)).unwrap();
    wait_until("the minion's bus", || {
        UnixStream::connect(address.pull().to_string()).is_ok()
    });
}

/// The minions and numbers of the events in the master's history.
fn all_stored(history: &Path) -> Vec<(String, i128)> {
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
            let number = data.get("data")?.as_map()?.get("n")?.as_int()?;
            Some((data.get("id")?.as_str()?.to_owned(), number))
        }));
    }
    numbers
}

/// The numbers alone.
fn stored(history: &Path) -> Vec<i128> {
    let all = all_stored(history).into_iter();
    all.map(|(_, number)| number).collect()
}

#[test]
fn everything_arrives_once_and_in_order_over_tcp_whoever_is_killed() {
    everything_arrives_once_and_in_order("tcp", "");
}

/// Over ZeroMQ nothing tells that a master was killed before it answered: the request's time has to pass.
#[test]
fn everything_arrives_once_and_in_order_over_zeromq_whoever_is_killed() {
    everything_arrives_once_and_in_order("zeromq", "request_channel_timeout: 3\n");
}

fn everything_arrives_once_and_in_order(transport: &str, options: &str) {
    let mut site = Site::up(transport);
    let minion = site.path("minion");
    let options = fs::read_to_string(&minion).unwrap() + options;
    fs::write(&minion, options).unwrap();
    // The master is away; the minion is killed twice.
    drop(site.master.take());
    let node = site.path("n");
    for round in 0..2_i64 {
        fire(&node, "m1", round * 50..(round + 1) * 50);
        spooled(&node, round * 50 + 49);
        drop(site.minion.take());
        site.start_minion();
        has_bus(&node, "m1");
    }
    // The master is killed while events come, again and again.
    let history = site.path("m/cache/history");
    for round in 0..4_i64 {
        site.start_master();
        fire(&node, "m1", 100 + round * 100..200 + round * 100);
        let enough = 100 * usize::try_from(round + 1).unwrap();
        wait_until("some events", || stored(&history).len() >= enough);
        site.master.take().unwrap().signal(Signal::KILL);
    }
    site.start_master();
    // Whatever is sent twice has been when the last one is there, since nothing overtakes another.
    fire(&node, "m1", 500..501);
    wait_until("all events", || stored(&history).contains(&500));
    let numbers = stored(&history);
    assert!(
        numbers.iter().copied().eq(0..=500),
        "all of them, once and in order: {numbers:?}"
    );
}

/// A minion in a directory of its own, with the options of the site's.
struct Minion {
    id: String,
    directory: PathBuf,
    process: Option<Process>,
}

impl Minion {
    fn new(site: &Site, number: usize) -> Self {
        let id = format!("f{number}");
        let directory = site.path(&id);
        fs::create_dir(&directory).unwrap();
        let options = fs::read_to_string(site.path("minion")).unwrap();
        let (of_site, own) = (site.path("n"), directory.display().to_string());
        let options = options
            .replace(of_site.to_str().unwrap(), &own)
            .replace("id: m1", &format!("id: {id}"));
        fs::write(directory.join("minion"), options).unwrap();
        Self {
            id,
            directory,
            process: None,
        }
    }

    fn start(&mut self) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_brine"));
        command.arg("salt-minion").arg("-c").arg(&self.directory);
        self.process = Some(Process::start(command));
    }

    /// `kill -9`.
    fn kill(&mut self) {
        drop(self.process.take());
    }
}

#[test]
fn twenty_minions_killed_while_their_master_is_away_lose_nothing() {
    const MINIONS: usize = 20;
    let mut site = Site::configured("tcp", "auto_accept: true\n");
    let mut minions: Vec<_> = (0..MINIONS).map(|n| Minion::new(&site, n)).collect();
    for minion in &mut minions {
        minion.start();
    }
    for minion in &minions {
        has_bus(&minion.directory, &minion.id);
    }
    for half in 0..2_i64 {
        for minion in &minions {
            fire(&minion.directory, &minion.id, half * 50..(half + 1) * 50);
        }
        for minion in &mut minions {
            spooled(&minion.directory, half * 50 + 49);
            minion.kill();
            minion.start();
        }
        for minion in &minions {
            has_bus(&minion.directory, &minion.id);
        }
    }
    site.start_master();
    for minion in &minions {
        fire(&minion.directory, &minion.id, 100..101);
    }
    let history = site.path("m/cache/history");
    wait_until("all events", || {
        let all = all_stored(&history);
        all.iter().filter(|(_, number)| *number == 100).count() == MINIONS
    });
    let all = all_stored(&history);
    for Minion { id, .. } in &minions {
        let own = all.iter().filter(|(of, _)| of == id);
        let numbers: Vec<_> = own.map(|(_, number)| *number).collect();
        assert!(
            numbers.iter().copied().eq(0..=100),
            "{id}: all of them, once and in order: {numbers:?}"
        );
    }
}
