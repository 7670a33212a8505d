//! Phase four: jobs for the whole fleet, answered by every minion.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_net::minion::MustBeSigned;
use brine_wire::network::payload::Payload;
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::arrivals::Arrivals;
use super::link::Links;
use super::member::Member;
use super::{Fleet, FleetError};
use crate::histogram::{Histogram, Percentiles};

/// What one job came to. Times count from the sending of its order.
#[derive(Debug, Clone, Default)]
pub struct JobReport {
    /// The job.
    pub jid: String,
    /// Minions the master expects.
    pub expected: usize,
    /// When the master had answered the order.
    pub published_after: Duration,
    /// When minions had the job.
    pub received: Percentiles,
    /// When the master had taken their returns.
    pub returned: Percentiles,
    /// Returns it did not take.
    pub failed: usize,
    /// Return events on the master's bus, and when the last came, if it was listened to.
    pub on_bus: Option<(usize, Duration)>,
}

/// What one minion made of a publish.
pub(super) struct Answered {
    jid: String,
    received: Instant,
    returned: Instant,
    taken: bool,
}

/// Waits this long for the next return.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(
    fleet: &mut Fleet,
    arrivals: Option<&Arrivals>,
) -> Result<JobReport, FleetError> {
    while fleet.answered.try_recv().is_ok() {}
    let began = Instant::now();
    let (jid, expected) = publish(fleet).await?;
    let mut report = JobReport {
        jid,
        expected,
        published_after: began.elapsed(),
        ..JobReport::default()
    };
    let wanted = (fleet.members.iter())
        .filter(|member| member.session().is_some())
        .count();
    let (mut received, mut returned) = (Histogram::new(), Histogram::new());
    let mut count = 0;
    while count < wanted {
        let Ok(Some(answered)) = timeout(PATIENCE, fleet.answered.recv()).await else {
            break;
        };
        if answered.jid != report.jid {
            continue;
        }
        count += 1;
        received.record(nanos(answered.received.duration_since(began)));
        if answered.taken {
            returned.record(nanos(answered.returned.duration_since(began)));
        } else {
            report.failed += 1;
        }
    }
    report.received = received.percentiles();
    report.returned = returned.percentiles();
    if let Some(arrivals) = arrivals {
        report.on_bus = on_bus(arrivals, &report, began).await;
    }
    Ok(report)
}

/// Waits until every return taken is on the bus.
async fn on_bus(
    arrivals: &Arrivals,
    report: &JobReport,
    began: Instant,
) -> Option<(usize, Duration)> {
    let due = Instant::now() + PATIENCE;
    loop {
        let seen = arrivals.returns(&report.jid);
        let count = seen.map_or(0, |(count, _)| count);
        if count as u64 >= report.returned.count || Instant::now() > due {
            return seen.map(|(count, last)| (count, last.duration_since(began)));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Orders the job as Salt's local clients do; its jid and how many minions the master expects.
async fn publish(fleet: &Fleet) -> Result<(String, usize), FleetError> {
    let options = &fleet.options;
    let key = options.publish_key.as_deref().unwrap_or_default();
    let kwargs: Map = [("delimiter", Value::from(":")), ("show_jid", false.into())]
        .into_iter()
        .collect();
    let mut load: Map = [
        ("cmd", "publish"),
        ("tgt_type", "glob"),
        ("fun", "test.ping"),
    ]
    .into_iter()
    .collect();
    load.insert("tgt", format!("{}*", options.prefix));
    load.insert("arg", Value::Array(Vec::new()));
    load.insert("key", key);
    load.insert("ret", "");
    load.insert("jid", "");
    load.insert("kwargs", kwargs);
    load.insert("user", options.user.as_str());
    let payload = Payload::Clear { version: 3, load }.to_value();
    let link = Links::new(options).open();
    let reply = link.request(&payload, options.timeout).await;
    let reply = reply.map_err(|error| FleetError::NotPublished(error.to_string()))?;
    let answer = reply.as_map().and_then(|reply| reply.get("load")?.as_map());
    let jid = answer.and_then(|answer| Some(answer.get("jid")?.as_str()?.to_owned()));
    let Some((answer, jid)) = answer.zip(jid) else {
        return Err(FleetError::NotPublished(format!("{reply:?}")));
    };
    let expected = match answer.get("minions") {
        Some(Value::Array(minions)) => minions.len(),
        _ => 0,
    };
    Ok((jid, expected))
}

/// What a minion does with a publish: opens it and returns.
pub(super) async fn answer(
    member: &Arc<Member>,
    publish: &Publish,
    received: Instant,
    wait: Duration,
    tell: &mpsc::Sender<Answered>,
) {
    let Some(session) = member.session() else {
        return;
    };
    let Ok(job) = session.open_publish(publish, MustBeSigned::No) else {
        return;
    };
    let Some(jid) = job.get("jid").and_then(Value::as_str) else {
        return;
    };
    let mut fields: Map = [("success", true), ("return", true)].into_iter().collect();
    fields.insert("retcode", 0);
    fields.insert("jid", jid);
    for (key, from) in [("fun", "fun"), ("fun_args", "arg"), ("user", "user")] {
        if let Some(value) = job.get(from) {
            fields.insert(key, value.clone());
        }
    }
    let taken = member.ask("_return", fields, wait).await.is_ok();
    let answered = Answered {
        jid: jid.to_owned(),
        received,
        returned: Instant::now(),
        taken,
    };
    let _ = tell.send(answered).await;
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
