//! A bus that was killed leaves billions of numbers unused; nobody takes them for events.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::support::{Bus, Running, brine, run};

/// Three events, a crash, two events; a consumer that has read none of them.
fn crashed(history: &[&str]) -> Bus {
    let mut bus = Bus::absent();
    let fire = |bus: &Bus, tags: &[&str]| {
        for tag in tags {
            let left = bus.run(&["send", "--ack", tag, "{}"]);
            assert_eq!(left.code, Some(0), "{left:?}");
        }
    };
    let directory = bus.path("h");
    let arguments = [history, &["--history", &directory]].concat();
    bus.begin(&arguments);
    fire(&bus, &["a/1", "a/2", "a/3"]);
    let left = bus.run(&["consumer", "add", "audit", "--deliver", "all"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    bus.kill();
    bus.begin(&arguments);
    fire(&bus, &["b/1", "b/2"]);
    bus
}

#[test]
fn lag_is_counted_in_events_whoever_counts() {
    let mut bus = crashed(&[]);
    let history = bus.path("h");
    let status = || bus.run(&["status", "--history", &history]).stdout;
    assert!(
        status().contains("\nconsumer audit is 5 events behind\n"),
        "{}",
        status()
    );
    let ls = bus.run(&["consumer", "ls"]).stdout;
    let lag = ls
        .lines()
        .nth(1)
        .and_then(|row| row.split_whitespace().nth(4));
    assert_eq!(lag, Some("5"), "{ls}");
    let mut socket = UnixStream::connect(bus.path("s/brine.sock")).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).unwrap();
    let mut metrics = String::new();
    socket.read_to_string(&mut metrics).unwrap();
    for line in [
        "brine_history_events 5\n",
        "brine_history_behind_events 0\n",
        "brine_consumer_lag_events 5\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // Without a configuration nobody knows where the store is, and the bus says it.
    let alone = bus.run(&["status"]).stdout;
    assert!(
        alone.contains("\nconsumer audit is 5 events behind\n"),
        "{alone}"
    );
    bus.kill();
    let ls = run(&mut brine(&["consumer", "ls", "--history", &history]), "");
    let row = ls.stdout.lines().nth(1).unwrap_or_default();
    let last = row.split_whitespace().nth(3).unwrap_or_default().to_owned();
    let newest = run(
        &mut brine(&[
            "history",
            "--history",
            &history,
            "--last",
            "1",
            "--seq",
            "--json",
        ]),
        "",
    );
    assert!(
        newest.stdout.contains(&format!("\"seq\": {last},")),
        "{newest:?} {ls:?}"
    );
    let left = bus.run(&["status", "--history", &history]);
    assert!(
        left.stdout
            .contains("\nconsumer audit is 5 events behind\n"),
        "{left:?}"
    );
}

#[test]
fn a_watch_says_how_many_events_there_were() {
    let bus = crashed(&[]);
    for past in [
        &["--from", "0"][..],
        &["--from", "earliest"],
        &["--since", "1h"],
        &["--last", "50"],
        &["--last", "50", "--grep", "no such text"],
        &["--last-per-tag"],
    ] {
        let words = [&["watch", "-t", "1", "--filter", "ok:false"], past].concat();
        let left = bus.run(&words);
        let said = left.stderr.lines().last().unwrap_or_default();
        assert_eq!(said, "brine: 0 of 5 events matched in 1 s", "{past:?}");
    }
    let left = bus.run(&["watch", "-t", "1", "--from", "3", "none/*"]);
    let said = left.stderr.lines().last().unwrap_or_default();
    assert_eq!(said, "brine: 0 of 3 events matched in 1 s");
}

#[test]
fn positions_move_by_events_and_so_many_are_kept() {
    let mut bus = crashed(&[]);
    let reset = |to: &[&str]| {
        let words = [&["consumer", "reset", "audit", "--execute"], to].concat();
        let left = bus.run(&words);
        assert_eq!(left.code, Some(0), "{left:?}");
        left.stdout
    };
    let moved = reset(&["--shift-by", "4"]);
    assert!(moved.ends_with("(4 events skipped)\n"), "{moved}");
    let moved = reset(&["--shift-by", "-3"]);
    assert!(moved.ends_with("-1 (3 events again)\n"), "{moved}");
    assert_eq!(bus.end().code, Some(0));

    let history = bus.path("h");
    let log = |words: &[&str]| {
        let words = [words, &["--history", &history]].concat();
        run(&mut brine(&words), "")
    };
    // Whole blocks go: the three events before the crash are one, of which the last is wanted.
    let left = log(&["log", "purge", "--keep", "3", "--execute"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let kept = log(&["history", "-o", "tags"]).stdout;
    assert_eq!(kept.lines().count(), 5, "{kept}");
    let left = log(&["log", "purge", "--keep", "2", "--execute"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    assert_eq!(log(&["history", "-o", "tags"]).stdout, "b/1\nb/2\n");
    // What was removed is counted without the numbers between.
    let left = log(&["consumer", "next", "audit"]);
    assert!(
        left.stderr
            .starts_with("brine: 2 events after 1 were removed before audit read them\n"),
        "{left:?}"
    );
}

#[test]
fn a_summary_says_what_it_missed() {
    let mut bus = crashed(&[]);
    let history = bus.path("h");
    let mut summary =
        Running::start(&mut bus.command(&["watch", "--summary=0.05", "-o", "ndjson"]));
    summary.prints("\"missed\": 0");
    bus.kill();
    bus.begin(&["--history", &history]);
    bus.send("c/1", "{}");
    // Nobody knows which of the last numbers were used.
    let printed = summary.prints("\"c/1\"");
    assert!(printed.contains("\"missed\": null"), "{printed}");
}
