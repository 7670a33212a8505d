//! Pages of the book that can be followed from start to end: each is followed at a terminal, and everything that appears
//! there is compared with the page.
//!
//! A block that begins with the name of a file, such as `# /tmp/site/master`, is that file. A command with `&` goes on in
//! the background, and what it prints later is under a later command. `kill %1` ends the first of them. Directories below
//! `/tmp` are below one of the test's own, and the ports 4505, 4506 and 8000 are free ones.

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fancy_regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::page::{Example, blocks, examples, is_as_documented};
use crate::site::{DEADLINE, free_port, streams, wait_until};

/// The ports that pages name.
const PORTS: [u16; 3] = [4505, 4506, 8000];

/// The directories that pages name, and where they are below the test's own.
const PLACES: [(&str, &str); 3] = [("/tmp/", ""), ("/etc/salt/", "etc/"), ("/srv/", "srv/")];

/// Commands that only look.
const LOOKS: [&str; 6] = [
    "brine consumer ls",
    "brine history",
    "brine reactor history",
    "brine reactor ls",
    "brine status",
    "cat ",
];

/// What the master of a page is told besides.
const MASTER: &str = "root_dir: /tmp/root\ninterface: 127.0.0.1\npublish_port: 4505\nret_port: 4506\n\
    file_roots: {base: [/srv/salt]}\n";

#[test]
fn the_tutorial_of_watching_works() {
    Desk::new().follow_page("docs/tutorials/watch.md", 12);
}

#[test]
fn the_tutorial_of_history_works() {
    Desk::new().follow_page("docs/tutorials/history.md", 14);
}

#[test]
fn the_tutorial_of_the_api_works() {
    Desk::new().follow_page("docs/tutorials/api.md", 8);
}

#[test]
fn the_tutorial_of_sinks_works() {
    Desk::new().follow_page("docs/tutorials/sinks.md", 10);
}

#[test]
fn the_tutorial_of_the_reactor_works() {
    Desk::new().follow_page("docs/tutorials/reactor.md", 9);
}

#[test]
fn the_tutorial_of_several_masters_works() {
    Desk::new().follow_page("docs/tutorials/cluster.md", 5);
}

#[test]
fn the_recipes_work() {
    Desk::new().follow_page("docs/how-to.md", 20);
}

/// The page assumes a master, which is there with the page's own rules.
#[test]
fn the_reactors_page_is_true() {
    let mut desk = Desk::new();
    desk.of_master = true;
    desk.follow_page("docs/reactor.md", 6);
}

/// Pages whose commands tests run otherwise than as they are printed, and which tests.
const RUN_OTHERWISE: [(&str, &str); 6] = [
    ("docs/cluster.md", "tests/site/cluster.rs"),
    ("docs/commands.md", "tests/cli"),
    ("docs/local-socket.md", "tests/cli/local_socket.rs"),
    ("docs/metrics.md", "tests/cli/local_socket.rs"),
    ("docs/sinks.md", "tests/cli/sinks.rs"),
    ("docs/top.md", "tests/cli/top.rs"),
];

/// A page with commands is followed by a test here or beside, or says which tests run what it shows.
#[test]
fn every_page_with_commands_is_run() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = package.join("../../docs");
    let tests = [
        include_str!("tutorials.rs"),
        include_str!("documented.rs"),
        include_str!("api_examples.rs"),
    ];
    let mut missing = Vec::new();
    for folder in ["", "python", "protocol", "tutorials"] {
        for page in fs::read_dir(docs.join(folder)).unwrap() {
            let page = page.unwrap();
            let name = page.file_name().into_string().unwrap();
            if !name.ends_with(".md") {
                continue;
            }
            let name = PathBuf::from("docs").join(folder).join(name);
            let name = name.to_str().unwrap();
            let text = fs::read_to_string(page.path()).unwrap();
            let mut lines = text.lines();
            let has_commands =
                lines.any(|line| line.starts_with("    $ ") || line.starts_with("    # brine "));
            let is_followed = tests.iter().any(|test| test.contains(&format!("{name}\"")));
            let elsewhere = RUN_OTHERWISE.iter().find(|(page, _)| *page == name);
            let is_run = match elsewhere {
                Some((_, test)) => package.join(test).exists(),
                None => is_followed,
            };
            if has_commands && !is_run {
                missing.push(name.to_owned());
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no test runs the commands of {missing:?}"
    );
}

/// The file that a block is, by its first line.
fn file(block: &str) -> Option<(&str, &str)> {
    let (first, text) = block.split_once('\n')?;
    let name = first.strip_prefix("# ")?;
    PLACES
        .iter()
        .any(|(place, _)| name.starts_with(place))
        .then_some((name, text))
}

/// A terminal, and the processes that somebody has started there.
struct Desk {
    root: TempDir,
    ports: [u16; PORTS.len()],
    screen: File,
    /// What has appeared.
    seen: Arc<Mutex<Vec<u8>>>,
    background: Vec<Background>,
    /// Commands are those of a master that the page assumes.
    of_master: bool,
}

/// A process that goes on; it ends with the desk.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Desk {
    fn new() -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let mut options = File::options();
        let screen = options.read(true).write(true).custom_flags(no_control);
        let screen = screen.open(name).unwrap();
        let size = Winsize {
            ws_row: 50,
            ws_col: 160,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&seen);
        std::thread::spawn(move || {
            let (mut terminal, mut part) = (File::from(terminal), [0; 4096]);
            // An error when the last process that has it open has ended.
            while let Ok(length @ 1..) = terminal.read(&mut part) {
                keeps.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Self {
            // Short: paths of sockets are below it.
            root: tempfile::Builder::new().prefix("b").tempdir().unwrap(),
            ports: PORTS.map(|_| free_port()),
            screen,
            seen,
            background: Vec::new(),
            of_master: false,
        }
    }

    /// Follows a page, which has so many commands at least: a page whose form changes must not become empty.
    fn follow_page(&mut self, page: &str, least: usize) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join(page)).unwrap();
        let mut followed = 0;
        for block in blocks(&text) {
            if let Some((file, text)) = file(&block) {
                self.write(file, text);
            }
            for example in examples(&[block]) {
                if followed == 0 && self.of_master {
                    self.start_master();
                }
                self.follow(page, &example);
                followed += 1;
            }
        }
        assert!(followed >= least, "{page}: {followed} commands");
    }

    fn write(&self, file: &str, text: &str) {
        let mut text = text.to_owned();
        if file == "/etc/salt/master" {
            text.push_str(MASTER);
        }
        let file = PathBuf::from(self.mine(file));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, self.mine(&text)).unwrap();
    }

    /// The master, which is on nobody's terminal.
    fn start_master(&mut self) {
        let master = self.start("exec brine salt-master > /tmp/master.log 2>&1");
        self.background.push(master);
        let config = self.mine("/etc/salt/");
        wait_until("the master", || streams(&["-c", &config]).is_some());
    }

    /// Runs a command as somebody does who reads the page, and waits for what the page says it prints.
    fn follow(&mut self, page: &str, example: &Example) {
        println!("{page}: $ {}", example.command);
        let begin = self.seen.lock().unwrap().len();
        let (output, is_interrupted) = match example.output.strip_suffix("^C\n") {
            Some(output) => (output, true),
            None => (example.output.as_str(), false),
        };
        let mut interrupted = None;
        if LOOKS.iter().any(|look| example.command.starts_with(look)) {
            return self.look(page, &example.command, output);
        }
        if let Some(number) = example.command.strip_prefix("kill %") {
            let nth: usize = number.parse().unwrap();
            let child = &mut self.background[nth - 1].0;
            kill_process(Pid::from_child(child), Signal::TERM).unwrap();
            child.wait().unwrap();
        } else if let Some(command) = example.command.strip_suffix(" &") {
            self.start_behind(command);
        } else if is_interrupted {
            interrupted = Some(self.start(&format!("exec {}", example.command)));
        } else {
            let status = self.start(&example.command).0.wait().unwrap();
            assert!(status.success(), "{page}: {}: {status}", example.command);
        }
        self.shows(page, &example.command, begin, output);
        if let Some(mut process) = interrupted {
            kill_process(Pid::from_child(&process.0), Signal::INT).unwrap();
            assert!(process.0.wait().unwrap().success(), "{page}: {example:?}");
        }
    }

    /// Looks at what others have done until it is as the page says: they may take a moment.
    fn look(&self, page: &str, command: &str, output: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let begin = self.seen.lock().unwrap().len();
            let status = self.start(command).0.wait().unwrap();
            let found = self.settled(begin);
            if status.success() && is_as_documented(&found, output) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{page}: $ {command}\nprints, {status},\n{found}\nand the page says\n{output}"
            );
        }
    }

    /// What a command has printed that has ended: it comes through the terminal.
    fn settled(&self, begin: usize) -> String {
        let end = "[end]\n";
        (&self.screen).write_all(end.as_bytes()).unwrap();
        let found = || self.seen_since(begin);
        wait_until("the terminal", || found().contains(end));
        found().replace(end, "")
    }

    fn start(&self, command: &str) -> Background {
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_brine"));
        let search = format!(
            "{}:{}",
            ours.parent().unwrap().display(),
            env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        if self.of_master {
            shell.env("SALT_CONFIG_DIR", self.mine("/etc/salt/"));
        }
        shell
            .args(["-c", &self.mine(command)])
            .current_dir(self.root.path())
            .env("PATH", search)
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(self.screen.try_clone().unwrap())
            .stderr(self.screen.try_clone().unwrap());
        if command.contains("--masters") {
            shell.env("NATS_SERVER", brine_testkit::nats::program());
        }
        Background(shell.spawn().unwrap())
    }

    /// Starts something that goes on. A bus is there when it answers, a reader when its bus knows it; of others the page
    /// says what they print.
    fn start_behind(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let selector = words
            .windows(2)
            .find(|pair| ["-c", "--sock-dir"].contains(&pair[0]));
        let readers = |selector: &[&str]| {
            let path = self.mine(selector[1]);
            streams(&[selector[0], path.as_str()])
        };
        let reads = words.starts_with(&["brine", "watch"]);
        let serves = words.starts_with(&["brine", "bus"]);
        let selector = selector.filter(|_| reads || serves);
        let before = selector.and_then(readers);
        let child = self.start(&format!("exec {command}"));
        if let Some(selector) = selector {
            wait_until(&format!("a reader or bus by {command}"), || {
                readers(selector) > before
            });
        }
        self.background.push(child);
    }

    /// Waits until the terminal shows this, and nothing else, from `begin` on.
    fn shows(&self, page: &str, command: &str, begin: usize, output: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.seen_since(begin);
            if is_as_documented(&found, output) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{page}: $ {command}\nprints\n{found}\nand the page says\n{output}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What has appeared, as the page would have it.
    fn seen_since(&self, begin: usize) -> String {
        let seen = String::from_utf8_lossy(&self.seen.lock().unwrap()[begin..]).into_owned();
        let colour = Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
        let mut text = colour.replace_all(&seen, "").replace("\r\n", "\n");
        // The longest first: all are below the first.
        for (documented, own) in PLACES.iter().rev() {
            text = text.replace(&self.directory(own), documented);
        }
        for (documented, own) in PORTS.iter().zip(self.ports) {
            let own = Regex::new(&format!(r"\b{own}\b")).unwrap();
            text = own.replace_all(&text, documented.to_string()).into_owned();
        }
        // The end of the line before may come late.
        text.trim_start_matches('\n').to_owned()
    }

    /// A text of the page with this test's directory and ports.
    fn mine(&self, text: &str) -> String {
        // In two steps: the test's own directory is below one of these, too.
        let mut text = text.to_owned();
        for (documented, own) in PLACES {
            text = text.replace(documented, &format!("\0{own}"));
        }
        text = text.replace('\0', &self.directory(""));
        for (documented, own) in PORTS.iter().zip(self.ports) {
            let documented = Regex::new(&format!(r"([:,] ?){documented}\b")).unwrap();
            text = documented
                .replace_all(&text, format!("${{1}}{own}"))
                .into_owned();
        }
        text
    }

    fn directory(&self, below: &str) -> String {
        format!("{}/{below}", self.root.path().display())
    }
}
