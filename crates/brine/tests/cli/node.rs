//! Our master, our minion and the commands around them, as people use them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Left, Running, brine, run, wait_until};

/// A master, and a minion `m1` that is known to it or not.
pub(crate) struct Node {
    pub(crate) root: TempDir,
    master: Running,
    minion: Running,
}

impl Node {
    /// Starts both; the minion's key is pending.
    pub(crate) fn start() -> Self {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let path = root.path().display();
        let [publish_port, ret_port] = free_ports();
        let master = format!(
            "root_dir: {path}/m\nid: mm_master\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\ntimeout: 20\n"
        );
        let minion = format!(
            "root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n"
        );
        fs::write(root.path().join("master"), master).unwrap();
        fs::write(root.path().join("minion"), minion).unwrap();
        let start = |name: &str| {
            let config_dir = root.path().to_str().unwrap();
            let mut running = Running::start(&mut brine(&[name, "-c", config_dir, "-l", "info"]));
            running.says("ready");
            running
        };
        let master = start("salt-master");
        let minion = start("salt-minion");
        Self {
            root,
            master,
            minion,
        }
    }

    /// Starts both and waits until the minion is in.
    pub(crate) fn accepted() -> Self {
        let mut node = Self::start();
        let pending = node
            .root
            .path()
            .join("m/etc/salt/pki/master/minions_pre/m1");
        wait_until(|| pending.exists());
        let left = node.run(&["salt-key", "-y", "-a", "m1"]);
        assert!(
            left.stdout.ends_with("Key for minion m1 accepted.\n"),
            "{left:?}"
        );
        node.minion.says("in with the master");
        node
    }

    /// One of Salt's commands with this configuration.
    pub(crate) fn run(&self, words: &[&str]) -> Left {
        let (name, arguments) = words.split_first().unwrap();
        let config_dir = self.root.path().to_str().unwrap();
        run(
            &mut brine(&[&[*name, "-c", config_dir], arguments].concat()),
            "",
        )
    }

    /// Ends both; what they left.
    fn end(self) -> [Left; 2] {
        [self.minion, self.master].map(|running| {
            running.signal(Signal::TERM);
            running.left()
        })
    }
}

fn free_ports() -> [u16; 2] {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn a_minion_is_accepted_and_its_events_reach_the_masters_bus() {
    let node = Node::accepted();
    let sock_dir = node.root.path().join("m/var/run/salt/master");
    let sock_dir = sock_dir.to_str().unwrap();
    let mut watch = brine(&["watch", "my/*", "-n", "1", "--sock-dir", sock_dir]);
    let watch = Running::start(&mut watch);
    crate::support::wait_for_connections(sock_dir, 3);
    let left = node.run(&["salt-call", "event.send", "my/tag", "{a: 1}"]);
    assert_eq!(
        (left.code, left.stdout.as_str(), left.stderr.as_str()),
        (Some(0), "local:\n    True\n", "")
    );
    let seen = watch.left().stdout;
    assert!(
        seen.contains(r#""__pub_tgt": "salt-call", "a": 1}"#),
        "{seen}"
    );
    assert!(seen.contains(r#""id": "m1""#), "{seen}");
    for left in node.end() {
        assert_eq!(left.code, Some(0), "{left:?}");
    }
}

#[test]
fn salt_call_says_what_went_wrong_as_salt_does() {
    let node = Node::accepted();
    for local in [&[][..], &["--local"]] {
        let call = |words: &[&str]| node.run(&[&["salt-call"], local, words].concat());
        let left = call(&["event.nope"]);
        assert_eq!(
            (left.code, left.stdout.as_str(), left.stderr.as_str()),
            (Some(255), "", "'event.nope' is not available.\n")
        );
        let left = call(&["event.send"]);
        assert_eq!(left.code, Some(1));
        let missing = "\nPassed invalid arguments: send() missing 1 required positional argument: 'tag'.\n\nUsage:\n";
        assert_eq!(left.stderr, missing);
        assert!(left.stdout.contains("tag\n"), "{left:?}");
        let left = call(&["test.echo", "a b", "--out", "json", "--out-indent=-1"]);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), "{\"local\": \"a b\"}\n")
        );
    }
    let left = node.run(&["salt-call", "--return", "mongo", "test.ping"]);
    assert_eq!(left.code, Some(64), "{left:?}");
}

#[test]
fn a_local_call_needs_no_minion() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let minion = format!("root_dir: {root}\nid: m1\nmaster: 127.0.0.1\n");
    fs::write(Path::new(root).join("minion"), minion).unwrap();
    let left = run(
        &mut brine(&["salt-call", "-c", root, "--local", "test.ping"]),
        "",
    );
    assert_eq!(
        (left.code, left.stdout.as_str()),
        (Some(0), "local:\n    True\n")
    );
}
