//! The file server beside real masters', on the same files; and what it must never give away.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use brine_config::{Environment, Opts, Role};
use brine_node::files::{FileRoots, FileServer};
use brine_testkit::salt::python;
use brine_wire::{Map, Value, json};
use tempfile::TempDir;

/// Asks a real master's file server: a configuration file and lines of `[command, load]` in, lines of
/// JSON out; bytes as text.
const SALT: &str = r#"
import json, sys
import salt.config, salt.fileserver
server = salt.fileserver.Fileserver(salt.config.master_config(sys.argv[1]))
def plain(value):
    if isinstance(value, bytes): return value.decode("latin-1")
    if isinstance(value, (list, tuple)): return [plain(one) for one in value]
    if isinstance(value, dict): return {key: plain(one) for key, one in sorted(value.items())}
    return value
for line in sys.stdin:
    name, load = json.loads(line)
    answer = getattr(server, name)(load)
    if name in ("file_list", "dir_list", "file_list_emptydirs", "file_envs"): answer = sorted(answer)
    print(json.dumps(plain(answer)), flush=True)
"#;

fn tree() -> (TempDir, FileServer) {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for folder in ["srv/_modules/sub", "srv/empty/deep", "dev", "secret"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    for (name, text) in [
        ("srv/_modules/a.py", "x = 1\n"),
        ("srv/_modules/sub/b.py", "y\n"),
        ("srv/.hidden", "h"),
        ("srv/zero", ""),
        ("dev/_modules", "a file here"),
        ("secret/key", "not for minions"),
    ] {
        fs::write(path(name), text).unwrap();
    }
    symlink("a.py", path("srv/_modules/link.py")).unwrap();
    symlink(path("dev"), path("srv/other")).unwrap();
    let config = format!(
        "root_dir: {0}/m\nfile_roots: {{base: [{0}/srv], dev: [{0}/dev]}}\n",
        root.path().display()
    );
    fs::write(path("master"), config).unwrap();
    let opts = Opts::load(Role::Master, &path("master"), &Environment::current())
        .unwrap()
        .opts;
    let server = FileServer::new(FileRoots::from_opts(&opts));
    (root, server)
}

fn load(pairs: &[(&str, Value)]) -> Map {
    pairs.iter().cloned().collect()
}

fn cases() -> Vec<(&'static str, Map)> {
    let mut cases = Vec::new();
    for env in ["base", "dev", "nope", "../base", ""] {
        for prefix in ["", "_modules", "empty", "nope"] {
            for name in [
                "file_list",
                "dir_list",
                "file_list_emptydirs",
                "symlink_list",
            ] {
                cases.push((
                    name,
                    load(&[("saltenv", env.into()), ("prefix", prefix.into())]),
                ));
            }
        }
        for path in [
            "_modules/a.py",
            "_modules",
            "zero",
            "nope",
            ".hidden",
            "other/_modules",
            "../secret/key",
            "_modules/../../secret/key",
            "/etc/passwd",
            "",
        ] {
            for name in ["file_hash", "file_hash_and_stat"] {
                cases.push((
                    name,
                    load(&[("saltenv", env.into()), ("path", path.into())]),
                ));
            }
            for loc in [0, 2, 6, 100] {
                let pairs = [
                    ("saltenv", env.into()),
                    ("path", path.into()),
                    ("loc", loc.into()),
                ];
                cases.push(("serve_file", load(&pairs)));
            }
        }
    }
    cases.push(("file_envs", Map::new()));
    cases
}

#[test]
fn every_answer_is_a_real_masters() {
    let (root, server) = tree();
    for version in ["3006.28", "3008.3"] {
        let answers = ask_salt(version, &root.path().join("master"), &cases());
        for ((name, load), expected) in cases().into_iter().zip(answers) {
            let found = server.answer(&format!("_{name}"), &load).unwrap();
            assert_eq!(shown(&found), expected, "Salt {version}: {name} {load:?}");
        }
    }
}

fn ask_salt(version: &str, config: &Path, cases: &[(&str, Map)]) -> Vec<String> {
    let mut salt = python(version);
    salt.args(["-W", "ignore", "-c", SALT])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut salt = salt.stderr(Stdio::null()).spawn().unwrap();
    let mut questions = String::new();
    for (name, load) in cases {
        json::to_line(
            &vec![Value::from(*name), load.clone().into()].into(),
            &mut questions,
        );
        questions.push('\n');
    }
    let mut stdin = salt.stdin.take().unwrap();
    std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = salt.wait_with_output().unwrap();
    let answers: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    json::to_line(&sorted(value), &mut text);
    text
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let mut pairs: Vec<_> = map
                .iter()
                .map(|(key, value)| (key.clone(), sorted(value)))
                .collect();
            pairs.sort_by(|(one, _), (other, _)| one.as_str().cmp(&other.as_str()));
            Map::from(pairs).into()
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Bin(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        other => other.clone(),
    }
}

/// CVE-2020-11652, CVE-2024-22231, CVE-2024-22232: a path from a minion that leads out of the roots.
#[test]
fn no_path_leads_out_of_the_roots() {
    let (root, server) = tree();
    let absolute = root.path().join("secret/key").display().to_string();
    let paths = [
        absolute.as_str(),
        "../secret/key",
        "_modules/../../secret/key",
        "./../secret/key",
        "..",
        "a/../..",
        "_modules/a.py\0",
        "|../secret/key",
        "~/x",
        "..\\secret\\key",
    ];
    for path in paths {
        for env in ["base", "..", "../secret", "/", "base/../../secret"] {
            let load = load(&[
                ("saltenv", env.into()),
                ("path", path.into()),
                ("prefix", path.into()),
            ]);
            for cmd in [
                "_serve_file",
                "_file_find",
                "_file_hash",
                "_file_hash_and_stat",
                "_file_list",
                "_dir_list",
            ] {
                let answer = shown(&server.answer(cmd, &load).unwrap());
                assert!(
                    !answer.contains("not for minions") && !answer.contains("secret"),
                    "{cmd} {path:?}: {answer}"
                );
                assert!(!answer.contains("hsum"), "{cmd} {path:?} {env}: {answer}");
            }
        }
    }
}
