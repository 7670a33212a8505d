//! `brine history`, `brine log` and `brine consumer`, on a store whose bus is not running.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bus::free_ports;
use crate::support::{Bus, Left, Running, brine, run, wait_for_local_socket, wait_until};

/// A store with events 1 to 6, each a minute after the last.
struct Store {
    root: TempDir,
}

const EVENTS: &str = r#"
{"time": "2026-11-29T08:00:00Z", "tag": "salt/job/1/new", "data": {"jid": "1"}}
{"time": "2026-11-29T08:01:00Z", "tag": "salt/job/1/ret/web1", "data": {"id": "web1", "fun": "test.ping", "success": true}}
{"time": "2026-11-29T08:02:00Z", "tag": "salt/job/1/ret/db1", "data": {"id": "db1", "fun": "test.ping", "success": false}}
{"time": "2026-11-29T08:03:00Z", "tag": "my/tag", "data": {"b": {"$bytes": "AP8="}}}
{"time": "2026-11-29T08:04:00Z", "tag": "my/other", "data": {}}
{"time": "2026-11-29T08:05:00Z", "tag": "salt/job/2/new", "data": {"jid": "2"}}
"#;

impl Store {
    fn new() -> Self {
        Self::of(EVENTS)
    }

    fn of(events: &str) -> Self {
        let store = Self {
            root: tempfile::Builder::new().prefix("b").tempdir().unwrap(),
        };
        let left = store.run_with(&["log", "import"], events);
        assert_eq!(left.stdout, "6 events imported\n", "{left:?}");
        store
    }

    fn run(&self, arguments: &[&str]) -> Left {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Left {
        let mut command = brine(arguments);
        command.args(["--history", self.root.path().join("h").to_str().unwrap()]);
        run(&mut command, input)
    }

    /// The tags that a command prints.
    fn tags(&self, arguments: &[&str]) -> Vec<String> {
        let left = self.run(arguments);
        assert_eq!(left.code, Some(0), "{arguments:?}: {left:?}");
        let lines = left.stdout.lines();
        lines
            .map(|line| {
                let tag = line.split("\"tag\": \"").nth(1).unwrap();
                tag.split('"').next().unwrap().to_owned()
            })
            .collect()
    }
}

#[test]
fn history_chooses_by_tag_field_time_and_number() {
    let store = Store::new();
    for (arguments, tags) in [
        (&["my/*"][..], &["my/tag", "my/other"][..]),
        (&["-n", "1"], &["salt/job/1/new"]),
        (
            &["salt/*", "-x", "*/new"],
            &["salt/job/1/ret/web1", "salt/job/1/ret/db1"],
        ),
        (&["--filter", "ok:false"], &["salt/job/1/ret/db1"]),
        (&["--from", "5"], &["my/other", "salt/job/2/new"]),
        (
            &["--since", "2026-11-29 08:04", "--utc"],
            &["my/other", "salt/job/2/new"],
        ),
        (
            &["-S", "2026-11-29T08:02:30Z", "-U", "2026-11-29T08:03:30Z"],
            &["my/tag"],
        ),
        (&["--last", "2"], &["my/other", "salt/job/2/new"]),
        (&["--last", "1", "my/*"], &["my/other"]),
        (
            &["--last", "2", "-S", "2026-11-29T08:05:00Z"],
            &["salt/job/2/new"],
        ),
        (
            &[
                "--last",
                "1",
                "-S",
                "2026-11-29T08:03:00Z",
                "-U",
                "2026-11-29T08:04:30Z",
            ],
            &["my/other"],
        ),
        (&["-r", "-n", "2"], &["salt/job/2/new", "my/other"]),
        (&["--last", "2", "-r", "-n", "1"], &["salt/job/2/new"]),
        (&["--from", "new"], &[]),
        (&["--from", "0", "-n", "1"], &["salt/job/1/new"]),
    ] {
        let words = [&["history"], arguments].concat();
        assert_eq!(store.tags(&words), tags, "{arguments:?}");
    }
}

#[test]
fn a_start_that_is_gone_or_no_start_has_its_own_code() {
    let store = Store::new();
    let left = store.run(&["history", "--from", "99"]);
    assert_eq!(
        (left.code, left.stderr.as_str()),
        (
            Some(3),
            "brine: event 99 is not there yet: the newest is 6\n"
        )
    );
    let left = store.run(&["history", "--from", "abc-4"]);
    assert_eq!(left.code, Some(3));
    assert!(
        left.stderr.contains("position abc-4 is of another log"),
        "{left:?}"
    );
    assert_eq!(store.run(&["history", "--from", "soon"]).code, Some(2));
    let left = store.run(&["history", "--history", "/nosuch"]);
    assert_eq!(left.code, Some(2), "given twice: {left:?}");
    let left = run(&mut brine(&["history", "--history", "/nosuch"]), "");
    assert_eq!(
        (left.code, left.stderr.as_str()),
        (
            Some(1),
            "brine: history /nosuch: there is no history in this directory\n"
        )
    );
}

#[test]
fn an_exported_log_is_imported_as_it_was() {
    let (store, copy) = (Store::new(), Store::new());
    let exported = store.run(&["log", "export"]).stdout;
    let first = exported.lines().next().unwrap();
    assert!(
        first.contains(r#""time": "2026-11-29T08:00:00.000Z", "tag": "salt/job/1/new""#),
        "{first}"
    );
    let left = copy.run_with(&["log", "import"], &exported);
    assert_eq!(left.stdout, "6 events imported\n");
    let data = |text: &str| {
        let lines = text.lines();
        lines
            .map(|line| line.split("\"data\": ").nth(1).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let again = copy.run(&["log", "export", "--from", "7"]).stdout;
    assert_eq!(data(&again), data(&exported));
    assert!(exported.contains(r#"{"$bytes": "AP8="}"#));
}

#[test]
fn a_log_is_looked_at_checked_and_shortened() {
    let store = Store::new();
    let info = store.run(&["log", "info"]).stdout;
    assert!(
        info.contains("events     6\noldest     1 of 2026-11-29T08:00:00.000Z\n"),
        "{info}"
    );
    assert!(info.contains("bus        not running\n"), "{info}");
    let left = store.run(&["log", "verify"]);
    assert_eq!(
        (left.code, left.stdout.as_str()),
        (Some(0), "6 events can be read\n")
    );
    let left = store.run(&["log", "purge", "--tag", "my/*"]);
    assert_eq!(left.stdout, "2 events with a tag that matches my/*\n");
    assert_eq!(
        left.stderr,
        "brine: nothing removed; add --execute to do it\n"
    );
    let left = store.run(&["log", "purge", "--tag", "my/*", "--execute"]);
    assert!(left.stdout.ends_with("2 events removed\n"), "{left:?}");
    assert_eq!(store.tags(&["history", "my/*"]), Vec::<String>::new());
    let left = store.run(&["log", "vacuum", "--size", "1GiB"]);
    assert!(left.stdout.starts_with("0 of 4 events removed"), "{left:?}");
}

/// As the bus itself would: but only the configured store, no copy of it.
#[test]
fn vacuum_applies_the_configured_limits_unless_others_are_named() {
    let store = Store::of(&EVENTS.replace("2026", "2016"));
    let root = store.root.path();
    let directory = root.join("h");
    let config = |limits: &str| {
        let text = format!(
            "root_dir: {}\nbrine:\n  history:\n    directory: {}\n    max_age: {limits}\n",
            root.display(),
            directory.display()
        );
        fs::write(root.join("master"), text).unwrap();
    };
    let vacuum = |more: &[&str]| {
        let mut command = brine(&["log", "vacuum", "-c"]);
        command.arg(root).args(more);
        let left = run(&mut command, "");
        assert_eq!(left.code, Some(0), "{left:?}");
        left.stdout.split(';').next().unwrap().to_owned()
    };
    config("{'*': 36500d, my/other: 1d}");
    assert_eq!(
        store.run(&["log", "vacuum"]).stdout.split(';').next(),
        Some("0 of 6 events removed")
    );
    assert_eq!(vacuum(&["--size", "1GiB"]), "0 of 6 events removed");
    assert_eq!(vacuum(&["--time", "36500d"]), "0 of 6 events removed");
    assert_eq!(vacuum(&[]), "1 of 6 events removed");
    config("1d");
    assert_eq!(vacuum(&["--size", "1GiB"]), "0 of 5 events removed");
    assert_eq!(vacuum(&[]), "5 of 5 events removed");
}

#[test]
fn a_window_that_ends_before_it_begins_is_refused() {
    let store = Store::new();
    for (words, said) in [
        (
            &["history", "--since", "5m", "--until", "10m"][..],
            "--since 5m is later than --until 10m: nothing is between them",
        ),
        (
            &["history", "--from", "@200", "--until", "@100"],
            "--from @200 is later than --until @100",
        ),
        (
            &["log", "export", "--since", "5m", "--until", "10m"],
            "--since 5m is later than --until 10m",
        ),
    ] {
        let left = store.run(words);
        assert_eq!((left.code, left.stdout.as_str()), (Some(2), ""), "{left:?}");
        assert!(left.stderr.contains(said), "{left:?}");
    }
    // That nothing was stored so early is no mistake, but may be one.
    let left = store.run(&["history", "--until", "@100"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let oldest = "0 of 6 events matched: the oldest is of 2026-11-29";
    assert!(
        left.stderr.contains(oldest) && left.stderr.contains("later than --until"),
        "{left:?}"
    );
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_opened() {
    let store = Store::new();
    let left = store.run(&["log", "vacuum", "--time", "x"]);
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(left.stderr.contains("--time"), "{left:?}");
    let info = store.run(&["log", "info"]).stdout;
    assert!(info.contains("bus        not running\n"), "{info}");
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    let vacuum = ["log", "vacuum", "--time", "x", "--history", &history];
    assert_eq!(run(&mut brine(&vacuum), "").code, Some(2));
}

#[test]
fn a_killed_bus_is_seen_from_its_store_and_a_closed_one_is_not() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    for is_killed in [true, false] {
        bus.begin(&["--history", &history]);
        let left = bus.run(&["send", "--ack", "a/tag", "{}"]);
        assert_eq!(left.code, Some(0), "{left:?}");
        match is_killed {
            true => bus.kill(),
            false => drop(bus.end()),
        }
        let about = |what| run(&mut brine(&["log", what, "--history", &history]), "");
        let (info, verified) = (about("info"), about("verify"));
        let killed = "the bus was killed and did not close the history; the next start recovers it";
        assert_eq!(info.stdout.contains(killed), is_killed, "{info:?}");
        assert_eq!(verified.code, Some(0));
        assert_eq!(verified.stderr.contains(killed), is_killed, "{verified:?}");
    }
}

#[test]
fn purge_says_what_it_removes_and_an_emptied_log_what_it_lacks() {
    let store = Store::new();
    let why = "only whole blocks are removed, and none ends before event 6; the oldest: 1";
    let left = store.run(&["log", "purge", "--keep", "1"]);
    assert_eq!(left.stdout, format!("0 events: {why}\n"));
    let left = store.run(&["log", "purge", "--keep", "1", "--execute"]);
    assert_eq!(left.stdout, format!("0 events removed: {why}\n"));
    let left = store.run(&["log", "purge", "--seq", "7"]);
    assert_eq!(
        left.stdout,
        "6 events; the oldest that would be left: none\n"
    );
    let left = store.run(&["log", "purge", "--seq", "7", "--execute"]);
    assert_eq!(
        left.stdout,
        "6 events removed; the oldest that is left: none\n"
    );
    for (from, said) in [
        (
            "2",
            "event 2 was removed: the history is empty, and its next event is 7",
        ),
        ("9", "event 9 is not there: the history is empty"),
    ] {
        let left = store.run(&["history", "--from", from]);
        assert_eq!(
            (left.code, left.stderr),
            (Some(3), format!("brine: {said}\n"))
        );
    }
    assert_eq!(store.run(&["history", "--from", "7"]).code, Some(0));
    // What was removed is no part of a copy; what never was is a mistake.
    let export = |from| store.run(&["log", "export", "--from", from]).code;
    assert_eq!((export("2"), export("9")), (Some(0), Some(3)));
}

#[test]
fn an_export_of_a_damaged_block_says_what_is_missing() {
    let store = Store::new();
    let file = store.root.path().join("h/events.db");
    let mut bytes = fs::read(&file).unwrap();
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    let at = bytes.windows(4).position(|bytes| bytes == zstd).unwrap();
    bytes[at + 20] ^= 0x55;
    fs::write(&file, bytes).unwrap();
    let left = store.run(&["log", "export"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(3), ""), "{left:?}");
    assert!(
        left.stderr
            .ends_with("brine: 6 events could not be read; brine log verify says which\n"),
        "{left:?}"
    );
}

#[test]
fn imported_session_keys_are_left_out_and_not_counted() {
    let store = Store::new();
    let keys = r#"{"tag": "salt/auth/creds", "data": {}}"#;
    let other = r#"{"tag": "a/tag", "data": {}}"#;
    let left = store.run_with(&["log", "import"], &format!("{keys}\n{other}\n"));
    assert_eq!(left.stdout, "1 event imported\n");
    assert!(left.stderr.contains("1 event left out"), "{left:?}");
}

#[test]
fn an_import_that_is_interrupted_is_whole_and_says_where_to_go_on() {
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let store = Store { root };
    let history = store.root.path().join("h");
    let mut lines: Vec<&str> = EVENTS.trim().lines().collect();
    // As left by a program that was interrupted, too.
    let cut = lines[3].split_at(20).0;
    let mut command = brine(&["log", "import", "--history", history.to_str().unwrap()]);
    let mut import = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = import.stdin.take().unwrap();
    write!(stdin, "{}\n{cut}", lines[..3].join("\n")).unwrap();
    wait_until(|| rustix::io::ioctl_fionread(&stdin).unwrap() == 0);
    kill_process(Pid::from_child(&import), Signal::INT).unwrap();
    let left = import.wait_with_output().unwrap();
    drop(stdin);
    let said = String::from_utf8(left.stderr).unwrap();
    let printed = String::from_utf8(left.stdout).unwrap();
    assert_eq!(left.status.code(), Some(1), "{said}");
    assert_eq!(printed, "3 events imported\n");
    let expected =
        "brine: interrupted after line 3; to continue, import tail -n +4 of the same lines\n";
    assert_eq!(said, expected);
    // Nothing has to be recovered, and no number is lost.
    let info = store.run(&["log", "info"]).stdout;
    assert!(info.contains("bus        not running\n"), "{info}");
    let rest = lines.split_off(3).join("\n");
    let left = store.run_with(&["log", "import"], &rest);
    assert_eq!(left.stdout, "3 events imported\n");
    let already = "brine: the history holds 3 events already; what is imported comes after that\n";
    assert_eq!(left.stderr, already);
    assert_eq!(store.tags(&["history"]), Store::new().tags(&["history"]));
}

#[test]
fn a_pipe_among_the_files_of_a_history_holds_nobody_up() {
    for name in ["lock", "events.db-wal", "events.db"] {
        let store = Store::new();
        let path = store.root.path().join("h").join(name);
        let _ = fs::remove_file(&path); // the second is there only while somebody writes
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let code = match name {
            "lock" => 0,
            _ => 1,
        };
        for words in [&["history"][..], &["log", "info"], &["log", "verify"]] {
            let left = store.run(words);
            assert_eq!(left.code, Some(code), "{name} {words:?}: {left:?}");
        }
        // Nor a writer.
        let left = store.run_with(&["log", "import"], EVENTS);
        assert_eq!(left.code, Some(1), "{name}: {left:?}");
        assert!(left.stderr.contains("is not a file"), "{name}: {left:?}");
    }
}

#[test]
fn what_cannot_be_printed_moves_no_position() {
    let store = Store::new();
    let left = store.run(&["consumer", "add", "audit", "--deliver", "all"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let history = ["history", "--cursor", "mine"];
    for words in [&["consumer", "next", "audit", "-n", "6"][..], &history] {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$0\" \"$@\" >/dev/full",
            env!("CARGO_BIN_EXE_brine"),
        ]);
        let place = store.root.path().join("h");
        command.args(words).args(["--json", "--history"]).arg(place);
        let left = run(&mut command, "");
        assert_eq!(left.code, Some(1), "{words:?}: {left:?}");
        let said = "stdout: No space left on device";
        assert!(left.stderr.contains(said), "{words:?}: {left:?}");
    }
    for words in [&["consumer", "next", "audit", "-n", "6"][..], &history] {
        assert_eq!(store.tags(&[words, &["--json"]].concat()).len(), 6);
    }
}

#[test]
fn a_consumer_goes_on_where_it_was() {
    let store = Store::new();
    let left = store.run(&[
        "consumer",
        "add",
        "audit",
        "--deliver",
        "all",
        "--filter",
        "salt/*",
    ]);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let next = ["consumer", "next", "audit", "-n", "2"];
    assert_eq!(store.tags(&[&next[..], &["--no-ack"]].concat()).len(), 2);
    assert_eq!(store.tags(&next), ["salt/job/1/new", "salt/job/1/ret/web1"]);
    assert_eq!(store.tags(&next), ["salt/job/1/ret/db1", "salt/job/2/new"]);
    assert_eq!(store.tags(&next), Vec::<String>::new());
    let list = store.run(&["consumer", "ls", "--json"]).stdout;
    assert!(
        list.contains(r#""lag": 0"#) && list.contains(r#""state": "active""#),
        "{list}"
    );
    let reset = ["consumer", "reset", "audit", "--to-sequence", "3"];
    let left = store.run(&reset);
    assert!(left.stdout.ends_with("-2 (4 events again)\n"), "{left:?}");
    assert_eq!(store.tags(&next), Vec::<String>::new());
    assert_eq!(
        store.run(&[&reset[..], &["--execute"]].concat()).code,
        Some(0)
    );
    assert_eq!(store.tags(&next).len(), 2);
    assert_eq!(store.run(&["consumer", "pause", "audit"]).code, Some(0));
    let left = store.run(&next);
    assert_eq!(left.code, Some(1));
    assert!(left.stderr.contains("audit is paused"), "{left:?}");
    assert_eq!(store.run(&["consumer", "resume", "audit"]).code, Some(0));
    assert_eq!(store.run(&["consumer", "rm", "audit"]).code, Some(0));
    assert_eq!(store.run(&["consumer", "info", "audit"]).code, Some(1));
    assert_eq!(
        store
            .tags(&["history", "--cursor", "mine", "-n", "4"])
            .len(),
        4
    );
    assert_eq!(
        store.tags(&["history", "--cursor", "mine"]),
        ["my/other", "salt/job/2/new"]
    );
}

/// The second call reports nothing, with a bus and without one.
#[test]
fn a_consumer_that_meets_only_a_gap_is_told_of_it_once() {
    let store = Store::new();
    let history = store.root.path().join("h").display().to_string();
    let consumers = ["first", "second", "third"];
    for name in consumers {
        let add = ["consumer", "add", name, "--deliver", "all"];
        assert_eq!(store.run(&add).code, Some(0));
    }
    let left = store.run(&["log", "purge", "--seq", "7", "--execute"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let told_once = |run: &dyn Fn(&[&str]) -> Left, words: &[&str]| {
        let left = [run(words), run(words)];
        assert_eq!(left[0].code, Some(0), "{words:?}: {left:?}");
        assert!(left[0].stderr.contains('6'), "{words:?}: {left:?}");
        assert_eq!(
            (left[1].code, left[1].stderr.as_str()),
            (Some(0), ""),
            "{words:?}: {left:?}"
        );
    };
    let alone = |words: &[&str]| store.run(words);
    let looked = alone(&["consumer", "next", "first", "--no-ack"]);
    assert!(looked.stderr.contains('6'), "{looked:?}");
    told_once(&alone, &["consumer", "next", "first"]);
    let mut bus = Bus::absent();
    bus.begin(&["--history", &history]);
    let of_bus = |words: &[&str]| bus.run(words);
    told_once(&of_bus, &["consumer", "next", "second"]);
    told_once(&of_bus, &["history", "--cursor", "third"]);
}

/// The first stored event does not pass the filter. The gap before it is reported once, too.
#[test]
fn a_consumer_whose_filter_nothing_left_passes_is_told_of_a_gap_once() {
    let store = Store::new();
    let add = ["consumer", "add", "audit", "--deliver", "all", "--filter"];
    assert_eq!(store.run(&[&add[..], &["salt/*"]].concat()).code, Some(0));
    let left = store.run_with(
        &["log", "import"],
        r#"{"time": "2026-11-29T08:06:00Z", "tag": "my/late", "data": {}}"#,
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    let left = store.run(&["log", "purge", "--seq", "7", "--execute"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let next = || store.run(&["consumer", "next", "audit"]);
    let (first, second) = (next(), next());
    assert!(
        first.stderr.contains("6 events after 0 were removed"),
        "{first:?}"
    );
    assert_eq!((second.code, second.stderr.as_str()), (Some(0), ""));
}

/// Past and present are one stream: nothing is missing or twice.
#[test]
fn watch_goes_on_from_the_past_into_what_arrives() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    for number in 1..=5 {
        bus.send(&format!("t/{number}"), "{}");
    }
    let watch = ["watch", "--json", "t/*"];
    let left = bus.run(&[&watch[..], &["--from", "earliest", "-n", "5"]].concat());
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let last = ["--last", "2", "-n", "4"];
    let mut running = Running::start(&mut bus.command(&[&watch[..], &last].concat()));
    let mut seen = running.prints("t/5");
    bus.send("t/6", "{}");
    bus.send("other", "{}");
    bus.send("t/7", "{}");
    let left = running.left();
    seen.push_str(&left.stdout);
    let tags: Vec<_> = seen
        .lines()
        .map(|line| line.split('"').nth(3).unwrap())
        .collect();
    assert_eq!(
        (left.code, tags),
        (Some(0), vec!["t/4", "t/5", "t/6", "t/7"])
    );
    let left = bus.run(&[&watch[..], &["--from", "99"]].concat());
    assert_eq!(left.code, Some(3), "{left:?}");
    let left = bus.run(&["status", "--history", &history]);
    let first = format!("bus      running (pid {}) at ", bus.pid());
    assert!(left.stdout.starts_with(&first), "{left:?}");
    assert!(
        left.stdout.contains("\nhistory  8 events: 1 of "),
        "{left:?}"
    );
    let left = bus.run(&["log", "import", "--history", &history]);
    assert_eq!(left.code, Some(1));
    assert!(
        left.stderr.contains(&format!(
            "in use by process {}; stop that bus and run this again",
            bus.pid()
        )),
        "{left:?}"
    );
    assert_eq!(bus.end().code, Some(0));
    assert_eq!(bus.run(&["status", "--history", &history]).code, Some(1));
    let left = run(&mut brine(&["history", "--history", &history, "t/*"]), "");
    assert_eq!(left.stdout.lines().count(), 7, "{left:?}");
}

/// The same commands, asked of a bus that runs: it saves what they change.
#[test]
fn consumers_are_made_and_moved_while_the_bus_runs() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    for number in 1..=5 {
        bus.send(&format!("t/{number}"), "{}");
    }
    let consumer = |words: &[&str]| bus.run(&[&["consumer"], words].concat());
    let left = consumer(&["add", "audit", "--deliver", "2", "--filter", "t/*"]);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let left = consumer(&["add", "audit"]);
    assert_eq!(left.code, Some(1));
    assert!(left.stderr.contains("is there already"), "{left:?}");
    let left = consumer(&["reset", "audit", "--to-latest", "--execute"]);
    assert!(left.stdout.ends_with("-5 (4 events skipped)\n"), "{left:?}");
    let left = consumer(&["reset", "audit", "--to-sequence", "9"]);
    assert_eq!(left.code, Some(3), "{left:?}");
    assert!(left.stderr.contains("there are 1 to 5"), "{left:?}");
    let left = consumer(&["pause", "audit", "soon"]);
    assert_eq!(left.code, Some(2), "{left:?}");
    assert_eq!(consumer(&["pause", "audit"]).code, Some(0));
    let ls = consumer(&["ls"]).stdout;
    let row = ls.lines().nth(1).unwrap_or_default();
    assert!(
        row.starts_with("audit  cursor") && row.ends_with("paused"),
        "{ls}"
    );
    assert_eq!(bus.end().code, Some(0));
    // It is in the store when the bus is down.
    let mut info = brine(&["consumer", "info", "audit", "--history", &history]);
    let left = run(&mut info, "");
    assert!(left.stdout.contains(r#""state": "paused""#), "{left:?}");
}

#[test]
fn what_a_running_bus_has_taken_is_in_the_history() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    has_taken_events_in(&history, &["--sock-dir", &bus.sock_dir()]);
}

#[test]
fn a_store_says_where_its_bus_is_whatever_it_was_started_with() {
    let place = Bus::absent();
    let history = place.path("h");
    let mut relative = brine(&["bus", "--sock-dir", "s", "--history", "h"]);
    let mut bus = Running::start(relative.current_dir(&place.root));
    bus.says("ready");
    wait_for_local_socket(&place.sock_dir());
    has_taken_events_in(&history, &["--sock-dir", &place.sock_dir()]);
    drop(bus);

    let config = place.path("tcp");
    let [publish, pull] = free_ports();
    let options = format!(
        "ipc_mode: tcp\ntcp_master_pub_port: {publish}\ntcp_master_pull_port: {pull}\nsock_dir: {}\n",
        place.sock_dir()
    );
    fs::write(&config, options).unwrap();
    let tcp = ["bus", "--config", &config, "--history", &history];
    let _bus = Running::start(&mut brine(&tcp));
    wait_until(|| fs::exists(place.path("s/brine.token")).unwrap());
    has_taken_events_in(&history, &["--config", &config]);
}

/// Fires events and reads each at once. Nothing but the store says to the reader where the bus is.
fn has_taken_events_in(history: &str, bus: &[&str]) {
    for n in 0..20 {
        let tag = format!("just/{n}");
        let send = [&["send", "--ack=appended", &tag, "{}"], bus].concat();
        let left = run(&mut brine(&send), "");
        assert_eq!(left.code, Some(0), "{left:?}");
        let read = ["history", "--history", history, &tag, "--last", "1"];
        let left = run(&mut brine(&read), "");
        assert!(left.stdout.contains(&tag), "{left:?}");
    }
    for words in [
        &["add", "c"][..],
        &["ls"],
        &["reset", "c", "--to-earliest", "--execute"],
        &["rm", "c"],
    ] {
        let consumer = [&["consumer"], words, &["--history", history]].concat();
        let left = run(&mut brine(&consumer), "");
        assert_eq!(left.code, Some(0), "{words:?}: {left:?}");
    }
}

#[test]
fn log_import_says_how_a_file_is_read() {
    let left = run(
        &mut brine(&["log", "import", "events.ndjson", "--history", "/no"]),
        "",
    );
    assert_eq!(left.code, Some(2), "{left:?}");
    assert!(
        left.stderr
            .contains("import reads stdin, and no file: brine log import … < events.ndjson"),
        "{left:?}"
    );
}

#[test]
fn a_tag_that_is_not_the_whole_tag_is_explained_in_a_pipe_too() {
    let store = Store::new();
    let left = store.run(&["history", "salt/job"]);
    assert_eq!(
        (left.code, left.stderr.as_str()),
        (
            Some(0),
            "brine: 0 of 6 events matched\n\
             brine: only events with exactly the tag salt/job; for all below it: 'salt/job/*'\n"
        )
    );
    assert_eq!(store.run(&["history", "my/tag"]).stderr, "");
}
