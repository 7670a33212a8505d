//! Running the program, and a bus to run it on.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

pub(crate) use brine_testkit::DEADLINE;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program with these arguments, in an environment that says nothing.
pub(crate) fn brine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command.args(arguments);
    for name in [
        "NO_COLOR",
        "SALT_CONFIG_DIR",
        "SALT_MASTER_CONFIG",
        "SUDO_USER",
    ] {
        command.env_remove(name);
    }
    command
}

/// What a command left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, input: &str) -> Left {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    // It may end without reading.
    let _ = running.0.stdin.take().unwrap().write_all(input.as_bytes());
    running.left()
}

/// A command that is running; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(piped.spawn().unwrap())
    }

    /// Waits for a line on stderr that contains this.
    pub(crate) fn says(&mut self, text: &str) -> String {
        let line = line_with(self.0.stderr.as_mut().unwrap(), text);
        line.unwrap_or_else(|| panic!("ended without saying {text:?}"))
    }

    /// Waits for a line on stdout that contains this; all lines up to it.
    pub(crate) fn prints(&mut self, text: &str) -> String {
        let stdout = self.0.stdout.as_mut().unwrap();
        let (mut printed, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).unwrap() == 1 {
            printed.push(byte[0]);
            if byte == *b"\n" && String::from_utf8_lossy(&printed).contains(text) {
                return String::from_utf8(printed).unwrap();
            }
        }
        panic!("ended without printing {text:?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Takes its stdout away from it.
    pub(crate) fn close_stdout(&mut self) {
        self.0.stdout = None;
    }

    /// What it leaves when it ends, which it must.
    pub(crate) fn left(mut self) -> Left {
        let stdout = self.0.stdout.take().map(read_all);
        let stderr = read_all(self.0.stderr.take().unwrap());
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => self.0.kill().unwrap(),
                None => sleep(Duration::from_millis(5)),
            }
        };
        Left {
            code: status.code(),
            stdout: stdout
                .map(|thread| thread.join().unwrap())
                .unwrap_or_default(),
            stderr: stderr.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

fn line_with(stderr: &mut ChildStderr, text: &str) -> Option<String> {
    // Byte by byte, so that what comes after the line stays for others.
    let mut line = Vec::new();
    let mut byte = [0];
    while stderr.read(&mut byte).unwrap() == 1 {
        if byte == *b"\n" {
            let whole = String::from_utf8(std::mem::take(&mut line)).unwrap();
            if whole.contains(text) {
                return Some(whole);
            }
        } else {
            line.push(byte[0]);
        }
    }
    None
}

/// A bus in a directory of its own, with a configuration that leads to it.
#[derive(Debug)]
pub(crate) struct Bus {
    running: Option<Running>,
    pub(crate) root: TempDir,
}

impl Bus {
    /// A master's bus.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut bus = Self::absent();
        bus.begin(arguments);
        bus
    }

    /// A place for a bus, and none in it.
    pub(crate) fn absent() -> Self {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let bus = Self {
            running: None,
            root,
        };
        fs::create_dir_all(bus.root.path().join("cache/proc")).unwrap();
        fs::write(
            bus.root.path().join("master"),
            configuration(bus.root.path(), "/s"),
        )
        .unwrap();
        bus
    }

    /// Starts it, and waits until it accepts.
    pub(crate) fn begin(&mut self, arguments: &[&str]) {
        let mut command = brine(&["bus", "--sock-dir", &self.sock_dir()]);
        let mut running = Running::start(command.args(arguments));
        running.says("ready");
        wait_for_local_socket(&self.sock_dir());
        self.running = Some(running);
    }

    /// Ends it as a service manager does; what it left.
    pub(crate) fn end(&mut self) -> Left {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        running.left()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// The process it is.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().pid()
    }

    /// Stops it, so that it hangs until the process returned is sent SIGCONT.
    pub(crate) fn hang(&self) -> Pid {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        pid
    }

    pub(crate) fn sock_dir(&self) -> String {
        self.path("s")
    }

    pub(crate) fn config_dir(&self) -> String {
        self.path("")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.root.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// A command of ours on this bus.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = brine(arguments);
        command.args(["--sock-dir", &self.sock_dir()]);
        command
    }

    /// Runs one to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Left {
        run(&mut self.command(arguments), "")
    }

    /// Fires an event.
    pub(crate) fn send(&self, tag: &str, data: &str) {
        let left = self.run(&["send", tag, data]);
        assert_eq!(left.code, Some(0), "{left:?}");
    }

    /// Starts a command and waits until it has its connection: the only one there is, once those
    /// of commands before it are gone.
    pub(crate) fn listener(&self, arguments: &[&str]) -> Running {
        const OWN: usize = 3;
        wait_until(|| connections(&self.sock_dir()) == OWN);
        let running = Running::start(&mut self.command(arguments));
        wait_for_reader(&self.sock_dir());
        running
    }

    /// Text without what differs from run to run.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let text = text.replace(self.root.path().to_str().unwrap(), "ROOT");
        let mut scrubbed = String::new();
        let mut digits = String::new();
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            if let Some((before, after)) = rest
                .split_once("\"_stamp\": \"")
                .filter(|(b, _)| b.is_empty())
            {
                scrubbed.push_str(before);
                scrubbed.push_str("\"_stamp\": \"STAMP");
                rest = &after[after.find('"').unwrap()..];
                continue;
            }
            if c.is_ascii_digit() {
                digits.push(c);
            } else {
                push_digits(&mut scrubbed, &mut digits);
                scrubbed.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        push_digits(&mut scrubbed, &mut digits);
        scrubbed
    }
}

fn push_digits(text: &mut String, digits: &mut String) {
    text.push_str(if digits.len() == 20 { "JID" } else { digits });
    digits.clear();
}

/// A master's configuration below a directory.
pub(crate) fn configuration(root: &Path, sock_dir: &str) -> String {
    format!(
        "root_dir: {}\nsock_dir: {sock_dir}\ncachedir: /cache\npki_dir: /pki\nid: central\nlog_level_logfile: quiet\n",
        root.display()
    )
}

/// How many sockets there are below a path: a bus's own three, and one per connection.
pub(crate) fn connections(path: &str) -> usize {
    let sockets = fs::File::open("/proc/net/unix").unwrap();
    let sockets = BufReader::new(sockets).lines();
    let prefix = format!(" {path}/");
    sockets
        .filter(|line| line.as_ref().unwrap().contains(&prefix))
        .count()
}

/// The last socket that a bus binds.
pub(crate) fn wait_for_local_socket(sock_dir: &str) {
    wait_until(|| {
        let mut names = fs::read_dir(sock_dir).unwrap();
        names.any(|name| {
            let name = name.unwrap().file_name();
            name.to_str().unwrap().ends_with("brine.sock")
        })
    });
}

/// Waits until a bus has a reader: whatever is fired from now on, it gets.
pub(crate) fn wait_for_reader(sock_dir: &str) {
    wait_until(|| {
        let status = status(sock_dir).unwrap_or_default();
        status.contains("\"subscribers\": [{") || status.contains("\"streams\": [{")
    });
}

/// What the local socket in a directory answers to `GET /status`, if there is one.
fn status(sock_dir: &str) -> Option<String> {
    let names = fs::read_dir(sock_dir).ok()?;
    let paths = names.filter_map(|name| Some(name.ok()?.path()));
    let path = paths
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("brine.sock"))?;
    let mut socket = UnixStream::connect(path).ok()?;
    let request = b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    socket.write_all(request).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub(crate) fn wait_for_connections(path: &str, least: usize) {
    wait_until(|| connections(path) >= least);
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "what is waited for does not come"
        );
        sleep(Duration::from_millis(5));
    }
}
