//! What comes out on the master's bus: a subscriber on a thread of its own.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use brine_bus::address::Address;
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::{EventRef, SubscriberConfig, Wait};

use super::FleetError;
use crate::histogram::{Histogram, Percentiles};

/// What came of a phase's events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrived {
    /// Events that came.
    pub events: usize,
    /// Events that were answered and did not come.
    pub lost: usize,
    /// Events that came twice.
    pub repeated: usize,
    /// Events that came after a later one of the same minion.
    pub reordered: usize,
    /// From the phase's begin to the last of them.
    pub after: Duration,
    /// From sending to the bus's subscriber.
    pub latency: Percentiles,
}

impl Arrived {
    /// Events per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.after.as_secs_f64().max(1e-9)
    }
}

/// Listens on the master's bus.
pub(super) struct Arrivals {
    /// Held for one event at a time.
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Seen {
    began: Instant,
    last: Instant,
    events: usize,
    repeated: usize,
    reordered: usize,
    latency: Histogram,
    /// The next number of each minion.
    next: HashMap<String, i64>,
    /// Numbers that were passed over, until they come.
    passed: HashSet<(String, i64)>,
    /// Returns by job, and when the last came.
    returns: HashMap<String, (usize, Instant)>,
}

impl Arrivals {
    pub(super) fn listen(address: &Address, prefix: &str) -> Result<Self, FleetError> {
        let mut subscriber = Subscriber::new(address, SubscriberConfig::default());
        subscriber.connect(Duration::from_secs(5))?;
        let seen = Arc::new(Mutex::new(Seen::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped) = (seen.clone(), stop.clone());
        let prefix = format!("bench/fleet/{prefix}");
        let thread = std::thread::Builder::new()
            .name("fleet-bus".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    match subscriber.next_ref(Wait::For(Duration::from_millis(100))) {
                        Ok(Some(event)) => tell(&told, event, &prefix),
                        Ok(None) => {}
                        Err(_) => std::thread::sleep(Duration::from_millis(50)),
                    }
                }
            })
            .map_err(FleetError::Threads)?;
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// Forgets what came before.
    pub(super) fn begin(&self) {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Seen::new();
        }
    }

    /// Waits until so many events have come, or no more seem to.
    pub(super) async fn wait_for(&self, wanted: usize, at_most: Duration) -> Arrived {
        let due = Instant::now() + at_most;
        loop {
            let arrived = self.arrived(wanted);
            if arrived.lost == 0 || Instant::now() > due {
                return arrived;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn arrived(&self, wanted: usize) -> Arrived {
        let Ok(seen) = self.seen.lock() else {
            return Arrived::default();
        };
        Arrived {
            events: seen.events,
            lost: wanted.saturating_sub(seen.events),
            repeated: seen.repeated,
            reordered: seen.reordered,
            after: seen.last.duration_since(seen.began),
            latency: seen.latency.percentiles(),
        }
    }

    /// How many returns of a job have come, and when the last did.
    pub(super) fn returns(&self, jid: &str) -> Option<(usize, Instant)> {
        self.seen.lock().ok()?.returns.get(jid).copied()
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tell(seen: &Mutex<Seen>, event: EventRef<'_>, prefix: &str) {
    let tag = event.tag();
    if tag.starts_with(prefix) {
        let Ok(value) = event.decode() else { return };
        let data = value.as_map().and_then(|load| load.get("data")?.as_map());
        let number = |key| i64::try_from(data?.get(key)?.as_int()?).ok();
        let (Some(seq), Some(sent_ns)) = (number("seq"), number("sent_ns")) else {
            return;
        };
        if let Ok(mut seen) = seen.lock() {
            seen.event(tag, seq, sent_ns);
        }
    } else if let Some((jid, rest)) =
        (tag.strip_prefix("salt/job/")).and_then(|job| job.split_once('/'))
        && rest.starts_with("ret/")
        && let Ok(mut seen) = seen.lock()
    {
        let now = Instant::now();
        let returns = seen.returns.entry(jid.to_owned()).or_insert((0, now));
        *returns = (returns.0 + 1, now);
    }
}

impl Seen {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            last: now,
            events: 0,
            repeated: 0,
            reordered: 0,
            latency: Histogram::new(),
            next: HashMap::new(),
            passed: HashSet::new(),
            returns: HashMap::new(),
        }
    }

    fn event(&mut self, tag: &str, seq: i64, sent_ns: i64) {
        self.last = Instant::now();
        let since = i64::try_from(self.last.duration_since(self.began).as_nanos());
        let took = since.unwrap_or(i64::MAX).saturating_sub(sent_ns).max(0);
        self.latency.record(took.unsigned_abs());
        let next = self.next.entry(tag.to_owned()).or_default();
        if seq >= *next {
            for passed in *next..seq {
                self.passed.insert((tag.to_owned(), passed));
            }
            *next = seq + 1;
            self.events += 1;
        } else if self.passed.remove(&(tag.to_owned(), seq)) {
            self.reordered += 1;
            self.events += 1;
        } else {
            self.repeated += 1;
        }
    }
}
