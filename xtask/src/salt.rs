//! Real Salt for the tests: one virtual environment per release below `.salt/`.
//!
//! Everything in it is pinned by `xtask/salt/<version>.txt`. An environment is done when a copy of
//! that list is in it; one that is not is completed, never removed while others use it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;

use crate::command::{output, root, run};
use crate::from_index::Program;

/// The releases the tests run against: one per series, and two of 3007, which changed within itself.
pub(crate) const VERSIONS: [&str; 4] = ["3006.28", "3007.14", "3007.17", "3008.3"];

/// Releases that have an environment of their own for Salt alone, and whose environment has the rest.
const SHARED: &[(&str, &str)] = &[("3007.17", "3007.14")];

/// Installs in half of pip's processor time.
const UV: Program = Program {
    name: "uv",
    package: "uv",
    version: "0.13.8",
    folder: "uv",
};

/// Salt's sizes of objects, which decide what it trims, are those of this Python.
const PYTHON: &str = "3.11";
const ATTEMPTS: u32 = 4;

/// Makes the environments that are not there yet. Only one process does so at a time.
pub(crate) fn make(versions: &[&str]) -> anyhow::Result<()> {
    let home = root().join(".salt");
    fs::create_dir_all(&home)?;
    let lock = File::create(home.join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("lock .salt/lock")?;
    for version in versions {
        make_one(&home, version).with_context(|| format!("Salt {version}"))?;
    }
    Ok(())
}

fn make_one(home: &Path, version: &str) -> anyhow::Result<()> {
    let requirements = root().join(format!("xtask/salt/{version}.txt"));
    let wanted = fs::read_to_string(&requirements).with_context(|| {
        format!(
            "{}: tests know Salt {}",
            requirements.display(),
            VERSIONS.join(", ")
        )
    })?;
    let environment = home.join(version);
    let done = environment.join("installed.txt");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let python = environment.join("bin/python");
    let uv = UV.make()?;
    if !python.exists() {
        let mut command = Command::new(find_python()?);
        run(command.args(["-m", "venv"]).arg(&environment))
            .context("on Debian and Ubuntu this needs the package python3-venv")?;
    }
    let shared = SHARED.iter().find(|(release, _)| *release == version);
    if let Some((_, base)) = shared {
        make_one(home, base)?;
        share(home, base, &environment)?;
    }
    patiently(|| {
        let mut install = Command::new(&uv);
        install.args([
            "pip",
            "install",
            "--quiet",
            "--no-cache",
            "--compile-bytecode",
        ]);
        if shared.is_some() {
            install.arg("--no-deps");
        }
        install.arg("--python").arg(&python);
        run(install.arg("--requirement").arg(&requirements))
    })?;
    let says = output(
        Command::new(&python).args(["-c", "import salt.version as v; print(v.__version__)"]),
    )?;
    if says.trim() != version {
        bail!(
            "expected Salt {version} in {}, found {}",
            environment.display(),
            says.trim()
        );
    }
    fs::write(&done, wanted)?;
    println!("Salt {version} is in .salt/{version}");
    Ok(())
}

/// Lets an environment use what another one has, after what it has itself.
fn share(home: &Path, base: &str, environment: &Path) -> anyhow::Result<()> {
    let packages = format!("lib/python{PYTHON}/site-packages");
    let base = fs::canonicalize(home.join(base).join(&packages))?;
    let file = environment.join(&packages).join("shared.pth");
    fs::write(&file, format!("{}\n", base.display())).with_context(|| file.display().to_string())
}

/// The beginning of `pip install` in a virtual environment.
pub(crate) fn pip_install(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet"]);
    pip.arg("--disable-pip-version-check");
    pip
}

/// Tries again after a while: package indexes have bad minutes.
pub(crate) fn patiently(mut attempt: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    for tried in 1..ATTEMPTS {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => {
                let pause = Duration::from_secs(5 << tried);
                eprintln!("xtask: {error:#}; trying again in {} s", pause.as_secs());
                std::thread::sleep(pause);
            }
        }
    }
    attempt()
}

pub(crate) fn find_python() -> anyhow::Result<PathBuf> {
    let candidates = [format!("python{PYTHON}"), "python3".into(), "python".into()];
    let own = std::env::var("PYTHON").ok();
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    for candidate in own.into_iter().chain(candidates) {
        let found = Command::new(&candidate).args(["-c", version]).output();
        if found.is_ok_and(|found| found.stdout.trim_ascii() == PYTHON.as_bytes()) {
            return Ok(candidate.into());
        }
    }
    bail!(
        "expected Python {PYTHON} as python{PYTHON} or python3, found none; install it, or set PYTHON to where it is"
    )
}
