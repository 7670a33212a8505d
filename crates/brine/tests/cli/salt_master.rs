//! `salt-master` as a process: in the background, and told to end.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bus, Running, brine, run, wait_until};

#[test]
fn a_master_in_the_background_is_ready_and_ends_on_a_signal() {
    let place = Bus::absent();
    let mut config = fs::read_to_string(place.path("master")).unwrap();
    config.push_str("interface: 127.0.0.1\nret_port: 0\npublish_port: 0\nlog_level: info\n");
    config.push_str("pidfile: /run/master.pid\nlog_file: /log/master\n");
    fs::write(place.path("master"), config).unwrap();
    let left = run(
        &mut brine(&["salt-master", "-c", &place.config_dir(), "-d", "-l", "info"]),
        "",
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    let pid_file = place.path("run/master.pid");
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    place.send("my/tag", "{}");
    kill_process(pid, Signal::TERM).unwrap();
    wait_until(|| !Path::new(&pid_file).exists());
    let log = fs::read_to_string(place.path("log/master")).unwrap();
    assert!(log.contains("ready") && log.contains("stopping"), "{log}");
}

#[test]
fn a_master_in_the_foreground_writes_its_log_file_too() {
    let place = Bus::absent();
    let file = place.path("master");
    let config = fs::read_to_string(&file).unwrap();
    let config = config.replace("log_level_logfile: quiet", "log_level_logfile: info");
    let more = "interface: 127.0.0.1\nret_port: 0\npublish_port: 0\nlog_file: /log/master\n";
    fs::write(&file, format!("{config}{more}")).unwrap();
    let master = Running::start(&mut brine(&["salt-master", "-c", &place.config_dir()]));
    wait_until(|| {
        fs::read_to_string(place.path("log/master")).is_ok_and(|log| log.contains("ready"))
    });
    master.signal(Signal::TERM);
    let left = master.left();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(!left.stderr.contains("INFO"), "{left:?}");

    fs::write(&file, format!("{config}log_file: foo://x\n")).unwrap();
    for command in ["salt-master", "check"] {
        let left = run(&mut brine(&[command, "-c", &place.config_dir()]), "");
        assert_eq!(left.code, Some(1), "{left:?}");
        let said = format!("{}{}", left.stdout, left.stderr);
        assert!(said.contains("log_file: expected a path"), "{said}");
    }
}

#[test]
fn check_names_each_option_of_a_wrong_type() {
    let directory = tempfile::tempdir().unwrap();
    let text = "ret_port: abc\nsock_dir: [1]\nopen_mode: maybe\nlog_level: shouty\n";
    fs::write(directory.path().join("master"), text).unwrap();
    let directory = directory.path().to_str().unwrap();
    let left = run(&mut brine(&["check", "-c", directory]), "");
    for option in ["ret_port", "sock_dir", "open_mode", "log_level"] {
        let said = format!("option {option}: ");
        assert!(left.stdout.contains(&said), "{option}: {left:?}");
    }
}

#[test]
fn a_log_file_of_the_command_line_takes_precedence_and_what_is_ignored_is_named() {
    let place = Bus::absent();
    let file = place.path("master");
    let config = fs::read_to_string(&file).unwrap();
    let more = "interface: 127.0.0.1\nret_port: 0\npublish_port: 0\nlog_file: /log/configured\n";
    fs::write(&file, format!("{config}{more}")).unwrap();
    let mut command = brine(&["salt-master", "-c", &place.config_dir(), "--hard-crash"]);
    // A relative path begins where the command is called.
    command
        .args(["--log-file", "typed", "--log-file-level", "info"])
        .current_dir(place.path("."));
    let mut master = Running::start(&mut command);
    master.says("option --hard-crash is ignored");
    wait_until(|| fs::read_to_string(place.path("typed")).is_ok_and(|log| log.contains("ready")));
    master.signal(Signal::TERM);
    let left = master.left();
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(!left.stderr.contains("INFO"), "{left:?}");
    assert!(
        !Path::new(&place.path("log/configured")).exists(),
        "{left:?}"
    );
    for words in [
        &["salt-run", "--log-file-level", "info", "fileserver.update"][..],
        &["salt-key", "--log-file", "x", "-L"],
        &["salt-run", "--enable-profiling", "fileserver.update"],
        &["salt-key", "-u", "root", "-L"],
    ] {
        let left = run(brine(words).args(["-c", &place.config_dir()]), "");
        assert!(
            left.stderr
                .contains(&format!("option {} is ignored", words[1])),
            "{left:?}"
        );
    }
}

/// What keeps a master from starting is what `brine check` finds, in the same words.
#[test]
fn what_no_master_starts_with_is_named_by_check_and_at_the_start() {
    let place = Bus::absent();
    let file = place.path("master");
    let config = fs::read_to_string(&file).unwrap();
    for (line, says) in [
        (
            "user: no-such-user",
            "option user: there is no user no-such-user; create it, or set another",
        ),
        (
            "interface: localhost",
            "option interface: expected an address, such as 0.0.0.0 or 192.0.2.1, and no name, found localhost",
        ),
        (
            "interface: nosuch",
            "option interface: expected an address, such as 0.0.0.0 or 192.0.2.1, and no name, found nosuch",
        ),
        (
            "keys.cache_driver: mmap_key",
            "option keys.cache_driver: expected localfs_key, since Brine reads keys only from pki_dir, found mmap_key",
        ),
    ] {
        fs::write(&file, format!("{config}{line}\n")).unwrap();
        for command in ["check", "salt-master"] {
            let left = run(&mut brine(&[command, "-c", &place.config_dir()]), "");
            // The user may be another machine's.
            let is_fault = command != "check" || !line.starts_with("user");
            let code = i32::from(is_fault);
            assert_eq!(left.code, Some(code), "{command} {line}: {left:?}");
            let said = format!("{}{}", left.stdout, left.stderr);
            assert!(said.contains(says), "{command} {line}: {said}");
        }
    }
    // An address of documentation, which no machine has.
    fs::write(
        &file,
        format!("{config}interface: 192.0.2.1\nret_port: 0\npublish_port: 0\n"),
    )
    .unwrap();
    let left = run(&mut brine(&["salt-master", "-c", &place.config_dir()]), "");
    let says = "option interface: cannot listen at 192.0.2.1 port 0: ";
    assert!(left.stderr.contains(says), "{left:?}");
}

#[test]
fn check_reads_the_rules_that_attach_would_take() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    fs::write(
        directory.path().join("master"),
        format!("root_dir: {path}\n"),
    )
    .unwrap();
    let rules = directory.path().join("rules");
    let check = || {
        let words = ["check", "-c", path, "--reactor", rules.to_str().unwrap()];
        run(&mut brine(&words), "")
    };
    let sls = directory.path().join("react.sls");
    fs::write(&sls, "ping:\n  local.test.ping:\n    - tgt: '*'\n").unwrap();
    let good = format!("- 'a/*':\n  - {}\n", sls.display());
    fs::write(&rules, &good).unwrap();
    let left = check();
    assert_eq!(left.code, Some(0), "{left:?}");
    fs::write(&rules, format!("{good}- 'b/*':\n  - /nonexistent.sls\n")).unwrap();
    let left = check();
    assert_eq!(left.code, Some(1), "{left:?}");
    let said = format!(
        "error    {}:3: reactor: b/*: /nonexistent.sls: ",
        rules.display()
    );
    assert!(left.stdout.contains(&said), "{left:?}");
    fs::write(&rules, "- [1]\n").unwrap();
    let left = check();
    assert!(
        left.stdout
            .contains(&format!("error    {}:1: ", rules.display())),
        "{left:?}"
    );
    fs::remove_file(&rules).unwrap();
    let left = check();
    assert_eq!(left.code, Some(1), "{left:?}");
    let words = ["check", "-c", path, "--node", "minion", "--reactor", "x"];
    assert_eq!(run(&mut brine(&words), "").code, Some(1));
}

#[test]
fn help_that_cannot_be_written_fails() {
    for words in [
        &["--help"][..],
        &["watch", "--help"],
        &["salt-run", "--help"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.args(words).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("stdout: No space left"), "{words:?}: {said}");
    }
}

#[test]
fn a_history_that_nobody_asked_for_does_not_stop_a_master() {
    let place = Bus::absent();
    let file = place.path("master");
    let config = fs::read_to_string(&file).unwrap();
    let config = format!("{config}interface: 127.0.0.1\nret_port: 0\npublish_port: 0\n");
    fs::write(&file, &config).unwrap();
    let store = place.path("cache/history/events.db");
    fs::create_dir_all(place.path("cache/history")).unwrap();
    fs::write(&store, "no store at all, and long enough to be read").unwrap();
    let master = ["salt-master", "-c", &place.config_dir(), "-l", "info"];
    let mut running = Running::start(&mut brine(&master));
    let said = running.says("the bus runs without history");
    assert!(said.contains("it is not a history of Brine's"), "{said}");
    assert!(said.contains("move its events.db away"), "{said}");
    running.says("ready");
    running.signal(Signal::TERM);
    assert_eq!(running.left().code, Some(0));

    fs::write(&file, config + "brine: {history: true}\n").unwrap();
    let left = run(&mut brine(&master), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(
        left.stderr.contains("it is not a history of Brine's"),
        "{left:?}"
    );
}

#[test]
fn a_master_that_cannot_start_says_why() {
    let place = Bus::absent();
    let mut config = fs::read_to_string(place.path("master")).unwrap();
    config.push_str("interface: 192.0.2.1\n");
    fs::write(place.path("master"), config).unwrap();
    let mut command = brine(&["salt-master", "-c", &place.config_dir(), "-d"]);
    let left = run(&mut command, "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("192.0.2.1"), "{left:?}");
}

#[test]
fn what_is_wrong_with_options_is_said_once_and_not_passed_over() {
    let place = Bus::absent();
    let file = place.path("master");
    let config = fs::read_to_string(&file).unwrap();
    let wrong = "ipc_mode: tcp\ntcp_master_pub_port: x\nlog_level: loud\nexternal_auth: {yubico: {fred: ['.*']}}\n";
    fs::write(&file, format!("{config}{wrong}")).unwrap();
    let left = run(&mut brine(&["salt-master", "-c", &place.config_dir()]), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    for said in [
        "option tcp_master_pub_port: expected an integer, found text",
        "option log_level: unknown level loud",
        "option external_auth: Brine has no back end yubico",
    ] {
        assert_eq!(left.stderr.matches(said).count(), 1, "{said}: {left:?}");
    }
}
