//! What the fleet simulator gets out of a site's master: `brine bench fleet`, read as JSON.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::{Site, brine};

/// Runs of the simulator against a site; figures by name.
pub(crate) fn measure(site: &Site, minions: usize, events: usize) -> Result<Vec<(String, f64)>> {
    let mut figures = Vec::new();
    let alone = run(site, 1, events, 0)?;
    let many = run(site, minions, events, 3)?;
    let mut note = |name: String, report: &Value, pointer: &str, factor: f64| {
        if let Some(value) = report.pointer(pointer).and_then(Value::as_f64) {
            figures.push((name, value * factor));
        }
    };
    let on_bus = "/events/bus/events_per_second";
    note(
        "events per second on the bus, of 1 minion".into(),
        &alone,
        on_bus,
        1.0,
    );
    note(
        format!("events per second on the bus, of {minions} minions"),
        &many,
        on_bus,
        1.0,
    );
    note(
        "event answered, p50 of 1 minion, ms".into(),
        &alone,
        "/events/latency/p50_ns",
        1e-6,
    );
    note(
        "sign-ins per second".into(),
        &many,
        "/sign_in/answers_per_second",
        1.0,
    );
    note(
        "sign-ins per second and core that RSA alone allows".into(),
        &many,
        "/rsa_per_core/sign_ins_per_second",
        1.0,
    );
    note(
        format!("job for {minions} minions, last return on the bus, s"),
        &many,
        "/jobs/2/on_bus/last_after_s",
        1.0,
    );
    note(
        format!("all {minions} back after a lost connection, s"),
        &many,
        "/back_after_s",
        1.0,
    );
    Ok(figures)
}

fn run(site: &Site, minions: usize, events: usize, jobs: usize) -> Result<Value> {
    let mut command = Command::new(brine());
    command.args([
        "bench",
        "fleet",
        "--live",
        "--json",
        "--reconnect",
        "--transport",
        site.transport.name(),
    ]);
    let number = |name: &str, value: usize| [format!("--{name}"), value.to_string()];
    command
        .args(number("minions", minions))
        .args(number("senders", minions));
    command
        .args(number("events", events))
        .args(number("jobs", jobs));
    command.args(["--prefix", &format!("fleet{minions}-")]);
    command
        .arg("-c")
        .arg(site.root())
        .arg("--key-dir")
        .arg(site.root().join("keys"));
    command.args(["--pid", &site.master.pid().to_string()]);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("brine bench fleet")?;
    let report: Value =
        serde_json::from_slice(&output.stdout).context("brine bench fleet printed no report")?;
    ensure!(
        report["sign_in"]["accepted"].as_u64() == Some(minions as u64),
        "not all were let in: {report}"
    );
    Ok(report)
}
