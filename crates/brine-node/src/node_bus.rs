//! The node's access to its own bus: it appends to the log and reads it through a cursor, without a socket. Other
//! programs use the sockets, which `brine-bus` serves. Facts: `docs/protocol/ipc.md` §2, §6.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_bus::client::EventRef;
use brine_bus::{Bus, BusHandle};
use brine_log::{EventCursor, Incoming, Seq, Start};
use brine_wire::Map;
use brine_wire::compat::Compat;
use brine_wire::event::{self, FireError};
use brine_wire::stamp;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;

use crate::shutdown;

/// The events that are appended under one lock: as many as a minion of ours sends together.
const FIRED_AT_ONCE: usize = 500;

/// A node's own bus, from inside the node; cheap to clone.
#[derive(Clone)]
pub struct NodeBus {
    bus: BusHandle,
    compat: Compat,
    /// The largest packed data of one event, in bytes (`max_event_size`).
    max_event_size: usize,
    /// Events were fired that readers have not been woken for.
    unannounced: Arc<Notify>,
}

impl NodeBus {
    /// Events are fired as the release `compat` fires them, with data of at most
    /// `max_event_size` bytes.
    #[must_use]
    pub fn new(bus: BusHandle, compat: Compat, max_event_size: usize) -> Self {
        Self {
            bus,
            compat,
            max_event_size,
            unannounced: Arc::default(),
        }
    }

    /// Fires an event: sets `_stamp`, trims values that are too large. Returns the event's number.
    ///
    /// # Errors
    /// [`FireError`] for a tag that no reader could separate from the data; nothing is fired then.
    pub fn fire(&self, tag: &str, mut data: Map) -> Result<Seq, FireError> {
        self.fire_stamped(tag, &mut data)
    }

    /// The same for events of an authenticated minion; readers see whose they are, whatever their tags and data say. They
    /// are appended together, so that a crash does not come between them. One that cannot be fired is left out. Readers
    /// that wait are woken by [`Self::announce`].
    pub(crate) fn fire_all_from(&self, sender: &str, events: Vec<(String, Map)>) -> Range<Seq> {
        let encoded = events.into_iter().filter_map(|(tag, mut data)| {
            let event = self.encode(&tag, &mut data);
            let event = event.inspect_err(|error| tracing::warn!(%error, tag, "event not fired"));
            Some((event.ok()?, tag.len()))
        });
        let encoded: Vec<_> = encoded.collect();
        let mut fired = Seq(0)..Seq(0);
        for together in encoded.chunks(FIRED_AT_ONCE) {
            let incoming = together.iter().map(|(event, tag_bytes)| Incoming {
                event,
                tag_bytes: *tag_bytes,
            });
            let seqs = self.bus.append_quietly(Some(sender), incoming);
            fired = match fired.is_empty() {
                true => seqs,
                false => fired.start..seqs.end,
            };
        }
        self.unannounced.notify_one();
        fired
    }

    /// Fires an event as [`Self::fire`] does, but wakes nobody: [`Self::wake_readers`] must follow soon.
    pub(crate) fn fire_quietly(&self, tag: &str, mut data: Map) -> Result<(), FireError> {
        let event = self.encode(tag, &mut data)?;
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.bus.append_quietly(None, [incoming]);
        Ok(())
    }

    /// Wakes readers for what was fired quietly.
    pub(crate) fn wake_readers(&self) {
        self.bus.wake_readers();
    }

    /// Wakes readers for the events of minions, for as long as it is polled. What the requests that are ready now fire is
    /// announced together: the bus has a thread of its own, and waking it costs as much as handling a small request.
    pub(crate) async fn announce(&self) {
        loop {
            self.unannounced.notified().await;
            yield_now().await;
            self.bus.wake_readers();
        }
    }

    /// Fires an event; afterwards `data` is as it was fired, with its stamp.
    pub(crate) fn fire_stamped(&self, tag: &str, data: &mut Map) -> Result<Seq, FireError> {
        let event = self.encode(tag, data)?;
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        Ok(self.bus.append([incoming]).start)
    }

    fn encode(&self, tag: &str, data: &mut Map) -> Result<Vec<u8>, FireError> {
        let stamp = stamp::format(since_epoch(), self.compat.stamp_style());
        event::encode_event(tag, data, &stamp, self.max_event_size)
    }

    /// The number that the next event gets, or an earlier one.
    pub(crate) fn next(&self) -> Seq {
        Seq(self.bus.log().position().seq.0 + 1)
    }

    /// A cursor over everything that is fired from now on, by the node and by others on its bus.
    #[must_use]
    pub fn follow(&self) -> EventCursor {
        self.bus.events(Start::Tail)
    }
}

/// Serves a node's bus on its own thread until shutdown, so that nothing the node does delays it.
pub(crate) async fn serve(bus: Bus, shutdown: watch::Receiver<bool>) {
    let ended = match bus.spawn(shutdown::requested(shutdown)) {
        Ok(thread) => thread.join().await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::error!(err = %error, "cannot serve the node's own bus");
    }
}

/// Why a request made by an event is refused under `ipc_mode: tcp`.
pub(crate) const OPEN_TO_EVERYBODY: &str = "ipc_mode is tcp: every user of this machine can write to this bus, so that no event on it is a request to \
    the master; use ipc_mode: ipc";

/// Passes every event whose tag is `wanted` to `take`, forever: how a node receives requests of local programs.
/// Dropping it loses only events that were not read yet.
pub(crate) async fn serve_requests(
    mut events: EventCursor,
    wanted: impl Fn(&[u8]) -> bool + Send,
    mut take: impl FnMut(EventRef<'_>) + Send,
) {
    loop {
        match events.ready().await {
            Ok(run) => {
                events.advance(&run, run.len());
                for event in run.iter() {
                    if event.event.get(..event.tag_bytes).is_some_and(&wanted)
                        && let Some(event) = EventRef::parse(event.event)
                    {
                        take(event);
                    }
                }
            }
            Err(gap) => {
                events.skip(gap);
                tracing::error!(
                    ?gap,
                    "requests of local programs may be lost: log_bytes is too small"
                );
            }
        }
    }
}

impl std::fmt::Debug for NodeBus {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NodeBus")
            .field("compat", &self.compat)
            .finish_non_exhaustive()
    }
}

/// The time since the UNIX epoch; zero if the clock is set before it.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_bus::BusConfig;
    use brine_log::{Log, LogConfig, LogId, Next};

    fn bus() -> NodeBus {
        let log = Log::new(LogConfig::new(LogId(1)));
        let (_, handle) = Bus::new(Vec::new(), log, BusConfig::default());
        NodeBus::new(handle, Compat::NEWEST, 1024)
    }

    #[test]
    fn a_cursor_that_follows_reads_what_is_fired() {
        let bus = bus();
        bus.fire("before", Map::new()).unwrap();
        let mut cursor = bus.follow();
        bus.fire("my/tag", Map::new()).unwrap();
        assert!(bus.fire("", Map::new()).is_err());
        let Next::Ready(events) = cursor.next() else {
            panic!("an event was fired")
        };
        let tags: Vec<_> = events
            .iter()
            .map(|event| event.event[..event.tag_bytes].to_vec())
            .collect();
        assert_eq!(tags, [b"my/tag"]);
    }

    #[test]
    fn data_larger_than_max_event_size_are_trimmed() {
        let bus = bus();
        let mut cursor = bus.follow();
        let large = [("text", "x".repeat(2000))].into_iter().collect();
        bus.fire("my/tag", large).unwrap();
        let Next::Ready(events) = cursor.next() else {
            panic!("an event was fired")
        };
        let event = EventRef::parse(events.iter().next().unwrap().event).unwrap();
        let data = event.decode().unwrap();
        let text = data.as_map().unwrap().get("text");
        assert_eq!(text, Some(&"VALUE_TRIMMED".into()));
    }
}
