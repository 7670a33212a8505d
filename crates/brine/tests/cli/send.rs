//! `brine send`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Bus, brine, run};

#[test]
fn data_are_yaml_or_keywords() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "3"]);
    let commands: [&[&str]; 3] = [
        &["send", "t/1", "{a: 017, b: yes}", "c=[x]", "b=no"],
        &["send", "t/2", "a: 1\nb:\n- 2"],
        &["send", "t/3"],
    ];
    for command in commands {
        assert_eq!(bus.run(command).code, Some(0));
    }
    insta::assert_snapshot!(bus.scrub(&watch.left().stdout), @r#"
    {"tag": "t/1", "data": {"a": 17, "b": false, "c": ["x"], "_stamp": "STAMP"}}
    {"tag": "t/2", "data": {"a": 1, "b": [2], "_stamp": "STAMP"}}
    {"tag": "t/3", "data": {"_stamp": "STAMP"}}
    "#);
}

#[test]
fn what_watch_prints_is_what_stdin_takes() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "2"]);
    bus.send(
        "a",
        "{x: [1, 2.5, é, null, true, {}], y: 18446744073709551615}",
    );
    bus.send("b", "{}");
    let printed = watch.left().stdout;
    let again = bus.listener(&["watch", "-n", "2"]);
    let left = run(&mut bus.command(&["send", "--stdin"]), &printed);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    assert_eq!(bus.scrub(&again.left().stdout), bus.scrub(&printed));
}

#[test]
fn bad_lines_are_numbered_and_the_others_fired() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "2"]);
    let input = "{\"tag\": \"a\"}\nnonsense\n\n{\"tag\": \"\"}\n{\"tag\": \"b\", \"data\": {}}";
    let left = run(&mut bus.command(&["send", "--stdin"]), input);
    assert_eq!(left.code, Some(1));
    insta::assert_snapshot!(left.stderr, @r#"
    brine: line 2: invalid JSON: unexpected character at byte 0
    brine: line 4: the tag is empty
    "#);
    insta::assert_snapshot!(bus.scrub(&watch.left().stdout), @r#"
    {"tag": "a", "data": {"_stamp": "STAMP"}}
    {"tag": "b", "data": {"_stamp": "STAMP"}}
    "#);
    let left = run(&mut bus.command(&["send", "--stdin", "--strict"]), "x\ny\n");
    assert_eq!((left.code, left.stderr.lines().count()), (Some(1), 1));
}

#[test]
fn the_minion_is_asked_to_tell_its_master() {
    let bus = Bus::start_with(&["--node", "minion", "--id", "m1"]);
    let watch = bus.listener(&["watch", "--node", "minion", "--id", "m1", "-n", "1"]);
    let left = bus.run(&[
        "send",
        "--node",
        "minion",
        "--id",
        "m1",
        "--to-master",
        "up",
        "a=1",
    ]);
    assert_eq!(left.code, Some(0), "{left:?}");
    insta::assert_snapshot!(bus.scrub(&watch.left().stdout), @r#"{"tag": "fire_master", "data": {"tag": "up", "data": {"a": 1}, "events": null, "pretag": null, "_stamp": "STAMP"}}"#);
}

#[test]
fn a_masters_bus_is_not_asked_to_send_to_a_master() {
    let bus = Bus::start();
    let left = bus.run(&["send", "--to-master", "up", "a=1"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(2), ""));
    assert!(
        left.stderr.starts_with(
            "error: --to-master: a master's bus cannot send to a master; add --node minion"
        ),
        "{left:?}"
    );
}

/// Salt's programs replace them by `VALUE_TRIMMED`, and call that success.
#[test]
fn large_values_are_refused_and_not_lost() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "1"]);
    let large = "x".repeat(2_000_000);
    let lines = format!(
        "{{\"tag\": \"big\", \"data\": {{\"a\": 1, \"x\": \"{large}\"}}}}\n{{\"tag\": \"small\"}}\n"
    );
    let left = run(&mut bus.command(&["send", "--stdin"]), &lines);
    assert_eq!(left.code, Some(1));
    assert_eq!(
        left.stderr,
        "brine: line 1: the event has 2000052 bytes, over max_event_size (1048576): not sent, \
         since x would be replaced by VALUE_TRIMMED\n"
    );
    assert!(watch.left().stdout.starts_with(r#"{"tag": "small""#));
    fs::write(bus.path("master"), "max_event_size: 400\nid: m\n").unwrap();
    let text = "x".repeat(1000);
    let config = bus.config_dir();
    let data = format!("{{r: {{out: {text}}}}}");
    let left = bus.run(&["send", "t", &data, "-c", &config]);
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("since r.out would be"), "{left:?}");
}

#[test]
fn errors_name_the_file_its_owner_and_a_remedy() {
    let bus = Bus::absent();
    let error = |arguments: &[&str]| {
        let left = run(&mut brine(arguments), "");
        assert_eq!((left.code, left.stdout.as_str()), (Some(1), ""));
        bus.scrub(&left.stderr)
    };
    let root = bus.config_dir();
    let send = |place: &str| error(&["send", "t", "--sock-dir", place, "-t", "0"]);
    insta::assert_snapshot!(send(&bus.sock_dir()), @"brine: no bus at ROOT/s/master_event_pull.ipc: directory ROOT/s does not exist; start the bus, or set sock_dir to the directory it uses");
    fs::write(bus.path("minion_event_0123456789_pull.ipc"), "").unwrap();
    insta::assert_snapshot!(send(&root), @"brine: no bus at ROOT/master_event_pull.ipc: no such socket (beside it: minion_event_0123456789_pull.ipc); start the bus, or set sock_dir, node or id to those of a running one");
    fs::write(bus.path("master_event_pull.ipc"), "").unwrap();
    insta::assert_snapshot!(send(&root), @"brine: no bus at ROOT/master_event_pull.ipc: it is not a socket; remove it and start the bus");
    insta::assert_snapshot!(error(&["send", "", "--sock-dir", "/x"]), @"brine: the tag is empty");
    insta::assert_snapshot!(error(&["send", "t", "text", "--sock-dir", "/x"]), @r#"brine: data must be a mapping, such as '{a: 1}' or a=1; found "text""#);
}

#[test]
fn who_wants_many_events_is_told_what_fires_them() {
    for option in ["--count", "-n", "--rate"] {
        let left = run(&mut brine(&["send", "my/tag", option, "100"]), "");
        assert_eq!(left.code, Some(2), "{left:?}");
        assert!(left.stderr.contains("brine bench"), "{left:?}");
        let (_, command) = left.stderr.split_once("Many events: ").unwrap();
        let (make, _) = command.split_once(" | brine send --stdin").unwrap();
        let bus = Bus::start();
        let lines = Command::new("sh").args(["-c", make]).output().unwrap();
        let lines = String::from_utf8(lines.stdout).unwrap();
        let left = run(&mut bus.command(&["send", "--stdin"]), &lines);
        assert_eq!(left.code, Some(0), "{left:?}");
        let status = bus.run(&["status"]).stdout;
        assert!(status.contains("events   100 appended"), "{status}");
    }
}

/// As root nothing is closed, so the test is one for others.
#[test]
fn a_closed_door_is_named_with_its_owner() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let bus = Bus::absent();
    fs::create_dir(bus.sock_dir()).unwrap();
    fs::set_permissions(bus.sock_dir(), fs::Permissions::from_mode(0o000)).unwrap();
    let left = bus.run(&["send", "t"]);
    assert!(left.stderr.contains("permission denied at"), "{left:?}");
}
