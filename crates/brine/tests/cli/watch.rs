//! `brine watch`.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bus, Left, Running, brine, run};

#[test]
fn a_pipe_gets_a_json_object_per_line() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "3"]);
    bus.send("my/tag", "{a: 1, é: [x, null], d: !!binary AP8=, n: .nan}");
    bus.send("my/empty", "{}");
    bus.send("my/text", "{b: !!binary YWJj, 5: x, t: \"a\\tb\"}");
    let left = watch.left();
    insta::assert_snapshot!(bus.scrub(&left.stdout), @r#"
    {"tag": "my/tag", "data": {"a": 1, "é": ["x", null], "d": "AP8=", "n": null, "_stamp": "STAMP"}}
    {"tag": "my/empty", "data": {"_stamp": "STAMP"}}
    {"tag": "my/text", "data": {"b": "abc", "5": "x", "t": "a\tb", "_stamp": "STAMP"}}
    "#);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
}

#[test]
fn what_is_wanted_and_what_is_not() {
    let bus = Bus::start();
    for (arguments, tags) in [
        (&["a/*", "b"][..], &["a/1", "b", "a/end"][..]),
        (&["-x", "*/1", "-x", "b*"], &["c", "a/end"]),
        (&["--match", "startswith", "a/"], &["a/1", "a/end"]),
        (
            &["--match", "endswith", "1", "end"],
            &["a/1", "b/1", "a/end"],
        ),
        (&["--match", "find", "/"], &["a/1", "b/1", "a/end"]),
        (&["--match", "regex", "[ac]"], &["a/1", "c", "a/end"]),
    ] {
        let count = tags.len().to_string();
        let watch = bus.listener(&[&["watch", "-n", &count], arguments].concat());
        for tag in ["a/1", "b", "b/1", "c", "a/end"] {
            bus.send(tag, "{}");
        }
        let stdout = watch.left().stdout;
        let seen: Vec<_> = stdout
            .lines()
            .map(|line| line.split('"').nth(3).unwrap())
            .collect();
        assert_eq!(seen, tags, "{arguments:?}");
    }
}

#[test]
fn pretty_data_are_indented_and_sorted() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "--pretty", "-n", "1", "--color", "always"]);
    bus.send("my/tag", "{z: {}, a: [1]}");
    insta::assert_snapshot!(bus.scrub(&watch.left().stdout).replace('\x1b', "␛"), @r#"
    ␛[1;36mmy/tag␛[0m	{
        "_stamp": "STAMP",
        "a": [
            1
        ],
        "z": {}
    }
    "#);
}

#[test]
fn a_summary_counts_by_prefix() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "--summary=3600", "-n", "3"]);
    for tag in ["salt/job/1/new", "salt/job/1/ret/m", "x"] {
        bus.send(tag, "{}");
    }
    let stdout = watch.left().stdout;
    assert!(stdout.contains(r#""events": 3"#), "{stdout}");
    assert!(stdout.contains(r#""salt/job": {"events": 2"#), "{stdout}");
}

#[test]
fn an_absent_bus_is_waited_for_with_one_line() {
    let mut bus = Bus::absent();
    let mut watch = Running::start(&mut bus.command(&["watch", "-n", "1", "my/*"]));
    let line = watch.says("waiting");
    assert_eq!(
        bus.scrub(&line),
        "brine: waiting: no bus at ROOT/s/master_event_pub.ipc: directory ROOT/s does not exist; \
         start the bus, or set sock_dir to the directory it uses"
    );
    bus.begin(&[]);
    crate::support::wait_for_reader(&bus.sock_dir());
    bus.send("my/tag", "{}");
    let left = watch.left();
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    assert!(left.stdout.starts_with(r#"{"tag": "my/tag""#), "{left:?}");
}

#[test]
fn a_bus_that_restarts_is_found_again() {
    let mut bus = Bus::start();
    let mut watch = bus.listener(&["watch", "-n", "1", "my/*"]);
    assert_eq!(bus.end().code, Some(0));
    let line = watch.says("waiting");
    assert!(
        line.contains("no bus at ") && line.contains("; waiting to continue after "),
        "{line}"
    );
    bus.begin(&[]);
    crate::support::wait_for_reader(&bus.sock_dir());
    bus.send("my/tag", "{}");
    assert_eq!(watch.left().code, Some(0));
}

#[test]
fn without_waiting_an_absent_bus_is_an_error() {
    let bus = Bus::absent();
    let left = bus.run(&["watch", "--no-wait"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(1), ""));
    assert!(left.stderr.starts_with("brine: no bus at "), "{left:?}");
}

#[test]
fn a_count_that_is_not_reached_in_time_is_a_failure() {
    let bus = Bus::start();
    let left = bus.run(&["watch", "-n", "2", "-t", "0.05"]);
    assert_eq!(left.code, Some(1));
    assert_eq!(
        left.stderr,
        "brine: 0 of 2 events in 0.05 s; the bus had 0 in all\n"
    );
    assert_eq!(bus.run(&["watch", "-t", "0.05"]).code, Some(0));
}

#[test]
fn ctrl_c_ends_it_quietly() {
    let bus = Bus::start();
    let quiet = |code| Left {
        code: Some(code),
        stdout: String::new(),
        stderr: String::new(),
    };
    for (arguments, code) in [(&["watch"][..], 0), (&["watch", "-n", "1"], 1)] {
        let watch = bus.listener(arguments);
        watch.signal(Signal::INT);
        assert_eq!(watch.left(), quiet(code));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let bus = Bus::start();
    let mut watch = bus.listener(&["watch"]);
    watch.close_stdout();
    bus.send("my/tag", "{}");
    let left = watch.left();
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_bad_pattern_is_told() {
    let left = run(
        &mut brine(&["watch", "--match", "regex", "x(", "--sock-dir", "/x"]),
        "",
    );
    assert_eq!(left.code, Some(2));
    assert!(
        left.stderr
            .starts_with("error: invalid regular expression \"x(\""),
        "{left:?}"
    );
}

#[test]
fn a_past_of_which_nothing_matches_is_told_from_an_empty_bus() {
    let bus = Bus::start();
    for number in 0..4 {
        bus.send(&format!("other/{number}"), "{}");
    }
    let left = bus.run(&["watch", "--from", "earliest", "-t", "1", "myco/*"]);
    assert_eq!(left.stderr, "brine: 0 of 4 events matched in 1 s\n");
}

#[test]
fn after_a_crash_nobody_counts_numbers_that_were_never_used() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    let history = ["--history", history.as_str()];
    bus.begin(&history);
    let fire = |bus: &Bus, tag: &str| {
        let left = bus.run(&["send", "--ack", tag, "{}"]);
        assert_eq!(left.code, Some(0), "{left:?}");
    };
    fire(&bus, "a/1");
    let mut watch =
        Running::start(&mut bus.command(&["watch", "--last", "1", "-n", "2", "--json"]));
    watch.prints("a/1");
    bus.kill();
    bus.begin(&history);
    fire(&bus, "a/2");
    let left = watch.left();
    assert!(
        left.code == Some(0) && left.stdout.contains("a/2"),
        "{left:?}"
    );
    let gap = "events may be missing, after ";
    assert!(
        left.stderr.contains(gap) && left.stderr.contains("unclean shutdown"),
        "{left:?}"
    );
}

#[test]
fn a_watch_whose_reader_has_gone_ends_without_another_event() {
    let bus = Bus::start();
    bus.send("a/1", "{}");
    let mut watch = Running::start(&mut bus.command(&["watch", "--last", "1"]));
    watch.prints("a/1");
    watch.close_stdout();
    assert_eq!(watch.left().code, Some(0));
}

#[test]
fn an_event_in_a_format_of_ones_own_and_in_full() {
    let bus = Bus::start();
    let data = "{id: web1, fun: state.apply, jid: '1', retcode: 2, return: [no such file]}";
    let form = "{tag}\\t{data.id} {ok} {data.none} {line}";
    let format = bus.listener(&["watch", "-n", "1", "--format", form]);
    bus.send("salt/job/1/ret/web1", data);
    assert_eq!(
        format.left().stdout,
        "salt/job/1/ret/web1\tweb1 false - web1 state.apply FAILED code 2: [no such file]\n"
    );
    let full = bus.listener(&["watch", "-n", "1", "--full", "--utc"]);
    bus.send("salt/job/1/ret/web1", data);
    let shown = full.left().stdout;
    let (line, below) = shown.split_once('\n').unwrap();
    assert!(
        line.ends_with(" web1 state.apply FAILED code 2: [no such file]"),
        "{shown}"
    );
    assert!(
        below.starts_with("    salt/job/1/ret/web1\n") && below.contains("\n    retcode: 2\n"),
        "{shown}"
    );

    let left = run(&mut brine(&["watch", "--format", "{nosuch}"]), "");
    assert_eq!(left.code, Some(2));
    assert!(
        left.stderr
            .contains("unknown field {nosuch}; fields are {time}"),
        "{left:?}"
    );
}

#[test]
fn a_command_is_run_for_each_event() {
    let bus = Bus::start();
    let file = bus.path("seen");
    let command =
        format!("read line; echo \"$BRINE_TAG $BRINE_MINION $BRINE_OK $line\" >> {file}; exit 3");
    let watch = bus.listener(&["watch", "-n", "2", "my/*", "--exec", &command]);
    bus.send("my/a", "{id: web1, success: true}");
    bus.send("my/b", "{}");
    let left = watch.left();
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), ""));
    assert_eq!(
        left.stderr,
        "brine: --exec for my/a: exit code 3\nbrine: --exec for my/b: exit code 3\n"
    );
    insta::assert_snapshot!(bus.scrub(&std::fs::read_to_string(file).unwrap()), @r#"
    my/a web1 true {"tag": "my/a", "data": {"id": "web1", "success": true, "_stamp": "STAMP"}}
    my/b   {"tag": "my/b", "data": {"_stamp": "STAMP"}}
    "#);
}

#[test]
fn a_filter_that_matches_nothing_is_told_from_a_bus_without_events() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "my/*"]);
    for _ in 0..3 {
        bus.send("other", "{}");
    }
    watch.signal(Signal::INT);
    let left = watch.left();
    assert_eq!(
        (left.code, left.stderr.as_str()),
        (Some(0), "brine: 0 of 3 events matched\n")
    );
}

#[test]
fn what_does_not_match_is_counted_over_a_restart_of_the_bus() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    let history = ["--history", history.as_str()];
    bus.begin(&history);
    let fire = |bus: &Bus, tags: &[&str]| {
        for tag in tags {
            let left = bus.run(&["send", "--ack", tag, "{}"]);
            assert_eq!(left.code, Some(0), "{left:?}");
        }
    };
    let mut watch = bus.listener(&["watch", "none/*"]);
    fire(&bus, &["a/1", "a/2", "a/3"]);
    bus.kill();
    watch.says("waiting to continue after");
    bus.begin(&history);
    watch.says("connected again");
    fire(&bus, &["b/1", "b/2"]);
    watch.signal(Signal::INT);
    let left = watch.left();
    let said = left.stderr.lines().last().unwrap_or_default();
    assert_eq!(said, "brine: 0 of 5 events matched", "{left:?}");
}

#[test]
fn a_watch_for_some_time_fails_if_there_never_was_a_bus() {
    let directory = tempfile::tempdir().unwrap();
    let sock_dir = directory.path().to_str().unwrap();
    let left = run(
        &mut brine(&["watch", "-t", "0.6", "--sock-dir", sock_dir]),
        "",
    );
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(
        left.stderr.ends_with("brine: no bus in 0.6 s\n"),
        "{left:?}"
    );
}

#[test]
fn a_bus_that_hangs_is_told_from_one_without_events() {
    let bus = Bus::start();
    let pid = bus.hang();
    let watch = bus.run(&["watch", "-t", "1"]);
    let status = bus.run(&["status"]);
    let doctor = bus.run(&["doctor"]);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(
        (watch.code, watch.stderr.as_str()),
        (
            Some(1),
            "brine: the bus does not answer: stopped or hung; run brine doctor there\n"
        )
    );
    let says = format!("bus      there (pid {pid}) at ");
    assert!(
        status.code == Some(1)
            && status.stdout.starts_with(&says)
            && status
                .stdout
                .contains("but does not answer: stopped or hung"),
        "{status:?}"
    );
    let remedy = format!("→ kill -CONT {pid}, or restart it");
    assert!(
        doctor.code == Some(1)
            && doctor
                .stdout
                .contains("but is stopped (SIGSTOP, or a debugger)")
            && doctor.stdout.contains(&remedy)
            && !doctor.stdout.contains("run this as root"),
        "{doctor:?}"
    );
}

#[test]
fn who_waits_for_a_bus_that_hangs_is_told_what_for() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    bus.send("a/b", "{}");
    let pid = bus.hang();
    let end = format!(
        "(pid {pid}, which is stopped: kill -CONT {pid} lets it go on) has taken the connection"
    );
    let waiting: Vec<Running> = [
        &["send", "--ack", "a/c"][..],
        &["history", "--follow", "-n", "1"],
        &["watch", "--last", "1", "-n", "1"],
        &["consumer", "add", "x"],
        &["consumer", "ls"],
        &["explain", "a/b"],
        &["status"],
        &["status", "--json"],
    ]
    .iter()
    .map(|words| Running::start(&mut bus.command(words)))
    .collect();
    let mut ended = Vec::new();
    for mut running in waiting {
        assert!(running.says("waiting: ").contains(&end));
        ended.push(running);
    }
    kill_process(pid, Signal::CONT).unwrap();
    for (at, running) in ended.into_iter().enumerate() {
        let left = running.left();
        // What needs no disk has been given up meanwhile, perhaps.
        assert!(left.code == Some(0) || at >= 3, "{at}: {left:?}");
    }
}

#[test]
fn a_bus_that_hangs_is_given_up_and_what_is_on_disk_is_shown() {
    let mut bus = Bus::absent();
    let history = bus.path("h");
    bus.begin(&["--history", &history]);
    bus.send("a/b", "{}");
    assert_eq!(bus.run(&["send", "--ack", "a/c"]).code, Some(0));
    let pid = bus.hang();
    let run = |words: &[&str]| run(&mut brine(words), "");
    let sock_dir = bus.sock_dir();
    let history = run(&[
        "history",
        "--history",
        &history,
        "--last",
        "1",
        "-o",
        "tags",
    ]);
    let consumers = ["ls", "add"].map(|action| {
        let words = ["consumer", action, "x", "--sock-dir", &sock_dir];
        match action {
            "ls" => run(&["consumer", "ls", "--sock-dir", &sock_dir]),
            _ => run(&words),
        }
    });
    let explained = run(&["explain", "a/b", "--sock-dir", &sock_dir]);
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(
        (history.code, &*history.stdout),
        (Some(0), "a/c\n"),
        "{history:?}"
    );
    let missing = "Only what is on disk is shown: newer events may be missing\n";
    assert!(history.stderr.ends_with(missing), "{history:?}");
    for left in consumers {
        assert_eq!(left.code, Some(1), "{left:?}");
        assert!(left.stderr.contains("giving up after 3 s"), "{left:?}");
    }
    assert_eq!(explained.code, Some(1), "{explained:?}");
    assert_eq!(
        explained.stderr.matches("waiting: ").count(),
        1,
        "{explained:?}"
    );
}

#[test]
fn beside_salts_own_bus_it_is_said_that_it_keeps_and_acknowledges_nothing() {
    let bus = Bus::absent();
    std::fs::create_dir_all(bus.sock_dir()).unwrap();
    let socket = format!("{}/master_event_pub.ipc", bus.sock_dir());
    let _salts = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for words in [
        &["send", "--ack", "a/b"][..],
        &["watch", "--last", "3"],
        &["history", "--follow"],
        &["history"],
        &["status", "--json"],
    ] {
        let left = bus.run(words);
        assert_eq!(
            (left.code, left.stderr),
            (
                Some(1),
                format!(
                    "brine: the bus at {socket} is Salt's own, which keeps no history and acknowledges nothing; \
                     brine attach beside it adds both\n"
                )
            ),
            "{words:?}"
        );
    }
}

#[test]
fn beside_salts_own_bus_the_history_of_an_earlier_attach_is_named() {
    let bus = Bus::absent();
    std::fs::create_dir_all(bus.sock_dir()).unwrap();
    let socket = format!("{}/master_event_pub.ipc", bus.sock_dir());
    let _salts = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let config = bus.config_dir();
    let event = r#"{"time": "2026-11-29T08:00:00Z", "tag": "a/b", "data": {}}"#;
    let watch = || run(&mut brine(&["watch", "--last", "3", "-c", &config]), "");
    let hint = "; brine history shows what an earlier one has stored\n";
    assert!(!watch().stderr.contains(hint));
    let left = run(&mut brine(&["log", "import", "-c", &config]), event);
    assert_eq!(left.code, Some(0), "{left:?}");
    let left = watch();
    assert!(left.stderr.ends_with(hint), "{left:?}");
}

#[test]
fn a_bus_that_hangs_while_it_is_watched_is_told_from_a_quiet_one() {
    let bus = Bus::start();
    let mut watch = bus.listener(&["watch", "-o", "tags"]);
    bus.send("a/b", "{}");
    watch.prints("a/b");
    let pid = bus.hang();
    let said = watch.says("has said nothing for");
    assert!(
        said.contains(&format!("(pid {pid}, which is stopped: ")),
        "{said}"
    );
    kill_process(pid, Signal::CONT).unwrap();
    watch.says("goes on");
    bus.send("a/c", "{}");
    watch.prints("a/c");
    watch.signal(Signal::INT);
    let left = watch.left();
    assert!(left.code == Some(0) && left.stderr.is_empty(), "{left:?}");
}

#[test]
fn a_tag_that_is_not_the_whole_tag_is_explained_on_a_bus_without_events() {
    const HINT: &str =
        "brine: only events with exactly the tag salt/job; for all below it: 'salt/job/*'\n";
    let bus = Bus::start();
    let left = bus.run(&["watch", "salt/job", "-t", "0.1"]);
    assert_eq!(
        left.stderr,
        format!("brine: 0 of 0 events matched in 0.1 s\n{HINT}")
    );
    let watch = bus.listener(&["watch", "salt/job"]);
    watch.signal(Signal::INT);
    assert_eq!(watch.left().stderr, HINT);
}

#[test]
fn what_a_summary_or_a_screen_cannot_do_is_refused() {
    for words in [
        &["watch", "--summary", "--exec", "true"][..],
        &["top", "--last", "0"],
        &["top", "--filter", "x"],
    ] {
        let left = run(&mut brine(words), "");
        assert_eq!(left.code, Some(2), "{words:?}: {left:?}");
        assert!(left.stderr.contains(words[words.len() - 2]), "{left:?}");
    }
}

#[test]
fn a_watch_that_could_not_keep_up_says_how_many_events_it_missed() {
    const SENT: usize = 400;
    let mut bus = Bus::absent();
    let file = bus.path("small");
    let options = std::fs::read_to_string(bus.path("master")).unwrap();
    let small = "brine: {log_bytes: 1MiB, overflow_bytes: 0, history: false}\n";
    std::fs::write(&file, options + small).unwrap();
    bus.begin(&["--config", &file]);
    let mut watch = Running::start(&mut bus.command(&["watch", "-o", "tags"]));
    crate::support::wait_for_reader(&bus.sock_dir());
    bus.send("a/first", "{}");
    watch.prints("a/first");
    let pid = Pid::from_raw(i32::try_from(watch.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let line = format!(
        "{{\"tag\": \"a/b\", \"data\": {{\"x\": \"{}\"}}}}\n",
        "y".repeat(100_000)
    );
    let left = run(
        &mut bus.command(&["send", "--stdin", "--ack=appended"]),
        &line.repeat(SENT),
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    kill_process(pid, Signal::CONT).unwrap();
    let said = watch.says("missing");
    bus.send("a/last", "{}");
    let shown = watch.prints("a/last");
    let came = shown.lines().filter(|line| *line == "a/b").count();
    watch.signal(Signal::INT);
    let said = said + "\n" + &watch.left().stderr;
    // `12 events are missing, after …`, as often as it fell behind.
    let number = |line: &str| {
        line.strip_prefix("brine: ")?
            .split(' ')
            .next()?
            .parse::<usize>()
            .ok()
    };
    let missed: usize = said.lines().filter_map(number).sum();
    assert_eq!(missed + came, SENT, "{said}");
}

/// YAML has escapes in double quotes alone: what a terminal escapes by itself would be read as other text.
#[test]
fn what_nobody_sees_is_escaped_and_quoted_in_yaml() {
    let bus = Bus::start();
    bus.send(
        "my/tag",
        "{turned: \"ab\u{202e}cd\", mark: \"\u{200f}\", plain: größer}",
    );
    let left = bus.run(&["watch", "--last", "1", "-n", "1", "-o", "yaml"]);
    for line in [
        "  turned: \"ab\\u202Ecd\"\n",
        "  mark: \"\\u200F\"\n",
        "  plain: größer\n",
    ] {
        assert!(left.stdout.contains(line), "{line}: {left:?}");
    }
}
