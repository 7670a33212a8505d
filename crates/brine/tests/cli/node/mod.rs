//! Our master, our minion and the commands around them, as people use them.

mod call;
mod jobs;
mod users;

use std::fs;
use std::net::TcpListener;

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
    /// Starts both, with more lines in the master's and the minion's configuration; the minion's key is pending.
    fn start_with(more: [&str; 2]) -> Self {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let path = root.path().display();
        let [publish_port, ret_port] = free_ports();
        let master = format!(
            "root_dir: {path}/m\nid: mm_master\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\ntimeout: 20\ngather_job_timeout: 1\n{}",
            more[0]
        );
        let minion = format!(
            "root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n{}",
            more[1]
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
        Self::accepted_with(["", ""])
    }

    /// The same with more lines in the master's and the minion's configuration.
    pub(crate) fn accepted_with(more: [&str; 2]) -> Self {
        let mut node = Self::start_with(more);
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
        node.minion.says("connected to the master");
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

pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let taken = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn a_minion_is_accepted_and_its_events_reach_the_masters_bus() {
    let node = Node::accepted();
    let sock_dir = node.root.path().join("m/var/run/salt/master");
    let sock_dir = sock_dir.to_str().unwrap();
    let mut watch = brine(&["watch", "my/*", "-n", "1", "--sock-dir", sock_dir]);
    let watch = Running::start(&mut watch);
    crate::support::wait_for_reader(sock_dir);
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
