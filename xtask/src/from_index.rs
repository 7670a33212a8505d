//! Programs that come as packages of Python's index which hold nothing else, each below `.salt/` beside real Salt.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use rustix::fs::FlockOperation;

use crate::command::{output, root, run};
use crate::salt::{find_python, patiently, pip_install};

/// A program, and where it comes from.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The package of the index, and its version, which is the program's.
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The folder below `.salt/`.
    pub(crate) folder: &'static str,
}

impl Program {
    /// Makes the program, if it is not there yet. Only one process does so at a time. Where it is.
    pub(crate) fn make(&self) -> anyhow::Result<PathBuf> {
        let Self { name, version, .. } = *self;
        let home = root().join(".salt").join(self.folder);
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join("lock"))?;
        let program = home.join("bin").join(name);
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("lock .salt/{}/lock", self.folder))?;
        let done = home.join("installed.txt");
        if fs::read_to_string(&done).is_ok_and(|installed| installed == version) {
            return Ok(program);
        }
        let python = home.join("bin/python");
        if !python.exists() {
            run(Command::new(find_python()?).args(["-m", "venv"]).arg(&home))
                .context("on Debian and Ubuntu this needs the package python3-venv")?;
        }
        let package = format!("{}=={version}", self.package);
        patiently(|| run(pip_install(&python).arg(&package)))?;
        let says = output(Command::new(&program).arg("--version"))?;
        if !says.contains(version) {
            anyhow::bail!("expected {name} {version}, found {}", says.trim());
        }
        fs::write(&done, version)?;
        println!("{name} {version} is in .salt/{}", self.folder);
        Ok(program)
    }
}
