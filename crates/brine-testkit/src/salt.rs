//! Real Salt: its buses, and its event library to talk to them or to ours.
//!
//! Each release lives in a virtual environment made by `cargo xtask salt` below `.salt/`; the
//! variable `BRINE_SALT_DIR` names another place. A release that is missing fails the test that
//! wants it, with the text what to run: a test that quietly does nothing proves nothing.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::wait::DEADLINE;

/// The releases tests run against: one per series. 3007 changed within itself: [`LATER_3007`].
pub const VERSIONS: [&str; 3] = ["3006.28", "3007.14", "3008.3"];

/// A 3007 after the large change of 3007.15: another framing of what is fired, signatures that can be verified.
pub const LATER_3007: &str = "3007.17";

/// The releases with the later 3007, for the second of two runs that each take all series.
pub const LATER_VERSIONS: [&str; 3] = ["3006.28", LATER_3007, "3008.3"];

/// Whose bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// A master's.
    Master,
    /// The minion's with this id.
    Minion(&'a str),
}

impl Node<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Minion(_) => "minion",
        }
    }

    /// The options for this node, followed by `options` (pairs of a Python dict, as text).
    fn options(self, options: &str) -> String {
        match self {
            Self::Master => format!("{{{options}}}"),
            Self::Minion(id) => format!("{{'id': {id:?}, {options}}}"),
        }
    }
}

/// The Python of the environment that holds a release, as the start of a command.
///
/// # Panics
/// When there is no such environment.
#[must_use]
pub fn python(version: &str) -> Command {
    let home = std::env::var_os("BRINE_SALT_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.salt"),
        PathBuf::from,
    );
    let python = home.join(version).join("bin/python");
    assert!(
        python.exists(),
        "this test needs Salt {version} at {}: run `cargo xtask salt {version}`, or set BRINE_SALT_DIR",
        python.display()
    );
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A program of the testkit's `python/` in a release's Python, as the start of a command.
///
/// # Panics
/// When there is no such release.
#[must_use]
pub fn script(version: &str, name: &str) -> Command {
    let mut command = python(version);
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("python")
            .join(name),
    );
    command
}

/// A running bus of real Salt; ends when dropped.
#[derive(Debug)]
pub struct Bus {
    process: Child,
    /// Keys, caches and the log.
    root: TempDir,
}

impl Bus {
    /// Starts the bus of a node in `sock_dir` and waits until it accepts.
    ///
    /// # Panics
    /// When it does not in time.
    #[must_use]
    pub fn start(version: &str, node: Node<'_>, sock_dir: &Path) -> Self {
        Self::start_with(version, node, sock_dir, "")
    }

    /// The same with more configuration: the inside of a Python dict, such as
    /// `'ipc_mode': 'tcp', 'tcp_pub_port': 14510`.
    ///
    /// # Panics
    /// When the bus does not accept in time.
    #[must_use]
    pub fn start_with(version: &str, node: Node<'_>, sock_dir: &Path, options: &str) -> Self {
        let root = TempDir::new().expect("a temporary directory");
        let log = File::create(root.path().join("log")).expect("a log file");
        let mut process = script(version, "bus.py")
            .args([
                node.name().as_ref(),
                sock_dir.as_os_str(),
                root.path().as_os_str(),
            ])
            .arg(node.options(options))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the environment's Python starts");
        let stdout = process.stdout.take().expect("it is piped");
        let mut bus = Self { process, root };
        let sockets: Vec<String> = BufReader::new(stdout).lines().take(2).flatten().collect();
        let deadline = Instant::now() + DEADLINE;
        while sockets.len() < 2 || !sockets.iter().all(|socket| accepts(socket)) {
            let ended = bus.process.try_wait().expect("its state can be asked");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "Salt {version}'s {} bus does not come up at {sockets:?} ({ended:?}):\n{}",
                node.name(),
                bus.log()
            );
            sleep(Duration::from_millis(20));
        }
        bus
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// What it has logged: warnings and errors.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accepts(socket: &str) -> bool {
    if socket.starts_with('/') {
        UnixStream::connect(socket).is_ok()
    } else {
        TcpStream::connect(socket).is_ok()
    }
}

/// A process with real Salt's event library, listening to a bus; ends when dropped.
#[derive(Debug)]
pub struct Client {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: File,
}

/// The repr of a Python exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Client {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(version: &str, node: Node<'_>, sock_dir: impl AsRef<OsStr>) -> Self {
        Self::start_with(version, node, sock_dir, "")
    }

    /// The same with more options; see [`Bus::start_with`].
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(
        version: &str,
        node: Node<'_>,
        sock_dir: impl AsRef<OsStr>,
        options: &str,
    ) -> Self {
        let log = tempfile::tempfile().expect("a temporary file");
        let mut process = script(version, "client.py")
            .arg(node.name())
            .arg(sock_dir)
            .arg(node.options(options))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a second handle"))
            .spawn()
            .expect("the environment's Python starts");
        let mut client = Self {
            requests: process.stdin.take().expect("it is piped"),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
            log,
        };
        assert_eq!(client.answer(), Ok("'ready'".to_owned()));
        client
    }

    /// Evaluates a Python expression that has `bus` (the event object), `event`
    /// (`salt.utils.event`), `datetime`, `hashlib`, `pathlib` and `time` at hand; the repr of its value.
    ///
    /// # Errors
    /// The expression raised.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn try_run(&mut self, expression: &str) -> Result<String, Raised> {
        self.request(expression);
        self.answer()
    }

    /// The same for expressions that do not raise.
    ///
    /// # Panics
    /// When it raises.
    pub fn run(&mut self, expression: &str) -> String {
        self.try_run(expression)
            .unwrap_or_else(|raised| panic!("{expression:.200} raised {raised}"))
    }

    /// Sends an expression without waiting for the answer, which is [`Client::answer`]'s.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn request(&mut self, expression: &str) {
        assert!(!expression.contains('\n'), "one line per expression");
        writeln!(self.requests, "{expression}").unwrap_or_else(|error| self.gone(&error));
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// The expression raised.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn answer(&mut self) -> Result<String, Raised> {
        let mut line = String::new();
        if let Err(error) = self.answers.read_line(&mut line) {
            self.gone(&error);
        }
        match line.trim_end_matches('\n').split_at_checked(2) {
            Some(("= ", value)) => Ok(value.to_owned()),
            Some(("! ", raised)) => Err(Raised(raised.to_owned())),
            _ => self.gone(&"no answer"),
        }
    }

    fn gone(&mut self, why: &dyn fmt::Display) -> ! {
        let _ = self.process.kill();
        let mut log = String::new();
        let _ = self.log.rewind();
        let _ = self.log.read_to_string(&mut log);
        panic!("real Salt's client is gone ({why}):\n{log}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
