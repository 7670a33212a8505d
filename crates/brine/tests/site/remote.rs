//! `--api`: the bus of another machine, over the HTTP API of a master of ours and over Salt's own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use brine_testkit::program::{self, Program};

use crate::api::{Api, options};
use crate::site::{Left, Site, free_port, wait_until};

/// A command that knows nothing of the site but its API.
fn remote(words: &[&str], url: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command.args(words).args(["--api", url]);
    for name in [
        "BRINE_API_TOKEN",
        "SALTAPI_USER",
        "SALTAPI_PASS",
        "SALTAPI_EAUTH",
    ] {
        command.env_remove(name);
    }
    command
        .envs(environment.iter().copied())
        .env("NO_COLOR", "1");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn left(mut command: Command) -> Left {
    let output = command.output().unwrap();
    Left {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that is running; killed when dropped.
struct Running(Child);

impl Running {
    /// Waits for a line on stdout; everything up to it.
    fn prints(&mut self, text: &str) -> String {
        let stdout = self.0.stdout.as_mut().unwrap();
        let (mut printed, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).unwrap() == 1 {
            printed.push(byte[0]);
            if byte == *b"\n" && String::from_utf8_lossy(&printed).contains(text) {
                break;
            }
        }
        String::from_utf8(printed).unwrap()
    }

    fn ends(&mut self) -> (Option<i32>, String) {
        let mut stdout = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        (self.0.wait().unwrap().code(), stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bus_elsewhere_is_read_as_the_one_beside() {
    let api = Api { port: free_port() };
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let more = options(api.port).replace("disable_ssl: true", "ssl_crt: CRT, ssl_key: KEY");
    let more = format!("brine: {{history: true, api: {{in_master: true}}}}\n{more}");
    let mut site = Site::configured("tcp", &more);
    let file = |name: &str, text: &str| {
        let path = site.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = file("api.crt", &made.cert.pem());
    let key = file("api.key", &made.signing_key.serialize_pem());
    let password = file("password", "hunter2\n");
    let text = fs::read_to_string(site.path("master")).unwrap();
    file(
        "master",
        &text.replace("CRT", &certificate).replace("KEY", &key),
    );
    site.start_master();
    api.wait();
    for number in 0..5 {
        let left = site.run(&["send", "--ack", "myco/n", &format!("{{n: {number}}}")]);
        assert_eq!(left.code, Some(0), "{left:?}");
    }

    // The same lines, numbers and positions.
    let url = format!("https://127.0.0.1:{}", api.port);
    let log_in = [
        "--ca-file",
        &certificate,
        "--user",
        "fred",
        "--password-file",
        &password,
        "--eauth",
        "sharedsecret",
    ];
    for words in [
        &[
            "watch", "--last", "3", "-n", "3", "--json", "--seq", "myco/*",
        ][..],
        &[
            "watch", "--from", "earliest", "-n", "1", "--json", "--seq", "--filter", "data.n:2",
        ],
        &["history", "--json", "--seq", "myco/*"],
        &["history", "--last", "2", "--raw", "--grep", "\"n\": [34]"],
    ] {
        let beside = site.run(words);
        let elsewhere = left(remote(&[words, &log_in[..]].concat(), &url, &[]));
        assert_eq!(
            (elsewhere.code, &elsewhere.stdout),
            (Some(0), &beside.stdout),
            "{words:?}: {elsewhere:?}"
        );
        assert!(!beside.stdout.is_empty());
    }

    // In the live view, on a terminal.
    let words = [&["top", "--api", &url][..], &log_in[..]]
        .concat()
        .join(" ");
    let line = format!(
        "stty cols 80 rows 24; exec {} {words}",
        env!("CARGO_BIN_EXE_brine")
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    let mut top = Running(
        script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let (mut shown, mut part) = (Vec::new(), [0; 4096]);
    let output = top.0.stdout.as_mut().unwrap();
    while !String::from_utf8_lossy(&shown).contains("n=4") {
        let length = output.read(&mut part).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&part[..length]);
    }
    top.0.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert_eq!(top.ends().0, Some(0));

    // What is wrong is said, and a token is enough.
    let once = ["watch", "--last", "1", "-n", "1", "--ca-file", &certificate];
    let fails = |words: &[&str], environment: &[(&str, &str)], reason: &str| {
        let left = left(remote(words, &url, environment));
        assert!(
            left.code == Some(1) && left.stderr.contains(reason),
            "{words:?}: {left:?}"
        );
    };
    let credentials = [
        ("SALTAPI_USER", "fred"),
        ("SALTAPI_PASS", "hunter2"),
        ("SALTAPI_EAUTH", "sharedsecret"),
    ];
    fails(
        &once[..5],
        &credentials,
        "--ca-file FILE names the certificates to trust",
    );
    fails(&once, &credentials[..2], "not let in by external_auth: pam");
    fails(&once, &[("BRINE_API_TOKEN", "nonsense")], "log in again");
    let done = left(remote(&once, &url, &credentials));
    assert_eq!(done.code, Some(0), "{done:?}");

    // A stream goes on where it was when the master comes back.
    let words = [
        &["watch", "--from", "earliest", "-n", "2", "--json", "late/*"][..],
        &log_in[..],
    ]
    .concat();
    let mut watch = Running(remote(&words, &url, &[]).spawn().unwrap());
    let send = |site: &Site, tag: &str| {
        let left = site.run(&["send", "--ack", tag, "{}"]);
        assert_eq!(left.code, Some(0), "{left:?}");
    };
    send(&site, "late/one");
    let first = watch.prints("late/one");
    assert_eq!(site.master.take().unwrap().end(), Some(0));
    site.start_master();
    send(&site, "late/two");
    let (code, rest) = watch.ends();
    let stdout = first + &rest;
    let tags: Vec<_> = stdout.lines().map(|line| line.split('"').nth(3)).collect();
    assert_eq!(
        (code, tags),
        (Some(0), vec![Some("late/one"), Some("late/two")]),
        "{stdout}"
    );
}

#[test]
fn salts_own_api_is_read_from_now_on() {
    reads_salts_own(str::to_owned);
}

#[test]
fn rest_tornado_is_read_from_now_on_too() {
    reads_salts_own(|options| options.replace("rest_cherrypy: {host:", "rest_tornado: {address:"));
}

/// Whichever of Salt's servers is configured.
fn reads_salts_own(configured: impl Fn(&str) -> String) {
    const SALT: &str = "3008.3";
    let api = Api { port: free_port() };
    let site = Site::configured("zeromq", &configured(&options(api.port)));
    let start = |name: &str| {
        let command = program::command(SALT, name, &site.path(""));
        Program::start(command, site.path(&format!("{name}.out")))
    };
    let _master = start("salt-master");
    let _bus = site.master_bus();
    let _api = start("salt-api");
    api.wait();
    let url = format!("http://127.0.0.1:{}", api.port);
    wait_until("the master to let fred in", || {
        let login = r#"{"username": "fred", "password": "hunter2", "eauth": "sharedsecret"}"#;
        api.post("", "/login", login).code == 200
    });
    let fred = api.log_in("fred");
    let token = [("BRINE_API_TOKEN", fred.as_str())];

    let refused = left(remote(&["watch", "--last", "5"], &url, &token));
    assert!(
        refused.code == Some(1) && refused.stderr.contains("keeps no events"),
        "{refused:?}"
    );
    let refused = left(remote(&["watch"], &url, &[("BRINE_API_TOKEN", "nonsense")]));
    assert!(
        refused.code == Some(1) && refused.stderr.contains("log in again"),
        "{refused:?}"
    );

    let words = [
        "watch",
        "-n",
        "2",
        "--json",
        "--seq",
        "salt/netapi/hook/wanted",
    ];
    let mut watch = Running(remote(&words, &url, &token).spawn().unwrap());
    loop {
        for path in ["/hook/other", "/hook/wanted"] {
            let answer = api.post(&fred, path, r#"{"a": 1}"#);
            assert_eq!(answer.code, 200, "{}", answer.text);
        }
        if watch.0.try_wait().unwrap().is_some() {
            break;
        }
    }
    let (code, stdout) = watch.ends();
    let is_wanted = |line: &str| line.contains(r#""tag": "salt/netapi/hook/wanted""#);
    assert_eq!(
        (code, stdout.lines().filter(|line| is_wanted(line)).count()),
        (Some(0), 2),
        "{stdout}"
    );
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
}
