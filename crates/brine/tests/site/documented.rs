//! The commands that the first pages of the book show, run as they are printed there, beside a real master.
//!
//! Directories of examples become ones of the test, and what names no bus gets the site's configuration. What goes on
//! for ever is ended when the bus says that it reads.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use brine_testkit::program::{self, Program};
use rustix::process::{Pid, Signal, kill_process};

use crate::site::{Site, streams, wait_until};

const SALT: &str = "3008.3";

/// The pages, and how many commands each has at least: a page whose form changes must not become empty.
const PAGES: [(&str, usize); 5] = [
    ("README.md", 8),
    ("docs/start.md", 7),
    ("docs/watch.md", 4),
    ("docs/attach.md", 6),
    ("docs/operations.md", 2),
];

#[test]
fn the_first_pages_commands_work() {
    let site = Site::configured("zeromq", "auto_accept: true\n");
    let command = program::command(SALT, "salt-master", &site.path(""));
    let _master = Program::start(command, site.path("salt-master.out"));
    drop(site.master_bus());
    let script = site.path("on-backup.py");
    fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for (page, least) in PAGES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join(page)).unwrap();
        let commands = commands(&text);
        assert!(commands.len() >= least, "{page}: {commands:?}");
        let mut reader = Reader {
            site: &site,
            page,
            attached: None,
            bus: None,
            waiting: Vec::new(),
        };
        for command in commands {
            reader.run(&command);
        }
        reader.settle();
    }
}

/// The commands in a page's examples that this test can run: ours, and requests to the local socket.
fn commands(page: &str) -> Vec<String> {
    let lines = page.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "))
    });
    let is_ours = |line: &&str| line.starts_with("brine ") || line.contains("--unix-socket");
    lines.filter(is_ours).map(str::to_owned).collect()
}

/// A process that is ended with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody who types what a page shows.
struct Reader<'a> {
    site: &'a Site,
    page: &'a str,
    /// What runs in the background: attach beside the master, and a bus of the page's own.
    attached: Option<Background>,
    bus: Option<Background>,
    /// What has to end by itself.
    waiting: Vec<(String, Background)>,
}

impl Reader<'_> {
    fn run(&mut self, shown: &str) {
        println!("{}: {shown}", self.page);
        let (command, is_behind) = match shown.strip_suffix('&') {
            Some(command) => (command.trim(), true),
            None => (shown, false),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["brine", "attach", "--restore"] => {
                self.attached = None;
                let status = self.start(command).0.wait().unwrap();
                assert!(status.success(), "{}: {shown}: {status}", self.page);
            }
            ["brine", "attach", ..] => {
                self.attached = None;
                let child = self.start(command);
                self.attached = Some(child);
                self.is_there(&self.site.path("m/s"));
            }
            ["brine", "bus", ..] => {
                self.settle();
                self.bus = None;
                let child = self.start(command);
                self.bus = Some(child);
                self.is_there(&self.site.path("bus"));
            }
            _ if is_behind => {
                let child = self.reads(command);
                self.waiting.push((command.to_owned(), child));
            }
            ["brine", "watch", ..] | ["curl", ..] if !command.contains("--count") => {
                let mut child = self.reads(command);
                let pid = Pid::from_child(&child.0);
                kill_process(pid, Signal::TERM).unwrap();
                let status = child.0.wait().unwrap();
                assert!(
                    status.success() || words[0] == "curl",
                    "{}: {shown}: {status}",
                    self.page
                );
            }
            _ => {
                self.needs_attach(command);
                let status = self.start(command).0.wait().unwrap();
                assert!(status.success(), "{}: {shown}: {status}", self.page);
            }
        }
    }

    /// Waits for what ends by itself.
    fn settle(&mut self) {
        for (command, mut child) in std::mem::take(&mut self.waiting) {
            assert!(
                child.0.wait().unwrap().success(),
                "{}: {command}",
                self.page
            );
        }
    }

    /// The same on this test's site.
    fn start(&self, command: &str) -> Background {
        let path = |name: &str| self.site.path(name).display().to_string();
        let mut line = command
            .replace("/tmp/bus", &path("bus"))
            .replace("/tmp/history", &path("history"))
            .replace("/var/run/salt/master", &path("m/s"))
            .replace("/var/cache/salt/master", &path("m/cache"))
            .replace("notify-send", "true");
        let names_bus = ["--sock-dir", "--history", "--unix-socket"]
            .iter()
            .any(|name| line.contains(name));
        if !names_bus {
            line = format!("{line} -c {}", path(""));
        }
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_brine"));
        let search = format!(
            "{}:{}",
            ours.parent().unwrap().display(),
            env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec {line}")])
            .current_dir(self.site.path(""));
        shell
            .env("PATH", search)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Background(shell.spawn().unwrap())
    }

    /// Starts something that reads events, and waits until the bus knows it.
    fn reads(&mut self, command: &str) -> Background {
        self.needs_attach(command);
        let directory = match command.contains("/tmp/bus") {
            true => self.site.path("bus"),
            false => self.site.path("m/s"),
        };
        let before = streams_in(&directory).unwrap_or_default();
        let child = self.start(command);
        wait_until(&format!("a reader by {command}"), || {
            streams_in(&directory).is_some_and(|now| now > before)
        });
        child
    }

    /// A page that does not begin with attach has it running already.
    fn needs_attach(&mut self, command: &str) {
        let names_bus = command.contains("/tmp/");
        if self.attached.is_none() && !names_bus {
            self.attached = Some(self.start("brine attach"));
            self.is_there(&self.site.path("m/s"));
        }
    }

    fn is_there(&self, directory: &Path) {
        wait_until("the bus's own socket", || streams_in(directory).is_some());
    }
}

fn streams_in(sock_dir: &Path) -> Option<usize> {
    streams(&["--sock-dir", sock_dir.to_str().unwrap()])
}
