//! The log of an API in a process of its own: filled from the master's publish socket.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo};
use brine_bus::address::Node;
use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{EventRef, SubscriberConfig, Wait};
use brine_config::Loaded;
use brine_log::{EventCursor, Incoming, Log, LogConfig, Next};
use brine_wire::compat::Compat;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::{Map, Value, stamp};
use rustix::process::geteuid;
use tokio::time::sleep;

use crate::clock::local_offset;
use crate::{bus_location, clock, host};

/// How long to wait before the bus is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// The tag under which missing events are reported.
const GAP: &str = "brine/gap";

/// The events of a master beside this process.
pub(crate) struct Feed {
    log: Arc<Log>,
    subscriber: Subscriber,
    /// When the last event was read: what came since the connection was lost is missing.
    lost_after: Option<Duration>,
}

/// The state of an API beside a master, and what fills its log.
pub(crate) fn separate_state(loaded: &Loaded) -> anyhow::Result<(Arc<ApiState>, Feed)> {
    let rules = loaded.brine.acl.as_ref().map(|acl| &acl.0);
    let acl = Acl::parse(rules, geteuid().as_raw())?;
    let address = bus_location::address(&loaded.opts, &Node::Master, None)?;
    let log = Log::new(LogConfig::new(host::new_log_id()?));
    let node = NodeInfo {
        kind: "master",
        id: String::new(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let config = ApiConfig {
        zone: local_offset,
        ..ApiConfig::default()
    };
    let feed = Feed {
        log: Arc::clone(&log),
        subscriber: Subscriber::new(&address, SubscriberConfig::default()),
        lost_after: None,
    };
    Ok((Arc::new(ApiState::new(log, acl, node, config)), feed))
}

impl Feed {
    /// Appends what the master publishes, for ever; connects again when the master does.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut was_told = false;
        loop {
            match self.subscriber.connect(AGAIN).await {
                Ok(()) => {
                    was_told = false;
                    let ended = self.read().await;
                    tracing::warn!(err = ?ended, "the master's bus is gone; looking for it again");
                }
                Err(error) if !was_told => {
                    was_told = true;
                    tracing::warn!(err = %error, "no bus of a master yet; looking for it");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let mut is_first = true;
        loop {
            let event = self.subscriber.next_ref(Wait::Forever).await?;
            let event = event.context("the bus has closed")?;
            let now = since_epoch();
            // A connection that has delivered an event is subscribed; one that was made may not be.
            if std::mem::take(&mut is_first)
                && let Some(from) = self.lost_after
            {
                append_gap(&self.log, from, now)?;
            }
            self.lost_after = Some(now);
            let (tag, data) = (event.tag(), event.data());
            let mut whole = Vec::with_capacity(tag.len() + 2 + data.len());
            whole.extend_from_slice(tag.as_bytes());
            whole.extend_from_slice(b"\n\n");
            whole.extend_from_slice(data);
            let incoming = Incoming {
                event: &whole,
                tag_bytes: tag.len(),
            };
            self.log.append([incoming], clock::now());
        }
    }
}

/// Records that events between two moments may be missing: nobody tells a subscriber what it missed.
fn append_gap(log: &Log, from: Duration, to: Duration) -> anyhow::Result<()> {
    let style = Compat::NEWEST.stamp_style();
    let mut data = Map::new();
    data.insert("from", stamp::format(from, style));
    data.insert("to", stamp::format(to, style));
    data.insert("reason", "the master's bus was gone");
    let stamp = stamp::format(to, style);
    let event = encode_event(GAP, &mut data, &stamp, MAX_EVENT_SIZE)?;
    let incoming = Incoming {
        event: &event,
        tag_bytes: GAP.len(),
    };
    log.append([incoming], clock::now());
    Ok(())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The data of the first event with a tag that a cursor finds without waiting.
pub(super) fn find(events: &mut EventCursor, tag: &str) -> Option<Map> {
    loop {
        let Next::Ready(run) = events.next() else {
            return None;
        };
        for event in run.iter() {
            if let Some(event) = EventRef::parse(event.event)
                && event.tag() == tag
                && let Ok(Value::Map(data)) = event.decode()
            {
                return Some(data);
            }
        }
        events.advance(&run, run.len());
    }
}
