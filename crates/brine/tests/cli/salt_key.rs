//! `salt-key` beside real Salt's: the same commands on the same keys, text by text and file by file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use brine_testkit::salt;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::{Bus, Left, brine, run};

/// Commands in turn, and what they are answered when they ask. Each finds what those before it left.
const COMMANDS: &[(&[&str], &str)] = &[
    (&["-L"], ""),
    (&[], ""),
    (&["--out", "json", "-L"], ""),
    (&["-l", "acc"], ""),
    (&["-l", "un", "--out=yaml"], ""),
    (&["-l", "den"], ""),
    (&["-p", "r1"], ""),
    (&["-P", "--out", "json"], ""),
    (&["-f", "nosuch"], ""),
    (&["-L", "--force-color"], ""),
    (&["-a", "nosuch"], ""),
    (&["-a", "p1"], "n\n"),
    (&["-a", "p1", "-y"], ""),
    (&["-a", "p2,p3", "-y", "--out", "json"], ""),
    (&["-r", "p4"], "\n"),
    (&["-r", "a1", "--include-accepted"], "Y\n"),
    (&["-d", "nosuch", "-y"], ""),
    (&["-d", "p4"], "\n"),
    (&["-d", "p4", "-y"], ""),
    (&["-a", "*", "-y", "--include-all"], ""),
    (&["-a", "d1", "--include-denied", "-y"], ""),
    (&["-A", "--include-rejected"], "yes\n"),
    (&["-r", "A2", "--include-all", "-y"], ""),
    (&["-R", "-y"], ""),
    (&["-d", "a*", "-y"], ""),
    (&["-L"], ""),
    (&["-D", "-y"], ""),
    (&["-L", "--out", "raw"], ""),
    (&["-D", "-y"], ""),
    (&["-l", "nonsense"], ""),
    (&["--keysize", "100"], ""),
];

#[test]
fn keys_are_kept_as_salt_keeps_them() {
    for release in ["3006.28", "3008.3"] {
        let (salts, ours) = (Site::new(release), Site::new(release));
        for (at, salt_left) in salts.salts().into_iter().enumerate() {
            let (arguments, input) = COMMANDS[at];
            let left = ours.run(arguments, input);
            assert_eq!(
                (left.code, &left.stdout),
                (salt_left.code, &salt_left.stdout),
                "{release} {arguments:?}: {}",
                left.stderr
            );
        }
        assert_eq!(ours.files(), salts.files(), "{release}");
        assert!(ours.root.path().join("cache/.dfn").is_file());
    }
}

/// 3008 prints other ones, which no minion shows of its key.
#[test]
fn fingerprints_are_those_that_minions_show() {
    let site = Site::new("3006.28");
    let commands = [(&["-F"][..], ""), (&["-f", "a1"], "")];
    for ((arguments, _), salts) in commands.iter().zip(site.salts_of(&commands)) {
        assert_eq!(
            site.run(arguments, "").stdout,
            salts.stdout,
            "{arguments:?}"
        );
    }
}

#[test]
fn others_hear_of_changed_keys() {
    let bus = Bus::start();
    let pki = Path::new(&bus.path("pki")).to_owned();
    make_keys(&pki, &[("minions_pre", "p1"), ("minions_pre", "p2")]);
    let watch = bus.listener(&["watch", "salt/key", "-n", "3"]);
    let config_dir = bus.config_dir();
    for arguments in [["-a", "p1", "-y"], ["-r", "p2", "-y"], ["-d", "p2", "-y"]] {
        let mut command = brine(&["salt-key", "-c", &config_dir]);
        assert_eq!(run(command.args(arguments), "").code, Some(0));
    }
    let pem = |folder: &str, id: &str| fs::read_to_string(pki.join(folder).join(id));
    let pem = pem("minions", "p1")
        .unwrap()
        .trim_end()
        .replace('\n', "\\n");
    let seen = bus.scrub(&watch.left().stdout).replace(&pem, "PEM");
    let mut lines = seen.lines();
    assert_eq!(
        lines.next().unwrap(),
        r#"{"tag": "salt/key", "data": {"result": true, "act": "accepted", "id": "p1", "pub": "PEM", "_stamp": "STAMP"}}"#
    );
    assert!(
        lines
            .next()
            .unwrap()
            .contains(r#""act": "rejected", "id": "p2", "pub": "#)
    );
    assert_eq!(
        lines.next().unwrap(),
        r#"{"tag": "salt/key", "data": {"result": true, "act": "delete", "id": "p2", "_stamp": "STAMP"}}"#
    );
}

#[test]
fn a_pair_of_keys_is_made_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().to_str().unwrap();
    let arguments = ["salt-key", "--gen-keys", "m1", "--gen-keys-dir", folder];
    let made = run(&mut brine(&[&arguments[..], &["-c", folder]].concat()), "");
    let print = made
        .stdout
        .strip_prefix("return:\n    ")
        .unwrap()
        .trim_end();
    assert_eq!((made.code, print.len()), (Some(0), 32 * 3 - 1));
    let again = run(&mut brine(&[&arguments[..], &["-c", folder]].concat()), "");
    assert_eq!(again, made);
    let escaping = ["salt-key", "--gen-keys", "../m1", "--gen-keys-dir", folder];
    assert_eq!(run(&mut brine(&escaping), "").code, Some(1));
}

/// A master's keys below a directory.
struct Site {
    root: TempDir,
    release: &'static str,
}

impl Site {
    fn new(release: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (path, series) = (root.path(), &release[..4]);
        fs::create_dir_all(path.join("cache/proc")).unwrap();
        let config = format!(
            "root_dir: {}\npki_dir: /pki\ncachedir: /cache\nsock_dir: /s\nid: mm_master\nbrine: {{compat: {series}}}\n",
            path.display()
        );
        fs::write(path.join("master"), config).unwrap();
        make_keys(
            &path.join("pki"),
            &[
                ("minions", "a1"),
                ("minions", "A2"),
                ("minions_pre", "p1"),
                ("minions_pre", "p2"),
                ("minions_pre", "p3"),
                ("minions_pre", "p4"),
                ("minions_rejected", "r1"),
                ("minions_denied", "d1"),
                ("minions_denied", "a1"),
                (".", "master.pub"),
            ],
        );
        Self { root, release }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Left {
        let config_dir = self.root.path().to_str().unwrap();
        run(
            &mut brine(&[&["salt-key", "-c", config_dir], arguments].concat()),
            input,
        )
    }

    fn salts(&self) -> Vec<Left> {
        self.salts_of(COMMANDS)
    }

    /// What real Salt leaves.
    fn salts_of(&self, commands: &[(&[&str], &str)]) -> Vec<Left> {
        let config_dir = self.root.path().to_str().unwrap();
        let cases = commands.iter();
        let cases = cases.map(|(arguments, input)| {
            let mut case = case("salt-key", config_dir, arguments);
            case[2] = json!(input);
            case
        });
        salts(self.release, cases)
    }

    /// All key files and what is in them.
    fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for folder in [
            "minions",
            "minions_pre",
            "minions_rejected",
            "minions_denied",
        ] {
            for entry in fs::read_dir(self.root.path().join("pki").join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = format!("{folder}/{}", path.file_name().unwrap().display());
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
        files.sort();
        files
    }
}

/// A command of Salt's with this configuration, for [`salts`].
pub(crate) fn case(name: &str, config_dir: &str, arguments: &[&str]) -> Json {
    let arguments = [&["-c", config_dir], arguments].concat();
    json!([name, arguments, ""])
}

/// What real Salt's commands leave, run one after the other.
pub(crate) fn salts(release: &str, cases: impl Iterator<Item = Json>) -> Vec<Left> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/salt_commands.py");
    let mut oracle = salt::python(release)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let cases = serde_json::to_vec(&cases.collect::<Vec<_>>()).unwrap();
    oracle.stdin.take().unwrap().write_all(&cases).unwrap();
    let output = oracle.wait_with_output().unwrap();
    assert!(output.status.success());
    let left: Vec<(i32, String, String)> = serde_json::from_slice(&output.stdout).unwrap();
    left.into_iter()
        .map(|(code, stdout, stderr)| Left {
            code: Some(code),
            stdout,
            stderr,
        })
        .collect()
}

/// Puts one and the same key everywhere: making them takes long.
fn make_keys(pki: &Path, places: &[(&str, &str)]) {
    const PEM: &str = include_str!("minion.pub");
    for (folder, id) in places {
        let folder = pki.join(folder);
        fs::create_dir_all(&folder).unwrap();
        // As masters keep keys: minions send them without the line end.
        fs::write(folder.join(id), PEM.trim_end()).unwrap();
    }
}
