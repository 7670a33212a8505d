//! What the threads of one run share: the clock, how far each publisher's events have
//! come, and when to stop.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Instant;

/// The common ground of one run.
#[derive(Debug)]
pub(crate) struct Shared {
    epoch: Instant,
    stop: AtomicBool,
    /// Latencies count for events due in this time.
    measured_from: AtomicU64,
    measured_until: AtomicU64,
    /// Subscribers that have heard something.
    hearing: AtomicUsize,
    /// Subscribers the bus has not closed.
    connected: AtomicUsize,
    lanes: Vec<Lane>,
    /// What every publisher has sent, once all have ended.
    totals: OnceLock<Vec<u64>>,
}

/// One publisher's way through the bus.
#[derive(Debug, Default)]
#[repr(align(128))] // apart from its neighbours, so that counting does not slow other lanes
struct Lane {
    /// Per reader thread: the least that all its subscribers have got to.
    reached: Vec<AtomicU64>,
    /// What the publisher must see reached to go on; 0 while it does not wait.
    wanted: AtomicU64,
    publisher: OnceLock<Thread>,
}

impl Shared {
    pub(crate) fn new(publishers: usize, readers: usize, subscribers: usize) -> Self {
        let lane = || Lane {
            reached: (0..readers).map(|_| AtomicU64::new(0)).collect(),
            ..Lane::default()
        };
        Self {
            epoch: Instant::now(),
            stop: AtomicBool::new(false),
            measured_from: AtomicU64::new(u64::MAX),
            measured_until: AtomicU64::new(u64::MAX),
            hearing: AtomicUsize::new(0),
            connected: AtomicUsize::new(subscribers),
            lanes: (0..publishers).map(|_| lane()).collect(),
            totals: OnceLock::new(),
        }
    }

    /// Nanoseconds since the run began.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sleeps until that time of the run.
    pub(crate) fn sleep_until(&self, due_ns: u64) {
        let now = self.now_ns();
        if due_ns > now {
            thread::sleep(Duration::from_nanos(due_ns - now));
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for lane in &self.lanes {
            lane.publisher.get().inspect(|thread| thread.unpark());
        }
    }

    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn measure_from(&self, ns: u64) {
        self.measured_from.store(ns, Ordering::Relaxed);
    }

    pub(crate) fn measure_until(&self, ns: u64) {
        self.measured_until.store(ns, Ordering::Relaxed);
    }

    /// The time in which events must be due for their latency to count.
    #[inline]
    pub(crate) fn measured(&self) -> core::ops::Range<u64> {
        self.measured_from.load(Ordering::Relaxed)..self.measured_until.load(Ordering::Relaxed)
    }

    pub(crate) fn hears(&self) {
        self.hearing.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hearing(&self) -> usize {
        self.hearing.load(Ordering::Relaxed)
    }

    pub(crate) fn closed_by_bus(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the bus has closed every subscriber.
    pub(crate) fn deserted(&self) -> bool {
        self.connected.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn finish(&self, totals: Vec<u64>) {
        self.totals.get_or_init(|| totals);
    }

    pub(crate) fn totals(&self) -> Option<&[u64]> {
        self.totals.get().map(Vec::as_slice)
    }

    /// How many events, over all publishers, have come through to every subscriber.
    pub(crate) fn through(&self) -> u64 {
        (0..self.lanes.len())
            .map(|publisher| self.reached(publisher))
            .sum()
    }

    /// Reader `reader` reports how far all its subscribers have got with this publisher.
    #[inline]
    pub(crate) fn set_reached(&self, publisher: usize, reader: usize, sequence: u64) {
        let lane = &self.lanes[publisher];
        if lane.reached[reader].load(Ordering::Relaxed) == sequence {
            return;
        }
        lane.reached[reader].store(sequence, Ordering::SeqCst);
        let wanted = lane.wanted.load(Ordering::SeqCst);
        if wanted != 0 && self.reached(publisher) >= wanted {
            lane.wanted.store(0, Ordering::SeqCst);
            lane.publisher.get().inspect(|thread| thread.unpark());
        }
    }

    /// Waits until a publisher that is about to have sent `next` events has no more than `window`
    /// of them under way. Once it had to wait it waits for a quarter of the window, so that it is
    /// not woken for every event. `false` if the run is over.
    #[inline]
    pub(crate) fn wait_for_room(&self, publisher: usize, next: u64, window: u64) -> bool {
        if next.saturating_sub(self.reached(publisher)) <= window {
            return !self.stopped();
        }
        self.park_for_room(publisher, next, window)
    }

    fn park_for_room(&self, publisher: usize, next: u64, window: u64) -> bool {
        let lane = &self.lanes[publisher];
        lane.publisher.get_or_init(thread::current);
        let wanted = next - (window - window.div_ceil(4));
        loop {
            lane.wanted.store(wanted, Ordering::SeqCst);
            if self.stopped() {
                return false;
            }
            if self.reached(publisher) >= wanted {
                lane.wanted.store(0, Ordering::SeqCst);
                return true;
            }
            // The timeout only guards against a stop just before the thread was known.
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    #[inline]
    fn reached(&self, publisher: usize) -> u64 {
        let lane = &self.lanes[publisher];
        lane.reached
            .iter()
            .map(|reached| reached.load(Ordering::SeqCst))
            .min()
            .unwrap_or(0)
    }
}
