//! What comes from outside cannot act on a terminal, whichever command prints it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::site::Site;

/// Sets the window's title, clears the screen, goes back to the line's start, hides text, reorders the line.
const HOSTILE: &str = "EVIL\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\rover\u{8}\u{1b}[8mhidden\u{202e}reversed\u{2066}\u{200b}\u{85}";

/// Runs a command whose stdout and stderr are a terminal that does not know its size; what the terminal got.
fn on_terminal(command: Command) -> String {
    on_terminal_of(0, command)
}

/// The same on a terminal of so many columns.
fn on_terminal_of(columns: u16, mut command: Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = std::ffi::OsStr::from_bytes(name.to_bytes()).to_owned();
    let no_control = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let screen = File::options()
        .read(true)
        .write(true)
        .custom_flags(no_control)
        .open(name)
        .unwrap();
    command
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(screen.try_clone().unwrap())
        .stderr(screen);
    let mut child = command.spawn().unwrap();
    drop(command); // with its ends of the terminal
    let (mut got, mut part) = (Vec::new(), [0; 4096]);
    let mut terminal = File::from(terminal);
    // An error when the last process that has it open has ended.
    while let Ok(length @ 1..) = terminal.read(&mut part) {
        got.extend_from_slice(&part[..length]);
    }
    child.wait().unwrap();
    String::from_utf8(got).unwrap()
}

/// The text without this program's own colours, and the terminal's line ends.
fn without_colours(got: &str) -> String {
    let mut rest = got.replace("\r\n", "\n");
    for colour in [
        "0", "2", "0;0", "0;31", "0;32", "0;33", "0;34", "0;35", "0;36", "1;36", "0;1;31",
        "0;1;32", "0;1;33", "0;1;34", "0;1;35", "1", "1;31", "36", "31", "32", "33", "34", "35",
        "3", "4",
    ] {
        rest = rest.replace(&format!("\u{1b}[{colour}m"), "");
    }
    rest
}

#[test]
fn no_command_lets_foreign_text_act_on_a_terminal() {
    let mut site = Site::configured("tcp", "auto_accept: true\n");
    site.start_master();
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    let sock_dir = site.path("m/s");
    let sock_dir = sock_dir.to_str().unwrap();
    let data = format!("{{\"key {HOSTILE}\": \"{HOSTILE}\"}}").replace('\u{1b}', "\\e");
    let data = data.replace(['\r', '\u{7}', '\u{8}', '\u{85}', '\u{9b}'], "");
    let echo = format!("\"{HOSTILE}\"")
        .replace('\u{1b}', "\\e")
        .replace('\r', "\\r")
        .replace('\u{7}', "\\a")
        .replace('\u{8}', "\\b");
    let salt = |name: &str, words: &[&str]| {
        let mut command = site.command(name);
        command.args(words);
        command
    };
    let brine = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.args(words).args(["--sock-dir", sock_dir]);
        command
    };
    // Events with hostile tags and data, that commands after it find in the history.
    let tag = format!("my/{HOSTILE}").replace('\u{85}', "");
    for _ in 0..3 {
        assert!(brine(&["send", &tag, &data]).status().unwrap().success());
    }
    let mut shown = Vec::new();
    for out in [
        "nested",
        "raw",
        "yaml",
        "json",
        "pprint",
        "txt",
        "no_return",
        "key",
    ] {
        shown.push(salt("salt", &["m1", "test.echo", &echo, "--out", out]));
        shown.push(salt("salt-call", &["test.echo", &echo, "--out", out]));
    }
    shown.extend([
        salt("salt", &[&tag, "test.ping"]),
        salt("salt", &["m1", &format!("no.such{HOSTILE}")]),
        salt("salt", &["-C", &format!("E@[{HOSTILE}"), "test.ping"]),
        salt("salt-call", &[&format!("no.such{HOSTILE}")]),
        salt("salt-run", &[&format!("no.such{HOSTILE}")]),
        salt("salt-run", &["jobs.list_jobs"]),
        salt("salt-run", &["jobs.list_jobs", "--out", "txt"]),
        salt("salt-key", &["-y", "-a", &tag]),
        salt("salt-key", &["-L"]),
        salt("salt-key", &["-p", "*"]),
        brine(&["history", "--last", "9"]),
        brine(&["history", "--last", "9", "--pretty"]),
        brine(&["history", "--last", "9", "--json"]),
        brine(&["watch", "--last", "9", "-n", "3"]),
        brine(&["status"]),
        brine(&["send", "", &data]),
    ]);
    let mut evil = 0;
    for command in shown {
        let words = format!("{command:?}");
        let got = on_terminal(command);
        let text = without_colours(&got);
        let acts = |c: char| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(acts), "{words}\n{text:?}");
        evil += usize::from(text.contains("EVIL"));
    }
    assert!(evil > 20, "only {evil} commands printed any of it");
}

/// Errors, findings and explanations; in a pipe, for programs, each is one line.
#[test]
fn prose_is_as_wide_as_the_terminal() {
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let master =
        format!("root_dir: {path}\ntimeoutt: 5\nopen_mode: True\nreactor: [{{a/*: []}}]\n");
    std::fs::write(root.path().join("master"), master).unwrap();
    let again = ["explain", "my/tag", "user=Reactor", "-c", path];
    let history = root.path().join("h");
    let history = history.to_str().unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_brine"));
    let import = import.args(["log", "import", "--history", history]);
    assert!(import.stdin(Stdio::null()).status().unwrap().success());
    for words in [
        &["check", "-c", path][..],
        &["doctor", "-c", path],
        &["explain", "a/b", "-c", path],
        &again,
        &["history", "-c", path, "--last", "3"],
        &["send", "a", "-t", "0", "-c", path],
        &["send", "a", "-c", "/nonexistent"],
        &["bus", "--also", "x"],
        &["bus", "--log-bytes", "ten"],
        &["consumer", "reset", "x"],
        &["status", "--sock-dir", path, "--history", history],
        &["log", "info", "--history", history],
        &["watch", "-n", "x"],
        &["watch", "--no-wait", "-c", path],
    ] {
        for columns in [76, 40] {
            is_as_wide_as(columns, words);
        }
    }
}

fn is_as_wide_as(columns: u16, words: &[&str]) {
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.args(words);
        command
    };
    let left = command().stdin(Stdio::null()).output().unwrap();
    let piped = [left.stdout, left.stderr].concat();
    let piped = String::from_utf8(piped).unwrap();
    let narrow = without_colours(&on_terminal_of(columns, command()));
    let in_words = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ")
    };
    assert_eq!(in_words(&narrow), in_words(&piped), "{words:?}");
    let width = usize::from(columns);
    for line in narrow.lines() {
        // A path stays in one piece, so that it can be copied; findings have it behind a word of nine columns.
        let longest = line.split(' ').map(|word| word.chars().count()).max();
        let has_room = longest.unwrap_or_default() + 9 <= width;
        assert!(
            line.chars().count() <= width || !has_room,
            "{words:?}: {line}"
        );
    }
    if piped.lines().any(|line| line.chars().count() > width) {
        assert!(
            narrow.lines().any(|line| line.starts_with("  ")),
            "{narrow}"
        );
    }
}
