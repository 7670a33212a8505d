//! A master and a minion of ours in a directory of their own.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, Node};
use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait};
pub(crate) use brine_testkit::DEADLINE;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, json};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a listener hears first.
const LISTENS: &str = "test/listens";

/// What a command left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A site; its processes end with it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) master: Option<Process>,
    pub(crate) minion: Option<Process>,
    root: TempDir,
}

impl Site {
    /// A master and a minion whose key is accepted and which has started.
    pub(crate) fn up(transport: &str) -> Self {
        let mut site = Self::configured(transport, "auto_accept: true\n");
        site.start_master();
        let mut bus = site.master_bus();
        site.start_minion();
        bus.next("salt/minion/m1/start");
        site
    }

    /// The configuration of one, and nothing that runs.
    pub(crate) fn configured(transport: &str, master: &str) -> Self {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let path = root.path().display();
        let (ret, publish) = (free_port(), free_port());
        let common = format!("transport: {transport}\nlog_level: info\nlog_level_logfile: quiet\n");
        fs::write(
            root.path().join("master"),
            format!(
                "root_dir: {path}/m\nsock_dir: {path}/m/s\ncachedir: {path}/m/cache\npki_dir: {path}/m/pki\n\
                 file_roots:\n  base: [{path}/srv]\ninterface: 127.0.0.1\nret_port: {ret}\n\
                 publish_port: {publish}\n{common}{master}"
            ),
        )
        .unwrap();
        fs::write(
            root.path().join("minion"),
            format!(
                "id: m1\nmaster: 127.0.0.1\nmaster_port: {ret}\nroot_dir: {path}/n\nsock_dir: {path}/n/s\n\
                 cachedir: {path}/n/cache\npki_dir: {path}/n/pki\nacceptance_wait_time: 1\n{common}"
            ),
        )
        .unwrap();
        fs::create_dir_all(root.path().join("srv/_modules")).unwrap();
        Self {
            master: None,
            minion: None,
            root,
        }
    }

    pub(crate) fn start_master(&mut self) {
        self.master = Some(Process::start(self.command("salt-master")));
        let sock_dir = self.path("m/s");
        wait_until("the master's bus", || {
            std::os::unix::net::UnixStream::connect(sock_dir.join("master_event_pub.ipc")).is_ok()
        });
    }

    pub(crate) fn start_minion(&mut self) {
        self.minion = Some(Process::start(self.command("salt-minion")));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// One of Salt's commands of ours on this site.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.arg(name).arg("-c").arg(self.root.path());
        command.env_remove("SUDO_USER").env("NO_COLOR", "1");
        command
    }

    /// Runs a command line as documentation prints it, `salt-call event.send …`, to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Left {
        self.run_with(words, &[], "")
    }

    /// The same in an environment with more in it, and with input.
    pub(crate) fn run_with(
        &self,
        words: &[&str],
        environment: &[(&str, &str)],
        input: &str,
    ) -> Left {
        let (name, arguments) = words.split_first().unwrap();
        let mut command = self.command(name);
        command.args(arguments).envs(environment.iter().copied());
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let id = child.id();
        let watchdog = std::thread::spawn(move || {
            // Ends a command that hangs, so that the test says what it had printed.
            sleep(DEADLINE);
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(watchdog);
        Left {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs one that must print this and exit 0.
    pub(crate) fn prints(&self, words: &[&str], stdout: &str) {
        let left = self.run(words);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), stdout),
            "{words:?}: {left:?}"
        );
    }

    pub(crate) fn master_bus(&self) -> Bus {
        Bus::at(&Address::ipc(self.path("m/s"), &Node::Master).unwrap())
    }

    pub(crate) fn minion_bus(&self) -> Bus {
        Bus::at(&Address::ipc(self.path("n/s"), &Node::minion("m1")).unwrap())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.minion = None;
        self.master = None;
        if std::thread::panicking() {
            for name in ["salt-master", "salt-minion", "salt-api", "attach"] {
                let log = fs::read_to_string(self.path(name)).unwrap_or_default();
                println!("--- {name}\n{log}");
            }
        }
    }
}

/// A process that runs; ended as a service manager does.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let name: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
        let log = PathBuf::from(&name[2]).join(&name[0]);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        Self(command.spawn().unwrap())
    }

    /// One that the test has started itself.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Tells it to end; its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits for its end; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > deadline => {
                    self.0.kill().unwrap();
                    panic!("it does not end");
                }
                None => sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A listener to a bus.
pub(crate) struct Bus(Subscriber);

impl Bus {
    fn at(address: &Address) -> Self {
        let mut subscriber = Subscriber::new(address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).unwrap();
        let mut listener = Self(subscriber);
        // Connected is not heard yet: what comes between is for nobody.
        let mut bus = Publisher::new(address, PublisherConfig::default());
        let listens = TagMatch::new(MatchType::StartsWith, LISTENS).unwrap();
        loop {
            let mut data = Map::new();
            bus.fire_event(LISTENS, &mut data, Some(DEADLINE)).unwrap();
            let wait = Wait::For(Duration::from_millis(100));
            if listener.0.get_event(&listens, wait).unwrap().is_some() {
                return listener;
            }
        }
    }

    /// The data of the next event whose tag matches this shell pattern; others are passed over.
    pub(crate) fn next(&mut self, pattern: &str) -> Map {
        self.next_with_tag(pattern).1
    }

    pub(crate) fn next_with_tag(&mut self, pattern: &str) -> (String, Map) {
        let wanted = TagMatch::new(MatchType::Fnmatch, pattern).unwrap();
        let wait = Wait::For(DEADLINE);
        let event = self.0.get_event(&wanted, wait).unwrap();
        let event = event.unwrap_or_else(|| panic!("no {pattern} comes"));
        let Value::Map(data) = event.decode().unwrap() else {
            panic!("expected a map under {pattern}")
        };
        (event.tag().to_owned(), data)
    }
}

/// What stands under a key.
pub(crate) fn at<'a>(data: &'a Map, key: &str) -> &'a Value {
    data.get(key)
        .unwrap_or_else(|| panic!("expected {key} in {data:?}"))
}

/// The map under a key.
pub(crate) fn map<'a>(data: &'a Map, key: &str) -> &'a Map {
    at(data, key).as_map().unwrap()
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "expected {what}, waited in vain");
        sleep(Duration::from_millis(10));
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// How many streams a bus serves, which such options select; `None` while it does not answer.
pub(crate) fn streams(selector: &[&str]) -> Option<usize> {
    let mut status = Command::new(env!("CARGO_BIN_EXE_brine"));
    status.args(["status", "--json"]).args(selector);
    let output = status.stderr(Stdio::null()).output().unwrap();
    let Ok(Value::Map(status)) = json::parse(&output.stdout) else {
        return None;
    };
    status
        .get("streams")
        .and_then(Value::as_array)
        .map(<[Value]>::len)
}
