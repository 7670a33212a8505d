//! A site: a master and a minion whose key it has, in a directory of their own.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// Starting real Salt takes this long at most.
const START: Duration = Duration::from_secs(90);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

/// Between minion and master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    Tcp,
    Zeromq,
}

impl Transport {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Zeromq => "zeromq",
        }
    }
}

/// Whose programs.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Ours, by the name of its binary beside this one.
    Brine(&'static str),
    /// Real Salt of this release.
    Salt(String),
}

/// This commit's program.
const BRINE: &str = "brine";

impl Kind {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "brine" => Self::Brine(BRINE),
            "brine-before" => Self::Brine("brine-before"),
            release => Self::Salt(release.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brine(BRINE) => out.write_str("Brine"),
            Self::Brine(_) => out.write_str("Brine before"),
            Self::Salt(release) => write!(out, "Salt {release}"),
        }
    }
}

/// A process and its children; ended together.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// A master and a minion that is connected.
#[derive(Debug)]
pub(crate) struct Site {
    kind: Kind,
    // Ended in this order: the minion first.
    pub(crate) minion: Running,
    pub(crate) master: Running,
    pub(crate) transport: Transport,
    /// From the start of the minion's process to its start event's arrival at the master.
    pub(crate) started_in: Duration,
    root: TempDir,
}

impl Site {
    /// Starts both and waits for the minion's key and its first answer.
    pub(crate) fn start(kind: &Kind, transport: Transport) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("brine-site-").tempdir()?;
        let (ret_port, publish_port) = (free_port()?, free_port()?);
        write_configuration(root.path(), transport, ret_port, publish_port)?;
        let master = spawn(kind, "salt-master", root.path())?;
        wait_for("the master", || {
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ret_port)).is_ok()
        })?;
        let started = Instant::now();
        let minion = spawn(kind, "salt-minion", root.path())?;
        let mut site = Self {
            kind: kind.clone(),
            minion,
            master,
            transport,
            started_in: Duration::ZERO,
            root,
        };
        site.wait_until_it_answers()?;
        site.started_in = started.elapsed();
        Ok(site)
    }

    fn wait_until_it_answers(&self) -> Result<()> {
        wait_for("the minion's answer to test.ping", || {
            let mut ping = self.program("salt");
            ping.args(["--out", "txt", "-t", "2", "m1", "test.ping"])
                .stderr(Stdio::null());
            ping.output()
                .is_ok_and(|output| output.stdout.starts_with(b"m1: True"))
        })
    }

    /// One of Salt's commands on this site's configuration.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = program(&self.kind, name);
        command
            .arg("-c")
            .arg(self.root.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The directory with the configuration and everything else.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }
}

fn write_configuration(
    root: &Path,
    transport: Transport,
    ret_port: u16,
    publish_port: u16,
) -> Result<()> {
    let root_text = root.display();
    let transport = transport.name();
    fs::write(
        root.join("master"),
        format!(
            "root_dir: {root_text}/m\ninterface: 127.0.0.1\nret_port: {ret_port}\npublish_port: {publish_port}\n\
             transport: {transport}\nauto_accept: true\nlog_level: error\nuser: {user}\n\
             pki_dir: {root_text}/m/pki\ncachedir: {root_text}/m/cache\nsock_dir: {root_text}/m/sock\n",
            user = user()
        ),
    )?;
    fs::write(
        root.join("minion"),
        format!(
            "root_dir: {root_text}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\n\
             transport: {transport}\nlog_level: error\nuser: {user}\n\
             pki_dir: {root_text}/n/pki\ncachedir: {root_text}/n/cache\nsock_dir: {root_text}/n/sock\n",
            user = user()
        ),
    )?;
    Ok(())
}

fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".into())
}

fn spawn(kind: &Kind, name: &str, root: &Path) -> Result<Running> {
    let log = File::create(root.join(format!("{name}.log")))?;
    let mut command = program(kind, name);
    command
        .arg("-c")
        .arg(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let child = command
        .spawn()
        .with_context(|| format!("{name}: cannot start"))?;
    Ok(Running(child))
}

/// A program of Salt's, or ours in its place.
fn program(kind: &Kind, name: &str) -> Command {
    match kind {
        Kind::Brine(binary) => {
            let mut command = Command::new(brine().with_file_name(binary));
            command.arg(name);
            command
        }
        Kind::Salt(release) => Command::new(
            workspace()
                .join(".salt")
                .join(release)
                .join("bin")
                .join(name),
        ),
    }
}

/// Our program, built beside this one.
pub(crate) fn brine() -> PathBuf {
    std::env::current_exe()
        .unwrap_or_default()
        .with_file_name(BRINE)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_there() {
        if started.elapsed() > START {
            bail!("expected {what} within {START:?}, found nothing");
        }
        sleep(LOOK);
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
