//! What a program beside the minion gets up to the master: events fired on the minion's bus, counted on the
//! master's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use brine_bus::address::{Address, Node};
use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait};
use brine_wire::Map;
use brine_wire::matching::{MatchType, TagMatch};

use crate::node::Site;

/// Connecting takes no longer.
const CONNECT: Duration = Duration::from_secs(10);
/// An event that is later than this after the one before does not come.
const PATIENCE: Duration = Duration::from_secs(10);

const TAG: &str = "bench/program";

/// Events fired as fast as the bus takes them: how many came, and how many a second until the last.
pub(crate) fn measure(site: &Site, events: usize) -> Result<(usize, f64)> {
    let master = Address::ipc(site.root().join("m/sock"), &Node::Master)?;
    let minion = Address::ipc(site.root().join("n/sock"), &Node::minion("m1"))?;
    let mut listener = Subscriber::new(&master, SubscriberConfig::default());
    listener.connect(CONNECT).context("the master's bus")?;
    let mut program = Publisher::new(&minion, PublisherConfig::default());
    let wanted = TagMatch::new(MatchType::StartsWith, TAG)?;
    let began = Instant::now();
    let mut last = began;
    let firing = std::thread::spawn(move || -> Result<()> {
        for number in 0..events {
            let data: Map = [("number", i64::try_from(number)?)].into_iter().collect();
            program.fire_master(TAG, data, Some(CONNECT))?;
        }
        Ok(())
    });
    let mut came = 0;
    while came < events {
        if listener.get_event(&wanted, Wait::For(PATIENCE))?.is_none() {
            break;
        }
        came += 1;
        last = Instant::now();
    }
    firing
        .join()
        .map_err(|_| anyhow::anyhow!("the program panicked"))??;
    let seconds = last.duration_since(began).as_secs_f64();
    Ok((came, came as f64 / seconds.max(1e-9)))
}
