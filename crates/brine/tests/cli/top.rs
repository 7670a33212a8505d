//! `brine top` on a terminal: what is on the screen, what keys do, and the terminal after it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use brine_testkit::wait_until;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::page::{blocks, examples, is_as_documented};
use crate::support::{Bus, DEADLINE, brine, run};

/// A program on a terminal of its own.
pub(crate) struct OnTerminal {
    program: Child,
    keys: File,
    /// The program's end, held open so that its modes can be looked at afterwards.
    terminal: OwnedFd,
    parts: Receiver<Vec<u8>>,
    screen: Screen,
}

impl OnTerminal {
    pub(crate) fn start(program: &Command, size: (u16, u16)) -> Self {
        let (ours, terminal) = open_terminal();
        set_size(&terminal, size);
        // Its controlling terminal must be this one and not the one that the tests run on.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program());
        command.args(program.get_args()).env("TERM", "xterm");
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let program = command.stdin(end()).stdout(end()).stderr(end());
        let program = program.spawn().unwrap();
        drop(command); // with its ends of the terminal
        let (keys, mut output) = (File::from(ours.try_clone().unwrap()), File::from(ours));
        let (sender, parts) = sync_channel(1000);
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut part) {
                if sender.send(part[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let screen = Screen::new(size);
        Self {
            program,
            keys,
            terminal,
            parts,
            screen,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).unwrap();
    }

    fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a screen that is so.
    fn shows(&mut self, what: &str, mut is_so: impl FnMut(&str) -> bool) {
        let mut last = String::new();
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(what, || {
                self.read();
                last = self.screen.text();
                is_so(&last)
            });
        }));
        assert!(waited.is_ok(), "expected {what}, the screen has\n{last}");
    }

    pub(crate) fn shows_text(&mut self, text: &str) {
        self.shows(text, |screen| screen.contains(text));
    }

    fn read(&mut self) {
        for part in self.parts.try_iter() {
            self.screen.take(&part);
        }
    }

    fn resize(&mut self, size: (u16, u16)) {
        self.read();
        self.screen = Screen {
            is_alternate: self.screen.is_alternate,
            is_mouse_taken: self.screen.is_mouse_taken,
            ..Screen::new(size)
        };
        set_size(&self.terminal, size);
    }

    /// Waits for its end; the exit code, with the terminal as it was before.
    pub(crate) fn ends(&mut self) -> Option<i32> {
        let mut code = None;
        wait_until("the end of brine top", || {
            self.read();
            code = self.program.try_wait().unwrap();
            code.is_some()
        });
        wait_until("the screen from before", || {
            self.read();
            !self.screen.is_alternate && !self.screen.is_mouse_taken && self.screen.has_cursor
        });
        assert!(self.is_cooked(), "the terminal still gives single keys");
        code.unwrap().code()
    }

    /// Whether the terminal reads lines and echoes, as a shell leaves it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A terminal: its outer end, and the one for a program.
fn open_terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let name = std::ffi::OsStr::from_bytes(name.to_bytes());
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    (ours, terminal)
}

fn set_size(terminal: &OwnedFd, (columns, rows): (u16, u16)) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// As much of a terminal as shows what `brine top` draws: text, places, and the modes that it must give back.
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    pending: Vec<u8>,
    is_alternate: bool,
    is_mouse_taken: bool,
    has_cursor: bool,
}

impl Screen {
    fn new((columns, rows): (u16, u16)) -> Self {
        Self {
            cells: vec![vec![' '; columns.into()]; rows.into()],
            row: 0,
            column: 0,
            pending: Vec::new(),
            is_alternate: false,
            is_mouse_taken: false,
            has_cursor: true,
        }
    }

    fn text(&self) -> String {
        let lines = self.cells.iter();
        let lines = lines.map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let valid = match std::str::from_utf8(&all) {
            Ok(_) => all.len(),
            Err(error) => error.valid_up_to(),
        };
        let mut rest = std::str::from_utf8(&all[..valid]).unwrap();
        while let Some(c) = rest.chars().next() {
            if c == '\u{1b}' {
                let Some(end) = rest.find(|c: char| c.is_ascii_alphabetic()) else {
                    break; // the rest of it is still to come
                };
                self.sequence(&rest[1..=end]);
                rest = &rest[end + 1..];
                continue;
            }
            self.put(c);
            rest = &rest[c.len_utf8()..];
        }
        let kept = rest.as_bytes().to_vec();
        self.pending = [&kept, &all[valid..]].concat();
    }

    fn put(&mut self, c: char) {
        match c {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            c => {
                let cell = self.cells.get_mut(self.row);
                if let Some(cell) = cell.and_then(|line| line.get_mut(self.column)) {
                    *cell = c;
                }
                self.column += 1;
            }
        }
    }

    fn sequence(&mut self, sequence: &str) {
        match sequence {
            "[?1049h" => self.is_alternate = true,
            // Back to where the shell was: at the beginning, since it has printed nothing.
            "[?1049l" => (self.is_alternate, self.row, self.column) = (false, 0, 0),
            "[?1000h" => self.is_mouse_taken = true,
            "[?1000l" => self.is_mouse_taken = false,
            "[?25h" => self.has_cursor = true,
            "[?25l" => self.has_cursor = false,
            "[2J" => self.cells.iter_mut().for_each(|line| line.fill(' ')),
            _ => {
                if let Some(place) = sequence
                    .strip_prefix('[')
                    .and_then(|rest| rest.strip_suffix('H'))
                {
                    let mut numbers = place.split(';').map(|number| number.parse().unwrap_or(1));
                    self.row = numbers.next().unwrap_or(1) - 1;
                    self.column = numbers.next().unwrap_or(1) - 1;
                }
            }
        }
    }
}

#[test]
fn keys_change_the_screen_and_q_gives_the_terminal_back() {
    let bus = Bus::start();
    // More than the screen has rows: otherwise a pause leaves room for those to come.
    let events =
        (1..=30).map(|n| format!("{{\"tag\": \"myco/backup\", \"data\": {{\"n\": {n}}}}}\n"));
    let mut send = brine(&["send", "--stdin", "--sock-dir", &bus.sock_dir()]);
    assert_eq!(run(&mut send, &events.collect::<String>()).code, Some(0));
    let top = brine(&["top", "--sock-dir", &bus.sock_dir(), "--utc"]);
    let mut top = OnTerminal::start(&top, (80, 24));
    top.shows_text("myco/backup n=30");
    assert!(top.screen.is_alternate && !top.is_cooked());

    top.type_in("?");
    top.shows_text("next and previous row");
    top.type_in("q");
    top.shows_text("myco/backup n=30");

    top.type_in("p");
    top.shows_text("paused");
    bus.send("while/paused", "{}");
    top.shows_text("31 events");
    assert!(!top.screen.text().contains("while/paused"));
    top.type_in("p");
    top.shows("the event after the pause, live", |screen| {
        screen.contains("while/paused") && screen.contains("\nlive")
    });

    top.type_in("/");
    top.shows_text("search: ");
    top.type_in("no such text\r");
    top.shows_text("no other match of no such text");
    top.type_in("ftag/none\r");
    top.shows_text("no event matches the filter");
    top.type_in("F");
    top.shows_text("while/paused");

    top.resize((40, 12));
    top.shows("40 columns", |screen| {
        screen.contains("1 Evts 2 Jobs") && screen.contains("while/paused")
    });
    top.type_in("4");
    top.shows_text("IN 1 MIN");

    top.type_in("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn a_bus_that_hangs_is_not_shown_as_live() {
    let bus = Bus::start();
    bus.send("a/b", "{}");
    let top = brine(&["top", "--sock-dir", &bus.sock_dir()]);
    let mut top = OnTerminal::start(&top, (160, 24));
    top.shows_text("live");
    let pid = bus.hang();
    top.shows("which process hangs", |screen| {
        screen.contains("not answering for ")
            && screen.contains(&format!("(pid {pid}, which is stopped: kill -CONT {pid}"))
            && screen.contains("\nnot connected")
    });
    kill_process(pid, Signal::CONT).unwrap();
    top.shows("a bus that goes on", |screen| {
        screen.contains("\nlive") && !screen.contains("not answering")
    });
    top.type_in("q");
    assert_eq!(top.ends(), Some(0));
}

/// The events of the picture in `docs/top.md`: eight from before, and those that it shows.
const PICTURE: &str = r#"{"tag": "salt/presence/present", "data": {"present": ["web1", "web2", "web3", "db1"]}}
{"tag": "salt/minion/web1/start", "data": {"id": "web1"}}
{"tag": "salt/minion/web2/start", "data": {"id": "web2"}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 1}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 2}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 3}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 4}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 5}}
{"tag": "salt/job/20261129193053000000/new", "data": {"jid": "20261129193053000000", "fun": "state.apply", "user": "root", "tgt": "web*", "tgt_type": "glob", "arg": [], "minions": ["web1", "web2", "web3"]}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 6}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 7}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 8}}
{"tag": "salt/job/20261129193053000000/ret/web1", "data": {"jid": "20261129193053000000", "id": "web1", "fun": "state.apply", "retcode": 2, "success": false, "return": ["No matching sls found for 'nginx' in env 'base'"]}}
{"tag": "salt/job/20261129193053000000/ret/web2", "data": {"jid": "20261129193053000000", "id": "web2", "fun": "state.apply", "retcode": 0, "success": true, "return": {}}}
{"tag": "salt/job/20261129193056000000/new", "data": {"jid": "20261129193056000000", "fun": "test.ping", "user": "root", "tgt": "*", "tgt_type": "glob", "arg": [], "minions": ["db1"]}}
{"tag": "salt/job/20261129193056000000/ret/db1", "data": {"jid": "20261129193056000000", "id": "db1", "fun": "test.ping", "retcode": 0, "success": true, "return": true}}
{"tag": "salt/auth", "data": {"act": "pend", "id": "db3", "result": true}}
{"tag": "salt/beacon/web1/diskusage/", "data": {"id": "web1", "diskusage": 91.2, "mount": "/var"}}
{"tag": "myco/backup", "data": {"host": "db1", "file": 9}}
"#;

/// `docs/top.md` shows what is drawn of these events.
#[test]
fn the_pages_pictures_are_drawn() {
    let blocks = blocks(include_str!("../../../../docs/top.md"));
    let [picture, elsewhere] = examples(&blocks).try_into().unwrap();
    let bus = Bus::start();
    let mut send = brine(&["send", "--stdin", "--sock-dir", &bus.sock_dir()]);
    assert_eq!(run(&mut send, PICTURE).code, Some(0));
    let top = as_typed(&picture.command, &bus);
    let mut top = OnTerminal::start(&top, (80, 16));
    // Rates and the plot differ, and so does the path.
    let mut lines: Vec<&str> = picture.output.lines().collect();
    (lines[0], lines[2], lines[3]) = (
        "● …",
        "19 events  1 failed  4 minions connected  2 jobs …",
        "…",
    );
    let drawn = lines.join("\n");
    top.shows(&drawn, |screen| is_as_documented(screen, &drawn));

    let tables = blocks.iter().find(|block| block.starts_with("TIME "));
    let (jobs, job) = tables.unwrap().split_once("\n\n").unwrap();
    let shows = |screen: &str, lines: &str| {
        let mut lines = lines.lines();
        lines.all(|line| screen.lines().any(|row| is_as_documented(row, line)))
    };
    top.type_in("2");
    top.shows(jobs, |screen| shows(screen, jobs));
    top.type_in("j\r");
    top.resize((40, 16));
    top.shows(job, |screen| shows(screen, job));
    top.type_in("qq");
    assert_eq!(top.ends(), Some(0));

    let top = as_typed(&elsewhere.command, &bus);
    let mut top = OnTerminal::start(&top, (80, 16));
    top.shows_text(&elsewhere.output);
}

/// `docs/commands.md` shows how it is called.
#[test]
fn the_commands_of_the_page_start_it() {
    let bus = Bus::start();
    bus.send("myco/1", "{}");
    let kept = bus.run(&["watch", "--last", "1", "-n", "1", "--json", "--seq"]);
    std::fs::write(bus.path("events.ndjson"), kept.stdout).unwrap();
    let examples = examples(&blocks(include_str!("../../../../docs/commands.md")));
    let commands = examples.iter().map(|example| &example.command);
    let commands: Vec<_> = commands
        .filter(|one| one.starts_with("brine top"))
        .collect();
    assert_eq!(commands.len(), 4);
    for command in commands {
        let mut top = OnTerminal::start(&as_typed(command, &bus), (80, 16));
        match command.contains("--api") {
            true => top.shows_text("password:"),
            false => {
                top.shows_text("? keys");
                top.type_in("q");
                assert_eq!(top.ends(), Some(0));
            }
        }
    }
}

/// What a page has typed, on this bus; nobody answers elsewhere.
fn as_typed(command: &str, bus: &Bus) -> Command {
    let words = command.split_whitespace().skip(1);
    let words = words.map(|word| match word {
        "/tmp/bus" => bus.sock_dir(),
        "events.ndjson" => bus.path(word),
        _ if word.starts_with("https://") => "http://127.0.0.1:9".to_owned(),
        _ => word.trim_matches('\'').to_owned(),
    });
    let mut words: Vec<_> = words.collect();
    if !["--sock-dir", "--file", "--api"]
        .iter()
        .any(|name| command.contains(name))
    {
        words.extend(["-c".to_owned(), bus.config_dir()]);
    }
    brine(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_bus_that_goes_is_waited_for_and_sigterm_gives_the_terminal_back() {
    let mut bus = Bus::start();
    let top = brine(&["top", "--sock-dir", &bus.sock_dir()]);
    let mut top = OnTerminal::start(&top, (80, 24));
    top.shows_text("\nlive");
    bus.end();
    top.shows_text("not connected");
    bus.begin(&[]);
    bus.send("after/the/restart", "{}");
    top.shows_text("after/the/restart");
    let pid = Pid::from_raw(top.program.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn a_terminal_that_goes_without_a_signal_ends_it() {
    let bus = Bus::start();
    let (ours, terminal) = open_terminal();
    set_size(&terminal, (80, 24));
    let end = || Stdio::from(terminal.try_clone().unwrap());
    // It is not the controlling terminal of the program, which gets no SIGHUP.
    let mut top = Command::new("setsid");
    let top = top
        .arg("--wait")
        .arg(env!("CARGO_BIN_EXE_brine"))
        .args(["top", "--sock-dir"]);
    let top = top.arg(bus.sock_dir()).env("TERM", "xterm");
    let mut program = top
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    let _ = top
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    drop(terminal);
    let mut ours = File::from(ours);
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("\u{1b}[?1049h") {
        let mut part = [0; 4096];
        let length = ours.read(&mut part).unwrap();
        shown.extend_from_slice(&part[..length]);
    }
    drop(ours);
    let mut code = None;
    wait_until("the end of brine top", || {
        code = program.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(1));
}

#[test]
fn above_the_first_row_it_reads_back_to_the_first_event_of_all() {
    let bus = Bus::start();
    let first = "{\"tag\": \"first/of/all\", \"data\": {}}\n".to_owned();
    let others =
        (1..=2200).map(|n| format!("{{\"tag\": \"myco/backup\", \"data\": {{\"n\": {n}}}}}\n"));
    let events: String = [first].into_iter().chain(others).collect();
    let mut send = brine(&["send", "--stdin", "--sock-dir", &bus.sock_dir()]);
    assert_eq!(run(&mut send, &events).code, Some(0));
    let top = brine(&["top", "--sock-dir", &bus.sock_dir(), "--last", "100"]);
    let mut top = OnTerminal::start(&top, (80, 24));
    top.shows_text("myco/backup n=2200");
    wait_until("the first event of all", || {
        // To the oldest row there is, and above it.
        top.type_in("gk");
        top.read();
        top.screen.text().contains("first/of/all")
    });
    top.type_in("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn an_api_that_has_not_answered_yet_is_not_live() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, questions) = sync_channel(100);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = head.split(['?', ' ']).nth(1).unwrap_or_default().to_owned();
            if path != "/events" {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer).unwrap();
            }
            asked.send((path, stream)).unwrap();
        }
    });
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "a-token\n").unwrap();
    let token = token.path().to_str().unwrap();
    let top = brine(&["top", "--api", &url, "--token-file", token]);
    let mut top = OnTerminal::start(&top, (80, 24));
    // It asks for the status every two seconds: twice more after it has asked for events.
    let (mut events, mut looks) = (None, 0);
    while looks < 2 {
        let (path, stream) = questions.recv_timeout(DEADLINE).unwrap();
        match path.as_str() {
            "/events" => events = Some(stream),
            "/status" if events.is_some() => looks += 1,
            _ => {}
        }
    }
    top.shows_text("connecting");
    assert!(!top.screen.text().contains("\nlive"));
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n\r\n";
    events.as_mut().unwrap().write_all(head).unwrap();
    top.shows_text("\nlive");
    top.type_in("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn without_a_terminal_or_with_a_wrong_filter_nothing_is_drawn() {
    let left = run(&mut brine(&["top"]), "");
    assert_eq!((left.code, left.stdout.as_str()), (Some(1), ""));
    assert!(left.stderr.contains("needs a terminal"), "{}", left.stderr);

    let top = brine(&["top", "--filter", "ok:maybe"]);
    let mut top = OnTerminal::start(&top, (80, 24));
    assert_eq!(top.ends(), Some(2));
    top.shows_text("expected terms FIELD:PATTERN");
    assert!(!top.screen.is_alternate);
}

#[test]
fn a_password_is_not_shown_while_it_is_typed() {
    for (again, expected) in [
        ("s3cret", "alice:$"),
        ("s4cret", "the two passwords differ"),
    ] {
        let mut asks = OnTerminal::start(&brine(&["password", "alice"]), (80, 24));
        asks.shows_text("password of alice:");
        wait_until("no echo", || !asks.is_cooked());
        asks.type_in("s3cret\n");
        asks.shows_text("again:");
        wait_until("no echo", || !asks.is_cooked());
        asks.type_in(&format!("{again}\n"));
        asks.shows_text(expected);
        assert!(
            !asks.screen.text().contains("cret"),
            "{}",
            asks.screen.text()
        );
        assert_eq!(asks.ends(), Some(i32::from(again != "s3cret")));
    }
}

#[test]
fn a_prompt_that_is_ended_leaves_the_terminal_as_it_was() {
    let asked = || {
        let mut asks = OnTerminal::start(&brine(&["password", "alice"]), (80, 24));
        asks.shows_text("password of alice:");
        wait_until("no echo", || !asks.is_cooked());
        asks
    };
    for (key, expected) in [
        ("\x04", "nothing was entered"),
        ("\n", "the password is empty; nothing is printed"),
    ] {
        let mut asks = asked();
        asks.type_in(key);
        asks.shows_text(expected);
        assert_eq!(asks.ends(), Some(1));
    }
    let mut asks = asked();
    asks.type_in("\x03");
    assert_eq!(asks.ends(), None);
    let mut asks = asked();
    asks.signal(Signal::TERM);
    assert_eq!(asks.ends(), None);
}
