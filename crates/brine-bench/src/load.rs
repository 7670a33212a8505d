//! What a run puts on the bus: how many publishers and subscribers, which events, at what pace.
//!
//! Plain data; knows nothing of sockets.

use core::time::Duration;

/// One load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Publisher connections, one thread each.
    pub publishers: usize,
    /// Subscribers that read and check every event.
    pub subscribers: usize,
    /// Threads over which the subscribers are spread. One is right unless the question is what
    /// waking separate readers costs.
    pub reader_threads: usize,
    /// Size of an event's data (the msgpack map) in bytes; tag and framing come on top.
    pub data_bytes: usize,
    /// Events per `write(2)` of a publisher. Salt's own clients write one.
    pub events_per_write: usize,
    /// When the next event is sent.
    pub pace: Pace,
    /// Time before the measurement in which the load already runs.
    pub warm_up: Duration,
    /// Time measured.
    pub duration: Duration,
    /// Further subscribers that connect and never read a byte.
    pub stuck: usize,
    /// Connections that come and go beside the load.
    pub churn: Option<Churn>,
}

impl Load {
    /// The data size of the comparison's "256 B" event: 331 bytes on a prefixed wire, with a
    /// 53-byte tag.
    pub const SMALL: usize = 257;

    /// Events in flight that a closed loop allows all publishers together: 8192 events or 8 MiB,
    /// whichever is less, so that queueing wins nothing and no bus has reason to call a
    /// subscriber slow that reads.
    #[must_use]
    pub fn window_events(&self, frame_bytes: usize) -> u64 {
        let by_bytes = (8 << 20) / frame_bytes.max(1);
        let least = self.publishers * self.events_per_write * 2;
        by_bytes.min(8192).max(least) as u64
    }
}

impl Default for Load {
    /// One publisher, one subscriber, small events, one per write, as fast as the bus delivers.
    fn default() -> Self {
        Self {
            publishers: 1,
            subscribers: 1,
            reader_threads: 1,
            data_bytes: Self::SMALL,
            events_per_write: 1,
            pace: Pace::Closed,
            warm_up: Duration::from_millis(300),
            duration: Duration::from_secs(3),
            stuck: 0,
            churn: None,
        }
    }
}

/// When publishers send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: as soon as the slowest subscriber leaves room in the window.
    Closed,
    /// Open loop: this many events per second over all publishers. Event `i` is due at
    /// `start + i / rate` whatever happened before, and latency counts from there too, so a bus
    /// that stalls cannot hide the events it kept waiting.
    Rate(f64),
}

/// Connections that come and go beside the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// What they are.
    pub of: ChurnOf,
    /// Connects per second; `None` is as fast as they go.
    pub per_second: Option<f64>,
}

/// What comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChurnOf {
    /// Subscribers; paced ones stay 100 ms, the others leave at once.
    Subscribers,
    /// Publishers that send one event and leave.
    Publishers,
}
