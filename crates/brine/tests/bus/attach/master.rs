//! In front of a whole real master with a real minion: Salt's own commands before, during and after.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use brine_testkit::program::{Program, command};
use brine_testkit::salt::{Client, Node};

use super::front::{Watch, hears, look};
use super::{Site, until};
use crate::process::DEADLINE;

/// A real master and a real minion.
pub(super) struct Salt {
    version: &'static str,
    pub(super) site: Site,
    master: Option<Program>,
    _minion: Program,
}

impl Salt {
    pub(super) fn start(version: &'static str) -> Self {
        let site = Site::new(Node::Master);
        let ports = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [publish, ret] = ports.map(|port| port.local_addr().unwrap().port());
        let path = site.root.path().display();
        let common = format!(
            "log_file: {path}/log\nlog_level_logfile: warning\nuser: root\ntransport: zeromq\n"
        );
        let files = [
            (
                "master",
                format!(
                    "root_dir: {path}\npki_dir: {path}/m/pki\ncachedir: {path}/m/cache\nsock_dir: {path}/s\n\
                     interface: 127.0.0.1\nret_port: {ret}\npublish_port: {publish}\nworker_threads: 2\n\
                     auto_accept: true\n{common}"
                ),
            ),
            (
                "minion",
                format!(
                    "id: m1\nmaster: 127.0.0.1\nmaster_port: {ret}\nroot_dir: {path}\npki_dir: {path}/n/pki\n\
                     cachedir: {path}/n/cache\nsock_dir: {path}/n/s\nacceptance_wait_time: 1\n{common}"
                ),
            ),
        ];
        for (name, text) in files {
            fs::write(site.path(name), text).unwrap();
        }
        let mut salt = Self {
            version,
            master: Some(Self::daemon(version, "salt-master", &site)),
            _minion: Self::daemon(version, "salt-minion", &site),
            site,
        };
        salt.pings();
        salt
    }

    fn daemon(version: &str, name: &str, site: &Site) -> Program {
        Program::start(command(version, name, site.root.path()), site.path(name))
    }

    /// Real `salt '*' test.ping` until the minion answers.
    fn pings(&mut self) {
        let deadline = Instant::now() + 3 * DEADLINE;
        loop {
            let mut salt = command(self.version, "salt", self.site.root.path());
            salt.args(["--out=txt", "-t", "10", "*", "test.ping"]);
            let left = Program::start(salt, self.site.path("salt")).wait();
            if left.stdout.trim() == "m1: True" {
                return;
            }
            assert!(Instant::now() < deadline, "no answer: {left:?}");
        }
    }

    /// Real `salt-run state.event`, which must show an event that is fired.
    fn shows_events(&self, fire: &mut Client, tag: &str) {
        let mut run = command(self.version, "salt-run", self.site.root.path());
        run.args(["state.event", tag, "count=1"]);
        let run = Program::start(run, self.site.path("run"));
        until("state.event to show it", || {
            // A publisher of 3006 learns of a restart by an error, once.
            drop(fire.try_run(&format!("bus.fire_event({{'n': 1}}, {tag:?})")));
            std::thread::sleep(Duration::from_millis(200));
            run.stdout().contains(tag)
        });
        assert_eq!(run.wait().code, Some(0));
    }

    fn publish(&self) -> PathBuf {
        self.site.publish()
    }

    /// Two processes serve sockets of one bus, and that is as it should be.
    fn is_well_for_the_doctor(&self) {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_brine"));
        doctor.args(["doctor", "-c"]).arg(self.site.path(""));
        let output = doctor.env("NO_COLOR", "1").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let faults: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("error"))
            .collect();
        assert!(faults.is_empty() && output.status.success(), "{said}");
        assert!(said.contains("master: 0 errors, "), "{said}");
    }

    fn all_work(&mut self, listeners: &mut [&mut Client], when: &str) {
        self.pings();
        let tag = format!("state/{when}");
        self.shows_events(listeners[0], &tag);
        for (number, listener) in listeners.iter_mut().enumerate() {
            hears(listener, &format!("{when}/{number}"));
        }
    }
}

fn is_not_noticed(version: &'static str) {
    let mut salt = Salt::start(version);
    let salts = look(&salt.publish());
    let watch = Watch::start(salt.publish());
    let listener = |salt: &Salt| salt.site.listener(version, &salt.site.sock_dir());
    let mut old = listener(&salt);
    salt.all_work(&mut [&mut old], "before");

    let config = salt.site.path("");
    let config = ["-c", config.to_str().unwrap(), "--in-front"];
    let mut attached = salt.site.attach(&config);
    attached.says("in front: ", 1);
    assert_eq!(look(&salt.publish()), salts);
    let mut new = listener(&salt);
    salt.all_work(&mut [&mut new, &mut old], "during");
    salt.is_well_for_the_doctor();

    salt.master = None;
    salt.master = Some(Salt::daemon(version, "salt-master", &salt.site));
    attached.says("in front: ", 2);
    assert_eq!(look(&salt.publish()), salts);
    salt.all_work(&mut [&mut new, &mut old], "restarted");

    rustix::process::kill_process(attached.child(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(attached.wait().code(), Some(1));
    salt.all_work(&mut [&mut new, &mut old], "killed");

    let mut attached = salt.site.attach(&config);
    attached.says("in front: ", 1);
    assert!(attached.end().success());
    assert_eq!(look(&salt.publish()), salts);
    salt.all_work(&mut [&mut new, &mut old], "after");
    let longest = watch.longest();
    println!("{version}: the longest time without a socket: {longest:?}");
    assert!(longest < DEADLINE, "{longest:?}");
    let log = fs::read_to_string(salt.site.path("log")).unwrap_or_default();
    let errors = log.lines().filter(|line| line.contains("[ERROR"));
    println!(
        "errors in Salt's log:\n{}",
        errors.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn a_real_master_of_3006_and_its_clients_do_not_notice() {
    is_not_noticed("3006.28");
}

#[test]
fn a_real_master_of_3008_and_its_clients_do_not_notice() {
    is_not_noticed("3008.3");
}
