//! What attach provides beside a bus that stays as it is.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use brine_testkit::salt::{Client, Node};
use rustix::process::{Pid, Signal, kill_process};

use super::front::hears;
use super::{Attached, Site, request, until};
use crate::process::Setup;

/// Takes events until one has this tag; the repr of its data.
fn next(listener: &mut Client, tag: &str) -> String {
    listener.run(&format!("bus.get_event(wait=30, tag={tag:?})"))
}

/// Exit code and output of `brine status`.
fn shown_status(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    let output = command
        .args(["status", "--sock-dir"])
        .arg(site.sock_dir())
        .args(arguments)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), shown)
}

#[test]
fn events_go_both_ways_between_a_bus_and_clients_of_all_releases() {
    for (version, node) in [
        ("3006.28", Node::Master),
        ("3007.14", Node::Minion("m1")),
        ("3008.3", Node::Master),
    ] {
        println!("{version} {node:?}");
        let site = Site::new(node);
        let _bus = site.start_bus(version);
        let (old, new) = (site.path("o"), site.path("n"));
        let also = |path: &Path, release| format!("--also={}={release}", path.display());
        let attached = site.attach(&[&also(&old, "3006"), &also(&new, "3007.14")]);

        // Connected is not subscribed yet: what comes between is for nobody.
        let mut salts = site.listener(version, &site.sock_dir());
        hears(&mut salts, "listens/salts");
        for (release, sock_dir) in [("3006.28", &old), ("3007.14", &new)] {
            let mut ours = site.listener(release, sock_dir);
            hears(&mut ours, "listens/ours");
            assert_eq!(salts.run("bus.fire_event({'n': 1}, 'from/salt')"), "True");
            assert!(next(&mut ours, "from/salt").contains("'n': 1"));
            assert_eq!(ours.run("bus.fire_event({'n': 2}, 'from/ours')"), "True");
            assert!(next(&mut salts, "from/ours").contains("'n': 2"));
        }

        if node == Node::Master {
            let (code, shown) = shown_status(&site, &[]);
            assert!(
                code == Some(0) && shown.contains("attach   reading all events of the bus; "),
                "{shown}"
            );
            let pid = attached.process.id();
            assert!(shown.starts_with("bus      running (pid "), "{shown}");
            let joined = format!(", joined by brine attach (pid {pid})\n");
            assert!(shown.contains(&joined), "{shown}");
            let refusal = |words: &[&str], more: &[&Path]| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
                let output = command.args(words).args(more).output().unwrap();
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                String::from_utf8(output.stderr).unwrap()
            };
            let text = refusal(&["reactor", "ls", "--sock-dir"], &[&site.sock_dir()]);
            assert!(text.contains("Salt's own, which"), "{text}");
            let other = site.path("other");
            let words = ["bus", "--sock-dir", other.to_str().unwrap(), "--history"];
            let text = refusal(&words, &[&site.history()]);
            assert!(
                text.contains(&format!("process {pid}, which is brine attach; stop")),
                "{text}"
            );
        }
        let fired = request(
            &site.brine_sock(),
            "POST /events",
            "{\"tag\": \"from/local\", \"data\": {\"n\": 3}}",
        );
        let position = fired.rsplit_once("\r\n\r\n").unwrap().1;
        assert!(position.starts_with("{\"position\": "), "{fired}");
        assert!(next(&mut salts, "from/local").contains("'n': 3"));
        let events = request(
            &site.brine_sock(),
            "GET /events?from=earliest&follow=false&tag=from/*",
            "",
        );
        let position = position.trim().trim_matches(['{', '}']);
        let found = events.lines().find(|line| line.contains(position));
        assert!(
            found.is_some_and(|line| line.contains("from/local")),
            "{events}"
        );

        assert!(attached.end().success());
        let stored = site.stored();
        let first = &stored.first().unwrap().0;
        let last = &stored.last().unwrap().0;
        assert_eq!(
            [first.as_str(), last.as_str()],
            ["brine/attach/joined", "brine/attach/leaving"]
        );
        let times = |tag: &str| stored.iter().filter(|(stored, _)| stored == tag).count();
        let fired = ["from/salt", "from/ours", "from/local"].map(times);
        assert_eq!(fired, [2, 2, 1]);
        // Salt's own sockets were left alone, and ours are gone.
        assert!(site.publish().exists() && !site.brine_sock().exists());
    }
}

#[test]
fn without_the_bus_nothing_is_fired_and_somebody_is_told() {
    let site = Site::new(Node::Master);
    let mut bus = site.start_bus("3008.3");
    let mut attached = site.attach(&[]);
    // Who watches is told, and told when it is over.
    let said = site.path("said");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_brine"));
    watch.args(["watch", "--sock-dir"]).arg(site.sock_dir());
    watch
        .stderr(fs::File::create(&said).unwrap())
        .stdout(Stdio::null());
    let mut watch = watch.spawn().unwrap();
    let lines = || fs::read_to_string(&said).unwrap().lines().count();
    bus.kill();
    until("the word that the master is away", || lines() == 1);
    attached.says("waiting for it", 1);
    let answer = request(&site.brine_sock(), "POST /events", "{\"tag\": \"t\"}");
    assert!(answer.contains("not_fired"), "{answer}");
    let status = request(&site.brine_sock(), "GET /status", "");
    assert!(
        status.contains("\"attach\": {\"joined\": false"),
        "{status}"
    );
    let (code, shown) = shown_status(&site, &[]);
    let pid = attached.process.id();
    for line in [
        &format!("bus      away: brine attach (pid {pid}) waits for it at "),
        "attach   the joined bus is not running; ",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(code, Some(1), "{shown}");
    assert_eq!(shown_status(&site, &["--json"]).0, Some(1));
    let _bus = site.start_bus("3008.3");
    until("the word that it is back", || lines() == 2);
    watch.kill().unwrap();
    watch.wait().unwrap();
    let away = "the salt-master or salt-minion whose bus brine attach has joined is";
    assert_eq!(
        fs::read_to_string(&said).unwrap(),
        format!("brine: {away} away: no events until it is back\nbrine: {away} back\n")
    );
}

/// The bus itself has not ended, and is not away when attach comes back.
#[test]
fn who_watches_is_told_that_attach_has_ended_and_not_that_the_bus_has() {
    let site = Site::new(Node::Master);
    let _bus = site.start_bus("3008.3");
    let attached = site.attach(&[]);
    let (said, shown) = (site.path("said"), site.path("shown"));
    let mut watch = Command::new(env!("CARGO_BIN_EXE_brine"));
    watch
        .args(["watch", "my/*", "--sock-dir"])
        .arg(site.sock_dir());
    watch.stderr(fs::File::create(&said).unwrap());
    watch.stdout(fs::File::create(&shown).unwrap());
    let mut watch = watch.spawn().unwrap();
    // What is known of the connection is looked at after each event.
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    let hears = || {
        let before = lines(&shown);
        until("an event", || {
            request(&site.brine_sock(), "POST /events", "{\"tag\": \"my/tag\"}");
            lines(&shown) > before
        });
    };
    hears();
    assert!(attached.end().success());
    until("the word that attach has ended", || lines(&said) == 1);
    let _attached = site.attach(&[]);
    until("the word that it is back", || lines(&said) == 2);
    hears();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let said = fs::read_to_string(&said).unwrap();
    let told: Vec<&str> = said.lines().collect();
    assert!(
        told.len() == 2 && told[0].starts_with("brine: brine attach has ended: start it again"),
        "{said}"
    );
    assert_eq!(told[1], "brine: connected again");
}

/// Salt's minions answer no commands; a `brine.sock` beside them must not be taken for one that does.
#[test]
fn salt_call_runs_the_function_itself_beside_a_minion_of_salts() {
    let site = Site::new(Node::Minion("m1"));
    let _bus = site.start_bus("3008.3");
    let config = site.path("minion");
    let sock_dir = site.sock_dir();
    let text = format!(
        "root_dir: {}\nsock_dir: {}\nid: m1\nmaster: 127.0.0.1\nmaster_port: 1\nauth_tries: 1\nauth_timeout: 1\n",
        site.path("root").display(),
        sock_dir.display()
    );
    fs::write(&config, text).unwrap();
    let call = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command
            .args(["salt-call", "-c"])
            .arg(config.parent().unwrap());
        command.args(["test.echo", "a"]).output().unwrap()
    };
    let without = call();
    let _attached = site.attach(&[]);
    let beside = call();
    assert_eq!(without, beside);
    let said = String::from_utf8_lossy(&beside.stderr);
    assert!(said.starts_with("brine: master 127.0.0.1:1: "), "{said}");
}

/// As for a master that is not up: on many systems its first start makes the directory.
#[test]
fn it_waits_for_the_directory_of_sockets() {
    for arguments in [&[][..], &["--in-front"]] {
        let site = Site::new(Node::Master);
        fs::remove_dir(site.sock_dir()).unwrap();
        let mut command = site.command(arguments);
        command.arg("--history").arg(site.history());
        let mut attached = Attached::spawn(command, site.path("attach.log"));
        attached.says("the directory of the bus's sockets does not exist", 1);
        fs::create_dir(site.sock_dir()).unwrap();
        let _bus = site.start_bus("3008.3");
        attached.says("joined the bus; reading all its events", 1);
        assert_eq!(attached.end().code(), Some(0));
    }
    // Told to end meanwhile, it ends.
    let site = Site::new(Node::Master);
    fs::remove_dir(site.sock_dir()).unwrap();
    let mut attached = Attached::spawn(site.command(&[]), site.path("attach.log"));
    attached.says("the directory of the bus's sockets does not exist", 1);
    assert_eq!(attached.end().code(), Some(0));
    let restore = site.command(&["--restore"]).output().unwrap();
    assert!(restore.status.success(), "{restore:?}");
}

#[test]
fn a_bus_of_brines_own_is_not_attached_to() {
    let bus = Setup::new("3008").start();
    let brine = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.args(arguments).arg("--sock-dir");
        let output = command.arg(bus.sock_dir()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let pid = bus.pid();
    for arguments in [&["attach"][..], &["attach", "--in-front"]] {
        let (code, said) = brine(arguments);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&format!(
                "is Brine's own (pid {pid}) and serves brine.sock itself"
            )),
            "{said}"
        );
    }
}

#[test]
fn a_second_attach_names_the_first() {
    let site = Site::new(Node::Master);
    let _bus = site.start_bus("3008.3");
    let attached = site.attach(&[]);
    let second = site.command(&[]).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    let expected = format!("another brine attach (pid {})", attached.process.id());
    assert!(
        second.status.code() == Some(1) && said.contains(&expected),
        "{said}"
    );
}

/// What one of the commands says of the bus.
pub(super) fn said_by(site: &Site, command: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_brine"))
        .args([command, "--sock-dir"])
        .arg(site.sock_dir())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn of_a_bus_and_an_attach_the_one_that_is_stopped_is_named() {
    let site = Site::new(Node::Master);
    let bus = site.start_bus("3006.28");
    let attached = site.attach(&[]);
    let attach = Pid::from_child(&attached.process);
    let salts = Pid::from_raw(i32::try_from(bus.pid()).unwrap()).unwrap();

    kill_process(attach, Signal::STOP).unwrap();
    let (doctor, status) = (said_by(&site, "doctor"), said_by(&site, "status"));
    kill_process(attach, Signal::CONT).unwrap();
    let remedy = format!("→ kill -CONT {attach}, or restart brine attach");
    assert!(
        doctor.0 == Some(1)
            && doctor.1.contains("brine.sock: pid")
            && doctor.1.contains(&remedy)
            && doctor.1.contains(": 1 error, "),
        "{doctor:?}"
    );
    let attach = format!("attach   there (pid {attach}) at ");
    assert!(
        status.0 == Some(1)
            && status.1.starts_with("bus      running (pid ")
            && status.1.contains(&attach),
        "{status:?}"
    );

    let is_named = |what: &str| {
        kill_process(salts, Signal::STOP).unwrap();
        let (doctor, status) = (said_by(&site, "doctor"), said_by(&site, "status"));
        // Who watches hears nothing else of it.
        let said = site.path("said");
        let mut watch = Command::new(env!("CARGO_BIN_EXE_brine"));
        watch.args(["watch", "--sock-dir"]).arg(site.sock_dir());
        watch.stdout(Stdio::null());
        watch.stderr(fs::File::create(&said).unwrap());
        let mut watch = watch.spawn().unwrap();
        let says = |text: &str| {
            until(text, || fs::read_to_string(&said).unwrap().contains(text));
        };
        says(&format!("(pid {salts}) is stopped; kill -CONT {salts}"));
        kill_process(salts, Signal::CONT).unwrap();
        says(" goes on\n");
        watch.kill().unwrap();
        watch.wait().unwrap();
        assert!(
            doctor.0 == Some(1)
                && doctor.1.contains("serves the bus, but is stopped")
                && doctor
                    .1
                    .contains(&format!("→ kill -CONT {salts}, or restart")),
            "{what}: {doctor:?}"
        );
        assert!(
            status.0 == Some(1)
                && status
                    .1
                    .contains(&format!("but stopped: kill -CONT {salts} lets it go on")),
            "{what}: {status:?}"
        );
    };
    is_named("beside an attach");
    assert!(attached.end().success());
    is_named("alone");
}
