//! A site moves from a real salt-master to ours and back, in the steps of `docs/operations.md`. Its minion, a real one too,
//! is accepted once and answers every master.

use std::fs;
use std::process::Command;

use brine_testkit::program::{self, Program};

use crate::site::{Site, wait_until};

const SALT: &str = "3008.3";

fn real(site: &Site, name: &str) -> Command {
    program::command(SALT, name, &site.path(""))
}

fn start(site: &Site, name: &str) -> Program {
    Program::start(real(site, name), site.path(&format!("{name}.out")))
}

/// A minion signs in again when it cannot read what the new master sends: its first jobs there may be lost.
fn minion_answers(salt: impl Fn() -> Command) {
    wait_until("the minion's answer", || {
        let mut salt = salt();
        salt.args(["m1", "test.ping", "--out", "txt", "-t", "5"]);
        let output = salt.output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("m1: True")
    });
}

#[test]
fn a_site_moves_to_brine_and_back() {
    let mut site = Site::configured("zeromq", "auto_accept: true\n");
    let master = start(&site, "salt-master");
    let minion = start(&site, "salt-minion");
    minion_answers(|| real(&site, "salt"));
    // From here on nobody is accepted who was not.
    let config = site.path("master");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("auto_accept: true\n", "")).unwrap();
    let keys = ["master.pem", "minions/m1"].map(|name| site.path("m/pki").join(name));
    let before = keys.clone().map(|key| fs::read(key).unwrap());
    drop(master);

    site.start_master();
    site.prints(&["salt-key", "-l", "acc"], "Accepted Keys:\nm1\n");
    minion_answers(|| site.command("salt"));
    assert_eq!(site.master.take().unwrap().end(), Some(0));

    let master = start(&site, "salt-master");
    minion_answers(|| real(&site, "salt"));
    assert_eq!(keys.map(|key| fs::read(key).unwrap()), before);
    drop((master, minion));
}
