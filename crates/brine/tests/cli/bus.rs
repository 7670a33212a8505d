//! `brine bus`: what it is told by arguments and configuration.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::support::{Bus, Running, brine, run};

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn one_bus_serves_several_releases_in_directories_of_their_own() {
    let bus = Bus::absent();
    let old = bus.path("old");
    let mut running = Running::start(
        brine(&["bus", "--sock-dir", &bus.sock_dir()]).args(["--also", &format!("{old}=3006")]),
    );
    let lines = [running.says("ready"), running.says("ready")];
    assert!(
        lines[0].contains("compat=3008 framing=\"bare\""),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("compat=3006 framing=\"prefixed\""),
        "{lines:?}"
    );
    let in_old = run(&mut brine(&["send", "t", "--sock-dir", &old]), "");
    assert_eq!(in_old.code, Some(0));
    let watch = bus.listener(&["watch", "-n", "1"]);
    assert_eq!(
        run(&mut brine(&["send", "t", "--sock-dir", &old]), "").code,
        Some(0)
    );
    assert_eq!(watch.left().code, Some(0));
    assert_eq!(mode(&format!("{old}/master_event_pub.ipc")), 0o600);
}

#[test]
fn a_configuration_says_where_and_how() {
    let bus = Bus::absent();
    let config = bus.path("master");
    let extra = "publisher_acl: {fred: ['.*']}\nbrine: {compat: 3006, log_bytes: 1MiB}\nworker_threads: 9\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + extra).unwrap();
    let mut running = Running::start(&mut brine(&["bus", "--config", &config]));
    let warning = running.says("worker_threads");
    assert!(
        warning.ends_with("option worker_threads is ignored"),
        "{warning}"
    );
    let ready = running.says("ready");
    assert!(
        ready.contains("compat=3006 framing=\"prefixed\""),
        "{ready}"
    );
    assert_eq!(
        mode(&format!("{}/master_event_pub.ipc", bus.sock_dir())),
        0o666
    );
    assert_eq!(
        mode(&format!("{}/master_event_pull.ipc", bus.sock_dir())),
        0o600
    );
    assert_eq!(mode(&bus.sock_dir()) & 0o001, 0o001);
}

#[test]
fn a_mistake_in_the_list_of_permissions_is_named_before_anything_is_made() {
    let bus = Bus::absent();
    let config = bus.path("master");
    let plain = fs::read_to_string(&config).unwrap();
    let line = plain.lines().count() + 2;
    fs::write(
        &config,
        plain.clone() + "brine:\n  acl: [{user: a, raed: ['*']}]\n",
    )
    .unwrap();
    let left = run(&mut brine(&["bus", "--config", &config]), "");
    assert_eq!(left.code, Some(1));
    assert!(
        left.stderr
            .starts_with(&format!("brine: {config}:{line}: "))
            && left.stderr.contains("rule 1: raed: no such key"),
        "{left:?}"
    );
    assert!(!left.stderr.contains("brine: brine:"), "{left:?}");
    assert!(!Path::new(&format!("{}/master_event_pub.ipc", bus.sock_dir())).exists());
    let checked = run(&mut brine(&["check", "--config", &config]), "");
    assert!(
        checked.stdout.contains("raed: no such key") && checked.code == Some(1),
        "{checked:?}"
    );
    // Names that nobody has are no mistake that keeps a bus from starting.
    let rules = "brine:\n  acl: [{user: no-such-user, read: ['*']}, {group: 4242}, {group: no-such-group}]\n";
    fs::write(&config, plain + rules).unwrap();
    let mut running = Running::start(&mut brine(&["bus", "--config", &config]));
    let user = running.says("no-such-user");
    assert!(
        user.contains(&format!("{config}:{line}: "))
            && user.contains("rule 1: this machine has no user"),
        "{user}"
    );
    running.says("rule 2: nothing is permitted");
    running.says("rule 3: this machine has no group no-such-group");
    running.says("ready");
    let checked = run(&mut brine(&["check", "--config", &config]), "");
    for says in [
        "rule 1: this machine has no user no-such-user",
        "rule 2: nothing is permitted",
        "rule 3: this machine has no group no-such-group",
    ] {
        let says = format!("warning  {config}:{line}: brine: acl: {says}");
        assert!(checked.stdout.contains(&says), "{says}: {checked:?}");
    }
}

/// Free a moment ago.
pub(crate) fn free_ports() -> [u16; 2] {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn tcp_is_warned_of() {
    let bus = Bus::absent();
    let config = bus.path("tcp");
    let [publish, pull] = free_ports();
    let options = format!(
        "ipc_mode: tcp\ntcp_master_pub_port: {publish}\ntcp_master_pull_port: {pull}\nsock_dir: {}\n",
        bus.sock_dir()
    );
    fs::write(&config, options).unwrap();
    let mut running = Running::start(&mut brine(&["bus", "--config", &config]));
    assert!(
        running
            .says("WARN")
            .contains("every user of this machine can read this bus")
    );
    let ready = running.says("ready");
    let sockets = format!("publish=127.0.0.1:{publish} pull=127.0.0.1:{pull}");
    assert!(ready.contains(&sockets), "{ready}");
    let mut watch = Running::start(&mut brine(&["watch", "--config", &config, "-n", "1"]));
    let left = loop {
        let left = run(&mut brine(&["send", "t", "--config", &config]), "");
        assert_eq!(left.code, Some(0), "{left:?}");
        if watch.has_ended() {
            break watch.left();
        }
    };
    assert_eq!(left.code, Some(0), "{left:?}");
}

#[test]
fn a_second_bus_on_the_same_sockets_is_refused() {
    let bus = Bus::start();
    let left = bus.run(&["bus"]);
    assert_eq!(left.code, Some(1));
    assert!(
        left.stderr.contains("a bus is already running there (pid "),
        "{left:?}"
    );
}

#[test]
fn what_was_sent_is_delivered_before_the_end() {
    let mut bus = Bus::start();
    let watch = bus.listener(&["watch", "-n", "100"]);
    let lines: String = (0..100)
        .map(|n| format!("{{\"tag\": \"t/{n}\"}}\n"))
        .collect();
    assert_eq!(
        run(&mut bus.command(&["send", "--stdin"]), &lines).code,
        Some(0)
    );
    assert_eq!(bus.end().code, Some(0));
    assert_eq!(watch.left().stdout.lines().count(), 100);
    assert!(!fs::exists(format!("{}/master_event_pub.ipc", bus.sock_dir())).unwrap());
}

#[test]
fn a_pid_file_that_a_full_disk_does_not_take_is_not_left() {
    let bus = Bus::absent();
    let disk = bus.path("disk");
    fs::create_dir(&disk).unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$1\" || exit 99\n\
                  dd if=/dev/zero of=\"$1/full\" bs=4k 2>/dev/null\n\
                  \"$2\" bus -d --sock-dir \"$3\" --pid-file \"$1/pid\"\necho \"rc $?\"; ls \"$1\"";
    let unshare = match rustix::process::geteuid().is_root() {
        true => "-m",
        false => "-rm",
    };
    let mut command = Command::new("unshare");
    command.args([unshare, "sh", "-c", script, "sh", &disk]);
    command.args([env!("CARGO_BIN_EXE_brine"), &bus.sock_dir()]);
    let left = run(&mut command, "");
    if left.code == Some(99) {
        println!("nothing can be mounted here: {}", left.stderr);
        return;
    }
    assert_eq!(left.stdout, "rc 1\nfull\n", "{left:?}");
    assert!(left.stderr.contains("pid file "), "{left:?}");
}

#[test]
fn in_the_background_it_is_ready_when_the_command_returns() {
    let bus = Bus::absent();
    let (pid_file, log_file) = (bus.path("pid"), bus.path("log"));
    let background = [
        "bus",
        "-d",
        "--pid-file",
        &pid_file,
        "--log-file",
        &log_file,
    ];
    let left = bus.run(&background);
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), ""), "{left:?}");
    bus.send("my/tag", "{}");
    // A second one fails, and says why where it was called.
    let second = bus.run(&background);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("already running"), "{second:?}");
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    crate::support::wait_until(|| !fs::exists(&pid_file).unwrap());
    assert!(fs::read_to_string(&log_file).unwrap().contains("stopping"));
}

#[test]
fn the_service_manager_hears_that_the_bus_is_ready_and_alive() {
    let bus = Bus::absent();
    let manager = UnixDatagram::bind(bus.path("notify")).unwrap();
    let mut command = bus.command(&["bus"]);
    command
        .env("NOTIFY_SOCKET", bus.path("notify"))
        .env("WATCHDOG_USEC", "100000");
    let _running = Running::start(&mut command);
    let mut is_ready = false;
    let mut alive = 0;
    while !is_ready || alive < 3 {
        let mut report = [0; 32];
        let bytes = manager.recv(&mut report).unwrap();
        match report[..bytes].trim_ascii() {
            b"READY=1" => is_ready = true,
            b"WATCHDOG=1" => alive += 1,
            other => panic!("expected READY or WATCHDOG, found {}", other.escape_ascii()),
        }
    }
    bus.send("my/tag", "{}");
}

#[test]
fn the_configured_user_must_be_there() {
    let bus = Bus::absent();
    let config = bus.path("master");
    let options = fs::read_to_string(&config).unwrap() + "user: nobody-of-that-name\n";
    fs::write(&config, options).unwrap();
    let left = run(&mut brine(&["bus", "--config", &config]), "");
    assert_eq!(left.code, Some(1));
    insta::assert_snapshot!(left.stderr, @"brine: option user: there is no user nobody-of-that-name; create it, or set another");
}

/// Only root can become another.
#[test]
fn it_runs_as_the_configured_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bus = Bus::absent();
    fs::set_permissions(bus.config_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = bus.path("master");
    let options = fs::read_to_string(&config).unwrap() + "user: nobody\n";
    fs::write(&config, options).unwrap();
    let mut running = Running::start(&mut brine(&["bus", "--config", &config]));
    running.says("ready");
    let socket = format!("{}/master_event_pull.ipc", bus.sock_dir());
    let (socket, root) = (
        fs::metadata(socket).unwrap(),
        fs::metadata("/root").unwrap(),
    );
    assert_ne!(socket.uid(), root.uid());
}

/// The process a pid file names.
fn pid_in(file: &str) -> rustix::process::Pid {
    let pid = fs::read_to_string(file).unwrap().parse().unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}

#[test]
fn a_rotated_log_goes_on_under_its_name_and_signals_end_nothing() {
    use rustix::process::{Signal, kill_process};

    let bus = Bus::absent();
    let (log, moved, pid_file) = (bus.path("log"), bus.path("log.1"), bus.path("pid"));
    let left = bus.run(&["bus", "-d", "--log-file", &log, "--pid-file", &pid_file]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let pid = pid_in(&pid_file);
    let in_log = |text: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    for signal in [Signal::USR1, Signal::USR2] {
        fs::rename(&log, &moved).unwrap();
        kill_process(pid, signal).unwrap();
        let says = if signal == Signal::USR1 {
            "SIGUSR1: running"
        } else {
            "SIGUSR2: running"
        };
        crate::support::wait_until(|| in_log(says));
        assert!(!fs::read_to_string(&moved).unwrap().contains(says));
    }
    fs::rename(&log, &moved).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    crate::support::wait_until(|| in_log("SIGHUP"));
    bus.send("still/there", "{}");
    kill_process(pid, Signal::TERM).unwrap();
    crate::support::wait_until(|| !fs::exists(&pid_file).unwrap());
}

#[test]
fn a_relative_sock_dir_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = brine(&["bus", "--sock-dir", "here"]);
    let mut running = Running::start(bus.current_dir(folder.path()));
    running.says("ready");
    assert!(folder.path().join("here/master_event_pub.ipc").exists());
}
