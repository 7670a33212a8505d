//! Simulated minions deliver what waited for their master, and deliver it again: it arrives once.
//!
//! Minions as processes, killed at any point, are in the tests of the program.

use std::collections::HashMap;
use std::sync::Arc;

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::tokio::Publisher;
use brine_net::keys::minion::MinionKeys;
use brine_node::minion::master_client::MasterClient;
use brine_node::minion::{MasterAddress, MinionOptions};
use brine_wire::network::delivery::Delivery;
use brine_wire::network::{MinionId, minion_event};
use brine_wire::{Map, Value};
use tokio::task::JoinSet;

use crate::support::{DEADLINE, Fixture};

/// Run with 1,000 before changes here are merged, which takes some minutes (`docs/spool.md`).
const MINIONS: usize = 200;
const EVENTS: u64 = 100;
/// How many deliver at the same time.
const TOGETHER: usize = 50;

/// Minions of one key, which differ by their ids alone.
struct Fleet {
    options: MinionOptions,
    keys: Arc<MinionKeys>,
    master: MasterAddress,
}

impl Fleet {
    fn new(fixture: &Fixture) -> Self {
        let options = fixture.minion_options(fixture.ports[0], "");
        let keys = MinionKeys::open(&options.pki_dir, &options.key_options).unwrap();
        Self {
            keys: Arc::new(keys),
            master: MasterAddress::parse("127.0.0.1", fixture.ports[0]),
            options,
        }
    }

    fn minion(&self, number: usize) -> MasterClient {
        let mut options = self.options.clone();
        options.id = MinionId::parse(&format!("m{number}")).unwrap();
        MasterClient::new(
            Arc::new(options),
            self.keys.clone(),
            &Map::new(),
            self.master.clone(),
        )
        .unwrap()
    }

    /// Every minion sends these of its events, in requests of so many.
    async fn deliver(&self, numbers: std::ops::RangeInclusive<u64>, together: u64) {
        for some in (0..MINIONS).collect::<Vec<_>>().chunks(TOGETHER) {
            let mut tasks = JoinSet::new();
            for minion in some {
                let (minion, client, numbers) = (*minion, self.minion(*minion), numbers.clone());
                tasks.spawn(async move {
                    let mut first = *numbers.start();
                    while first <= *numbers.end() {
                        let last = (first + together - 1).min(*numbers.end());
                        client.request(request(minion, first, last)).await.unwrap();
                        first = last + 1;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
        }
    }
}

fn request(minion: usize, first: u64, last: u64) -> Map {
    let events = (first..=last).map(|number| {
        let mut load: Map = [
            ("id", format!("m{minion}").as_str()),
            ("cmd", minion_event::CMD),
        ]
        .into_iter()
        .collect();
        load.insert("pretag", Value::Nil);
        load.insert("data", Map::new());
        load.insert("tag", format!("fleet/{minion}/{number}"));
        load
    });
    let mut load = minion_event::batch(events.collect(), 0);
    let boot = minion as u64 + 1;
    Delivery { boot, first, last }.add_to(&mut load);
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_arrive_once_and_in_order_across_a_restart_of_the_master() {
    let fixture = Fixture::new("tcp");
    let fleet = Fleet::new(&fixture);
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    fleet.deliver(1..=60, 60).await;
    fire_at_master(&fixture, "half", Map::new()).await;
    let mut tags = bus.tags_until("half").await;
    drop(bus);
    master.end().await;

    // The answers were lost, as far as the minions know, and their batches are others now.
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    fleet.deliver(41..=EVENTS, 45).await;
    fleet.deliver(91..=EVENTS, 10).await;
    fire_at_master(&fixture, "end", Map::new()).await;
    tags.extend(bus.tags_until("end").await);
    master.end().await;

    let mut last: HashMap<String, u64> = HashMap::new();
    let mut count = 0;
    for tag in tags {
        let Some((minion, number)) = tag
            .strip_prefix("fleet/")
            .and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        let number: u64 = number.parse().unwrap();
        let before = last.insert(minion.to_owned(), number).unwrap_or(0);
        assert_eq!(number, before + 1, "minion {minion}");
        count += 1;
    }
    assert_eq!((count, last.len()), (MINIONS * 100, MINIONS));
}

/// Fires on a master's own bus.
async fn fire_at_master(fixture: &Fixture, tag: &str, mut data: Map) {
    let address = Address::ipc(fixture.path("m/s"), &Node::Master).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    publisher
        .fire_event(tag, &mut data, Some(DEADLINE))
        .await
        .unwrap();
}
