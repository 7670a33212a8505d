//! What the fleet found, as a table for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::arrivals::Arrived;
use super::{
    EventsReport, FleetOptions, JobReport, MemoryReport, RsaRates, SignInReport, StartReport,
};
use crate::histogram::Percentiles;
use crate::report::percentiles_json;

/// The outcome of one run.
#[derive(Debug, Clone)]
pub struct FleetReport {
    /// How many minions there were.
    pub minions: usize,
    /// How many different keys they had.
    pub keys: usize,
    /// The transport.
    pub transport: &'static str,
    /// The connections that carried their requests.
    pub requesters: usize,
    /// The processors of this machine.
    pub cores: usize,
    /// What one of them does in RSA.
    pub rsa: RsaRates,
    /// Signing in.
    pub sign_in: SignInReport,
    /// Subscribing and start events.
    pub start: StartReport,
    /// Memory when all were connected.
    pub memory: MemoryReport,
    /// Events.
    pub events: Option<EventsReport>,
    /// Jobs.
    pub jobs: Vec<JobReport>,
    /// Signing in after all connections were dropped.
    pub sign_in_again: Option<SignInReport>,
    /// Subscribing after that.
    pub start_again: Option<StartReport>,
    /// From the drop to the last start event, the fleet's own work included.
    pub back_after: Option<Duration>,
    /// Memory at the end.
    pub memory_after: MemoryReport,
}

impl FleetReport {
    pub(super) fn new(options: &FleetOptions, rsa: RsaRates) -> Self {
        Self {
            minions: options.minions,
            keys: options.keys.min(options.minions),
            transport: options.transport.name(),
            requesters: options.requesters.max(1).min(options.minions),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            rsa,
            sign_in: SignInReport::default(),
            start: StartReport::default(),
            memory: MemoryReport::default(),
            events: None,
            jobs: Vec::new(),
            sign_in_again: None,
            start_again: None,
            back_after: None,
            memory_after: MemoryReport::default(),
        }
    }

    /// Whether every minion got in and every request its answer, and nothing was lost, repeated or
    /// out of order.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let all_in = |report: &SignInReport| report.accepted == self.minions;
        let all_started = |report: &StartReport| report.started == self.minions;
        let events = self.events.as_ref().is_none_or(|events| {
            let clean =
                |arrived: &Arrived| arrived.lost + arrived.repeated + arrived.reordered == 0;
            events.failed == 0 && events.arrived.as_ref().is_none_or(clean)
        });
        let jobs = (self.jobs.iter()).all(|job| job.returned.count == self.minions as u64);
        all_in(&self.sign_in)
            && all_started(&self.start)
            && events
            && jobs
            && self.sign_in_again.as_ref().is_none_or(all_in)
            && self.start_again.as_ref().is_none_or(all_started)
    }

    /// Some lines for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<10} {text}");
        };
        let Self {
            minions,
            keys,
            transport,
            requesters,
            cores,
            rsa,
            ..
        } = self;
        row(
            "fleet",
            format!(
                "{minions} minions with {keys} keys over {transport}, {requesters} connections for requests"
            ),
        );
        row(
            "rsa",
            format!(
                "one core: {:.0} sign, {:.0} decrypt, {:.0} encrypt a second; \
                 {cores} cores allow {:.0} sign-ins a second, {:.0} with token",
                rsa.signs,
                rsa.decrypts,
                rsa.encrypts,
                rsa.sign_ins(false) * *cores as f64,
                rsa.sign_ins(true) * *cores as f64,
            ),
        );
        sign_in_rows(&mut row, "sign-in", &self.sign_in, rsa);
        start_row(&mut row, "start", &self.start);
        memory_row(&mut row, "memory", &self.memory);
        if let Some(events) = &self.events {
            events_rows(&mut row, events);
        }
        for job in &self.jobs {
            job_rows(&mut row, job);
        }
        if let (Some(sign_in), Some(start)) = (&self.sign_in_again, &self.start_again) {
            sign_in_rows(&mut row, "again", sign_in, rsa);
            start_row(&mut row, "", start);
        }
        if let Some(back) = self.back_after {
            row("", format!("all back after {}", seconds(back)));
        }
        memory_row(&mut row, "at the end", &self.memory_after);
        out
    }

    /// All figures, for programs. Times in the unit of their name, sizes in bytes.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "minions": self.minions,
            "keys": self.keys,
            "transport": self.transport,
            "requesters": self.requesters,
            "sound": self.is_sound(),
            "rsa_per_core": {
                "signs_per_second": self.rsa.signs,
                "decrypts_per_second": self.rsa.decrypts,
                "encrypts_per_second": self.rsa.encrypts,
                "sign_ins_per_second": self.rsa.sign_ins(false),
                "sign_ins_with_token_per_second": self.rsa.sign_ins(true),
            },
            "cores": self.cores,
            "sign_in": sign_in_json(&self.sign_in),
            "start": start_json(&self.start),
            "memory": memory_json(&self.memory),
            "events": self.events.as_ref().map(events_json),
            "jobs": self.jobs.iter().map(job_json).collect::<Vec<_>>(),
            "sign_in_again": self.sign_in_again.as_ref().map(sign_in_json),
            "start_again": self.start_again.as_ref().map(start_json),
            "back_after_s": self.back_after.map(|back| back.as_secs_f64()),
            "memory_after": memory_json(&self.memory_after),
        })
    }
}

fn sign_in_rows(
    row: &mut impl FnMut(&str, String),
    name: &str,
    report: &SignInReport,
    rsa: &RsaRates,
) {
    let token = if report.with_token { " with token" } else { "" };
    row(
        name,
        format!(
            "{} in{token}: {:.0} answers a second, the last after {}; {}",
            report.accepted,
            report.rate(),
            seconds(report.answered_after),
            percentiles(report.latency),
        ),
    );
    let spent = report.cpu_per_answer().map_or_else(String::new, |spent| {
        let alone = rsa.sign_ins(report.with_token).recip();
        format!(
            "the master spent {} of a core on each, of which RSA is {}; ",
            micros(spent),
            micros(Duration::from_secs_f64(alone)),
        )
    });
    row(
        "",
        format!(
            "{spent}the fleet judged the answers in {}",
            seconds(report.judged_after),
        ),
    );
    for (text, count) in &report.others {
        row("", format!("{count} not let in: {text}"));
    }
}

fn start_row(row: &mut impl FnMut(&str, String), name: &str, report: &StartReport) {
    row(
        name,
        format!(
            "{} started, {} subscriptions, after {}",
            report.started,
            report.subscriptions,
            seconds(report.after),
        ),
    );
    if let Some(text) = &report.first_failure {
        let repeated = report.repeated;
        row(
            "",
            format!("{repeated} start events sent again, the first since: {text}"),
        );
    }
}

fn memory_row(row: &mut impl FnMut(&str, String), name: &str, report: &MemoryReport) {
    let fleet = format!("fleet {} a minion", kib(report.fleet_per_minion));
    let text = match (
        report.master,
        report.master_before,
        report.master_per_minion,
    ) {
        (Some(now), Some(before), Some(each)) => format!(
            "master {:.1} MiB (before {:.1}): {} a minion; {fleet}",
            mib(now),
            mib(before),
            kib(each),
        ),
        _ => fleet,
    };
    row(name, text);
}

fn events_rows(row: &mut impl FnMut(&str, String), report: &EventsReport) {
    row(
        "events",
        format!(
            "{} of {} minions answered: {:.0} a second; {}",
            report.answered,
            report.senders,
            report.rate(),
            percentiles(report.latency),
        ),
    );
    if let Some(spent) = report.cpu_per_event() {
        let spent = micros(spent);
        row("", format!("the master spent {spent} of a core on each"));
    }
    if let Some(text) = &report.first_failure {
        row(
            "",
            format!("{} not taken, the first since: {text}", report.failed),
        );
    }
    if let Some(arrived) = &report.arrived {
        row(
            "",
            format!(
                "on the bus {}: {:.0} a second; {}; {} lost, {} repeated, {} out of order",
                arrived.events,
                arrived.rate(),
                percentiles(arrived.latency),
                arrived.lost,
                arrived.repeated,
                arrived.reordered,
            ),
        );
    }
}

fn job_rows(row: &mut impl FnMut(&str, String), report: &JobReport) {
    row(
        "job",
        format!(
            "{}: {} expected, published after {}",
            report.jid,
            report.expected,
            seconds(report.published_after),
        ),
    );
    row(
        "",
        format!(
            "received by {}: {}",
            report.received.count,
            percentiles(report.received)
        ),
    );
    row(
        "",
        format!(
            "returns taken {}, not taken {}: {}",
            report.returned.count,
            report.failed,
            percentiles(report.returned),
        ),
    );
    if let Some((count, last)) = report.on_bus {
        row(
            "",
            format!(
                "returns on the bus {count}, the last after {}",
                seconds(last)
            ),
        );
    }
}

fn sign_in_json(report: &SignInReport) -> Value {
    json!({
        "accepted": report.accepted,
        "with_token": report.with_token,
        "answers_per_second": report.rate(),
        "answered_after_s": report.answered_after.as_secs_f64(),
        "latency": percentiles_json(report.latency),
        "judged_after_s": report.judged_after.as_secs_f64(),
        "master_cpu_us_per_answer": report.cpu_per_answer().map(|spent| spent.as_secs_f64() * 1e6),
        "others": report.others.iter().map(|(text, count)| json!([text, count])).collect::<Vec<_>>(),
    })
}

fn start_json(report: &StartReport) -> Value {
    json!({
        "started": report.started,
        "repeated": report.repeated,
        "first_failure": report.first_failure,
        "subscriptions": report.subscriptions,
        "after_s": report.after.as_secs_f64(),
    })
}

fn memory_json(report: &MemoryReport) -> Value {
    json!({
        "master": report.master,
        "master_before": report.master_before,
        "master_per_minion": report.master_per_minion,
        "fleet_per_minion": report.fleet_per_minion,
    })
}

fn events_json(report: &EventsReport) -> Value {
    json!({
        "senders": report.senders,
        "answered": report.answered,
        "failed": report.failed,
        "first_failure": report.first_failure,
        "after_s": report.after.as_secs_f64(),
        "answers_per_second": report.rate(),
        "master_cpu_us_per_event": report.cpu_per_event().map(|spent| spent.as_secs_f64() * 1e6),
        "latency": percentiles_json(report.latency),
        "bus": report.arrived.as_ref().map(|arrived| json!({
            "events": arrived.events,
            "lost": arrived.lost,
            "repeated": arrived.repeated,
            "reordered": arrived.reordered,
            "after_s": arrived.after.as_secs_f64(),
            "events_per_second": arrived.rate(),
            "latency": percentiles_json(arrived.latency),
        })),
    })
}

fn job_json(report: &JobReport) -> Value {
    json!({
        "jid": report.jid,
        "expected": report.expected,
        "published_after_s": report.published_after.as_secs_f64(),
        "received": percentiles_json(report.received),
        "returned": percentiles_json(report.returned),
        "failed": report.failed,
        "on_bus": report.on_bus.map(|(count, last)| json!({
            "returns": count,
            "last_after_s": last.as_secs_f64(),
        })),
    })
}

fn percentiles(found: Percentiles) -> String {
    let text = |ns| seconds(Duration::from_nanos(ns));
    let [p50, p99, max] = [found.p50_ns, found.p99_ns, found.max_ns].map(text);
    format!("p50 {p50}  p99 {p99}  max {max}")
}

fn micros(duration: Duration) -> String {
    format!("{:.1} us", duration.as_secs_f64() * 1e6)
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 1e-2 => format!("{:.0} us", s * 1e6),
        s if s < 10.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
