//! What a run found, as figures, as a table for people and as JSON.

use core::fmt::Write;
use core::time::Duration;

use serde_json::{Value, json};

use crate::histogram::Percentiles;
use crate::load::{ChurnOf, Load, Pace};
use crate::process::BusUse;

/// The outcome of one run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The load that was put on the bus.
    pub load: Load,
    /// Bytes of one event as subscribers read it.
    pub frame_bytes: usize,
    /// The time measured: shorter than requested if the bus closed every subscriber.
    pub measured: Duration,
    /// Events that came through to *every* subscriber in the time measured, per second.
    pub events_per_second: f64,
    /// Events published over the whole run, warm-up included.
    pub published: u64,
    /// Events read over the whole run and all subscribers.
    pub deliveries: u64,
    /// What went wrong, over the whole run and all subscribers.
    pub faults: Faults,
    /// How long events took.
    pub latency: Latency,
    /// What the bus spent; `None` if its process is not known.
    pub bus: Option<BusUse>,
    /// What the generator and others spent meanwhile.
    pub generator: GeneratorUse,
    /// What came and went beside the load.
    pub churn: Option<ChurnReport>,
}

/// Events and connections that did not go as they must. All zero is the only good outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Events a subscriber never got though a later one came or its connection was closed.
    pub lost: u64,
    /// Events that came after a later one of the same publisher connection.
    pub reordered: u64,
    /// Events that came twice.
    pub duplicated: u64,
    /// Events whose bytes had changed.
    pub corrupt: u64,
    /// Subscribers that read and were disconnected all the same.
    pub disconnected: u64,
    /// Publishers that were disconnected.
    pub publishers_disconnected: u64,
    /// Events still on their way, to subscribers still connected, when waiting ended. A sign of
    /// a bus that cannot carry the rate, not of loss.
    pub owed: u64,
    /// Order changes between *different* short-lived connections, where order is not guaranteed.
    pub swapped: u64,
}

impl Faults {
    /// Nothing lost, repeated, changed or out of order, and no subscriber disconnected.
    #[must_use]
    pub fn none(&self) -> bool {
        Self {
            owed: 0,
            swapped: 0,
            ..*self
        } == Self::default()
    }
}

/// Latencies of events due in the time measured. At closed loop one event in sixteen is sampled,
/// and what is seen is mostly the window being worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Since the event was due: what a user waits, the generator's own lateness included.
    pub from_due: Percentiles,
    /// Since it was written.
    pub from_send: Percentiles,
}

/// Processor use while measuring, in cores.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GeneratorUse {
    /// All publisher threads, over the whole run.
    pub publishers: f64,
    /// The busiest reader thread, over the whole run. Near 1: the generator, not the bus, is
    /// what was measured.
    pub busiest_reader: f64,
    /// Everything on this machine that is neither the generator nor the bus, and what the
    /// hypervisor took. Where it is more than a few tenths, trust no other figure of the run.
    pub others: f64,
}

/// What came and went beside the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChurnReport {
    /// What it was.
    pub of: ChurnOf,
    /// Connects and disconnects per second.
    pub cycles_per_second: f64,
    /// Connections that failed.
    pub failed: u64,
}

impl Report {
    /// Processor time of the bus per event that came through, in microseconds.
    #[must_use]
    pub fn cpu_us_per_event(&self) -> Option<f64> {
        let events = self.events_per_second * self.measured.as_secs_f64();
        let bus = self.bus.filter(|_| events >= 1.0)?;
        Some(bus.cpu.as_secs_f64() * 1e6 / events)
    }

    /// Cores the bus kept busy.
    #[must_use]
    pub fn bus_cores(&self) -> Option<f64> {
        Some(self.bus?.cpu.as_secs_f64() / self.measured.as_secs_f64())
    }

    /// A few lines for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let load = &self.load;
        let pace = match load.pace {
            Pace::Closed => "closed loop".to_owned(),
            Pace::Rate(rate) => format!("open loop, {}/s", count(rate)),
        };
        let per_subscriber = self.events_per_second * load.subscribers as f64;
        let mut row = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<10} {text}");
        };
        row(
            "load",
            format!(
                "{} → {}, {} bytes on the wire, {} per write, {pace}, {:.1} s",
                plural(load.publishers, "publisher"),
                plural(load.subscribers, "subscriber"),
                self.frame_bytes,
                plural(load.events_per_write, "event"),
                self.measured.as_secs_f64(),
            ),
        );
        row(
            "events",
            format!(
                "{}/s through to every subscriber: {} deliveries/s, {}/s",
                count(self.events_per_second),
                count(per_subscriber),
                bytes(per_subscriber * self.frame_bytes as f64),
            ),
        );
        row("latency", latency("from send", self.latency.from_send));
        // At closed loop an event is due when it is sent.
        if matches!(load.pace, Pace::Rate(_)) {
            row("", latency("from due ", self.latency.from_due));
        }
        if let (Some(bus), Some(cores)) = (self.bus, self.bus_cores()) {
            row(
                "bus",
                format!(
                    "{} CPU per event, {cores:.2} cores, {} resident (before {}, peak {}), pid {}",
                    self.cpu_us_per_event()
                        .map_or("-".to_owned(), |us| format!("{us:.3} us")),
                    mib(bus.rss_after),
                    mib(bus.rss_before),
                    mib(bus.rss_peak),
                    bus.pid,
                ),
            );
        }
        row(
            "generator",
            format!(
                "publishers {:.2} cores, busiest reader {:.2}; others on this machine {:.2}",
                self.generator.publishers, self.generator.busiest_reader, self.generator.others,
            ),
        );
        if let Some(churn) = self.churn {
            let what = match churn.of {
                ChurnOf::Subscribers => "subscribers",
                ChurnOf::Publishers => "publishers",
            };
            let cycles = count(churn.cycles_per_second);
            row(
                "churn",
                format!("{cycles} {what}/s came and went, {} failed", churn.failed),
            );
        }
        row("faults", self.faults.text());
        out
    }

    /// All figures, for programs. Times in nanoseconds where the name has `_ns`, sizes in bytes.
    #[must_use]
    pub fn json(&self) -> Value {
        let faults = &self.faults;
        json!({
            "load": load_json(&self.load),
            "frame_bytes": self.frame_bytes,
            "measured_s": self.measured.as_secs_f64(),
            "events_per_second": self.events_per_second,
            "published": self.published,
            "deliveries": self.deliveries,
            "faults": {
                "lost": faults.lost,
                "reordered": faults.reordered,
                "duplicated": faults.duplicated,
                "corrupt": faults.corrupt,
                "disconnected": faults.disconnected,
                "publishers_disconnected": faults.publishers_disconnected,
                "owed": faults.owed,
                "swapped": faults.swapped,
            },
            "latency": {
                "from_due": percentiles_json(self.latency.from_due),
                "from_send": percentiles_json(self.latency.from_send),
            },
            "bus": self.bus.map(|bus| json!({
                "pid": bus.pid,
                "cpu_us_per_event": self.cpu_us_per_event(),
                "cores": self.bus_cores(),
                "rss_before": bus.rss_before,
                "rss_after": bus.rss_after,
                "rss_peak": bus.rss_peak,
            })),
            "generator": {
                "publisher_cores": self.generator.publishers,
                "busiest_reader_cores": self.generator.busiest_reader,
                "others_cores": self.generator.others,
            },
            "churn": self.churn.map(|churn| json!({
                "cycles_per_second": churn.cycles_per_second,
                "failed": churn.failed,
            })),
        })
    }
}

impl Faults {
    /// The faults in words; `none` if there are none.
    #[must_use]
    pub fn text(&self) -> String {
        let named = [
            (self.lost, "lost"),
            (self.reordered, "reordered"),
            (self.duplicated, "duplicated"),
            (self.corrupt, "corrupt"),
            (self.disconnected, "subscribers disconnected"),
            (self.publishers_disconnected, "publishers disconnected"),
            (self.owed, "not yet delivered"),
            (self.swapped, "swapped between short-lived publishers"),
        ];
        let found = named.iter().filter(|(events, _)| *events > 0);
        let text: Vec<_> = found
            .map(|(events, what)| format!("{events} {what}"))
            .collect();
        if text.is_empty() {
            "none".to_owned()
        } else {
            text.join(", ")
        }
    }
}

fn load_json(load: &Load) -> Value {
    json!({
        "publishers": load.publishers,
        "subscribers": load.subscribers,
        "reader_threads": load.reader_threads,
        "data_bytes": load.data_bytes,
        "events_per_write": load.events_per_write,
        "rate": match load.pace { Pace::Closed => None, Pace::Rate(rate) => Some(rate) },
        "stuck": load.stuck,
        "duration_s": load.duration.as_secs_f64(),
    })
}

/// Null if nothing was recorded: no event is not a latency of zero.
pub(crate) fn percentiles_json(found: Percentiles) -> Value {
    if found.count == 0 {
        return Value::Null;
    }
    json!({
        "count": found.count,
        "p50_ns": found.p50_ns,
        "p99_ns": found.p99_ns,
        "p999_ns": found.p999_ns,
        "max_ns": found.max_ns,
    })
}

fn latency(name: &str, found: Percentiles) -> String {
    let us = |ns: u64| micros(ns as f64 / 1e3);
    format!(
        "{name}  p50 {}  p99 {}  p99.9 {}  max {}",
        us(found.p50_ns),
        us(found.p99_ns),
        us(found.p999_ns),
        us(found.max_ns),
    )
}

fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

fn count(value: f64) -> String {
    match value {
        value if value < 1e3 => format!("{value:.0}"),
        value if value < 1e4 => format!("{:.2}k", value / 1e3),
        value if value < 1e6 => format!("{:.0}k", value / 1e3),
        value => format!("{:.2}M", value / 1e6),
    }
}

/// Bytes in the unit that gives one to three digits before the point.
fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn plural(number: usize, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}
