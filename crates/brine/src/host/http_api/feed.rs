//! The log of an API in a process of its own: filled from the master's publish socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo};
use brine_bus::address::Node;
use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{EventRef, SubscriberConfig, Wait};
use brine_config::Loaded;
use brine_log::{EventCursor, Incoming, Log, LogConfig, Next};
use brine_wire::{Map, Value};
use rustix::process::geteuid;
use tokio::time::sleep;

use crate::host::local_socket::local_offset;
use crate::{bus_location, clock, host};

/// How long to wait before the bus is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// The events of a master beside this process.
pub(crate) struct Feed {
    log: Arc<Log>,
    subscriber: Subscriber,
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
        loop {
            let event = self.subscriber.next_ref(Wait::Forever).await?;
            let event = event.context("the bus has closed")?;
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
