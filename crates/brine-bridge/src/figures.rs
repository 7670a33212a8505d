//! A sink's counters, for people and metrics. The pump counts; anybody may read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brine_log::Millis;

/// Over how long the rate is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// What a sink has done since this process began.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Events the other side has got.
    pub delivered: u64,
    /// In this many deliveries.
    pub batches: u64,
    /// Deliveries that failed.
    pub failures: u64,
    /// Events of the log that were gone before they could be delivered, as far as they can be counted.
    pub missed: u64,
    /// Dead letters that are kept now.
    pub dead: u64,
    /// Events per second, over the last ten.
    pub rate: f64,
    /// Why it is waiting for the other side; `None` while it delivers.
    pub waits_for: Option<String>,
    /// What went wrong last, mended or not.
    pub last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Millis,
    /// What.
    pub reason: String,
}

/// The figures while they change.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    figures: Figures,
    /// Deliveries of the last seconds.
    recent: VecDeque<(Instant, u64)>,
}

impl Counted {
    /// What there is now.
    pub(crate) fn figures(&self) -> Figures {
        let mut inner = self.lock();
        inner.forget(Instant::now());
        let recent: u64 = inner.recent.iter().map(|(_, events)| events).sum();
        let mut figures = inner.figures.clone();
        #[allow(clippy::cast_precision_loss)] // nobody counts that far in ten seconds
        let rate = recent as f64 / WINDOW.as_secs_f64();
        figures.rate = rate;
        figures
    }

    /// Changes them.
    pub(crate) fn note(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.lock().figures);
    }

    /// The other side has this many more; returns whether the sink was waiting for it before.
    pub(crate) fn delivered(&self, events: usize) -> bool {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.forget(now);
        let events = events as u64;
        match inner.recent.back_mut() {
            // A few hundred entries at most, however small the deliveries.
            Some((at, sum)) if now - *at < Duration::from_millis(50) => *sum += events,
            _ => inner.recent.push_back((now, events)),
        }
        inner.figures.delivered += events;
        inner.figures.batches += 1;
        inner.figures.waits_for.take().is_some()
    }

    /// A delivery failed; tells whether the other side was not waited for before.
    pub(crate) fn failed(&self, reason: &str, at: Millis) -> bool {
        let mut inner = self.lock();
        inner.figures.failures += 1;
        inner.figures.last_error = Some(LastError {
            at,
            reason: reason.to_owned(),
        });
        inner.figures.waits_for.replace(reason.to_owned()).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Held for a few instructions; what it guards is whole after each.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now - *at > WINDOW)
        {
            self.recent.pop_front();
        }
    }
}
