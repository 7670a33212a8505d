//! A sequence of events, and the series that salt-exporter makes of it.

use brine_wire::json;

use super::*;
use crate::exposition::Format;

const NOW: u64 = 1_764_424_800;

fn feed(events: &[(&str, &str)]) -> SaltMetrics {
    let mut metrics = SaltMetrics::default();
    for (tag, data) in events {
        let data = json::parse(data.as_bytes()).unwrap();
        if is_followed(tag.as_bytes()) {
            metrics.event(tag, data.as_map().unwrap(), NOW);
        }
    }
    metrics
}

fn samples(metrics: &SaltMetrics) -> Vec<String> {
    let mut out = Exposition::new(Format::Text);
    metrics.write(&mut out);
    let text = out.finish();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_series_are_those_of_salt_exporter() {
    let metrics = feed(&[
        (
            "salt/job/1/new",
            r#"{"fun": "test.ping", "arg": [], "minions": ["m1", "m2", "m3"]}"#,
        ),
        (
            "salt/job/1/ret/m1",
            r#"{"id": "m1", "fun": "test.ping", "retcode": 0, "success": true, "return": true}"#,
        ),
        (
            "salt/job/1/ret/m2",
            r#"{"id": "m2", "fun": "test.ping", "retcode": 0, "success": true, "return": true}"#,
        ),
        (
            "salt/job/1/ret/m3",
            r#"{"id": "m3", "fun": "test.ping", "retcode": 1, "success": true, "return": ""}"#,
        ),
        (
            "salt/job/2/ret/m1",
            r#"{"id": "m1", "fun": "status.uptime", "schedule": "up", "retcode": 0, "return": 5}"#,
        ),
        (
            "salt/job/3/new",
            r#"{"fun": "state.apply", "arg": ["web"], "minions": ["m1"]}"#,
        ),
        (
            "salt/job/3/ret/m1",
            r#"{"id": "m1", "fun": "state.apply", "fun_args": ["web"], "retcode": 0, "success": true,
                "return": {"a": {"result": false, "duration": 1205.5}, "b": {"result": true, "duration": 2.25}}}"#,
        ),
        (
            "salt/job/4/ret/m1",
            r#"{"id": "m1", "fun": "state.highstate", "fun_args": [], "retcode": 0, "success": true, "return": {"a": {"result": true}}}"#,
        ),
        ("salt/beacon/m1/status/2026", r#"{"id": "m1"}"#),
        ("salt/beacon/m2/load/", r#"{"id": "m2"}"#),
        ("salt/run/5/new", r#"{"fun": "runner.jobs.active"}"#),
        (
            "salt/run/5/ret",
            r#"{"fun": "runner.jobs.active", "success": true, "return": {}}"#,
        ),
        ("salt/job/6", r#"{"id": "m9"}"#),
        ("my/job/1/new", r#"{"fun": "x"}"#),
    ]);
    assert_eq!(
        samples(&metrics),
        [
            r#"salt_expected_responses_total{function="runner.jobs.active",state=""} 0"#,
            r#"salt_expected_responses_total{function="state.apply",state="web"} 1"#,
            r#"salt_expected_responses_total{function="test.ping",state=""} 3"#,
            r#"salt_function_responses_total{function="runner.jobs.active",state="",success="true"} 1"#,
            r#"salt_function_responses_total{function="state.apply",state="web",success="false"} 1"#,
            r#"salt_function_responses_total{function="state.highstate",state="highstate",success="true"} 1"#,
            r#"salt_function_responses_total{function="test.ping",state="",success="false"} 1"#,
            r#"salt_function_responses_total{function="test.ping",state="",success="true"} 2"#,
            r#"salt_function_status{minion="m1",function="state.highstate",state="highstate"} 1"#,
            r#"salt_health_last_heartbeat{minion="m1"} 1764424800"#,
            r#"salt_health_minions_total 1"#,
            r#"salt_job_duration_seconds{function="state.apply",state="web"} 1207.75"#,
            r#"salt_new_job_total{function="runner.jobs.active",state=""} 1"#,
            r#"salt_new_job_total{function="state.apply",state="web"} 1"#,
            r#"salt_new_job_total{function="test.ping",state=""} 1"#,
            r#"salt_responses_last_received_response{minion="m1"} 1764424800"#,
            r#"salt_responses_last_received_response{minion="m2"} 1764424800"#,
            r#"salt_responses_last_received_response{minion="m3"} 1764424800"#,
            r#"salt_responses_total{minion="m1",success="false"} 1"#,
            r#"salt_responses_total{minion="m1",success="true"} 3"#,
            r#"salt_responses_total{minion="m2",success="true"} 1"#,
            r#"salt_responses_total{minion="m3",success="false"} 1"#,
            r#"salt_responses_total{minion="master",success="true"} 1"#,
            r#"salt_scheduled_job_return_total{function="status.uptime",state="",success="true"} 1"#,
        ]
    );
}

#[test]
fn the_state_is_what_was_to_be_applied() {
    for (function, data, state) in [
        ("state.sls", r#"{"arg": ["a.b"]}"#, "a.b"),
        ("state.apply", r#"{"arg": []}"#, "highstate"),
        ("state.apply", r#"{"arg": [], "fun_args": ["x"]}"#, "x"),
        (
            "state.apply",
            r#"{"arg": [{"__kwarg__": true, "mods": "m"}]}"#,
            "m",
        ),
        (
            "state.apply",
            r#"{"arg": [{"__kwarg__": true, "test": true}]}"#,
            "",
        ),
        (
            "state.single",
            r#"{"arg": ["pkg.installed"]}"#,
            "pkg.installed",
        ),
        ("state.single", r#"{}"#, ""),
        ("state.highstate", r#"{"arg": ["x"]}"#, "highstate"),
        ("test.ping", r#"{"arg": ["x"]}"#, ""),
    ] {
        let data = json::parse(data.as_bytes()).unwrap();
        assert_eq!(state_of(function, data.as_map().unwrap()), state);
    }
}

#[test]
fn a_hostile_minion_makes_no_series_without_bound() {
    let mut metrics = SaltMetrics::default();
    for number in 0..20_000 {
        let tag = format!("salt/job/{number}/ret/m{number}");
        let mut data = Map::new();
        data.insert("id", format!("m{number}"));
        data.insert("fun", format!("f{number}.x"));
        data.insert("retcode", 1);
        metrics.event(&tag, &data, NOW);
    }
    let mut data = Map::new();
    data.insert("id", "m".repeat(1 << 20));
    metrics.event("salt/job/1/ret/m", &data, NOW);
    let lines = samples(&metrics);
    assert!(lines.len() <= 4 * (MAX_SERIES + 2), "{}", lines.len());
    assert!(lines.iter().map(String::len).sum::<usize>() < 4 << 20);
    let other = r#"salt_responses_total{minion="other",success="false"} 15000"#;
    assert!(lines.iter().any(|line| line == other));
    assert!(metrics.folded() >= 30_000);
}
