//! `brine attach` beside real buses of Salt, and in front of them.

#![allow(clippy::print_stdout, reason = "shown when a test fails")]

mod beside;
mod burst;
mod front;
mod master;
mod reactor;
mod restarts;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, Node};
use brine_log::history::{HistoryReader, Read, TagQuery};
use brine_testkit::salt;
use brine_wire::msgpack;
use brine_wire::{Map, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::DEADLINE;

/// A directory for the sockets of a bus of Salt's and all that attach makes.
struct Site {
    root: TempDir,
    node: salt::Node<'static>,
}

impl Site {
    fn new(node: salt::Node<'static>) -> Self {
        let root = tempfile::Builder::new().prefix("a").tempdir().unwrap();
        fs::create_dir(root.path().join("s")).unwrap();
        Self { root, node }
    }

    fn sock_dir(&self) -> PathBuf {
        self.path("s")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn history(&self) -> PathBuf {
        self.path("h")
    }

    fn address(&self, sock_dir: &Path) -> Address {
        let node = match self.node {
            salt::Node::Master => Node::Master,
            salt::Node::Minion(id) => Node::minion(id),
        };
        Address::ipc(sock_dir, &node).unwrap()
    }

    /// The path of the publish socket.
    fn publish(&self) -> PathBuf {
        self.address(&self.sock_dir()).publish().to_string().into()
    }

    fn brine_sock(&self) -> PathBuf {
        self.sock_dir().join(match self.node {
            salt::Node::Master => "brine.sock",
            salt::Node::Minion(_) => "minion_event_ca0df2c95a_brine.sock",
        })
    }

    fn start_bus(&self, version: &str) -> salt::Bus {
        salt::Bus::start(version, self.node, &self.sock_dir())
    }

    fn listener(&self, version: &str, sock_dir: &Path) -> salt::Client {
        salt::Client::start(version, self.node, sock_dir)
    }

    fn attach(&self, arguments: &[&str]) -> Attached {
        let mut command = self.command(arguments);
        command.arg("--history").arg(self.history());
        Attached::start(command, self.path("attach.log"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.args(["attach", "--sock-dir"]).arg(self.sock_dir());
        if let salt::Node::Minion(id) = self.node {
            command.args(["--node", "minion", "--id", id]);
        }
        command.args(arguments).env("NO_COLOR", "1");
        command
    }

    /// Every event on disk: its tag and its data.
    fn stored(&self) -> Vec<(String, Map)> {
        let mut stored = Vec::new();
        let mut reader = HistoryReader::open(&self.history()).unwrap();
        while let Some(read) = reader.next(&TagQuery::default()).unwrap() {
            let Read::Events(events) = read else { continue };
            stored.extend(events.iter().map(|event| {
                let tag = String::from_utf8_lossy(&event.event[..event.tag_bytes]).into_owned();
                (tag, data(&event.event[event.tag_bytes + 2..]))
            }));
        }
        stored
    }
}

/// The data of an event.
fn data(bytes: &[u8]) -> Map {
    match msgpack::decode(bytes).unwrap() {
        Value::Map(data) => data,
        other => panic!("expected a map, found {other:?}"),
    }
}

fn text<'a>(data: &'a Map, field: &str) -> &'a str {
    data.get(field).and_then(Value::as_str).unwrap()
}

/// A running `brine attach`.
struct Attached {
    process: Child,
    log: PathBuf,
    /// How much of the log is of earlier processes.
    begins: usize,
}

impl Attached {
    /// Starts it, and waits until it has joined the bus.
    fn start(command: Command, log: PathBuf) -> Self {
        let mut attached = Self::spawn(command, log);
        attached.says("joined the bus; reading all its events", 1);
        attached
    }

    fn spawn(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let begins = fs::read_to_string(&log).unwrap_or_default().len();
        let process = command
            .stdin(Stdio::null())
            .stderr(file.unwrap())
            .spawn()
            .unwrap();
        Self {
            process,
            log,
            begins,
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap();
        log[self.begins..].to_owned()
    }

    /// Waits until it has said something so many times.
    fn says(&mut self, what: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.log().matches(what).count() < times {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "it does not say {what:?} {times} times ({ended:?}):\n{}",
                self.log()
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// The process that serves, if another one waits for it.
    fn child(&self) -> Pid {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
    }

    /// Ends it as a service manager does.
    fn end(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn wait(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            println!("the log of brine attach:\n{log}");
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request to a local socket, with its answer.
fn request(socket: &Path, what: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    let head = "HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
    write!(stream, "{what} {head} {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "expected {what}, waited in vain");
        sleep(Duration::from_millis(5));
    }
}
