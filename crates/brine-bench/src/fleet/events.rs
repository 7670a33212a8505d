//! Phase three: minions fire events, one at a time each, as real ones do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_wire::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::Fleet;
use super::arrivals::{Arrivals, Arrived};
use super::member::Member;
use super::memory::Watch;
use crate::histogram::{Histogram, Percentiles};

/// What firing came to.
#[derive(Debug, Clone, Default)]
pub struct EventsReport {
    /// Minions that fired.
    pub senders: usize,
    /// Events the master answered.
    pub answered: usize,
    /// Events it did not, or refused.
    pub failed: usize,
    /// The error of the first of those.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub after: Duration,
    /// From an event's due time (its sending, without `rate`) to its answer.
    pub latency: Percentiles,
    /// What the master's processes spent from the first request to the last event on the bus, if
    /// they are known.
    pub master_cpu: Option<Duration>,
    /// What came out on the master's bus, if it was listened to.
    pub arrived: Option<Arrived>,
}

impl EventsReport {
    /// Answers per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.after.as_secs_f64().max(1e-9)
    }

    /// Processor time of the master per event.
    #[must_use]
    pub fn cpu_per_event(&self) -> Option<Duration> {
        let events = u32::try_from(self.answered).unwrap_or(u32::MAX);
        Some(self.master_cpu? / events.max(1))
    }
}

/// What one minion's events came to.
#[derive(Default)]
struct Fired {
    answered: usize,
    failed: usize,
    first_failure: Option<String>,
    latency: Histogram,
}

/// How long events may take from the last answer to the bus's subscriber.
const STRAGGLERS: Duration = Duration::from_secs(20);

pub(super) async fn run(
    fleet: &Fleet,
    arrivals: Option<&Arrivals>,
    master: &Watch,
) -> EventsReport {
    let options = &fleet.options;
    let members: Vec<_> = (fleet.members.iter())
        .filter(|member| member.session().is_some())
        .take(options.senders.max(1))
        .cloned()
        .collect();
    let senders = members.len();
    if let Some(arrivals) = arrivals {
        arrivals.begin();
    }
    let cpu_before = master.cpu();
    let began = Instant::now();
    let mut firing = JoinSet::new();
    for (first, member) in members.into_iter().enumerate() {
        let events = Events {
            numbers: (first..options.events).step_by(senders),
            began,
            gap: options.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            tag: format!("bench/fleet/{}", member.id),
            padding: "x".repeat(options.data_bytes),
            wait: options.timeout,
        };
        firing.spawn(events.fire(member));
    }
    let mut report = EventsReport {
        senders,
        ..EventsReport::default()
    };
    let mut latency = Histogram::new();
    while let Some(fired) = firing.join_next().await {
        let Ok(fired) = fired else { continue };
        report.answered += fired.answered;
        report.failed += fired.failed;
        report.first_failure = report.first_failure.or(fired.first_failure);
        latency.merge(&fired.latency);
    }
    report.after = began.elapsed();
    report.latency = latency.percentiles();
    if let Some(arrivals) = arrivals {
        report.arrived = Some(arrivals.wait_for(report.answered, STRAGGLERS).await);
    }
    let spent = master.cpu().zip(cpu_before);
    report.master_cpu = spent.map(|(after, before)| after.saturating_sub(before));
    report
}

/// The events of one minion.
struct Events {
    /// Their numbers among all.
    numbers: std::iter::StepBy<std::ops::Range<usize>>,
    began: Instant,
    /// Between the events of the whole fleet.
    gap: Option<Duration>,
    tag: String,
    padding: String,
    wait: Duration,
}

impl Events {
    async fn fire(self, member: Arc<Member>) -> Fired {
        let mut fired = Fired::default();
        for (seq, number) in self.numbers.enumerate() {
            let due = match self.gap {
                Some(gap) => {
                    let due = self.began + gap.mul_f64(number as f64);
                    sleep_until(due.into()).await;
                    due
                }
                // Not even for a moment: a timer's shortest wait is a millisecond.
                None => Instant::now(),
            };
            let mut data = Map::new();
            data.insert("seq", i64::try_from(seq).unwrap_or(i64::MAX));
            let sent = Instant::now().duration_since(self.began).as_nanos();
            data.insert("sent_ns", i64::try_from(sent).unwrap_or(i64::MAX));
            data.insert("padding", self.padding.as_str());
            let mut fields = Map::new();
            fields.insert("pretag", Value::Nil);
            fields.insert("data", data);
            fields.insert("tag", self.tag.as_str());
            match member.ask("_minion_event", fields, self.wait).await {
                Ok(_) => {
                    fired.answered += 1;
                    let took = due.elapsed().as_nanos();
                    fired
                        .latency
                        .record(u64::try_from(took).unwrap_or(u64::MAX));
                }
                Err(error) => {
                    fired.failed += 1;
                    fired.first_failure.get_or_insert(error.to_string());
                }
            }
        }
        fired
    }
}
