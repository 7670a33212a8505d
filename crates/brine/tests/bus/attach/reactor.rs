//! `brine attach --reactor` beside a whole real master, which runs no reactor of its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use brine_testkit::salt::{Client, Node, python};

use super::front::hears;
use super::master::Salt;
use super::until;

const FILES: [(&str, &str); 5] = [
    (
        "rules.yaml",
        "- my/go: R/go.sls\n- my/python: R/python.sls\n- my/salt: R/salt.sls\n- my/bad: R/bad.sls\n",
    ),
    (
        "go.sls",
        "go:\n  local.event.fire_master:\n    - tgt: {{ data['id'] }}\n    - arg: [{n: {{ data['n'] }}}, my/went]\n\
         tell:\n  runner.event.send:\n    - args: [{tag: my/told}, {data: {n: {{ data['n'] }}}}]\n",
    ),
    (
        "python.sls",
        "#!py\ndef run():\n    return {'x': {'local.event.fire_master': [\n        {'tgt': data['id']}, \
         {'arg': [{'by': 'python'}, 'my/rendered']}]}}\n",
    ),
    (
        "salt.sls",
        "x:\n  runner.salt.cmd:\n    - args: [{fun: test.echo}, {text: {{ data['text'] }}}]\n\
         y:\n  wheel.key.finger:\n    - match: m1\n\
         z:\n  runner.state.orchestrate:\n    - args: [{mods: no.such}]\n",
    ),
    (
        "bad.sls",
        "x:\n  runner.event.send:\n    - tag: {{ data.nope }}\n",
    ),
];

/// Takes events until one has this tag; the repr of its data.
fn next(listener: &mut Client, tag: &str) -> String {
    listener.run(&format!("bus.get_event(wait=100, tag={tag:?})"))
}

/// What a subcommand of `brine reactor` prints.
fn reactor(salt: &Salt, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command.arg("reactor").args(words).arg("-c");
    let output = command.arg(salt.site.path("")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn reacts_beside(version: &'static str) {
    let salt = Salt::start(version);
    let folder = salt.site.path("r");
    fs::create_dir(&folder).unwrap();
    for (name, text) in FILES {
        let text = text.replace("R/", &format!("{}/", folder.display()));
        fs::write(folder.join(name), text).unwrap();
    }
    let python = python(version);
    let mut config = File::options()
        .append(true)
        .open(salt.site.path("master"))
        .unwrap();
    writeln!(config, "brine: {{python: {:?}}}", python.get_program()).unwrap();
    let mut listener = Client::start(version, Node::Master, salt.site.sock_dir());
    hears(&mut listener, "listens");

    let (directory, rules) = (salt.site.path(""), folder.join("rules.yaml"));
    let arguments = [
        "-c",
        directory.to_str().unwrap(),
        "--reactor",
        rules.to_str().unwrap(),
    ];
    let attached = salt.site.attach(&arguments);

    // A job through the master's own port, with its user's key; and an event on the master's bus.
    listener.run("bus.fire_event({'id': 'm1', 'n': 7}, 'my/go')");
    let job = listener.run("bus.get_event(wait=100, tag='salt/job/*/new', match_type='fnmatch')");
    assert!(
        job.contains("'user': 'root'") && job.contains("'fun': 'event.fire_master'"),
        "{job}"
    );
    let went = next(&mut listener, "my/went");
    assert!(
        went.contains("'n': 7") && went.contains("'id': 'm1'"),
        "{went}"
    );
    listener.run("bus.fire_event({'id': 'm1', 'n': 8}, 'my/go')");
    let told = next(&mut listener, "my/told");
    assert!(told.contains("'n': "), "{told}");

    // Rendered by real Salt.
    listener.run("bus.fire_event({'id': 'm1'}, 'my/python')");
    let rendered = next(&mut listener, "my/rendered");
    assert!(rendered.contains("'by': 'python'"), "{rendered}");

    // Run by real Salt.
    listener.run("bus.fire_event({'text': 'echoed'}, 'my/salt')");
    let of_salt = || reactor(&salt, &["history", "--rule", "my/salt", "--json"]);
    until("what real Salt ran to be done", || {
        of_salt().matches("\"outcome\": \"done\"").count() == 2
    });
    let of_salt = of_salt();
    // Real Salt returns failures as if they were results.
    until("what failed in real Salt to be so on record", || {
        let failed = reactor(
            &salt,
            &["history", "--rule", "my/salt", "--outcome", "failed"],
        );
        failed.contains("runner.state.orchestrate") && failed.contains("no.such")
    });
    for result in ["echoed", "minions", "runner.salt.cmd", "wheel.key.finger"] {
        assert!(of_salt.contains(result), "{result}: {of_salt}");
    }

    listener.run("bus.fire_event({}, 'my/bad')");
    until("the failure in the record", || {
        reactor(&salt, &["history", "--outcome", "failed"])
            .contains("bad.sls:3: Jinja variable `data.nope` is undefined")
    });
    let listed = reactor(&salt, &["ls"]);
    assert!(
        listed.contains("\nmy/go             2         4 "),
        "{listed}"
    );
    assert!(attached.end().success());
    // Real Salt's key for its commands is on no bus, and no reaction ran twice.
    let stored = salt.site.stored();
    let times = |tag: &str| stored.iter().filter(|(stored, _)| stored == tag).count();
    assert_eq!([times("my/went"), times("my/told")], [2, 2]);
    let log = fs::read_to_string(salt.site.path("attach.log")).unwrap();
    assert!(log.contains("is rendered by real Salt"), "{log}");
}

#[test]
fn a_real_master_of_3006_has_a_reactor_beside_it() {
    reacts_beside("3006.28");
}

#[test]
fn a_real_master_of_3008_has_a_reactor_beside_it() {
    reacts_beside("3008.3");
}
