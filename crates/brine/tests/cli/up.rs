//! `brine up`: a site to try, and with `--masters` several over a nats-server of their own.

use std::fs;
use std::process::Command;

use brine_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Running, brine, run};

/// The children of a process that are servers of NATS, as `/proc` has them: those that ended and were not waited for
/// too.
fn servers(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_server = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.split_once("(nats-server) ").map(|(_, after)| after);
        let parent = after.and_then(|after| after.split(' ').nth(1));
        parent == Some(of.to_string().as_str())
    };
    pids.filter(is_server).collect()
}

#[test]
fn a_nats_server_that_is_killed_is_started_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap().to_owned();
    let mut command = brine(&["up", "--masters", "2", "--directory", &root]);
    command.env("NATS_SERVER", brine_testkit::nats::program());
    let mut up = Running::start(&mut command);
    up.prints("Ctrl-C ends it");
    let first = servers(up.pid());
    assert_eq!(first.len(), 1);
    kill_process(Pid::from_raw(first[0].cast_signed()).unwrap(), Signal::KILL).unwrap();
    let said = up.says("nats-server ended");
    assert!(
        said.contains("SIGKILL") && said.contains("/nats/log"),
        "{said}"
    );
    up.says("nats-server is started again on nats://127.0.0.1:");
    let second = servers(up.pid());
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    // The masters find it, and each other.
    let sent = run(
        &mut brine(&["send", "my/tag", "{n: 1}", "-c", &format!("{root}/m1")]),
        "",
    );
    assert_eq!(sent.code, Some(0), "{sent:?}");
    wait_until("the event at the other master", || {
        let words = ["history", "my/tag", "-c", &format!("{root}/m2")];
        run(&mut brine(&words), "").stdout.contains("my/tag")
    });
    up.signal(Signal::TERM);
    let left = up.left();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(servers(std::process::id()).is_empty());
    assert!(
        !fs::exists(format!("/proc/{}", second[0])).unwrap(),
        "left behind"
    );
}

/// What `brine up` prints can be copied, and each of it works.
#[test]
fn up_is_a_whole_site_and_what_it_says_can_be_done() {
    let place = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let mut up = Running::start(&mut brine(&["up", "--directory", root, "--every", "0.2"]));
    let invitation = up.prints("Ctrl-C ends it.");
    let program = env!("CARGO_BIN_EXE_brine");
    let commands = invitation.lines().filter(|line| line.contains(program));
    let mut tried = 0;
    for line in commands {
        let bounded = match line {
            _ if line.ends_with(" bench") => format!("{line} --duration 0.1"),
            _ if line.contains(" watch ") => format!("{line} -n 1"),
            // Needs a Python on this machine; a module that fails shows in its own tests.
            _ if line.contains("my_custom_module") => continue,
            _ => line.to_owned(),
        };
        let left = run(Command::new("sh").args(["-c", &bounded]), "");
        assert_eq!(left.code, Some(0), "{bounded}: {left:?}");
        assert!(
            !left.stdout.is_empty() || line.contains(" send "),
            "{bounded}"
        );
        tried += 1;
    }
    assert!(tried >= 8, "{invitation}");
    up.signal(Signal::INT);
    assert_eq!(up.left().code, Some(0));
}

#[test]
fn up_speaks_as_an_older_release_where_it_is_told_to() {
    let place = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let words = ["up", "--directory", root, "--compat", "3006", "-l", "info"];
    let mut up = Running::start(&mut brine(&words));
    let buses = [up.says("framing="), up.says("framing=")];
    for ready in &buses {
        assert!(
            ready.contains("compat=3006 framing=\"prefixed\""),
            "{ready}"
        );
    }
    let invitation = up.prints("Ctrl-C ends it.");
    assert!(invitation.contains("real Salt 3006 "), "{invitation}");
    // The commands read the release where they find the bus.
    let words = ["watch", "my/tag", "-n", "1", "--json", "-c", root];
    let watch = Running::start(&mut brine(&words));
    crate::support::wait_for_reader(&format!("{root}/master.d/sock"));
    let sent = run(&mut brine(&["send", "my/tag", "a=1", "-c", root]), "");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let seen = watch.left().stdout;
    assert!(
        seen.contains("my/tag") && !seen.contains("+00:00"),
        "{seen}"
    );
    up.signal(Signal::INT);
    assert_eq!(up.left().code, Some(0));
    let refused = run(&mut brine(&["up", "--compat", "2019"]), "");
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn a_closed_terminal_ends_up_and_nothing_stays_behind() {
    let scratch = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let mut up = Running::start(brine(&["up"]).env("TMPDIR", scratch.path()));
    up.prints("Ctrl-C ends it.");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    up.signal(Signal::HUP);
    assert_eq!(up.left().code, Some(0));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
