//! Brine's own metrics: all their names, and where their values come from.
//!
//! Base units, counters end in `_total`, and no label has a value that a client chose. Everything is read on request;
//! nothing is counted here.

use brine_bus::{BusHandle, DELAY_BOUNDS_MS};
use brine_log::ReadsFrom;

use crate::consumers;
use crate::exposition::{Exposition, Family};
use crate::figures::{HistoryFigures, MasterFigures, ReactorFigures};
use crate::sinks::SinkFigures;
use crate::state::ApiState;

/// The metrics of a bus and what serves it.
pub(crate) fn write(state: &ApiState, out: &mut Exposition) {
    out.gauge("brine_build_info", "The program's version; always 1.")
        .sample(
            &[("version", state.node.version), ("node", state.node.kind)],
            1,
        );
    log(state, out);
    if let Some(bus) = &state.bus {
        self::bus(bus, out);
    }
    streams(state, out);
    if let Some(all) = consumers::all(state) {
        let lags = all.iter().filter_map(|one| one.get("lag")?.as_int());
        out.gauge("brine_consumers", "Named readers with a saved position.")
            .sample(&[], all.len());
        out.gauge(
            "brine_consumer_lag_events",
            "How many events the consumer furthest behind has not dealt with.",
        )
        .sample(&[], lags.max().unwrap_or(0));
    }
    if let Some(sinks) = &state.sinks {
        self::sinks(&sinks.figures(), out);
    }
    if let Some(history) = &state.metrics.history {
        self::history(&history(), out);
    }
    if let Some(master) = &state.metrics.master {
        self::master(&master(), out);
    }
    if let Some(reactor) = &state.metrics.reactor {
        self::reactor(&reactor(), out);
    }
    api(state, out);
}

fn sinks(all: &[SinkFigures], out: &mut Exposition) {
    if all.is_empty() {
        return;
    }
    type Figure = fn(&SinkFigures) -> u64;
    let counters: [(&str, &str, Figure); 3] = [
        (
            "brine_sink_delivered_events_total",
            "Events that the other side of a sink has got.",
            |sink| sink.delivered,
        ),
        (
            "brine_sink_failures_total",
            "Deliveries of a sink that failed and were tried again.",
            |sink| sink.failures,
        ),
        (
            "brine_sink_missed_events_total",
            "Events that were gone before a sink could deliver them.",
            |sink| sink.missed,
        ),
    ];
    let gauges: [(&str, &str, Figure); 2] = [
        (
            "brine_sink_dead_letters",
            "Events that the other side of a sink refuses, kept on disk.",
            |sink| sink.dead,
        ),
        (
            "brine_sink_waiting",
            "Whether a sink waits for its other side: 1 if so.",
            |sink| sink.is_waiting.into(),
        ),
    ];
    for (name, help, figure) in counters {
        let mut family = out.counter(name, help);
        for sink in all {
            family.sample(&[("sink", &sink.name)], figure(sink));
        }
    }
    for (name, help, figure) in gauges {
        let mut family = out.gauge(name, help);
        for sink in all {
            family.sample(&[("sink", &sink.name)], figure(sink));
        }
    }
}

fn log(state: &ApiState, out: &mut Exposition) {
    let stats = state.log.stats();
    out.counter("brine_events_total", "Events that the bus took in.")
        .sample(&[], stats.appended_events);
    out.counter(
        "brine_event_bytes_total",
        "Their bytes: tags and data, without frames.",
    )
    .sample(&[], stats.appended_bytes);
    out.gauge(
        "brine_log_memory_bytes",
        "Memory that the log takes, in bytes.",
    )
    .sample(&[], stats.bytes);
    out.gauge(
        "brine_log_overflow_bytes",
        "What is on disk because somebody lags, in bytes.",
    )
    .sample(&[], stats.overflow_bytes);
    out.gauge(
        "brine_log_events",
        "Events in memory and overflow that a reader can still have.",
    )
    .sample(&[], stats.events);
}

fn bus(bus: &BusHandle, out: &mut Exposition) {
    let stats = bus.stats();
    out.counter(
        "brine_deliveries_total",
        "Events written to subscribers of Salt's socket, once for each of them.",
    )
    .sample(&[], stats.deliveries);
    out.gauge("brine_publishers", "Publishers connected now.")
        .sample(&[], stats.publishers);
    out.counter(
        "brine_refused_publishers_total",
        "Publishers whose connection was closed because of what they sent.",
    )
    .sample(&[], stats.refused_publishers);
    out.counter(
        "brine_malformed_events_total",
        "Events of publishers that were left out because they are malformed.",
    )
    .sample(&[], stats.malformed_events);
    out.counter(
        "brine_overrun_subscribers_total",
        "Subscribers that were disconnected because the log had moved past them.",
    )
    .sample(&[], stats.overrun_subscribers);

    let (mut memory, mut disk) = (0_u64, 0_u64);
    let (mut most_events, mut most_bytes) = (0, 0);
    for subscriber in &stats.subscribers {
        match subscriber.lag.reads_from {
            ReadsFrom::Memory => memory += 1,
            _ => disk += 1,
        }
        most_events = most_events.max(subscriber.lag.events);
        most_bytes = most_bytes.max(subscriber.lag.bytes);
    }
    out.gauge(
        "brine_subscribers",
        "Subscribers of Salt's socket connected now, by where what they read next is.",
    )
    .sample(&[("reads_from", "memory")], memory)
    .sample(&[("reads_from", "disk")], disk);
    out.gauge(
        "brine_subscriber_lag_events",
        "How many events the subscriber furthest behind has not read.",
    )
    .sample(&[], most_events);
    out.gauge(
        "brine_subscriber_lag_bytes",
        "How many bytes the subscriber furthest behind has not read.",
    )
    .sample(&[], most_bytes);

    let delay = stats.delivery_delay;
    let bounds = DELAY_BOUNDS_MS.iter().map(|bound| seconds(*bound));
    out.histogram(
        "brine_delivery_delay_seconds",
        "From taking an event in to writing it to a subscriber: the oldest event of a write, of a sample of writes.",
        bounds.zip(delay.at_most),
        delay.count,
        seconds(delay.sum_ms),
    );
}

fn streams(state: &ApiState, out: &mut Exposition) {
    let readers = state.readers().all();
    let lags = readers.iter().map(|reader| reader.lag(&state.log));
    out.counter(
        "brine_stream_deliveries_total",
        "Events sent to streams over HTTP, of brine.sock and the API, once for each of them.",
    )
    .sample(&[], state.readers().sent());
    out.gauge("brine_streams", "Streams over HTTP that are read now.")
        .sample(&[], readers.len());
    out.gauge(
        "brine_stream_lag_events",
        "How many events the stream furthest behind has not looked at.",
    )
    .sample(&[], lags.max().unwrap_or(0));
}

fn history(figures: &HistoryFigures, out: &mut Exposition) {
    out.gauge("brine_history_bytes", "What the history takes, in bytes.")
        .sample(&[], figures.used_bytes);
    out.gauge("brine_history_events", "Events in the history.")
        .sample(&[], figures.events);
    out.gauge(
        "brine_history_behind_events",
        "Events of the log that are not on disk yet.",
    )
    .sample(&[], figures.behind_events);
    out.counter(
        "brine_history_missing_events_total",
        "Events that the history does not have and will not get.",
    )
    .sample(&[], figures.missing_events);
    out.gauge(
        "brine_history_trouble",
        "1 while the history's disk is full or failing.",
    )
    .sample(&[], u8::from(figures.is_in_trouble));
}

fn master(figures: &MasterFigures, out: &mut Exposition) {
    let by = |family: &mut Family<'_>, counts: &[(&str, u64)]| {
        for (outcome, count) in counts {
            family.sample(&[("outcome", outcome)], count);
        }
    };
    by(
        &mut out.counter(
            "brine_master_requests_total",
            "Requests at the master's port, by outcome.",
        ),
        &figures.requests,
    );
    by(
        &mut out.counter(
            "brine_master_sign_ins_total",
            "Sign-ins of minions, by outcome.",
        ),
        &figures.sign_ins,
    );
    out.counter("brine_jobs_published_total", "Jobs sent to minions.")
        .sample(&[], figures.jobs_published);
    out.counter(
        "brine_job_returns_total",
        "Returns of jobs that minions sent.",
    )
    .sample(&[], figures.returns);
    out.counter("brine_minion_events_total", "Events that minions sent.")
        .sample(&[], figures.minion_events);
    out.counter(
        "brine_refused_minion_events_total",
        "Events of minions that are not theirs to fire.",
    )
    .sample(&[], figures.minion_events_refused);
    out.gauge("brine_minions_connected", "Minions that are connected now.")
        .sample(&[], figures.connected_minions);
    let mut keys = out.gauge("brine_minion_keys", "Keys of minions, by state.");
    for (state, count) in &figures.keys {
        keys.sample(&[("state", state)], count);
    }
}

fn reactor(figures: &ReactorFigures, out: &mut Exposition) {
    out.gauge("brine_reactor_rules", "Rules of the reactor.")
        .sample(&[], figures.rules);
    out.gauge(
        "brine_reactor_running_reactions",
        "Reactions that are running now.",
    )
    .sample(&[], figures.running);
    out.gauge(
        "brine_reactor_lag_events",
        "How many events of the bus the rule furthest behind has not read.",
    )
    .sample(&[], figures.lag_events);
    out.counter(
        "brine_reactor_events_total",
        "Events that a rule was for, once for each rule.",
    )
    .sample(&[], figures.events);
    let mut reactions = out.counter(
        "brine_reactor_reactions_total",
        "Reactions that ended, by outcome; uncertain are those that a crash interrupted.",
    );
    for (outcome, count) in &figures.reactions {
        reactions.sample(&[("outcome", outcome)], count);
    }
    let mut passed_over = out.counter(
        "brine_reactor_passed_over_events_total",
        "Events that a rule was for and did not react to, by reason.",
    );
    for (reason, count) in &figures.passed_over {
        passed_over.sample(&[("reason", reason)], count);
    }
}

fn api(state: &ApiState, out: &mut Exposition) {
    let counts = state.counters.now();
    let mut answers = out.counter(
        "brine_api_answers_total",
        "Answers of the HTTP API, by the class of their status; a stream counts once.",
    );
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    for (class, count) in classes.into_iter().zip(counts.answers) {
        answers.sample(&[("code", class)], count);
    }
    out.counter(
        "brine_api_logins_total",
        "Logins to the HTTP API, by outcome.",
    )
    .sample(&[("outcome", "accepted")], counts.logins)
    .sample(&[("outcome", "refused")], counts.failed_logins);
    out.counter(
        "brine_api_commands_total",
        "Commands run through the HTTP API.",
    )
    .sample(&[], counts.commands);
    out.counter("brine_api_webhooks_total", "Webhooks that became events.")
        .sample(&[], counts.webhooks);
    out.counter(
        "brine_exporter_folded_total",
        "Events whose labels were folded into `other` at /metrics/salt-exporter.",
    )
    .sample(&[], state.exporter.folded());
}

#[allow(clippy::cast_precision_loss)] // a sum of milliseconds is nowhere near 2⁵³
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    /// The book's page has every name in this file, with its text.
    #[test]
    fn the_reference_has_every_metric() {
        let source = include_str!("own.rs").split("#[cfg(test)]").next().unwrap();
        let parts: Vec<&str> = source.split('"').collect();
        let mut page = String::from(
            "# Metrics\n\nEvery metric of Brine's own at `/metrics`, beside what Salt's exporter has \
             ([metrics](../metrics.md)).\n\n| metric | kind | |\n| --- | --- | --- |\n",
        );
        let mut names = Vec::new();
        for at in (1..parts.len().saturating_sub(2)).step_by(2) {
            let (before, name, between, help) =
                (parts[at - 1], parts[at], parts[at + 1], parts[at + 2]);
            if !name.starts_with("brine_") || between.trim() != "," {
                continue;
            }
            let kind = match name.ends_with("_total") {
                true => "counter",
                false if before.trim_end().ends_with("histogram(") => "histogram",
                false => "gauge",
            };
            writeln!(page, "| `{name}` | {kind} | {} |", help.replace('|', "\\|")).unwrap();
            names.push(name);
        }
        let all = parts
            .iter()
            .filter(|part| part.starts_with("brine_") && !part.contains(' '));
        let missing: Vec<_> = all.filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "without a text: {missing:?}");
        brine_testkit::reference::is_current("metrics.md", &page);
    }
}
