//! `salt-master` as a process: in the background, and told to end.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bus, brine, run, wait_until};

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
    assert!(
        fs::read_to_string(place.path("log/master"))
            .unwrap()
            .contains("ending")
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
    let wrong = "ipc_mode: tcp\ntcp_master_pub_port: x\nlog_level: loud\nexternal_auth: {pam: {fred: ['.*']}}\n";
    fs::write(&file, format!("{config}{wrong}")).unwrap();
    let left = run(&mut brine(&["salt-master", "-c", &place.config_dir()]), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    for said in [
        "option tcp_master_pub_port: expected an integer, found text",
        "option log_level: there is no level loud",
        "option external_auth: Brine has no back end pam",
    ] {
        assert_eq!(left.stderr.matches(said).count(), 1, "{said}: {left:?}");
    }
}
