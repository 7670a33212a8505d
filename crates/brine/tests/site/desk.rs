//! A terminal on which a test types what a page shows, and compares what appears there with the page.
//!
//! A command with `&` goes on in the background, and what it prints later is under a later command. `kill %1` ends the
//! first of those that are left. Directories that pages name are below one of the test's own, and the ports that [`PORTS`] lists are
//! free ones.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fancy_regex::Regex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::page::{Example, blocks, examples, is_as_documented};
use crate::site::{DEADLINE, free_port, streams, wait_until};

/// The ports that pages name.
const PORTS: [u16; 5] = [4505, 4506, 14505, 14506, 8000];

/// The directories that pages name, and where they are below the test's own. All are below the first.
const PLACES: [(&str, &str); 4] = [
    ("/tmp", ""),
    ("/etc/salt", "/etc"),
    ("/srv", "/srv"),
    ("/var/run/salt", "/salt/var/run/salt"),
];

/// Commands that only look.
const LOOKS: [&str; 7] = [
    "brine consumer dead",
    "brine consumer ls",
    "brine history",
    "brine reactor history",
    "brine reactor ls",
    "brine status",
    "cat ",
];

/// What the master of a page is told besides.
const MASTER: &str = "root_dir: /tmp/salt\ninterface: 127.0.0.1\npublish_port: 4505\nret_port: 4506\n\
    file_roots: {base: [/srv/salt]}\n";

/// The file that a block is, by its first line.
fn file(block: &str) -> Option<(&str, &str)> {
    let (first, text) = block.split_once('\n')?;
    let name = first.strip_prefix("# ")?;
    PLACES
        .iter()
        .any(|(place, _)| name.starts_with(&format!("{place}/")))
        .then_some((name, text))
}

/// The examples of a page, in its order, for a test that has something to do between them.
pub(crate) struct Examples {
    page: &'static str,
    left: VecDeque<Example>,
}

impl Examples {
    pub(crate) fn of(page: &'static str) -> Self {
        let left = examples(&blocks(&read(page))).into();
        Self { page, left }
    }

    /// The next one, which begins so: otherwise the page has changed, and the test has to.
    pub(crate) fn next(&mut self, begin: &str) -> Example {
        let next = self.left.pop_front();
        let next = next.unwrap_or_else(|| panic!("{} has no more {begin}", self.page));
        assert!(
            next.command.starts_with(begin),
            "{}: expected {begin}, found {}",
            self.page,
            next.command
        );
        next
    }
}

impl Drop for Examples {
    fn drop(&mut self) {
        let (page, left) = (self.page, &self.left);
        assert!(
            left.is_empty() || std::thread::panicking(),
            "{page}: not run: {left:?}"
        );
    }
}

pub(crate) fn read(page: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(page)).unwrap()
}

/// A terminal, and the processes that somebody has started there.
pub(crate) struct Desk {
    root: TempDir,
    ports: [u16; PORTS.len()],
    screen: File,
    /// What has appeared.
    seen: Arc<Mutex<Vec<u8>>>,
    background: Vec<Background>,
    /// Commands that name no configuration are of the site in `/etc/salt`, which the page assumes.
    pub(crate) of_master: bool,
    /// Where commands are run, below the desk's own directory.
    pub(crate) directory: &'static str,
    /// Who runs them, if not who runs the test.
    pub(crate) user: Option<u32>,
}

/// A process that goes on; it ends with the desk.
pub(crate) struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // Its number is nobody else's before it has been waited for.
        if let Ok(None) = self.0.try_wait() {
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a command line starts processes that do not end with the first: they are a group then, which does. All
/// others end with the test's own group.
fn is_several(command: &str) -> bool {
    command.contains(" | ") || command.contains("--masters")
}

impl Desk {
    pub(crate) fn new() -> Self {
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
            ws_col: 240,
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
            // Short: paths of sockets are below it. Other users look at what is there, too.
            root: tempfile::Builder::new()
                .prefix("b")
                .permissions(fs::Permissions::from_mode(0o755))
                .tempdir()
                .unwrap(),
            ports: PORTS.map(|_| free_port()),
            screen,
            seen,
            background: Vec::new(),
            of_master: false,
            directory: "",
            user: None,
        }
    }

    /// Follows a page, which has so many commands at least: a page whose form changes must not become empty.
    pub(crate) fn follow_page(&mut self, page: &str, least: usize) {
        let mut followed = 0;
        for block in blocks(&read(page)) {
            if let Some((file, text)) = file(&block) {
                self.write(file, text);
            }
            for example in examples(&[block]) {
                if followed == 0 && self.of_master {
                    self.start_master();
                }
                self.follow(&example);
                followed += 1;
            }
        }
        assert!(followed >= least, "{page}: {followed} commands");
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let mut text = text.to_owned();
        if file == "/etc/salt/master" {
            text.push_str(MASTER);
        }
        let file = PathBuf::from(self.mine(file));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, self.mine(&text)).unwrap();
    }

    /// The master, which is on nobody's terminal.
    pub(crate) fn start_master(&mut self) {
        self.serve("brine salt-master > /tmp/master.log 2>&1");
    }

    /// A minion of it, which is there when the master knows.
    pub(crate) fn start_minion(&mut self) {
        let minion = self.start("exec brine salt-minion > /tmp/minion.log 2>&1");
        self.background.push(minion);
        wait_until("the minion", || {
            !self.run("brine salt-run manage.up").is_empty()
        });
    }

    /// Starts something with a bus, which is there when the bus answers.
    pub(crate) fn serve(&mut self, command: &str) {
        let process = self.start_reading(command);
        self.background.push(process);
    }

    /// Ends all that goes on, as a service manager does.
    pub(crate) fn end_all(&mut self) {
        for mut process in self.background.drain(..).rev() {
            kill_process(Pid::from_child(&process.0), Signal::TERM).unwrap();
            process.0.wait().unwrap();
        }
    }

    /// Runs a command that no page shows; what it prints.
    pub(crate) fn run(&self, command: &str) -> String {
        let output = self.shell(command).stderr(Stdio::inherit()).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Runs a command as somebody does who reads the page, and waits for what the page says it prints.
    pub(crate) fn follow(&mut self, example: &Example) {
        let Example { command, output } = example;
        println!("$ {command}");
        let begin = self.begin();
        if let Some(output) = output.strip_suffix("^C\n") {
            let process = self.start_reading(command);
            self.shows(command, begin, output);
            Self::interrupt(command, process);
        } else if LOOKS.iter().any(|look| command.starts_with(look)) {
            self.look(command, output);
        } else if let Some(number) = command.strip_prefix("kill %") {
            let nth: usize = number.parse().unwrap();
            let child = &mut self.background[nth - 1].0;
            kill_process(Pid::from_child(child), Signal::TERM).unwrap();
            child.wait().unwrap();
            self.shows(command, begin, output);
        } else if let Some(command) = command.strip_suffix(" &") {
            let process = self.start_reading(command);
            // As in a shell, a number is free again once no later job has a higher one.
            while let Some(Background(last)) = self.background.last_mut()
                && last.try_wait().unwrap().is_some()
            {
                self.background.pop();
            }
            self.background.push(process);
            self.shows(command, begin, output);
        } else {
            let status = self.start(command).0.wait().unwrap();
            self.shows(command, begin, output);
            assert!(status.success(), "{command}: {status}");
        }
    }

    /// The same with a command that fails, with this exit code.
    pub(crate) fn fails(&self, example: &Example, code: i32) {
        let begin = self.begin();
        let status = self.start(&example.command).0.wait().unwrap();
        self.shows(&example.command, begin, &example.output);
        assert_eq!(status.code(), Some(code), "{example:?}");
    }

    /// The same with a command that prints its parts of two lines in any order.
    pub(crate) fn follow_in_any_order(&self, example: &Example) {
        let parts = |text: &str| {
            let lines: Vec<_> = text.lines().collect();
            let mut parts: Vec<_> = lines.chunks(2).map(<[&str]>::concat).collect();
            parts.sort();
            parts
        };
        assert_eq!(parts(&self.run(&example.command)), parts(&example.output));
    }

    /// The same with a command that reads events, while something happens on its bus. It ends with a code, or is
    /// interrupted.
    pub(crate) fn follow_while(&self, example: &Example, ends: Option<i32>, act: impl FnOnce()) {
        let Example { command, output } = example;
        println!("$ {command}");
        let begin = self.begin();
        let mut process = self.start_reading(command);
        act();
        let (before, after) = output.split_once("^C\n").unwrap_or((output, ""));
        self.shows(command, begin, before);
        let begin = self.begin();
        match ends {
            Some(code) => assert_eq!(process.0.wait().unwrap().code(), Some(code), "{command}"),
            None => Self::interrupt(command, process),
        }
        self.shows(command, begin, after);
    }

    /// Ctrl-C, for all that a command line has started.
    fn interrupt(command: &str, mut process: Background) {
        let pid = Pid::from_child(&process.0);
        if is_several(command) {
            // What they exit with is their own affair.
            kill_process_group(pid, Signal::INT).unwrap();
            process.0.wait().unwrap();
        } else {
            kill_process(pid, Signal::INT).unwrap();
            let status = process.0.wait().unwrap();
            assert!(status.success(), "{command}: {status}");
        }
    }

    /// Looks at what others have done until it is as the page says: they may take a moment.
    fn look(&self, command: &str, output: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let begin = self.begin();
            let status = self.start(command).0.wait().unwrap();
            let found = self.settled(begin);
            if status.success() && is_as_documented(&found, output) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "$ {command}\nprints, {status},\n{found}\nand the page says\n{output}"
            );
        }
    }

    fn begin(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What a command has printed that has ended: it comes through the terminal.
    fn settled(&self, begin: usize) -> String {
        let end = "[end]\n";
        (&self.screen).write_all(end.as_bytes()).unwrap();
        let found = || self.seen_since(begin);
        wait_until("the terminal", || found().contains(end));
        found().replace(end, "")
    }

    pub(crate) fn start(&self, command: &str) -> Background {
        let mut shell = self.shell(command);
        shell
            .stdout(self.screen.try_clone().unwrap())
            .stderr(self.screen.try_clone().unwrap());
        Background(shell.spawn().unwrap())
    }

    fn shell(&self, command: &str) -> Command {
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_brine"));
        let search = format!(
            "{}:{}",
            ours.parent().unwrap().display(),
            env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        if self.of_master {
            shell.env("SALT_CONFIG_DIR", self.mine("/etc/salt"));
        }
        if let Some(user) = self.user {
            shell.uid(user).gid(user);
        }
        if is_several(command) {
            shell.process_group(0);
        }
        if command.contains("--masters") {
            shell.env("NATS_SERVER", brine_testkit::nats::program());
        }
        shell
            .args(["-c", &self.mine(command)])
            .current_dir(self.root.path().join(self.directory))
            .env("PATH", search)
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        shell
    }

    /// Starts something that goes on. A bus is there when it answers, a reader when its bus knows it; of others the page
    /// says what they print.
    fn start_reading(&self, command: &str) -> Background {
        let words: Vec<&str> = command.split_whitespace().collect();
        let selector = words
            .windows(2)
            .find(|pair| ["-c", "--sock-dir"].contains(&pair[0]))
            .or_else(|| self.of_master.then_some(&["-c", "/etc/salt"][..]));
        let readers = |selector: &[&str]| {
            let path = self.mine(selector[1]);
            streams(&[selector[0], path.as_str()])
        };
        let goes_on = ["watch", "bus", "salt-master"]
            .iter()
            .any(|name| words.starts_with(&["brine", name]));
        let is_elsewhere = words.contains(&"--api") || words.contains(&"|");
        let selector = selector.filter(|_| goes_on && !is_elsewhere);
        let before = selector.and_then(readers);
        let child = match command.contains(" | ") {
            true => self.start(command),
            false => self.start(&format!("exec {command}")),
        };
        if let Some(selector) = selector {
            wait_until(&format!("a reader or bus by {command}"), || {
                readers(selector) > before
            });
        }
        child
    }

    /// Waits until the terminal shows this, and nothing else, from `begin` on.
    fn shows(&self, command: &str, begin: usize, output: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let found = self.seen_since(begin);
            if is_as_documented(&found, output) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "$ {command}\nprints\n{found}\nand the page says\n{output}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What has appeared, as the page would have it.
    fn seen_since(&self, begin: usize) -> String {
        let seen = String::from_utf8_lossy(&self.seen.lock().unwrap()[begin..]).into_owned();
        let colour = Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
        let mut text = colour.replace_all(&seen, "").replace("\r\n", "\n");
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
    pub(crate) fn mine(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // Two steps: the test's own directory may be below one of these.
        for (documented, own) in PLACES {
            let place = Regex::new(&format!(r"(?<![\w\x00]){documented}(?![\w-])")).unwrap();
            text = place.replace_all(&text, format!("\0{own}")).into_owned();
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
        format!("{}{below}", self.root.path().display())
    }
}
