//! Sinks of a bus: configured, shown by `brine consumer`, started before anything is fired.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

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
            "warning  sink hook: the other side does not accept events, with 2 events to deliver: http://"
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
    let left = bus.run(&["consumer", "next", "lines"]);
    assert!(
        left.stderr
            .contains("lines is a sink that runs: its events go"),
        "{left:?}"
    );
    assert_ne!(left.code, Some(0));
    let left = bus.run(&["consumer", "pause", "hook", "1s"]);
    assert!(
        left.stderr
            .contains("Usage: brine consumer pause [OPTIONS]"),
        "{left:?}"
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

/// What is in a directory, however deep.
fn names(directory: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(self::names(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

/// That a daemon refuses a configuration, of which the first 7 lines are there, and makes nothing; and so does a check.
fn is_refused(program: &[&str], more: &str, line: usize, says: &str) {
    let bus = Bus::absent();
    let file = bus.path("master");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("interface: 127.0.0.1\n");
    text.push_str(&more.replace("ROOT", bus.root.path().to_str().unwrap()));
    fs::write(&file, text).unwrap();
    let before = names(bus.root.path());
    let left = run(brine(program).args(["-c", &bus.config_dir()]), "");
    let says = says.replace("ROOT", bus.root.path().to_str().unwrap());
    let expected = format!("{file}, line {line}: {says}");
    assert!(left.stderr.contains(&expected), "{expected}: {left:?}");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert_eq!(names(bus.root.path()), before, "something was made");
    let checked = run(&mut brine(&["check", "--config", &file]), "");
    let expected = format!("error    {file}:{line}: {says}");
    assert!(
        checked.stdout.contains(&expected),
        "{expected}: {checked:?}"
    );
    assert_eq!(checked.code, Some(1));
}

#[test]
fn a_history_that_is_switched_off_and_needed_is_refused_before_anything_is_made() {
    let sink = "brine:\n  history: false\n  sinks:\n    lines: {type: file, path: ROOT/lines}\n";
    let says = "brine: history: expected true or its options, because what is delivered is remembered there for \
                brine: sinks: lines; found false";
    for program in [&["salt-master"][..], &["bus"], &["attach"]] {
        is_refused(program, sink, 9, says);
    }
    let cluster = "brine:\n  cluster: {servers: 'nats://127.0.0.1:1'}\n  history: false\n";
    is_refused(
        &["salt-master"],
        cluster,
        10,
        &says.replace("brine: sinks: lines", "brine: cluster"),
    );
    let own = "event_return: rawfile_json\nbrine: {history: false}\n";
    is_refused(
        &["salt-master"],
        own,
        9,
        &says.replace("brine: sinks: lines", "event_return"),
    );
}

#[test]
fn two_sinks_do_not_share_what_one_alone_may_write() {
    let says = |option: &str, found: &str| {
        format!("{option}: path: expected a file of its own, found {found}")
    };
    for (path, found) in [
        (
            "ROOT/out",
            "ROOT/out, which brine: sinks: one (ROOT/master, line 10) has",
        ),
        (
            "ROOT/cache/../out",
            "ROOT/cache/../out, which brine: sinks: one (ROOT/master, line 10) has as ROOT/out",
        ),
        (
            "ROOT/.out.position",
            "ROOT/.out.position, which brine: sinks: one (ROOT/master, line 10) has as ROOT/out",
        ),
    ] {
        is_refused(
            &["bus"],
            &format!(
                "brine:\n  sinks:\n    one: {{type: file, path: ROOT/out}}\n    two: {{type: file, path: {path}}}\n"
            ),
            11,
            &says("brine: sinks: two", found),
        );
    }
    is_refused(
        &["salt-master"],
        "event_return: rawfile_json\nrawfile_json.filename: ROOT/out\nbrine:\n  sinks:\n    one: {type: file, path: ROOT/out}\n",
        8,
        &says(
            "event_return",
            "ROOT/out, which brine: sinks: one (ROOT/master, line 12) has",
        ),
    );
    is_refused(
        &["salt-master"],
        "brine:\n  cluster: {servers: 'nats://Localhost'}\n  sinks:\n    more: {type: nats, servers: ['tls://localhost:4222'], stream: X}\n",
        11,
        "brine: sinks: more: prefix: expected one of its own, found \"salt\", below which brine: cluster \
         (ROOT/master, line 9) publishes to the same server",
    );
}

#[test]
fn two_sinks_do_not_store_the_same_events_in_the_same_tables() {
    let more = |two: &str| {
        format!(
            "brine:\n  sinks:\n    one: {{type: postgres, host: Db}}\n    two: {{type: postgres, host: db, {two}}}\n"
        )
    };
    let says = "brine: sinks: two: tables: expected tables of its own, or other tags, found those that brine: sinks: \
                one (ROOT/master, line 10) writes with the same events";
    is_refused(&["bus"], &more("tags: my/*"), 11, says);
    let bus = Bus::absent();
    let file = bus.path("master");
    let text = fs::read_to_string(&file).unwrap();
    for two in ["port: 1", "database: other"] {
        fs::write(&file, format!("{text}{}", more(two))).unwrap();
        let checked = run(&mut brine(&["check", "--config", &file]), "");
        assert!(!checked.stdout.contains("tables:"), "{checked:?}");
    }
}

#[test]
fn a_sink_does_not_write_among_brines_own_files_nor_what_is_no_file() {
    let sink = |path: &str| format!("brine:\n  sinks:\n    one: {{type: file, path: {path}}}\n");
    for (option, path) in [
        ("cachedir (ROOT/cache)", "ROOT/cache/history/events"),
        ("pki_dir (ROOT/pki)", "ROOT/pki/minions/web1"),
    ] {
        let says = format!(
            "brine: sinks: one: path: expected a file outside of {option}, where Brine keeps its own, found {path}"
        );
        is_refused(&["bus"], &sink(path), 10, &says);
    }
    let says = "brine: sinks: one: path: expected a file, found ROOT, which is a directory";
    is_refused(&["bus"], &sink("ROOT"), 10, says);
}

#[test]
fn two_names_of_one_file_are_one_file() {
    let bus = Bus::absent();
    let file = bus.path("master");
    fs::write(bus.path("there"), "").unwrap();
    fs::hard_link(bus.path("there"), bus.path("hard")).unwrap();
    symlink("later", bus.path("soft")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    for (one, two) in [("there", "hard"), ("later", "soft"), ("soft", "later")] {
        let (one, two) = (bus.path(one), bus.path(two));
        let sinks = format!(
            "brine:\n  sinks:\n    one: {{type: file, path: {one}}}\n    two: {{type: file, path: {two}}}\n"
        );
        fs::write(&file, format!("{text}{sinks}")).unwrap();
        let checked = run(&mut brine(&["check", "--config", &file]), "");
        let says = format!("found {two}, which brine: sinks: one ({file}, line 9) has as {one}");
        assert!(checked.stdout.contains(&says), "{says}: {checked:?}");
    }
}

#[test]
fn what_a_cluster_needs_is_looked_for_before_anything_is_made() {
    for (cluster, says) in [
        (
            "{servers: a, credentials: /nonexistent/creds}",
            "brine: cluster: credentials: /nonexistent/creds: No such file or directory",
        ),
        (
            "{servers: a, credentials: ROOT/master}",
            "brine: cluster: credentials: ROOT/master: expected credentials as nsc makes them",
        ),
        (
            "{servers: a, nkey: ROOT/master}",
            "brine: cluster: nkey: ROOT/master: expected the seed of a user's nkey, which begins with SU",
        ),
        (
            "{servers: a, ca: ROOT/master}",
            "brine: cluster: ca: ROOT/master: expected certificates in PEM",
        ),
        (
            "{server: a}",
            "brine: cluster: server: no such option; did you mean servers?",
        ),
    ] {
        let more = format!("brine:\n  cluster: {cluster}\n");
        is_refused(&["salt-master"], &more, 9, says);
    }
}

#[test]
fn a_real_masters_event_return_is_none_of_our_business() {
    let mut bus = Bus::absent();
    let file = bus.path("master");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("event_return: splunk\nmaster_job_cache: redis\n");
    fs::write(&file, text).unwrap();
    // Commands, and buses, read the configuration of a master that is Salt's.
    bus.begin(&["--config", &file]);
    let left = run(&mut brine(&["send", "my/tag", "{}", "--config", &file]), "");
    assert_eq!(left.code, Some(0), "{left:?}");
    // A master of ours cannot do it.
    let left = run(&mut brine(&["salt-master", "-c", &bus.config_dir()]), "");
    let says = format!("{file}, line 7: event_return: expected pgjsonb, postgres,");
    assert!(left.stderr.contains(&says), "{left:?}");
    let checked = run(&mut brine(&["check", "--config", &file]), "");
    assert!(
        checked.stdout.contains(":7: event_return: expected"),
        "{checked:?}"
    );
}

#[test]
fn dead_letters_for_an_other_side_that_is_away_are_not_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let answer = b"HTTP/1.1 422 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad";
        stream.write_all(answer).unwrap();
        let _ = stream.read(&mut [0; 4096]); // until it is closed
    });
    let mut bus = configured(&format!(
        "    hook: {{type: webhook, url: 'http://{address}/in', attempts: 1}}"
    ));
    bus.begin(&["--config", &bus.path("master")]);
    bus.send("my/tag", "{n: 1}");
    receiver.join().unwrap();
    wait_until("set aside", || {
        bus.run(&["consumer", "dead", "hook"])
            .stdout
            .contains("bad")
    });
    let left = bus.run(&["consumer", "resend", "hook"]);
    let says = format!("hook: 0 delivered, 1 kept: the other side is away: http://{address}/in: ");
    assert!(left.stdout.starts_with(&says), "{left:?}");
    assert_eq!(left.code, Some(1));
}

#[test]
fn dead_letters_are_discarded_by_name_and_after_a_look() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Refuses every event, and goes with the test.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let answer = b"HTTP/1.1 422 No\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbad";
            stream.write_all(answer).unwrap();
            let _ = stream.read(&mut [0; 4096]); // until it is closed
        }
    });
    let mut bus = configured(&format!(
        "    hook: {{type: webhook, url: 'http://{address}/in', attempts: 1}}"
    ));
    let config = bus.path("master");
    bus.begin(&["--config", &config]);
    for n in 1..=3 {
        bus.send("my/tag", &format!("{{n: {n}}}"));
    }
    let run = |bus: &Bus, words: &[&str]| {
        bus.run(&[&["consumer"], words, &["--config", &config]].concat())
    };
    let positions = |bus: &Bus| -> Vec<String> {
        let dead = run(bus, &["dead", "hook"]).stdout;
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        dead.lines().map(first).collect()
    };
    wait_until("set aside", || positions(&bus).len() == 3);
    let [first, second, third] = &positions(&bus)[..] else {
        panic!("three letters");
    };
    // Neither what is not there, nor without being told to.
    for words in [
        &["discard", "hook"][..],
        &["discard", "hook", "--all", first],
    ] {
        assert_eq!(run(&bus, words).code, Some(2), "{words:?}");
    }
    for execute in [&[][..], &["--execute"]] {
        let unknown = format!("{first}9");
        let words = [&["discard", "hook", first, &unknown], execute].concat();
        let left = run(&bus, &words);
        assert_eq!(left.code, Some(1), "{left:?}");
        let says = format!("no dead letter has position {unknown}; nothing was discarded");
        assert!(left.stderr.contains(&says), "{left:?}");
    }
    let left = run(&bus, &["discard", "hook", first, second]);
    assert_eq!(left.stdout, "hook: 2 to discard, 1 to keep\n", "{left:?}");
    assert!(left.stderr.contains("add --execute"), "{left:?}");
    assert_eq!(positions(&bus).len(), 3);
    let left = run(&bus, &["discard", "hook", second, "--execute"]);
    assert_eq!(left.stdout, "hook: 1 discarded, 2 kept\n", "{left:?}");
    assert_eq!(positions(&bus), [first.clone(), third.clone()]);
    let info = |bus: &Bus| run(bus, &["info", "hook"]).stdout;
    assert!(info(&bus).contains("\"dead\": 2"), "{}", info(&bus));
    // With the bus down the store is asked, which knows them too.
    assert_eq!(bus.end().code, Some(0));
    assert!(info(&bus).contains("\"dead\": 2"), "{}", info(&bus));
    let left = run(&bus, &["discard", "hook", "--all", "--execute"]);
    assert_eq!(left.stdout, "hook: 2 discarded, 0 kept\n", "{left:?}");
    assert!(info(&bus).contains("\"dead\": 0"), "{}", info(&bus));
    // No reader but a sink has any.
    assert_eq!(run(&bus, &["add", "plain"]).code, Some(0));
    let left = run(&bus, &["discard", "plain", "--all"]);
    assert!(left.stderr.contains("is not a sink"), "{left:?}");
}

/// Several lines lie between the option that asks for a sink and the one that is wrong.
#[test]
fn a_file_that_cannot_be_used_is_reported_where_its_option_stands() {
    let root = tempfile::tempdir().unwrap();
    let options = "\
root_dir: ROOT
brine:
  history: true
  sinks:
    audit:
      type: postgres
      tls: verify
      ca: /nonexistent/a.pem
event_return: [pgjsonb, mysql]
returner.pgjsonb.sslmode: verify-full
returner.pgjsonb.sslrootcert: /nonexistent/b.pem
mysql:
  host: db
  ssl_ca: /nonexistent/c.pem
";
    let config = root.path().join("master");
    let options = options.replace("ROOT", root.path().to_str().unwrap());
    fs::write(&config, options).unwrap();
    let config = config.to_str().unwrap();
    let checked = run(&mut brine(&["check", "--config", config]), "");
    for (line, option) in [
        (8, "brine: sinks: audit: ca: /nonexistent/a.pem"),
        (11, "returner.pgjsonb.sslrootcert: /nonexistent/b.pem"),
        (14, "mysql.ssl_ca: /nonexistent/c.pem"),
    ] {
        let said = format!("error    {config}:{line}: {option}: expected certificates in PEM: ");
        assert!(checked.stdout.contains(&said), "{said}: {checked:?}");
    }
    let left = run(
        &mut brine(&["salt-master", "-c", root.path().to_str().unwrap()]),
        "",
    );
    let said =
        format!("brine: {config}, line 8: brine: sinks: audit: ca: /nonexistent/a.pem: expected");
    assert!(left.stderr.contains(&said), "{left:?}");
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
            "/master, line 11: brine: sinks: audit: filter: expected terms FIELD:PATTERN",
        ),
        (
            "    audit: {type: mysql, tls: verify, ca: /nonexistent/ca.pem}",
            "/master, line 11: brine: sinks: audit: ca: /nonexistent/ca.pem: expected certificates in PEM: ",
        ),
        (
            "    audit: {type: nats, servers: 'nats://127.0.0.1', ca: /etc/hostname}",
            "/master, line 11: brine: sinks: audit: ca: /etc/hostname: expected certificates in PEM: there is none",
        ),
        (
            "    audit: {type: otlp, url: 'http://x/', headers: {Content-Length: '3'}}",
            "/master, line 11: brine: sinks: audit: headers: the sink sets \"Content-Length\" itself; remove it",
        ),
        (
            "    audit: {type: otlp, url: 'http://x/', cert: /c}",
            "/master, line 11: brine: sinks: audit: cert: expected cert and key together",
        ),
        (
            "    audit: {type: returner, module: mine}",
            "/master, line 11: brine: sinks: audit: returner mine: there is no mine.py in ",
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
