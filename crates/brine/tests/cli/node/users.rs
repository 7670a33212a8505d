//! What the users of a machine may do, and what they are told.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use brine_testkit::user::as_user;
use rustix::process::Signal;

use super::{Node, free_ports};
use crate::support::{Bus, Running, brine, run, wait_for_local_socket, wait_until};
use crate::top::OnTerminal;

/// Only root can become another.
#[test]
fn whom_publisher_acl_names_can_publish_and_read_returns_and_others_cannot() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let acl =
        "publisher_acl:\n  nobody:\n    - test.ping\n    - test.echo:\n        args: ['a.*']\n";
    let node = Node::accepted_with([acl, ""]);
    fs::set_permissions(node.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config_dir = node.root.path().to_str().unwrap();
    let sock_dir = node.root.path().join("m/var/run/salt/master");
    let (nobody, daemon) = (65534, 1);
    let by = |uid, words: &[&str]| {
        let mut command = brine(words);
        command.uid(uid).gid(uid);
        run(&mut command, "")
    };
    let refused = "Authorization error occurred.\n";
    for (arguments, stdout) in [
        (&["test.ping"][..], "m1:\n    True\n"),
        (&["test.echo", "abc"], "m1:\n    abc\n"),
        (&["test.echo", "xyz"], refused),
        (&["test.version"], refused),
    ] {
        let left = by(
            nobody,
            &[&["salt", "-c", config_dir, "*"], arguments].concat(),
        );
        assert_eq!(left.stdout, stdout, "{left:?}");
    }
    let left = by(daemon, &["salt", "-c", config_dir, "*", "test.ping"]);
    assert!(!left.stdout.contains("m1"), "{left:?}");
    let why = "user daemon has no key for this master";
    assert!(left.stderr.contains(why), "{left:?}");
    let left = by(daemon, &["history", "-c", config_dir]);
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("permission denied"), "{left:?}");
    // Somebody who may not read is told so, and not left waiting.
    let why = "user daemon (uid 1) may not read the bus at ";
    for limit in [
        &[][..],
        &["-t", "0.1"],
        &["-n", "1", "-t", "1.2"],
        &["--summary"],
    ] {
        let left = by(daemon, &[&["watch", "-c", config_dir], limit].concat());
        assert_eq!(left.code, Some(1), "{left:?}");
        assert!(
            left.stderr.starts_with(&format!("brine: {why}"))
                && left
                    .stderr
                    .contains("neither in publisher_acl nor in acl, below brine")
                && left.stderr.lines().count() == 1,
            "{left:?}"
        );
    }
    let mut top = Command::new("setpriv");
    top.args(["--reuid=1", "--regid=1", "--clear-groups"]);
    top.arg(env!("CARGO_BIN_EXE_brine"))
        .args(["top", "-c", config_dir]);
    let mut top = OnTerminal::start(&top, (200, 24));
    top.shows_text(why);
    assert_eq!(top.ends(), Some(1));
    // Who may read, and hears nothing, is told no such thing.
    let left = by(
        nobody,
        &["watch", "-c", config_dir, "-t", "1.2", "no/such/tag"],
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(!left.stderr.contains("may not read"), "{left:?}");
    // The connection is closed, and carries nothing.
    let mut stream = as_user(daemon, || {
        std::os::unix::net::UnixStream::connect(sock_dir.join("master_event_pub.ipc")).unwrap()
    });
    assert_eq!(std::io::Read::read(&mut stream, &mut [0; 64]).unwrap(), 0);
}

/// Only root can become another.
#[test]
fn a_user_whom_the_list_leaves_out_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bus = Bus::absent();
    fs::set_permissions(&bus.root, fs::Permissions::from_mode(0o755)).unwrap();
    let config = bus.path("acl");
    let text = format!(
        "sock_dir: {}\nbrine: {{acl: [{{user: nobody, read: ['*']}}]}}\n",
        bus.sock_dir()
    );
    fs::write(&config, text).unwrap();
    let mut running = Running::start(&mut brine(&["bus", "--config", &config]));
    running.says("ready");
    wait_for_local_socket(&bus.sock_dir());
    let why = "user daemon (uid 1) may not read events: no rule of acl, below brine in the bus's configuration, \
               permits it; add one there, such as {user: daemon, read: ['*']}";
    let mut watch = brine(&["watch", "--config", &config]);
    let left = run(watch.uid(1).gid(1), "");
    assert!(
        left.code == Some(1) && left.stderr.contains(why),
        "{left:?}"
    );
    let mut top = Command::new("setpriv");
    top.args(["--reuid=1", "--regid=1", "--clear-groups"]);
    top.arg(env!("CARGO_BIN_EXE_brine"))
        .args(["top", "--config", &config]);
    let mut top = OnTerminal::start(&top, (250, 24));
    top.shows_text(why);
    assert_eq!(top.ends(), Some(1));
}

/// Only root can become another.
#[test]
fn what_is_closed_to_a_user_is_named_with_its_owner_by_every_command() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::accepted_with(["brine: {history: true}\n", ""]);
    fs::set_permissions(node.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config_dir = node.root.path().to_str().unwrap();
    let daemon = 1;
    let by = |words: &[&str]| {
        let mut command = brine(words);
        command.uid(daemon).gid(daemon);
        run(&mut command, "")
    };
    let (pki, cache) = ("m/etc/salt/pki/master", "m/var/cache/salt/master");
    let (minion_pki, run_dir) = ("n/etc/salt/pki/minion", "m/var/run/salt/master");
    for (words, path) in [
        ("salt-key -L", pki),
        ("salt-key -y -a m1", pki),
        ("salt-call test.ping", minion_pki),
        ("salt-run jobs.active", cache),
        ("salt-run jobs.list_jobs", cache),
        ("salt-run manage.up", cache),
        ("salt-run manage.present", cache),
        ("salt-run cache.grains *", cache),
        ("salt-run reactor.list", run_dir),
        ("salt-master", "m/"),
        ("salt-minion", "n/"),
        ("bus", run_dir),
        ("attach", run_dir),
        ("doctor", run_dir),
        ("history", run_dir),
        ("log info", cache),
        ("log vacuum", cache),
        ("status", run_dir),
        ("status --json", run_dir),
        ("consumer ls", run_dir),
        ("consumer rm x", run_dir),
        ("reactor ls", run_dir),
        ("reactor history", cache),
        ("watch -n 1", run_dir),
        ("watch -n 1 --last 1", run_dir),
        ("send a", run_dir),
        ("send --ack a", run_dir),
        ("bench", run_dir),
        ("bench --live", run_dir),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let left = by(&[&words[..], &["-c", config_dir]].concat());
        assert_eq!(left.code, Some(1), "{words:?}: {left:?}");
        // A finding is on stdout, and nothing else is.
        let said = match words[0] {
            "doctor" => left.stdout.clone() + &left.stderr,
            _ => {
                assert_eq!(left.stdout, "", "{words:?}");
                left.stderr.clone()
            }
        };
        let denied = said
            .lines()
            .filter(|line| line.contains("permission denied at"));
        let denied: Vec<&str> = denied.collect();
        let [denied] = denied[..] else {
            panic!("{words:?}: {left:?}");
        };
        // It, or what is in it, or the directory above that cannot be entered.
        let at = denied.split("permission denied at ").nth(1).unwrap();
        let at = Path::new(at.split(": owned").next().unwrap());
        let path = Path::new(config_dir).join(path);
        let is_there = at.starts_with(&path) || path.starts_with(at);
        assert!(
            is_there && at.starts_with(config_dir),
            "{words:?}: {denied}"
        );
        for text in [
            ": owned by user root (uid 0), mode 0",
            ", and this is user daemon (uid 1); run this as root",
        ] {
            assert!(denied.contains(text), "{words:?}: {denied}");
        }
    }
}

/// Only root can become another.
#[test]
fn what_root_does_with_keys_a_master_of_another_user_can_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = root.path().display();
    let [publish_port, ret_port] = free_ports();
    let master = format!(
        "root_dir: {path}/m\nuser: nobody\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\n"
    );
    let minion = format!(
        "root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n"
    );
    fs::write(root.path().join("master"), master).unwrap();
    fs::write(root.path().join("minion"), minion).unwrap();
    let config = root.path().to_str().unwrap();
    let mut running = Running::start(&mut brine(&["salt-master", "-c", config, "-l", "info"]));
    running.says("ready");
    let mut minion = Running::start(&mut brine(&["salt-minion", "-c", config, "-l", "info"]));
    let pki = root.path().join("m/etc/salt/pki/master");
    wait_until(|| pki.join("minions_pre/m1").exists());
    let left = run(
        &mut brine(&["salt-key", "-c", config, "-y", "-a", "m1"]),
        "",
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    minion.says("connected to the master");
    let left = run(
        &mut brine(&["salt-key", "-c", config, "--gen-signature", "--auto-create"]),
        "",
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    let nobody = fs::metadata(&pki).unwrap().uid();
    assert_ne!(nobody, 0);
    let mut folders = vec![pki, root.path().join("m/var/cache/salt/master")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().uid(),
                nobody,
                "{}",
                entry.path().display()
            );
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn a_daemon_started_without_a_umask_leaves_nothing_open() {
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let path = root.path().display();
    let [publish_port, ret_port] = free_ports();
    let master = format!(
        "root_dir: {path}/m\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\n"
    );
    let minion =
        format!("root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\n");
    let etc = root.path().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("master"), master).unwrap();
    fs::write(etc.join("minion"), minion).unwrap();
    let script = format!(
        "umask 0; for it in master minion; do {0} salt-$it -c {1} -d || exit 1; done",
        env!("CARGO_BIN_EXE_brine"),
        etc.display()
    );
    let mut shell = Command::new("sh");
    let left = run(shell.args(["-c", &script]), "");
    assert_eq!(left.code, Some(0), "{left:?}");
    let pids = ["m/var/run/salt-master.pid", "n/var/run/salt-minion.pid"]
        .map(|name| root.path().join(name));
    let pending = root.path().join("m/etc/salt/pki/master/minions_pre/m1");
    wait_until(|| pending.exists());
    let found: Vec<_> = ["m", "n"]
        .iter()
        .flat_map(|it| too_open(&root.path().join(it)))
        .collect();
    for pid in pids {
        let pid = fs::read_to_string(&pid).unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM)
            .unwrap();
    }
    assert_eq!(found, Vec::<String>::new());
}

/// The mode of everything below a folder that somebody besides its owner may write, or that is no socket or folder
/// and that somebody besides its owner may read.
fn too_open(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, metadata) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        let mode = metadata.permissions().mode() & 0o777;
        let public = ["pid", "pub"]
            .iter()
            .any(|end| path.extension().is_some_and(|it| it == *end));
        let allowed = if metadata.is_dir() || public {
            0o755
        } else {
            0o660
        };
        if mode & !allowed != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if metadata.is_dir() {
            found.extend(too_open(&path));
        }
    }
    found
}
