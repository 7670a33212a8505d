//! A reactor beside a whole real master, whose own is off: jobs through its port, functions by its Salt, and a crash.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use brine_testkit::{salt, wait_until};
use brine_wire::{Map, Value};

use super::master::Salt;
use super::{Site, text};

const FILES: [(&str, &str, &str); 5] = [
    (
        "greet",
        "myco/greet",
        "x:\n  local.event.fire_master:\n    - tgt: {{ data['id'] }}\n    - arg: [{n: {{ data.n }}}, myco/greeted]\n",
    ),
    (
        "send",
        "myco/send",
        "x:\n  runner.event.send:\n    - tag: myco/sent/{{ salt['test.echo']('by_salt') }}\n",
    ),
    (
        "run",
        "myco/run",
        "x:\n  runner.salt.cmd:\n    - args:\n      - fun: test.arg\n      - a: 7\n",
    ),
    (
        "key",
        "myco/key",
        "x:\n  wheel.key.name_match:\n    - match: m1\n",
    ),
    (
        "loop",
        "salt/run/*/new",
        "x:\n  runner.event.send:\n    - tag: myco/looped\n",
    ),
];

/// Writes the rules, and tells the configuration where real Salt is; the rules' file.
fn configure(version: &str, site: &Site) -> String {
    let mut rules = String::new();
    for (name, tag, text) in FILES {
        let file = site.path(&format!("{name}.sls"));
        fs::write(&file, text).unwrap();
        rules.push_str(&format!("- '{tag}': {}\n", file.display()));
    }
    let file = site.path("rules.yaml");
    fs::write(&file, rules).unwrap();
    let python = salt::python(version);
    let python = python.get_program().to_str().unwrap();
    let mut master = fs::File::options()
        .append(true)
        .open(site.path("master"))
        .unwrap();
    writeln!(master, "brine: {{python: {python}}}").unwrap();
    file.display().to_string()
}

/// The record of a rule, a line for each reaction.
fn history(site: &Site, rule: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command.args(["reactor", "history", "--json", "--rule", rule, "-c"]);
    let output = command.arg(site.path("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(str::to_owned).collect()
}

/// The data of stored events whose tags begin so.
fn stored(site: &Site, tag: &str) -> Vec<Map> {
    let all = site.stored().into_iter();
    all.filter(|(own, _)| own.starts_with(tag))
        .map(|(_, data)| data)
        .collect()
}

/// How often the minion has greeted about each event.
fn greeted(site: &Site) -> Vec<i128> {
    let all = stored(site, "myco/greeted");
    let number = |data: &Map| data.get("data")?.as_map()?.get("n")?.as_int();
    let mut numbers: Vec<_> = all.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

fn reacts(version: &'static str) {
    let salt = Salt::start(version);
    let site = &salt.site;
    let rules = configure(version, site);
    let config = site.path("");
    let arguments = ["-c", config.to_str().unwrap(), "--reactor", &rules];
    let attached = site.attach(&arguments);
    let mut fire = site.listener(version, &site.sock_dir());
    let mut event = |tag: &str, n: u32| {
        fire.run(&format!(
            "bus.fire_event({{'id': 'm1', 'n': {n}}}, {tag:?})"
        ));
    };
    event("myco/greet", 1);
    wait_until("the minion's greeting", || greeted(site) == [1]);
    let new = stored(site, "salt/job/");
    let new = new
        .iter()
        .find(|data| data.get("fun").and_then(Value::as_str) == Some("event.fire_master"));
    assert_eq!(text(new.unwrap(), "user"), "root");

    for (tag, shown) in [
        ("myco/run", "\\\"a\\\": 7"),
        ("myco/key", "\\\"minions\\\": [\\\"m1\\\"]"),
        ("myco/send", "\"outcome\": \"done\""),
    ] {
        event(tag, 0);
        wait_until(tag, || {
            let lines = history(site, tag);
            lines.iter().any(|line| {
                assert!(!line.contains("\"outcome\": \"failed\""), "{line}");
                line.contains("\"outcome\": \"done\"") && line.contains(shown)
            })
        });
    }
    wait_until("the event of a reaction", || {
        stored(site, "myco/sent/by_salt").len() == 1
    });

    // Killed, it goes on and repeats nothing; what its own reactions run starts no other.
    attached.kill();
    let attached = site.attach(&arguments);
    event("myco/greet", 2);
    wait_until("the second greeting", || greeted(site) == [1, 2]);
    assert_eq!(history(site, "myco/greet").len(), 2);
    assert!(history(site, "salt/run/*/new").is_empty());
    assert!(attached.end().success());
}

#[test]
fn beside_a_real_master_of_3008_reactions_run_through_its_port_and_by_its_salt() {
    reacts("3008.3");
}

#[test]
fn beside_a_real_master_of_3006_too() {
    reacts("3006.28");
}
