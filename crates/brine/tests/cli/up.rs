//! `brine up --masters`: several masters over a nats-server of their own.

use std::fs;

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
