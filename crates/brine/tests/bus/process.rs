//! A `brine bus` process of a test's own.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) use brine_testkit::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How a bus is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    compat: String,
    minion: Option<String>,
    /// Salt's configuration of the node, as YAML.
    config: String,
    more_arguments: Vec<String>,
    /// Its soft and hard limit of open files.
    open_files: Option<u32>,
    /// The user to run as, by number.
    user: Option<u32>,
    program: PathBuf,
}

impl Setup {
    /// A master's bus for a Salt release.
    pub(crate) fn new(compat: &str) -> Self {
        Self {
            compat: compat.to_owned(),
            minion: None,
            config: String::new(),
            more_arguments: Vec::new(),
            open_files: None,
            user: None,
            program: env!("CARGO_BIN_EXE_brine").into(),
        }
    }

    pub(crate) fn minion(mut self, id: &str) -> Self {
        self.minion = Some(id.to_owned());
        self
    }

    /// What the node's configuration file says.
    pub(crate) fn config(mut self, yaml: &str) -> Self {
        self.config = yaml.to_owned();
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.more_arguments.push(argument.to_owned());
        self
    }

    pub(crate) const fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Runs a copy of the program that this user can reach.
    pub(crate) fn user(mut self, uid: u32, program: PathBuf) -> Self {
        self.user = Some(uid);
        self.program = program;
        self
    }

    /// Starts it in a directory of its own and waits until it accepts.
    pub(crate) fn start(self) -> Bus {
        let directory = TempDir::new().unwrap();
        let sock_dir = directory.path().join("s");
        fs::create_dir(&sock_dir).unwrap();
        if let Some(uid) = self.user {
            // Whoever serves owns the directory; everybody may pass to it.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(directory.path(), open).unwrap();
            std::os::unix::fs::chown(&sock_dir, Some(uid), Some(uid)).unwrap();
        }
        for node in ["master", "minion"] {
            fs::write(directory.path().join(node), &self.config).unwrap();
        }
        let mut bus = Bus {
            process: None,
            log: directory.path().join("log"),
            sock_dir,
            setup: self,
            lives: 0,
            directory,
        };
        bus.start_again();
        bus
    }
}

/// A running bus; killed when dropped.
#[derive(Debug)]
pub(crate) struct Bus {
    setup: Setup,
    process: Option<Child>,
    /// How many times it was started.
    lives: usize,
    sock_dir: PathBuf,
    log: PathBuf,
    directory: TempDir,
}

impl Bus {
    /// Starts it, after [`Bus::kill`] or [`Bus::stop`], on the same sockets.
    pub(crate) fn start_again(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let process = self
            .command()
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.lives += 1;
        let deadline = Instant::now() + DEADLINE;
        // Asked in the log and not by connecting, which the bus would count.
        let more = &self.setup.more_arguments;
        let places = 1 + more
            .iter()
            .filter(|argument| argument.starts_with("--also"))
            .count();
        while self.log().matches(" ready ").count() < self.lives * places {
            assert!(
                self.is_alive() && Instant::now() < deadline,
                "no bus:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// The command line, to run one more in the same place.
    pub(crate) fn command(&self) -> Command {
        let setup = &self.setup;
        let mut command = match setup.open_files {
            None => Command::new(&setup.program),
            Some(limit) => {
                let mut command = Command::new("prlimit");
                command
                    .arg(format!("--nofile={limit}:{limit}"))
                    .arg(&setup.program);
                command
            }
        };
        command.arg("bus").arg("--sock-dir").arg(&self.sock_dir);
        command.arg("--config-dir").arg(self.directory.path());
        command.args(&setup.more_arguments);
        command
            .args(["--compat", &setup.compat])
            .env("NO_COLOR", "1");
        if let Some(id) = &setup.minion {
            command.args(["--node", "minion", "--id", id]);
        }
        if let Some(uid) = setup.user {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Where its `pub` or `pull` socket is.
    pub(crate) fn socket(&self, side: &str) -> PathBuf {
        let prefix = match &self.setup.minion {
            None => "master_event".to_owned(),
            // The digest of the one id that tests use.
            Some(id) if id == "m1" => "minion_event_ca0df2c95a".to_owned(),
            Some(id) => panic!("no digest known of {id}"),
        };
        self.sock_dir.join(format!("{prefix}_{side}.ipc"))
    }

    pub(crate) fn sock_dir(&self) -> &Path {
        &self.sock_dir
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        let process = self.process.as_mut().unwrap();
        process.try_wait().unwrap().is_none()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().unwrap();
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::TERM).unwrap();
        process.wait().unwrap()
    }

    /// What it has logged so far, of all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines of a level, without time and source.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let log = self.log();
        let lines = log
            .lines()
            .filter_map(|line| line.split_once(" WARN ").or(line.split_once("ERROR ")));
        lines.map(|(_, text)| text.trim().to_owned()).collect()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            let _ = writeln!(std::io::stderr(), "the end of the bus's log:\n{tail}");
        }
        self.kill();
    }
}
