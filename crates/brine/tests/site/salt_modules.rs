//! Salt's own execution modules on a minion of ours whose Python has Salt, beside Salt's own minion of the same release:
//! both are minions of one real master.

use std::fs;
use std::io::Write as _;

use brine_testkit::program::{self, Program};
use brine_testkit::salt::{LATER_3007, python};
use brine_wire::{Map, Value, json};

use crate::site::{DEADLINE, Process, Site, at, wait_until};

const STATE: &str = "\
{% set file = pillar['dir'] ~ '/' ~ grains['id'] ~ '.txt' %}
written:
  file.managed:
    - name: {{ file }}
    - source: salt://data.txt
    - template: jinja
said:
  cmd.run:
    - name: cat {{ file }}
    - require: [{file: written}]
sent:
  event.send:
    - name: from/state
    - data: {colour: {{ pillar['colour'] }}}
failed:
  test.fail_without_changes: []
";

#[test]
fn salts_modules_run_as_on_salts_minion_3006() {
    check("3006.28");
}

#[test]
fn salts_modules_run_as_on_salts_minion_3007() {
    check(LATER_3007);
}

#[test]
fn salts_modules_run_as_on_salts_minion_3008() {
    check("3008.3");
}

fn check(version: &'static str) {
    let site = site(version);
    let start = |name: &str, folder: &str| {
        let command = program::command(version, name, &site.path(folder));
        Program::start(command, site.path(&format!("{name}.out")))
    };
    let _master = start("salt-master", "");
    let mut bus = site.master_bus();
    let _ours = Process::start(site.command("salt-minion"));
    bus.next("salt/minion/m1/start");
    let _theirs = start("salt-minion", "two");
    bus.next("salt/minion/m2/start");

    for words in [
        &["pkg.version", "bash"][..],
        &["pkg.version", "no-such-package"],
        &["cmd.script", "salt://said.sh", "a b"],
        &["state.apply", "st"],
        &["state.apply", "st", "test=True"],
        &["state.apply", "nosuch"],
        &["state.sls_exists", "st"],
        &["cp.get_file_str", "salt://data.txt"],
        &["pillar.fetch", "colour"],
        &["hashutil.sha256_digest", "x"],
        // They wait for an event from the minion itself.
        &["beacons.list"],
        &["beacons.list", "return_yaml=False"],
    ] {
        let arguments = [&["-L", "m1,m2"], words].concat();
        let published = site.run(&[&["salt", "--async"], &arguments[..]].concat());
        let (_, jid) = published.stdout.trim().rsplit_once(' ').unwrap();
        let mut returned: [Option<String>; 2] = [None, None];
        while returned.contains(&None) {
            let (tag, data) = bus.next_with_tag(&format!("salt/job/{jid}/ret/*"));
            returned[usize::from(tag.ends_with("m2"))] = Some(comparable(&data));
        }
        let [ours, theirs] = returned;
        assert_eq!(ours, theirs, "{version} {words:?}");
    }

    // Two states at a time would undo each other's work.
    let published = site.run(&["salt", "--async", "m1", "state.apply", "slow"]);
    let (_, jid) = published.stdout.trim().rsplit_once(' ').unwrap();
    wait_until("the slow state", || site.path("begun").exists());
    let refused = site.run(&["salt", "m1", "state.apply", "st", "--out", "txt"]);
    let running = "m1: ['The function \"state.apply\" is running as PID ";
    assert!(
        refused.stdout.starts_with(running) && refused.stdout.contains(jid),
        "{refused:?}"
    );
    fs::write(site.path("go"), "").unwrap();
    let slow = bus.next(&format!("salt/job/{jid}/ret/m1"));
    assert_eq!(at(&slow, "success"), &true.into(), "{slow:?}");
    let left: Vec<_> = fs::read_dir(site.path("n/cache/proc")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// They would wait for a minute.
#[test]
fn modules_of_a_release_that_cannot_read_the_minions_bus_say_so_at_once() {
    let mut site = Site::configured("zeromq", "auto_accept: true\n");
    let python = python("3006.28");
    let python = python.get_program().to_str().unwrap();
    let minion = fs::read_to_string(site.path("minion")).unwrap();
    let minion = format!("{minion}brine: {{python: {python}}}\n");
    fs::write(site.path("minion"), minion).unwrap();
    site.start_master();
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    for fun in ["beacons.list", "schedule.list"] {
        let seconds = DEADLINE.as_secs().to_string();
        let refused = site.run(&["salt", "-t", &seconds, "m1", fun, "--out", "txt"]);
        let why = "set brine: {compat: 3006} beside python";
        assert!(refused.stdout.contains(why), "{refused:?}");
    }
}

/// A real master's files, those of our minion `m1`, which knows a Python with Salt, and of Salt's `m2`.
fn site(version: &str) -> Site {
    let seconds = DEADLINE.as_secs();
    let site = Site::configured(
        "zeromq",
        &format!("auto_accept: true\ntimeout: {seconds}\n"),
    );
    let path = site.path("");
    let path = path.to_str().unwrap();
    let append = |name: &str, text: String| {
        let mut file = fs::File::options().append(true).open(site.path(name));
        let file = file.as_mut().unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append(
        "master",
        format!("pillar_roots:\n  base: [{path}/pillar]\n"),
    );
    fs::create_dir_all(site.path("two")).unwrap();
    let two = fs::read_to_string(site.path("minion")).unwrap();
    let two = two
        .replace("id: m1", "id: m2")
        .replace(&format!("{path}n"), &format!("{path}n2"));
    fs::write(site.path("two/minion"), two).unwrap();
    let python = python(version);
    let python = python.get_program().to_str().unwrap();
    // Salt's modules read the minion's bus as their release frames it.
    let compat = version.split('.').next().unwrap();
    append(
        "minion",
        format!("brine: {{python: {python}, compat: {compat}}}\n"),
    );
    fs::create_dir_all(site.path("pillar")).unwrap();
    let slow = format!(
        "slow:\n  cmd.run:\n    - name: touch {path}/begun; until [ -e {path}/go ]; do sleep 0.1; done\n"
    );
    for (file, text) in [
        ("pillar/top.sls", "base: {'*': [p]}\n"),
        ("pillar/p.sls", &format!("colour: blue\ndir: {path}\n")),
        ("srv/st.sls", STATE),
        ("srv/slow.sls", &slow),
        (
            "srv/data.txt",
            "{{ pillar['colour'] }} {{ grains['kernel'] }}\n",
        ),
        ("srv/said.sh", "#!/bin/sh\necho \"said $1\"; exit 3\n"),
    ] {
        fs::write(site.path(file), text).unwrap();
    }
    site
}

/// A return as text, without what differs from run to run and minion to minion.
fn comparable(ret: &Map) -> String {
    let mut kept = Map::new();
    for key in ["return", "retcode", "success", "out", "fun_args"] {
        if let Some(value) = ret.get(key) {
            kept.insert(key, without_times(value));
        }
    }
    let mut line = String::new();
    json::to_line(&kept.into(), &mut line);
    line.replace("m2", "m1")
}

fn without_times(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let varies = ["duration", "start_time", "pid"];
            let same = map
                .iter()
                .filter(|(key, _)| !key.as_str().is_some_and(|name| varies.contains(&name)));
            let same = same.map(|(key, value)| (key.clone(), without_times(value)));
            Value::Map(same.collect())
        }
        Value::Array(items) => items.iter().map(without_times).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}
