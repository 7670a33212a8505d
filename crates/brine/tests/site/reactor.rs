//! The reactor of a master and of a minion, as a site has it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use brine_wire::Value;
use rustix::process::Signal;

use crate::site::{Left, Site, at, map, wait_until};

const RULES: &str = "
reactor:
  - 'salt/minion/*/start': R/start.sls
  - myco/order: [R/order.sls]
  - myco/bad: [R/bad.sls, R/good.sls]
  - myco/slow: R/slow.sls
  - 'salt/run/*/new': R/loop.sls
  - myco/often: R/often.sls
  - myco/nobody: R/nobody.sls
  - myco/count: R/count.sls
brine:
  reactor:
    throttle:
      myco/often: {run: first, within: 1h, key: \"data['k']\"}
";

const FILES: [(&str, &str); 10] = [
    (
        "start.sls",
        "greet:\n  local.event.fire_master:\n    - tgt: {{ data['id'] }}\n    - arg: [{a: {{ tag }}}, myco/greeted]\n",
    ),
    (
        "order.sls",
        "z:\n  runner.event.send:\n    - tag: myco/first\na:\n  runner.event.send:\n    - args:\n      - tag: myco/second\n      - data: {{ data | json }}\n",
    ),
    (
        "bad.sls",
        "x:\n  runner.event.send:\n    - tag: {{ data.nope }}\n",
    ),
    (
        "good.sls",
        "x:\n  runner.event.send:\n    - tag: myco/good\n",
    ),
    (
        "slow.sls",
        "x:\n  runner.manage.up:\n    - timeout: 60\n    - gather_job_timeout: 60\n",
    ),
    (
        "loop.sls",
        "x:\n  runner.event.send:\n    - tag: myco/looped/{{ data.fun }}\n",
    ),
    (
        "often.sls",
        "x:\n  runner.event.send:\n    - tag: myco/once/{{ data.k }}\n",
    ),
    (
        "nobody.sls",
        "x:\n  local.test.ping:\n    - tgt: no-such-minion\n",
    ),
    (
        "count.sls",
        "x:\n  runner.event.send:\n    - tag: myco/counted/{{ data.n }}\n",
    ),
    (
        "caller.sls",
        "x:\n  caller.event.fire_master:\n    - arg: [{a: {{ data.a }}}, myco/called]\n",
    ),
];

/// A site with these rules, and nothing that runs.
fn configured() -> Site {
    let site = Site::configured("tcp", "auto_accept: true\n");
    let folder = site.path("r");
    fs::create_dir(&folder).unwrap();
    for (name, text) in FILES {
        fs::write(folder.join(name), text).unwrap();
    }
    let own = folder.display().to_string();
    append(&site, "master", &RULES.replace("R/", &format!("{own}/")));
    append(
        &site,
        "minion",
        &format!("reactor:\n  - local/thing: {own}/caller.sls\n"),
    );
    site
}

/// Starts the master, and waits until its local socket is served: then everything is.
pub(crate) fn start(site: &mut Site) {
    site.start_master();
    let socket = site.path("m/s/brine.sock");
    wait_until("the local socket", || UnixStream::connect(&socket).is_ok());
}

/// What the master tells Prometheus.
fn metrics(site: &Site) -> String {
    let mut socket = UnixStream::connect(site.path("m/s/brine.sock")).unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    socket.write_all(request).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn append(site: &Site, name: &str, text: &str) {
    let mut file = fs::File::options()
        .append(true)
        .open(site.path(name))
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub(crate) fn send(site: &Site, tag: &str, data: &str) {
    let left = site.run(&["send", "--ack", tag, data]);
    assert_eq!(left.code, Some(0), "{left:?}");
}

/// Runs a subcommand of `brine reactor` to its end: its code and what it printed.
pub(crate) fn reactor(site: &Site, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command
        .arg("reactor")
        .args(words)
        .arg("-c")
        .arg(site.path(""));
    let output = command.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

/// The record's lines with this outcome.
pub(crate) fn history(site: &Site, outcome: &str) -> Vec<String> {
    let (code, printed) = reactor(site, &["history", "--outcome", outcome]);
    assert_eq!(code, Some(0), "{printed}");
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn a_site_reacts_in_order_and_every_reaction_is_recorded() {
    let mut site = configured();
    start(&mut site);
    let mut bus = site.master_bus();
    site.start_minion();
    // A job for the minion, published by the reactor.
    let greeted = bus.next("myco/greeted");
    assert_eq!(
        at(map(&greeted, "data"), "a"),
        &"salt/minion/m1/start".into()
    );

    send(&site, "myco/order", "{x: 1}");
    assert_eq!(bus.next_with_tag("myco/[fs]*").0, "myco/first");
    let (tag, data) = bus.next_with_tag("myco/[fs]*");
    assert_eq!(
        (tag.as_str(), at(&data, "x")),
        ("myco/second", &Value::Int(1))
    );

    // A file that cannot be rendered takes no other with it.
    send(&site, "myco/bad", "{}");
    bus.next("myco/good");
    wait_until("the failure in the record", || {
        history(&site, "failed")
            .iter()
            .any(|line| line.contains("bad.sls:3: Jinja variable `data.nope` is undefined"))
    });

    // The first of a key, and no more.
    for key in ["a", "a", "b"] {
        send(&site, "myco/often", &format!("{{k: {key}}}"));
    }
    assert_eq!(bus.next_with_tag("myco/once/*").0, "myco/once/a");
    assert_eq!(bus.next_with_tag("myco/once/*").0, "myco/once/b");

    send(&site, "myco/nobody", "{}");
    wait_until("the reaction for nobody in the record", || {
        let (_, printed) = reactor(&site, &["history", "--rule", "myco/nobody"]);
        printed.contains("\n    no minion matches the target")
    });

    // What people run is reacted to; what reactions run is not.
    let done = site.run(&["salt-run", "jobs.active"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(
        bus.next_with_tag("myco/looped/*").0,
        "myco/looped/runner.jobs.active"
    );

    let minion = site.run(&["send", "--node", "minion", "local/thing", "{a: b}"]);
    assert_eq!(minion.code, Some(0), "{minion:?}");
    let called = bus.next("myco/called");
    assert_eq!(at(map(&called, "data"), "a"), &"b".into());
    asks_and_explains(&site, &mut bus);
}

fn asks_and_explains(site: &Site, bus: &mut crate::site::Bus) {
    let key = fs::read_to_string(site.path("m/cache/.root_key")).unwrap();
    let added = site.run(&[
        "salt-run",
        "reactor.add",
        "extra/*",
        &site.path("r/good.sls").display().to_string(),
    ]);
    assert!(added.stdout.contains("Reactor added."), "{added:?}");
    let ret = bus.next("salt/run/*/ret");
    assert!(
        !format!("{ret:?}").contains(key.trim()),
        "the key is on the bus"
    );
    let listed = site.run(&["salt-run", "reactor.list"]);
    assert!(listed.stdout.contains("extra/*"), "{listed:?}");
    send(site, "extra/x", "{}");
    bus.next("myco/good");
    let deleted = site.run(&["salt-run", "reactor.delete", "extra/*"]);
    assert!(deleted.stdout.contains("Reactor deleted."), "{deleted:?}");
    site.prints(&["salt-run", "reactor.is_leader"], "True\n");
    site.prints(&["salt-run", "reactor.set_leader", "False"], "False\n");
    site.prints(&["salt-run", "reactor.set_leader"], "True\n");

    asks_without_events(site, bus);
    let Left { stdout, code, .. } = site.run(&["explain", "myco/order", "{x: 2}"]);
    assert_eq!(code, Some(0), "{stdout}");
    assert!(
        stdout.contains("1 of 8 rules of the running reactor match myco/order"),
        "{stdout}"
    );
    assert!(
        stdout.contains(
            "a: runner.event.send kwarg={\"tag\": \"myco/second\", \"data\": {\"x\": 2}}"
        ),
        "{stdout}"
    );
    let bad = site.run(&["explain", "myco/bad"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(
        bad.stdout.contains("error: ") && bad.stdout.contains("bad.sls:3:"),
        "{bad:?}"
    );

    // A reaction of the record, again.
    let first = history(site, "done")
        .into_iter()
        .find(|line| line.contains("ID z"))
        .unwrap();
    let number = first.split_whitespace().next().unwrap().to_owned();
    let (code, printed) = reactor(site, &["rerun", &number]);
    assert_eq!(code, Some(0), "{printed}");
    bus.next("myco/first");
}

/// Whoever asks what would happen makes nothing happen, and hears of a reactor that is not the leader.
fn asks_without_events(site: &Site, bus: &mut crate::site::Bus) {
    site.prints(&["salt-run", "reactor.set_leader", "False"], "False\n");
    send(site, "myco/mark", "{}");
    let idle = site.run(&["explain", "myco/order"]);
    let told = "the reactor is not the leader";
    assert!(idle.stdout.contains(told), "{idle:?}");
    let (code, listed) = reactor(site, &["ls"]);
    assert_eq!(code, Some(0), "{listed}");
    assert!(listed.contains(told), "{listed}");
    send(site, "myco/end", "{}");
    bus.next("myco/mark");
    assert_eq!(bus.next_with_tag("*").0, "myco/end");
    site.prints(&["salt-run", "reactor.set_leader", "True"], "True\n");
}

/// How many reactions of the rule `myco/order`, two for each event, are done.
fn done_of_order(site: &Site) -> usize {
    let done = history(site, "done").into_iter();
    done.filter(|line| line.contains("order.sls")).count()
}

#[test]
fn a_killed_master_loses_no_reaction_and_repeats_none() {
    let mut site = configured();
    start(&mut site);
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    // It never answers, so that a reaction waits for it.
    site.minion.as_ref().unwrap().signal(Signal::STOP);
    send(&site, "myco/slow", "{}");
    wait_until("a reaction that runs", || {
        history(&site, "running")
            .iter()
            .any(|line| line.contains("runner.manage.up"))
    });
    // The one that hangs holds up no other.
    send(&site, "myco/order", "{}");
    bus.next("myco/second");
    // Killed before that is stored, they would be uncertain.
    wait_until("both to be done", || done_of_order(&site) == 2);
    site.master.as_mut().unwrap().signal(Signal::KILL);
    site.master.as_mut().unwrap().wait();

    start(&mut site);
    wait_until("the uncertain reaction", || {
        history(&site, "uncertain")
            .iter()
            .any(|line| line.contains("runner.manage.up"))
    });
    let mut bus = site.master_bus();
    send(&site, "myco/order", "{}");
    bus.next("myco/second");
    wait_until("those of the second event to be done", || {
        done_of_order(&site) >= 4
    });
    assert_eq!(done_of_order(&site), 4, "two for each event");
    // What was done before the crash counts.
    for (rule, expected) in [
        ("myco/order", "\"done\": 4, \"failed\": 0, \"uncertain\": 0"),
        ("myco/slow", "\"done\": 0, \"failed\": 0, \"uncertain\": 1"),
    ] {
        wait_until("the counts of both lives", || {
            let (_, printed) = reactor(&site, &["ls", "--json"]);
            let mut lines = printed.lines();
            lines.any(|line| line.contains(rule) && line.contains(expected))
        });
    }
    let metrics = metrics(&site);
    let uncertain = "brine_reactor_reactions_total{outcome=\"uncertain\"} 1\n";
    assert!(metrics.contains(uncertain), "{metrics}");
    site.minion.as_ref().unwrap().signal(Signal::CONT);
}

#[test]
fn rules_that_cannot_be_used_stop_the_start() {
    let site = Site::configured(
        "tcp",
        "reactor:\n  - 'a/*': /srv/a.sls\n  - 'b/*': {x: y}\n",
    );
    let left = site.run(&["salt-master"]);
    assert_eq!(left.code, Some(1), "{left:?}");
    let complaint = format!("{left:?}");
    assert!(
        complaint.contains("/master:") && complaint.contains("reactor[1]: expected a file"),
        "{complaint}"
    );
}

#[test]
fn under_load_and_kills_each_event_is_reacted_to_once() {
    const ROUNDS: usize = 3;
    const EVENTS: usize = 200;
    let mut site = configured();
    for round in 0..ROUNDS {
        start(&mut site);
        let events: String = (0..EVENTS)
            .map(|n| {
                format!(
                    "{{\"tag\": \"myco/count\", \"data\": {{\"n\": {}}}}}\n",
                    round * EVENTS + n
                )
            })
            .collect();
        // They are on the disk when this returns, and reactions to them are under way.
        let left = site.run_with(&["send", "--stdin", "--ack"], &[], &events);
        assert_eq!(left.code, Some(0), "{left:?}");
        site.master.as_mut().unwrap().signal(Signal::KILL);
        site.master.as_mut().unwrap().wait();
    }
    start(&mut site);
    let started = || {
        let (_, printed) = reactor(&site, &["history", "--json", "--rule", "myco/count"]);
        let mut events: Vec<String> = printed
            .lines()
            .filter_map(|line| {
                Some(
                    line.split("\"event\": \"")
                        .nth(1)?
                        .split('"')
                        .next()?
                        .to_owned(),
                )
            })
            .collect();
        events.sort();
        let all = events.len();
        events.dedup();
        (all, events.len())
    };
    wait_until("a reaction to every event", || {
        started().1 >= ROUNDS * EVENTS
    });
    assert_eq!(started(), (ROUNDS * EVENTS, ROUNDS * EVENTS), "none twice");
}

#[test]
fn what_nothing_here_can_do_is_named_before_it_runs() {
    let site = Site::configured("tcp", "brine: {python: /bin/false}\n");
    let file = site.path("needs.sls");
    fs::write(
        &file,
        "{% set x = '10.0.0.0/8' | network_hosts %}\nx:\n  runner.state.orchestrate:\n    - args: [{mods: x}]\ny:\n  caller.test.ping: []\n",
    )
    .unwrap();
    let other = site.path("filter.sls");
    fs::write(
        &other,
        "x:\n  local.test.ping:\n    - tgt: '*'\n    - arg: [{{ tag | network_size }}]\n",
    )
    .unwrap();
    let rules = format!(
        "reactor:\n  - go: [{}, {}]\n  - gone: /no/such.sls\n  - idle: []\n",
        file.display(),
        other.display()
    );
    append(&site, "master", &rules);
    let left = site.run(&["check"]);
    assert_eq!(left.code, Some(1), "{left:?}");
    let said = format!("{left:?}");
    for expected in [
        format!("{}:3", file.display()),
        "runner.state.orchestrate is not built in".to_owned(),
        format!("{}:6", file.display()),
        "caller.test.ping: on a master".to_owned(),
        format!("{}:4", other.display()),
        "filter `network_size` is not built in".to_owned(),
        "reactor: gone: /no/such.sls: no such file".to_owned(),
        "reactor: idle: it has no files, so nothing happens".to_owned(),
        format!("{}:", site.path("master").display()),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
}
