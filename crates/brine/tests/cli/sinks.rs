//! Sinks of a bus: configured, shown by `brine consumer`, started before anything is fired.

use std::fs;
use std::net::TcpListener;

use brine_testkit::wait_until;

use crate::support::{Bus, Running, brine, run};

fn configured(sinks: &str) -> Bus {
    let bus = Bus::absent();
    let file = bus.path("master");
    let text = fs::read_to_string(&file).unwrap();
    let history = bus.path("h");
    let text = format!("{text}\nbrine:\n  history: {{directory: {history}}}\n  sinks:\n{sinks}\n");
    fs::write(&file, text).unwrap();
    bus
}

#[test]
fn a_sink_is_a_consumer_like_any_other() {
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", closed.local_addr().unwrap());
    drop(closed);
    let mut bus = configured(&format!(
        "    hook: {{type: webhook, url: '{url}'}}\n    lines: {{type: file, path: {{PATH}}, tags: 'my/*'}}"
    ));
    let (file, lines) = (bus.path("master"), bus.path("lines"));
    let text = fs::read_to_string(&file).unwrap().replace("{PATH}", &lines);
    fs::write(&file, text).unwrap();
    bus.begin(&["--config", &file]);
    bus.send("my/tag", "{n: 1}");
    bus.send("other", "{n: 2}");
    let written = || fs::read_to_string(&lines).unwrap_or_default();
    wait_until("written", || written().ends_with("}\n"));
    assert!(
        written().starts_with("{\"data\": {\"n\": 1, \"_stamp\""),
        "{}",
        written()
    );
    assert!(
        written().ends_with("\"tag\": \"my/tag\"}\n"),
        "{}",
        written()
    );

    let shown = || bus.run(&["consumer", "ls"]).stdout;
    wait_until("shown", || {
        let shown = shown();
        let is_waiting = shown
            .lines()
            .any(|line| line.starts_with("hook") && line.contains("waiting: http://"));
        is_waiting
            && shown
                .lines()
                .any(|line| line.starts_with("lines") && line.ends_with("active"))
    });
    let said = bus.run(&["doctor"]).stdout;
    assert!(
        said.contains(
            "warning  sink hook: the other side takes nothing, with 2 events to deliver: http://"
        ) && said
            .contains("\n         → start the other side, or correct brine: {sinks: {hook: …}}")
            && !said.contains("sink lines"),
        "{said}"
    );
    let info = bus.run(&["consumer", "info", "lines"]).stdout;
    for part in [
        "\"kind\": \"sink\"",
        "\"delivered\": 1",
        "\"lag\": 0",
        "\"filter\": \"my/*\"",
        "\"dead\": 0",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let left = bus.run(&["consumer", "rm", "lines"]);
    assert!(left.stderr.contains("is a sink that runs"), "{left:?}");
    assert_eq!(bus.run(&["consumer", "dead", "hook"]).stdout, "");
    assert_eq!(
        bus.run(&["consumer", "resend", "hook"]).stdout,
        "hook: 0 delivered, 0 refused again and kept\n"
    );
    // Again from the beginning.
    let left = bus.run(&["consumer", "reset", "lines", "--to-earliest", "--execute"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    wait_until("written again", || written().lines().count() == 2);

    bus.end();
    let store = ["--history", &bus.path("h")].map(str::to_owned);
    let left = run(
        brine(&["consumer", "reset", "lines", "--to-latest"]).args(&store),
        "",
    );
    assert!(left.stderr.contains("reset it while it runs"), "{left:?}");
}

/// A returner that loses its temper over one event.
const RETURNER: &str = r#"
import json

def event_return(events):
    if any(event["data"].get("n") == 13 for event in events):
        raise ValueError("unlucky")
    with open(__opts__["root_dir"] + "/returned", "a") as out:
        for event in events:
            out.write(json.dumps([event["tag"], event["data"]["n"], "_stamp" in event["data"]]) + "\n")
"#;

#[test]
fn salts_event_return_and_a_users_own_returner() {
    let bus = Bus::absent();
    let (file, lines) = (bus.path("master"), bus.path("events"));
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str(
        "interface: 127.0.0.1\nret_port: 0\npublish_port: 0\nextension_modules: /cache/extmods\nevent_return: [rawfile_json, mine]\n",
    );
    text.push_str("event_return_whitelist: ['my/*']\nevent_return_blacklist: ['my/secret']\n");
    text.push_str(&format!("rawfile_json.filename: {lines}\n"));
    fs::write(&file, text).unwrap();
    let returners = bus.path("cache/extmods/returners");
    fs::create_dir_all(&returners).unwrap();
    fs::write(format!("{returners}/mine.py"), RETURNER).unwrap();
    let mut master = brine(&["salt-master", "-c", &bus.config_dir(), "-l", "info"]);
    let mut master = Running::start(&mut master);
    master.says("ready");
    for (tag, number) in [
        ("my/a", 1),
        ("my/b", 13),
        ("my/secret", 3),
        ("other", 4),
        ("my/c", 5),
    ] {
        bus.send(tag, &format!("{{n: {number}}}"));
    }
    let read = |name: &str| fs::read_to_string(bus.path(name)).unwrap_or_default();
    wait_until("returned", || read("returned").contains("my/c"));
    // One of them may have been given once more, to see whether the module takes anything.
    let mut returned: Vec<_> = read("returned").lines().map(str::to_owned).collect();
    returned.dedup();
    assert_eq!(returned, ["[\"my/a\", 1, true]", "[\"my/c\", 5, true]"]);
    wait_until("written", || read("events").lines().count() == 3);
    let dead = bus.run(&["consumer", "dead", "mine", "-c", &bus.config_dir()]);
    assert!(
        dead.stdout
            .contains("my/b: mine.event_return: ValueError: unlucky"),
        "{dead:?}"
    );
}

#[test]
fn what_is_wrong_with_a_sink_is_said_before_anything_starts() {
    for (sinks, says) in [
        (
            "    audit: {type: postgres, hots: db}",
            "/master, line 11: brine: sinks: audit: hots: no such option; did you mean host?",
        ),
        (
            "    audit: {type: webhook, url: 'ftp://x'}",
            "/master, line 11: brine: sinks: audit: url: expected an address such as https://example.org/events, found \"ftp://x\"",
        ),
        (
            "    audit: {type: file, path: /x, filter: nonsense}",
            "/master, line 11: brine: sinks: audit: tags, exclude and filter: expected terms FIELD:PATTERN",
        ),
        (
            "    audit: {type: mysql, tls: verify, ca: /nonexistent/ca.pem}",
            "/master, line 11: brine: sinks: audit: /nonexistent/ca.pem: expected certificates in PEM: ",
        ),
        (
            "    audit: {type: nats, servers: 'nats://127.0.0.1', ca: /etc/hostname}",
            "/master, line 11: brine: sinks: audit: /etc/hostname: expected certificates in PEM: there is none",
        ),
        (
            "    audit: {type: otlp, url: 'http://x/', cert: /c}",
            "/master, line 11: brine: sinks: audit: cert: expected cert and key together",
        ),
        (
            "    audit: {type: returner, module: mine}",
            "/master, line 11: brine: sinks: audit: returner mine: expected mine.py in one of",
        ),
    ] {
        let bus = configured(sinks);
        let file = bus.path("master");
        let left = bus.run(&["bus", "--config", &file]);
        assert!(left.stderr.contains(says), "{left:?}");
        assert_eq!(left.code, Some(1));
        assert!(!fs::exists(bus.path("h")).unwrap(), "a history was opened");
        let checked = run(&mut brine(&["check", "--config", &file]), "");
        let (_, what) = says.split_once(": ").unwrap();
        assert!(checked.stdout.contains(what), "{checked:?}");
        assert!(checked.stdout.contains("/master:11"), "{checked:?}");
        assert_eq!(checked.code, Some(1));
    }
}
