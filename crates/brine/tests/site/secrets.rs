//! Keys are in no log, whatever its level.

use std::fs;
use std::path::Path;

use crate::site::{Process, Site, wait_until};

/// What must not be shown: the texts of keys in files of a folder, in pieces that say enough to be found.
fn keys_in(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            keys_in(&path, found);
            continue;
        }
        let name = path.display().to_string();
        let is_secret =
            name.ends_with(".pem") || name.ends_with("_key") || name.contains("/sessions/m1");
        if !is_secret {
            continue;
        }
        // Of a private key one line within is enough; the other files hold one line.
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.len() > 30).collect();
        found.push((name, lines[lines.len() / 2].to_owned()));
    }
}

#[test]
fn no_key_is_in_a_log_at_any_level() {
    let mut site = Site::configured("tcp", "auto_accept: true\n");
    let start = |site: &Site, name: &str| {
        let mut command = site.command(name);
        command.args(["-l", "trace"]);
        Process::start(command)
    };
    site.master = Some(start(&site, "salt-master"));
    let bus = site.path("m/s/master_event_pub.ipc");
    wait_until("the master's bus", || {
        std::os::unix::net::UnixStream::connect(&bus).is_ok()
    });
    let mut bus = site.master_bus();
    site.minion = Some(start(&site, "salt-minion"));
    bus.next("salt/minion/m1/start");
    let mut logs = String::new();
    for words in [
        &["salt", "-l", "trace", "m1", "test.ping"][..],
        &["salt-run", "-l", "trace", "manage.up"],
        // Its `-l` is a list of keys; it has no log on the console, as in Salt.
        &["salt-key", "-L"],
    ] {
        let left = site.run(words);
        assert_eq!(left.code, Some(0), "{left:?}");
        logs += &left.stderr;
    }
    for name in ["salt-master", "salt-minion"] {
        logs += &fs::read_to_string(site.path(name)).unwrap();
    }
    assert!(logs.contains("ready"), "{logs}");
    let mut keys = Vec::new();
    for folder in ["m", "n"] {
        keys_in(&site.path(folder), &mut keys);
    }
    for wanted in ["master.pem", "minion.pem", "_key", "sessions/m1"] {
        assert!(
            keys.iter().any(|(name, _)| name.ends_with(wanted)),
            "{wanted}: {keys:?}"
        );
    }
    for (name, key) in keys {
        assert!(!logs.contains(&key), "{name} is in a log");
    }
}
