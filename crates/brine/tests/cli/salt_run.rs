//! `salt-run` as Salt's: texts and codes. Expected values are what Salt 3008.3 does.

use std::fs;

use crate::support::{Bus, Left, brine, run};

fn salt_run(bus: &Bus, arguments: &[&str]) -> Left {
    let config_dir = bus.config_dir();
    run(
        &mut brine(&[&["salt-run", "-c", &config_dir], arguments].concat()),
        "",
    )
}

#[test]
fn return_values_are_printed_as_salt_prints_them() {
    let bus = Bus::start();
    for (arguments, code, stdout) in [
        (&["event.send", "my/tag", "{a: 1}"][..], 0, "True\n"),
        (&["event.send", "my/tag"], 0, "True\n"),
        (
            &["--out", "json", "event.send", "my/tag", "data={a: 1}"],
            0,
            "true\n",
        ),
        (&["--out=yaml", "event.send", "my/tag", "''"], 0, "true\n"),
        (&["event.send", "my/tag", "--quiet"], 0, ""),
        (&["nope.nope"], 0, "'nope.nope' is not available.\n"),
        (
            &["--out", "json", "nope.nope"],
            0,
            "\"'nope.nope' is not available.\"\n",
        ),
        (
            &["event.send", "my/tag", "notadict"],
            1,
            "Exception occurred in runner event.send: ValueError: Dict object expected, not 'notadict'.\n",
        ),
        (
            &["event.send", "", "{}"],
            1,
            "Exception occurred in runner event.send: ValueError: Empty tag.\n",
        ),
        (&["state.event", "*", "count=1", "quiet=True"], 0, "None\n"),
    ] {
        let left = salt_run(&bus, arguments);
        assert_eq!(
            (left.code, left.stdout.as_str(), left.stderr.as_str()),
            (Some(code), stdout, ""),
            "{arguments:?}"
        );
    }
    let left = salt_run(&bus, &["event.send", "a", "b", "c", "d"]);
    assert_eq!(left.code, Some(0));
    assert!(left.stdout.starts_with(
        "\nPassed invalid arguments: send() takes from 1 to 2 positional arguments but 4 were given\n\nUsage:\n"
    ));
}

#[test]
fn without_a_bus_firing_is_false() {
    let left = salt_run(&Bus::absent(), &["event.send", "my/tag"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), "False\n"));
    assert!(left.stderr.starts_with("[ERROR   ] no bus at "), "{left:?}");
}

#[test]
fn wrong_usage_is_reported_as_by_optparse() {
    let usage = "Usage: salt-run [options] <function> [arguments]\n\nsalt-run: error: ";
    for (arguments, error) in [
        (&["--bogus"][..], "no such option: --bogus"),
        (&["-t", "x", "a.b"], "option -t: invalid integer value: 'x'"),
        (
            &["--jid", "2026", "event.send", "t"],
            "'2026' is not a valid JID",
        ),
        (
            &["--lo", "info"],
            "ambiguous option: --lo (--log-file, --log-file-level, --log-level?)",
        ),
    ] {
        let left = run(&mut brine(&[&["salt-run"], arguments].concat()), "");
        assert_eq!(
            (left.code, left.stdout, left.stderr),
            (Some(64), String::new(), format!("{usage}{error}\n"))
        );
    }
}

/// As recorded from Salt 3008.3.
#[test]
fn others_hear_of_the_job() {
    let bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "9"]);
    for arguments in [
        &["event.send", "my/tag", "{a: 1}"][..],
        &["event.send", "my/tag", "notadict"],
        &["nope.nope", "x"],
        &["event.send", "my/tag", "bogus=1"],
        &["state.event", "*", "count=1", "quiet=True"],
    ] {
        salt_run(&bus, arguments);
    }
    let user = brine_config::Environment::current().user;
    let seen = bus
        .scrub(&watch.left().stdout)
        .replace(&format!("\"{user}\""), "\"USER\"");
    insta::assert_snapshot!(seen, @r#"
    {"tag": "salt/run/JID/new", "data": {"fun": "runner.event.send", "jid": "JID", "user": "USER", "fun_args": ["my/tag", {"a": 1}], "_stamp": "STAMP"}}
    {"tag": "my/tag", "data": {"a": 1, "_stamp": "STAMP"}}
    {"tag": "salt/run/JID/ret", "data": {"fun": "runner.event.send", "jid": "JID", "user": "USER", "fun_args": ["my/tag", {"a": 1, "_stamp": "STAMP"}], "_stamp": "STAMP", "return": true, "success": true}}
    {"tag": "salt/run/JID/new", "data": {"fun": "runner.event.send", "jid": "JID", "user": "USER", "fun_args": ["my/tag", "notadict"], "_stamp": "STAMP"}}
    {"tag": "salt/run/JID/ret", "data": {"fun": "runner.event.send", "jid": "JID", "user": "USER", "fun_args": ["my/tag", "notadict"], "_stamp": "STAMP", "return": "Exception occurred in runner event.send: ValueError: Dict object expected, not 'notadict'.", "success": false, "retcode": 1}}
    {"tag": "salt/run/JID/ret", "data": {"success": false, "return": "'nope.nope' is not available.", "retcode": 254, "fun": "nope.nope", "fun_args": ["x"], "jid": "JID", "_stamp": "STAMP"}}
    {"tag": "salt/run/JID/ret", "data": {"success": false, "return": "The following keyword arguments are not valid: bogus=1", "retcode": 254, "fun": "event.send", "fun_args": ["my/tag", {"__kwarg__": true, "bogus": 1}], "jid": "JID", "_stamp": "STAMP"}}
    {"tag": "salt/run/JID/new", "data": {"fun": "runner.state.event", "jid": "JID", "user": "USER", "fun_args": ["*", {"count": 1, "quiet": true}], "_stamp": "STAMP"}}
    {"tag": "salt/run/JID/ret", "data": {"fun": "runner.state.event", "jid": "JID", "user": "USER", "fun_args": ["*", {"count": 1, "quiet": true}], "_stamp": "STAMP", "return": null, "success": true}}
    "#);
}

#[test]
fn ctrl_c_is_a_graceful_end() {
    let bus = Bus::start();
    let config_dir = bus.config_dir();
    let mut command = brine(&["salt-run", "-c", &config_dir, "state.event", "x"]);
    let running = crate::support::Running::start(&mut command);
    crate::support::wait_for_connections(&bus.sock_dir(), 5);
    running.signal(rustix::process::Signal::INT);
    let left = running.left();
    assert_eq!(
        (left.code, left.stdout.as_str(), left.stderr.as_str()),
        (Some(0), "", "\nExiting gracefully on Ctrl-c\n")
    );
}

#[test]
fn a_minions_bus_is_found_by_the_minions_own_configuration() {
    let bus = Bus::start_with(&["--node", "minion", "--id", "m1"]);
    fs::write(
        bus.path("minion"),
        format!("id: m1\nroot_dir: {}\nsock_dir: /s\n", bus.config_dir()),
    )
    .unwrap();
    let config_dir = bus.config_dir();
    let mut command = brine(&["salt-run", "-c", &config_dir, "state.event"]);
    command.args(["my/*", "count=1", "node=minion"]);
    let running = crate::support::Running::start(&mut command);
    crate::support::wait_for_connections(&bus.sock_dir(), 4);
    let fire = ["send", "my/tag", "--node", "minion", "--id", "m1"];
    assert_eq!(bus.run(&fire).code, Some(0));
    let left = running.left();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert_eq!(
        bus.scrub(&left.stdout),
        "my/tag\t{\"_stamp\": \"STAMP\"}\nNone\n"
    );
}
