//! What salt-exporter counts, under its names, with its labels and its mistakes, so that dashboards and alerts
//! written for it keep working: `salt_job_duration_seconds` holds milliseconds, and the gauge
//! `salt_health_minions_total` is named like a counter.
//!
//! Unlike there, labels are limited: a family has a maximum number of series, and further ones are counted under
//! `other`. Facts: salt-exporter's documentation and behaviour, as `docs/metrics.md` lists them.

use std::collections::BTreeMap;

use brine_wire::{Map, Value};

use crate::exposition::Exposition;

/// The most series of a family; then come those of `other`.
const MAX_SERIES: usize = 5_000;
/// The longest value of a label, in bytes; longer ones are `other`.
const MAX_LABEL: usize = 128;
const OTHER: &str = "other";

/// Whether a tag is one of those that are looked at.
pub(super) fn is_followed(tag: &[u8]) -> bool {
    [&b"salt/job/"[..], b"salt/run/", b"salt/beacon/"]
        .iter()
        .any(|start| tag.starts_with(start))
}

/// The series of a family: a value for each set of labels.
#[derive(Debug, Default)]
struct Series<const N: usize>(BTreeMap<[String; N], f64>);

impl<const N: usize> Series<N> {
    /// The value of a series; the series of `other` when there are too many, or a label is too long. The
    /// last `kept` labels stay as they are: they have few values.
    fn entry(&mut self, labels: [&str; N], kept: usize, folded: &mut u64) -> &mut f64 {
        let mut key = labels.map(str::to_owned);
        let is_long = labels.iter().any(|label| label.len() > MAX_LABEL);
        if is_long || (self.0.len() >= MAX_SERIES && !self.0.contains_key(&key)) {
            *folded += 1;
            for label in &mut key[..N - kept] {
                OTHER.clone_into(label);
            }
        }
        self.0.entry(key).or_default()
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct SaltMetrics {
    new_job: Series<2>,
    expected: Series<2>,
    function_responses: Series<3>,
    scheduled: Series<3>,
    responses: Series<2>,
    function_status: Series<3>,
    duration: Series<2>,
    last_response: Series<1>,
    last_heartbeat: Series<1>,
    folded: u64,
}

impl SaltMetrics {
    /// Counts an event with a tag that [`is_followed`].
    pub(super) fn event(&mut self, tag: &str, data: &Map, now: u64) {
        // Tags of three parts make salt-exporter crash; here they count for nothing.
        let Some(kind) = tag.split('/').nth(3) else {
            return;
        };
        let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
        let minion = match text("id") {
            "" if tag.starts_with("salt/run/") => "master",
            id => id,
        };
        #[allow(clippy::cast_precision_loss)] // seconds since 1970
        let now = now as f64;
        let folded = &mut self.folded;
        if !text("id").is_empty() {
            *self.last_response.entry([minion], 0, folded) = now;
        }
        if tag.starts_with("salt/beacon/") {
            if kind == "status" {
                *self.last_heartbeat.entry([minion], 0, folded) = now;
            }
            return;
        }
        let function = text("fun");
        let state = state_of(function, data);
        match kind {
            "new" => {
                *self.new_job.entry([function, &state], 0, folded) += 1.0;
                let minions = data.get("minions").and_then(Value::as_array);
                #[allow(clippy::cast_precision_loss)] // a number of minions
                let minions = minions.map_or(0, <[Value]>::len) as f64;
                *self.expected.entry([function, &state], 0, folded) += minions;
            }
            "ret" => self.returned(minion, function, &state, data),
            _ => {}
        }
    }

    fn returned(&mut self, minion: &str, function: &str, state: &str, data: &Map) {
        let folded = &mut self.folded;
        let is_success = succeeded(data);
        let success = if is_success { "true" } else { "false" };
        let is_scheduled = data.get("schedule").is_some_and(Value::is_true);
        let family = if is_scheduled {
            &mut self.scheduled
        } else {
            &mut self.function_responses
        };
        *family.entry([function, state, success], 1, folded) += 1.0;
        *self.responses.entry([minion, success], 1, folded) += 1.0;
        // The default filters of `salt_function_status`.
        if function == "state.highstate" && state == "highstate" {
            let status = f64::from(u8::from(is_success));
            *self
                .function_status
                .entry([minion, function, state], 0, folded) = status;
        }
        if let Some(duration) = duration(data) {
            *self.duration.entry([function, state], 0, folded) = duration;
        }
    }

    /// Events whose labels were folded into `other`.
    pub(super) const fn folded(&self) -> u64 {
        self.folded
    }

    /// Writes all families; those without series are left out, as there.
    pub(super) fn write(&self, out: &mut Exposition) {
        const JOB: [&str; 2] = ["function", "state"];
        const RESPONSE: [&str; 3] = ["function", "state", "success"];
        let counter = Kind::Counter;
        let gauge = Kind::Gauge;
        self.expected.write(
            out,
            counter,
            "salt_expected_responses_total",
            "Total number of expected minions responses",
            JOB,
        );
        self.function_responses.write(
            out,
            counter,
            "salt_function_responses_total",
            "Total number of responses per function processed",
            RESPONSE,
        );
        self.function_status.write(
            out,
            gauge,
            "salt_function_status",
            "Last function/state success, 0=Failed, 1=Success",
            ["minion", "function", "state"],
        );
        self.last_heartbeat.write(
            out,
            gauge,
            "salt_health_last_heartbeat",
            "Last status beacon received. Unix timestamp",
            ["minion"],
        );
        out.gauge(
            "salt_health_minions_total",
            "Total number of observed minions via status beacon",
        )
        .sample(&[], self.last_heartbeat.0.len());
        self.duration.write(
            out,
            gauge,
            "salt_job_duration_seconds",
            "Last duration of a Salt job in seconds",
            JOB,
        );
        self.new_job.write(
            out,
            counter,
            "salt_new_job_total",
            "Total number of new jobs processed",
            JOB,
        );
        self.last_response.write(
            out,
            gauge,
            "salt_responses_last_received_response",
            "Last event received from minion, Unix timestamp",
            ["minion"],
        );
        self.responses.write(
            out,
            counter,
            "salt_responses_total",
            "Total number of responses",
            ["minion", "success"],
        );
        self.scheduled.write(
            out,
            counter,
            "salt_scheduled_job_return_total",
            "Total number of scheduled job responses",
            RESPONSE,
        );
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl<const N: usize> Series<N> {
    fn write(&self, out: &mut Exposition, kind: Kind, name: &str, help: &str, names: [&str; N]) {
        if self.0.is_empty() {
            return;
        }
        let mut family = match kind {
            Kind::Counter => out.counter(name, help),
            Kind::Gauge => out.gauge(name, help),
        };
        for (labels, value) in &self.0 {
            let values = labels.each_ref().map(String::as_str);
            let mut pairs = [("", ""); N];
            for (pair, named) in pairs.iter_mut().zip(names.into_iter().zip(values)) {
                *pair = named;
            }
            family.sample(&pairs, value);
        }
    }
}

/// The label `state`: what a state function was told to apply.
fn state_of(function: &str, data: &Map) -> String {
    match function {
        "state.highstate" => return "highstate".to_owned(),
        "state.sls" | "state.apply" | "state.single" => {}
        _ => return String::new(),
    }
    let list = |key| data.get(key).and_then(Value::as_array);
    let first = |key| list(key).and_then(|list| list.first());
    match first("arg").or_else(|| first("fun_args")) {
        Some(Value::Str(name)) => name.clone(),
        Some(Value::Map(keywords)) if function != "state.single" => {
            let mods = keywords.get("mods").and_then(Value::as_str);
            mods.unwrap_or_default().to_owned()
        }
        None if function == "state.apply" => "highstate".to_owned(),
        _ => String::new(),
    }
}

/// Whether a return is a success: `retcode`, `success` where it is there, and the results of states.
fn succeeded(data: &Map) -> bool {
    let retcode = data.get("retcode").and_then(Value::as_int).unwrap_or(0);
    let says_so = !matches!(data.get("success"), Some(Value::Bool(false)));
    retcode == 0 && says_so && states_succeeded(data).unwrap_or(true)
}

/// Whether all states did; `None` where this is no return of states. A false result decides, whatever else
/// there is.
fn states_succeeded(data: &Map) -> Option<bool> {
    let mut all_are_states = true;
    for (_, state) in data.get("return").and_then(Value::as_map)? {
        match state.as_map().and_then(|state| state.get("result")) {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Some(false),
            _ => all_are_states = false,
        }
    }
    all_are_states.then_some(true)
}

/// What the states took, added up as salt-exporter does: Salt's milliseconds taken for seconds. `None` if
/// any state does not say.
fn duration(data: &Map) -> Option<f64> {
    let states = data.get("return").and_then(Value::as_map)?;
    let mut sum = 0.0;
    for (_, state) in states {
        match state.as_map()?.get("duration")? {
            Value::Float(milliseconds) => sum += milliseconds,
            _ => return None,
        }
    }
    (!states.is_empty()).then_some(sum)
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
