//! `brine bench fleet` on a master of ours, over both transports.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::support::{Bus, Running, brine, run};

/// A master and where its configuration is.
struct Master {
    place: Bus,
    _running: Running,
}

impl Master {
    fn start(transport: &str, more: &str) -> Self {
        let place = Bus::absent();
        let [ret, publish] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let mut config = fs::read_to_string(place.path("master")).unwrap();
        config.push_str(&format!(
            "interface: 127.0.0.1\nret_port: {}\npublish_port: {}\ntransport: {transport}\n{more}",
            port(&ret),
            port(&publish),
        ));
        drop((ret, publish));
        fs::write(place.path("master"), config).unwrap();
        let mut running = Running::start(&mut brine(&[
            "salt-master",
            "-c",
            &place.config_dir(),
            "-l",
            "info",
        ]));
        running.says("ret_port=");
        Self {
            place,
            _running: running,
        }
    }

    fn fleet(&self, arguments: &[&str]) -> Command {
        let mut command = brine(&["bench", "fleet", "--live", "-c", &self.place.config_dir()]);
        let keys = self.place.path("fleet-keys");
        command.args(["--keys", "2", "--key-dir"]).arg(keys);
        command.args(arguments);
        command
    }
}

#[test]
fn a_fleet_signs_in_fires_events_answers_jobs_and_comes_back() {
    for transport in ["tcp", "zeromq"] {
        let master = Master::start(transport, "auto_accept: true\n");
        let arguments = [
            "-n",
            "8",
            "--events",
            "200",
            "--senders",
            "4",
            "--jobs",
            "1",
        ];
        let more = ["--reconnect", "--json", "--timeout", "30"];
        let left = run(&mut master.fleet(&[&arguments[..], &more[..]].concat()), "");
        assert_eq!(left.code, Some(0), "{transport}: {left:?}");
        let report: serde_json::Value = serde_json::from_str(&left.stdout).unwrap();
        assert_eq!(report["sign_in"]["accepted"], 8);
        assert_eq!(report["start"]["started"], 8);
        assert_eq!(report["events"]["bus"]["events"], 200);
        assert_eq!(report["events"]["bus"]["reordered"], 0);
        assert_eq!(report["jobs"][0]["expected"], 8);
        assert_eq!(report["jobs"][0]["returned"]["count"], 8);
        assert_eq!(report["jobs"][0]["on_bus"]["returns"], 8);
        assert_eq!(report["sign_in_again"]["with_token"], true);
        assert_eq!(report["sound"], true);
    }
}

#[test]
fn a_fleet_that_is_not_let_in_says_what_to_do_and_that_helps() {
    let master = Master::start("tcp", "");
    let left = run(&mut master.fleet(&["-n", "2"]), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("--pki-dir"), "{left:?}");
    // The keys are pending now, and the command that is named removes them.
    let left_there = format!(
        "the master keeps the keys fleet-00001 to fleet-00002; to remove them: salt-key -c {} -y -d \
         'fleet-[0-9][0-9][0-9][0-9][0-9]*'",
        master.place.config_dir()
    );
    assert!(left.stderr.contains(&left_there), "{left:?}");
    let key = |words: &[&str]| {
        let config_dir = master.place.config_dir();
        run(
            &mut brine(&[&["salt-key", "-c", &config_dir], words].concat()),
            "",
        )
    };
    assert!(key(&["-l", "un"]).stdout.contains("fleet-00002"));
    let removed = key(&["-y", "-d", "fleet-[0-9][0-9][0-9][0-9][0-9]*"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!key(&["-l", "un"]).stdout.contains("fleet-"));
    let pki_dir = master.place.path("pki");
    let arguments = ["-n", "2", "--prefix", "other-", "--pki-dir", &pki_dir];
    let left = run(&mut master.fleet(&arguments), "");
    assert_eq!(left.code, Some(0), "{left:?}");
}

#[test]
fn a_master_in_use_is_not_loaded_unasked() {
    let master = Master::start("tcp", "auto_accept: true\n");
    let config = master.place.config_dir();
    let left = run(&mut brine(&["bench", "fleet", "-c", &config]), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    for says in ["in use by pid ", "add --live"] {
        assert!(left.stderr.contains(says), "{says}: {left:?}");
    }
    let keys = fs::read_dir(master.place.path("pki")).unwrap();
    let made = keys.flatten().find(|one| one.file_name() == "minions");
    let accepted = made.map(|minions| fs::read_dir(minions.path()).unwrap().count());
    assert_eq!(accepted.unwrap_or_default(), 0);
}
