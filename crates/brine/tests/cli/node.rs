//! Our master, our minion and the commands around them, as people use them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use brine_testkit::user::as_user;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Left, Running, brine, run, wait_until};

/// A master, and a minion `m1` that is known to it or not.
pub(crate) struct Node {
    pub(crate) root: TempDir,
    master: Running,
    minion: Running,
}

impl Node {
    /// Starts both, with more lines in the master's and the minion's configuration; the minion's key is pending.
    fn start_with(more: [&str; 2]) -> Self {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let path = root.path().display();
        let [publish_port, ret_port] = free_ports();
        let master = format!(
            "root_dir: {path}/m\nid: mm_master\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\ntimeout: 20\ngather_job_timeout: 1\n{}",
            more[0]
        );
        let minion = format!(
            "root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n{}",
            more[1]
        );
        fs::write(root.path().join("master"), master).unwrap();
        fs::write(root.path().join("minion"), minion).unwrap();
        let start = |name: &str| {
            let config_dir = root.path().to_str().unwrap();
            let mut running = Running::start(&mut brine(&[name, "-c", config_dir, "-l", "info"]));
            running.says("ready");
            running
        };
        let master = start("salt-master");
        let minion = start("salt-minion");
        Self {
            root,
            master,
            minion,
        }
    }

    /// Starts both and waits until the minion is in.
    pub(crate) fn accepted() -> Self {
        Self::accepted_with(["", ""])
    }

    /// The same with more lines in the master's and the minion's configuration.
    pub(crate) fn accepted_with(more: [&str; 2]) -> Self {
        let mut node = Self::start_with(more);
        let pending = node
            .root
            .path()
            .join("m/etc/salt/pki/master/minions_pre/m1");
        wait_until(|| pending.exists());
        let left = node.run(&["salt-key", "-y", "-a", "m1"]);
        assert!(
            left.stdout.ends_with("Key for minion m1 accepted.\n"),
            "{left:?}"
        );
        node.minion.says("connected to the master");
        node
    }

    /// One of Salt's commands with this configuration.
    pub(crate) fn run(&self, words: &[&str]) -> Left {
        let (name, arguments) = words.split_first().unwrap();
        let config_dir = self.root.path().to_str().unwrap();
        run(
            &mut brine(&[&[*name, "-c", config_dir], arguments].concat()),
            "",
        )
    }

    /// Ends both; what they left.
    fn end(self) -> [Left; 2] {
        [self.minion, self.master].map(|running| {
            running.signal(Signal::TERM);
            running.left()
        })
    }
}

pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let taken = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn a_minion_is_accepted_and_its_events_reach_the_masters_bus() {
    let node = Node::accepted();
    let sock_dir = node.root.path().join("m/var/run/salt/master");
    let sock_dir = sock_dir.to_str().unwrap();
    let mut watch = brine(&["watch", "my/*", "-n", "1", "--sock-dir", sock_dir]);
    let watch = Running::start(&mut watch);
    crate::support::wait_for_reader(sock_dir);
    let left = node.run(&["salt-call", "event.send", "my/tag", "{a: 1}"]);
    assert_eq!(
        (left.code, left.stdout.as_str(), left.stderr.as_str()),
        (Some(0), "local:\n    True\n", "")
    );
    let seen = watch.left().stdout;
    assert!(
        seen.contains(r#""__pub_tgt": "salt-call", "a": 1}"#),
        "{seen}"
    );
    assert!(seen.contains(r#""id": "m1""#), "{seen}");
    for left in node.end() {
        assert_eq!(left.code, Some(0), "{left:?}");
    }
}

#[test]
fn salt_call_says_what_went_wrong_as_salt_does() {
    let node = Node::accepted();
    for local in [&[][..], &["--local"]] {
        let call = |words: &[&str]| node.run(&[&["salt-call"], local, words].concat());
        let left = call(&["event.nope"]);
        assert_eq!(
            (left.code, left.stdout.as_str(), left.stderr.as_str()),
            (Some(255), "", "'event.nope' is not available.\n")
        );
        let left = call(&["event.send"]);
        assert_eq!(left.code, Some(1));
        let missing = "\nPassed invalid arguments: send() missing 1 required positional argument: 'tag'.\n\nUsage:\n";
        assert_eq!(left.stderr, missing);
        assert!(left.stdout.contains("tag\n"), "{left:?}");
        let left = call(&["test.echo", "a b", "--out", "json", "--out-indent=-1"]);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), "{\"local\": \"a b\"}\n")
        );
    }
    let left = node.run(&["salt-call", "-d", "test.pi"]);
    assert!(left.stdout.starts_with("test.ping:\n"), "{left:?}");
    let left = node.run(&[
        "salt-call",
        "test.ping",
        "--metadata",
        "--out=json",
        "--out-indent=-1",
    ]);
    let rest = r#""return": true, "retcode": 0, "id": "m1", "fun": "test.ping", "fun_args": []}}"#;
    assert!(left.stdout.trim_end().ends_with(rest), "{left:?}");
    let left = node.run(&["salt-call", "--return", "mongo", "test.ping"]);
    assert_eq!(left.code, Some(64), "{left:?}");
}

/// Texts and codes are those of Salt 3008.3.
#[test]
fn salt_prints_what_minions_return() {
    let node = Node::accepted();
    let refused = "Usage: salt [options] '<target>' <function> [arguments]\n\nsalt: error: Invalid batch specification 'x': ";
    for (words, code, stdout, stderr) in [
        (&["*", "test.ping"][..], 0, "m1:\n    True\n", ""),
        (
            &["m?", "test.ping", "--out=json"],
            0,
            "{\n    \"m1\": true\n}\n",
            "",
        ),
        (
            &["*", "test.echo", "a b", "--static"],
            0,
            "m1:\n    a b\n",
            "",
        ),
        (
            &["*", "nope.nope"],
            1,
            "m1:\n    'nope.nope' is not available.\n",
            "ERROR: Minions returned with non-zero exit code\n",
        ),
        (
            &["nobody", "test.ping"],
            2,
            "No minions matched the target. No command was sent, no jid was assigned.\n",
            "ERROR: No return received\n",
        ),
        (&["-b", "x", "*", "test.ping"], 64, "", refused),
    ] {
        let left = node.run(&[&["salt"], words].concat());
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(code), stdout),
            "{words:?}"
        );
        assert!(left.stderr.starts_with(stderr), "{left:?}");
    }
    let left = node.run(&["salt", "-L", "m1,m2", "test.ping"]);
    assert!(
        left.stdout
            .starts_with("m1:\n    True\nm2:\n    Minion did not return."),
        "{left:?}"
    );
    assert_eq!(left.code, Some(1));
    let left = node.run(&["salt", "-N", "none", "test.ping"]);
    assert!(
        left.stdout.starts_with("Node group none unavailable in /"),
        "{left:?}"
    );
    let left = node.run(&["salt", "*", "test.ping", "--summary", "-v"]);
    let (head, rest) = left.stdout.split_once('\n').unwrap();
    assert!(head.starts_with("Executing job with jid 2"), "{head}");
    let rule = "-------------------------------------------";
    assert_eq!(
        rest,
        format!(
            "{rule}\n\nm1:\n    True\n\n\n{rule}\nSummary\n{rule}\n# of minions targeted: 1\n\
             # of minions returned: 1\n# of minions that did not return: 0\n\
             # of minions with errors: 0\n{rule}\n"
        )
    );
}

/// What real `salt-run` says of our master's jobs is what ours says.
#[test]
fn runners_know_jobs_and_minions_as_salts_do() {
    let node = Node::accepted();
    for (words, stdout) in [
        (&["manage.up"][..], "- m1\n"),
        (&["manage.down"], ""),
        (
            &["manage.status", "--out=json", "--out-indent=-1"],
            "{\"up\": [\"m1\"], \"down\": []}\n",
        ),
    ] {
        let left = node.run(&[&["salt-run"], words].concat());
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(0), stdout),
            "{words:?}"
        );
    }
    let left = node.run(&["salt", "*", "test.echo", "a b", "--show-jid"]);
    let jid = left
        .stdout
        .lines()
        .next()
        .unwrap()
        .strip_prefix("jid: ")
        .unwrap();
    let questions = [
        vec!["jobs.lookup_jid", jid],
        vec!["jobs.list_job", jid],
        vec!["jobs.print_job", jid],
        vec!["jobs.exit_success", jid],
        vec!["jobs.list_jobs", "search_function=test.echo"],
        vec!["jobs.lookup_jid", "20000101000000000000"],
        // Salt's runners are jobs in the cache themselves.
        vec![
            "jobs.list_jobs",
            "search_function=test.*",
            "start_time=2020, Jan 01 00:00",
        ],
        vec!["jobs.list_jobs", "start_time=Jan 1 2126"],
        vec!["jobs.list_jobs", "end_time=2020-01-02 8:00"],
        vec!["jobs.last_run", "function=test.*"],
        vec!["jobs.last_run", "target=nobody"],
    ];
    let config_dir = node.root.path().to_str().unwrap();
    // The second is a job itself.
    for questions in [&questions[..], &[vec!["manage.versions"]]] {
        let cases = questions.iter();
        let cases = cases.map(|words| crate::salt_key::case("salt-run", config_dir, words));
        for (words, salts) in questions
            .iter()
            .zip(crate::salt_key::salts("3008.3", cases))
        {
            let left = node.run(&[&["salt-run"], &words[..]].concat());
            assert_eq!(left.stdout, salts.stdout, "{words:?}: {}", salts.stderr);
        }
    }
}

/// As real `salt` does on the same master.
#[test]
fn batches_subsets_and_node_groups_are_salts() {
    let groups = "nodegroups:\n  web: L@m1,m2\n  typo: N@nosuch or m1\n  listed:\n    - N@web and not m2\n  itself: N@itself\n  empty:\nshow_jid: True\n";
    let node = Node::accepted_with([groups, ""]);
    let calls = [
        "-b 1 * test.ping",
        "-b 50% m1 test.retcode 3 --out json",
        "-b 1 --static m1 test.ping --out json",
        "-b 1 nobody test.ping",
        "--subset 1 * test.echo a",
        "--subset 1 * nope.nope",
        "--batch-safe-limit 2 m1 test.ping",
        "--preview-target m* test.ping",
        "--preview-target nobody test.ping",
        "-N typo test.ping",
        "-N listed test.ping",
        "-C N@itself test.ping",
        "-N empty test.ping",
        // Beside what a program reads there is nothing else.
        "m1 test.ping --static --show-jid --out=json",
        "m1 test.ping --static --verbose --out=json",
        "m1 test.ping --out=json",
    ];
    let config_dir = node.root.path().to_str().unwrap();
    let words = calls.map(|call| call.split(' ').collect::<Vec<_>>());
    let cases = words
        .iter()
        .map(|words| crate::salt_key::case("salt", config_dir, words));
    let without_jids = |text: &str| {
        let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        let words = words.map(|word| match word.len() {
            21 if word.starts_with("20") => word.replace(|c: char| c.is_ascii_digit(), "9"),
            _ => word.to_owned(),
        });
        words.collect::<String>()
    };
    for (words, salts) in words.iter().zip(crate::salt_key::salts("3008.3", cases)) {
        let left = node.run(&[&["salt"], &words[..]].concat());
        assert_eq!(
            (left.code, without_jids(&left.stdout)),
            (salts.code, without_jids(&salts.stdout)),
            "{words:?}: {} {}",
            left.stderr,
            salts.stderr
        );
        // Salt's also warns of what it did not close.
        for line in left.stderr.lines() {
            assert!(salts.stderr.contains(line), "{words:?}: {line}");
        }
    }
}

#[test]
fn a_new_grain_is_a_target_at_once() {
    let node = Node::accepted();
    for words in [
        &["grains.setval", "role", "web"][..],
        &["grains.append", "tags", "a"],
    ] {
        let left = node.run(&[&["salt", "m1"], words].concat());
        assert_eq!(left.code, Some(0), "{left:?}");
    }
    for target in ["role:web", "tags:a"] {
        let left = node.run(&["salt", "-G", target, "test.ping"]);
        assert_eq!(left.stdout, "m1:\n    True\n", "{target}: {left:?}");
    }
}

/// Salt's own runners read another series' cache: written down from real masters.
#[test]
fn runners_know_who_is_connected_and_what_is_cached() {
    let node = Node::accepted();
    let run = |words: &[&str]| {
        let left = node.run(&[&["salt-run"], words].concat());
        assert_eq!(
            (left.code, left.stderr.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
        left.stdout
    };
    wait_until(|| run(&["manage.present"]) == "- m1\n");
    for (words, stdout) in [
        (&["manage.joined", "subset=[m2]"][..], ""),
        (&["manage.alived", "subset=[m1, m2]"], "- m1\n"),
        (&["manage.not_present"], ""),
        (&["cache.grains", "nobody"], ""),
        (&["cache.mine"], "m1:\n    ----------\n"),
        (&["cache.pillar", "*"], "m1:\n    ----------\n"),
        (&["cache.clear_mine"], "False\n"),
        (&["cache.clear_mine", "*"], "True\n"),
    ] {
        assert_eq!(run(words), stdout, "{words:?}");
    }
    assert!(run(&["manage.present", "show_ip=True"]).starts_with("m1:\n    "));
    assert!(run(&["cache.grains", "m1"]).contains("    id:\n        m1\n"));
    assert_eq!(run(&["cache.clear_grains", "m1"]), "True\n");
    assert_eq!(run(&["cache.grains", "m1"]), "m1:\n    ----------\n");
    let left = node.run(&["salt-run", "jobs.list_jobs", "start_time=nonsense"]);
    assert_eq!(left.code, Some(1));
    assert!(
        left.stdout.starts_with(
            "Exception occurred in runner jobs.list_jobs: ValueError: start_time: expected a time, such as"
        ),
        "{left:?}"
    );
}

#[test]
fn salt_says_which_minions_did_not_return() {
    let Node {
        root,
        master,
        minion,
    } = Node::accepted();
    minion.signal(Signal::TERM);
    let _ = minion.left();
    let config_dir = root.path().to_str().unwrap();
    let words = ["salt", "-c", config_dir, "*", "test.ping", "-t", "1"];
    let left = run(&mut brine(&words), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(
        left.stdout
            .starts_with("m1:\n    Minion did not return. [No response]\n    The minions may not")
    );
    assert!(
        left.stdout
            .contains("\n    \n    salt-run jobs.lookup_jid 2"),
        "{left:?}"
    );
    drop(master);
    let left = run(&mut brine(&words), "");
    assert_eq!(
        (left.code, left.stdout.as_str()),
        (
            Some(0),
            "The salt master could not be contacted. Is master running?\n"
        )
    );
}

#[test]
fn salt_call_signs_in_itself_where_no_minion_runs() {
    let Node {
        root,
        master,
        minion,
    } = Node::accepted();
    minion.signal(Signal::TERM);
    let _ = minion.left();
    let config_dir = root.path().to_str().unwrap();
    let sock_dir = root.path().join("m/var/run/salt/master");
    let sock_dir = sock_dir.to_str().unwrap();
    let mut watch = brine(&["watch", "my/*", "-n", "1", "--sock-dir", sock_dir]);
    let watch = Running::start(&mut watch);
    crate::support::wait_for_reader(sock_dir);
    let words = ["salt-call", "-c", config_dir, "event.send", "my/tag", "a=1"];
    let left = run(&mut brine(&words), "");
    assert_eq!(
        (left.code, left.stdout.as_str(), left.stderr.as_str()),
        (Some(0), "local:\n    True\n", "")
    );
    let seen = watch.left().stdout;
    assert!(
        seen.contains(r#""data": {"id": "m1", "tag": "my/tag", "data": {"a": 1, "#),
        "{seen}"
    );
    // A minion whose key nobody has accepted.
    let words = ["salt-call", "-c", config_dir, "--id", "m2", "test.ping"];
    let left = run(&mut brine(&words), "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("salt-key -a m2"), "{left:?}");
    drop(master);
}

#[test]
fn a_local_call_needs_no_minion() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let minion = format!("root_dir: {root}\nid: m1\nmaster: 127.0.0.1\n");
    fs::write(Path::new(root).join("minion"), minion).unwrap();
    let left = run(
        &mut brine(&["salt-call", "-c", root, "--local", "test.ping"]),
        "",
    );
    assert_eq!(
        (left.code, left.stdout.as_str()),
        (Some(0), "local:\n    True\n")
    );
}

/// Two processes look at it: the one that is to call it, and the one that lists what there is instead.
#[test]
fn a_module_that_cannot_be_imported_is_reported_once() {
    let node = Node::accepted();
    let modules = node
        .root
        .path()
        .join("n/var/cache/salt/minion/extmods/modules");
    fs::create_dir_all(&modules).unwrap();
    for name in ["broken", "other"] {
        let module = modules.join(format!("{name}.py"));
        fs::write(module, "def f():\n    return (1\n").unwrap();
    }
    let reported = |said: &str, name: &str| {
        let failed = format!("Failed to import module {name}: ");
        said.matches(&failed).count()
    };
    let left = node.run(&["salt-call", "broken.f"]);
    assert_eq!(reported(&left.stderr, "broken"), 1, "{left:?}");
    let log = node.root.path().join("n/var/log/salt/minion");
    let log = || fs::read_to_string(&log).unwrap_or_default();
    // The second process looks at the modules in the order of their names.
    wait_until(|| reported(&log(), "other") > 0);
    assert_eq!(reported(&log(), "broken"), 1, "{}", log());
}

/// What `brine up` prints can be copied, and each of it works.
#[test]
fn up_is_a_whole_site_and_what_it_says_can_be_done() {
    let place = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let mut up = Running::start(&mut brine(&["up", "--directory", root, "--every", "0.2"]));
    let invitation = up.prints("Ctrl-C ends it.");
    let program = env!("CARGO_BIN_EXE_brine");
    let commands = invitation.lines().filter(|line| line.contains(program));
    let mut tried = 0;
    for line in commands {
        let bounded = match line {
            _ if line.ends_with(" bench") => format!("{line} --duration 0.1"),
            _ if line.contains(" watch ") => format!("{line} -n 1"),
            // Needs a Python on this machine; a module that fails shows in its own tests.
            _ if line.contains("my_custom_module") => continue,
            _ => line.to_owned(),
        };
        let left = run(Command::new("sh").args(["-c", &bounded]), "");
        assert_eq!(left.code, Some(0), "{bounded}: {left:?}");
        assert!(
            !left.stdout.is_empty() || line.contains(" send "),
            "{bounded}"
        );
        tried += 1;
    }
    assert!(tried >= 8, "{invitation}");
    up.signal(Signal::INT);
    assert_eq!(up.left().code, Some(0));
}

#[test]
fn up_speaks_as_an_older_release_where_it_is_told_to() {
    let place = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let root = place.path().to_str().unwrap();
    let words = ["up", "--directory", root, "--compat", "3006", "-l", "info"];
    let mut up = Running::start(&mut brine(&words));
    let buses = [up.says("framing="), up.says("framing=")];
    for ready in &buses {
        assert!(
            ready.contains("compat=3006 framing=\"prefixed\""),
            "{ready}"
        );
    }
    let invitation = up.prints("Ctrl-C ends it.");
    assert!(invitation.contains("real Salt 3006 "), "{invitation}");
    // The commands read the release where they find the bus.
    let words = ["watch", "my/tag", "-n", "1", "--json", "-c", root];
    let watch = Running::start(&mut brine(&words));
    crate::support::wait_for_reader(&format!("{root}/master.d/sock"));
    let sent = run(&mut brine(&["send", "my/tag", "a=1", "-c", root]), "");
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let seen = watch.left().stdout;
    assert!(
        seen.contains("my/tag") && !seen.contains("+00:00"),
        "{seen}"
    );
    up.signal(Signal::INT);
    assert_eq!(up.left().code, Some(0));
    let refused = run(&mut brine(&["up", "--compat", "2019"]), "");
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

/// A directory that belongs to somebody else must not decide what root runs.
#[test]
fn python_imports_nothing_from_the_current_directory_or_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let (config, modules, planted) = (
        dir.path().join("etc"),
        dir.path().join("modules"),
        dir.path().join("planted"),
    );
    for folder in [&config, &modules, &planted] {
        fs::create_dir(folder).unwrap();
    }
    let options = format!(
        "id: m1\nfile_client: local\nroot_dir: {0}/root\nmodule_dirs: [{0}/modules]\n",
        dir.path().display()
    );
    fs::write(config.join("minion"), options).unwrap();
    let module = "import json, subprocess\ndef names():\n    import os, sys\n    \
        return [sorted(sys.modules), os.getcwd(), sorted(n for n in os.environ if n.startswith('PYTHON'))]\n";
    fs::write(modules.join("mine.py"), module).unwrap();
    let call = |cwd: &Path| {
        let config = config.to_str().unwrap();
        let mut command = brine(&["salt-call", "-c", config, "--out=json", "mine.names"]);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(cwd)
            .env("PYTHONPATH", &planted)
            .env("PYTHONHOME", "/nonexistent")
            .env("PYTHONSTARTUP", planted.join("os.py"))
            .env("PATH", format!("{path}:.:"));
        run(&mut command, "")
    };
    let left = call(dir.path());
    assert_eq!(left.code, Some(0), "{left:?}");
    let returned: serde_json::Value = serde_json::from_str(&left.stdout).unwrap();
    let seen = &returned["local"];
    assert_eq!((&seen[1], &seen[2]), (&"/".into(), &serde_json::json!([])));
    let witness = dir.path().join("witness");
    for name in seen[0].as_array().unwrap() {
        let name = name.as_str().unwrap().split('.').next().unwrap();
        let trap = format!("open({:?}, 'a').write({name:?} + ' ')\n", witness);
        fs::write(planted.join(format!("{name}.py")), trap).unwrap();
    }
    assert!(planted.join("array.py").exists() && planted.join("json.py").exists());
    fs::write(
        planted.join("python3"),
        format!("#!/bin/sh\necho python3 >> {witness:?}\n"),
    )
    .unwrap();
    fs::set_permissions(planted.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
    let left = call(&planted);
    let fired = fs::read_to_string(&witness).unwrap_or_default();
    assert_eq!((left.code, fired.as_str()), (Some(0), ""), "{left:?}");
}

/// The mode of everything below a folder that somebody besides its owner may write, or that is no socket or folder
/// and that somebody besides its owner may read.
fn too_open(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, metadata) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        let mode = metadata.permissions().mode() & 0o777;
        let public = ["pid", "pub"]
            .iter()
            .any(|end| path.extension().is_some_and(|it| it == *end));
        let allowed = if metadata.is_dir() || public {
            0o755
        } else {
            0o660
        };
        if mode & !allowed != 0 {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if metadata.is_dir() {
            found.extend(too_open(&path));
        }
    }
    found
}

#[test]
fn a_daemon_started_without_a_umask_leaves_nothing_open() {
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let path = root.path().display();
    let [publish_port, ret_port] = free_ports();
    let master = format!(
        "root_dir: {path}/m\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\n"
    );
    let minion =
        format!("root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\n");
    let etc = root.path().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("master"), master).unwrap();
    fs::write(etc.join("minion"), minion).unwrap();
    let script = format!(
        "umask 0; for it in master minion; do {0} salt-$it -c {1} -d || exit 1; done",
        env!("CARGO_BIN_EXE_brine"),
        etc.display()
    );
    let mut shell = Command::new("sh");
    let left = run(shell.args(["-c", &script]), "");
    assert_eq!(left.code, Some(0), "{left:?}");
    let pids = ["m/var/run/salt-master.pid", "n/var/run/salt-minion.pid"]
        .map(|name| root.path().join(name));
    let pending = root.path().join("m/etc/salt/pki/master/minions_pre/m1");
    wait_until(|| pending.exists());
    let found: Vec<_> = ["m", "n"]
        .iter()
        .flat_map(|it| too_open(&root.path().join(it)))
        .collect();
    for pid in pids {
        let pid = fs::read_to_string(&pid).unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM)
            .unwrap();
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Only root can become another.
#[test]
fn whom_publisher_acl_names_can_publish_and_read_returns_and_others_cannot() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let acl =
        "publisher_acl:\n  nobody:\n    - test.ping\n    - test.echo:\n        args: ['a.*']\n";
    let node = Node::accepted_with([acl, ""]);
    fs::set_permissions(node.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config_dir = node.root.path().to_str().unwrap();
    let sock_dir = node.root.path().join("m/var/run/salt/master");
    let (nobody, daemon) = (65534, 1);
    let by = |uid, words: &[&str]| {
        let mut command = brine(words);
        command.uid(uid).gid(uid);
        run(&mut command, "")
    };
    let refused = "Authorization error occurred.\n";
    for (arguments, stdout) in [
        (&["test.ping"][..], "m1:\n    True\n"),
        (&["test.echo", "abc"], "m1:\n    abc\n"),
        (&["test.echo", "xyz"], refused),
        (&["test.version"], refused),
    ] {
        let left = by(
            nobody,
            &[&["salt", "-c", config_dir, "*"], arguments].concat(),
        );
        assert_eq!(left.stdout, stdout, "{left:?}");
    }
    let left = by(daemon, &["salt", "-c", config_dir, "*", "test.ping"]);
    assert!(!left.stdout.contains("m1"), "{left:?}");
    let why = "user daemon has no key for this master";
    assert!(left.stderr.contains(why), "{left:?}");
    let left = by(daemon, &["history", "-c", config_dir]);
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.stderr.contains("permission denied"), "{left:?}");
    // The connection of somebody who may not read is closed, and carries nothing.
    let mut stream = as_user(daemon, || {
        std::os::unix::net::UnixStream::connect(sock_dir.join("master_event_pub.ipc")).unwrap()
    });
    assert_eq!(std::io::Read::read(&mut stream, &mut [0; 64]).unwrap(), 0);
}

/// Only root can become another.
#[test]
fn what_is_closed_to_a_user_is_named_with_its_owner_by_every_command() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let node = Node::accepted_with(["brine: {history: true}\n", ""]);
    fs::set_permissions(node.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config_dir = node.root.path().to_str().unwrap();
    let daemon = 1;
    let by = |words: &[&str]| {
        let mut command = brine(words);
        command.uid(daemon).gid(daemon);
        run(&mut command, "")
    };
    let (pki, cache) = ("m/etc/salt/pki/master", "m/var/cache/salt/master");
    let (minion_pki, run_dir) = ("n/etc/salt/pki/minion", "m/var/run/salt/master");
    for (words, path) in [
        ("salt-key -L", pki),
        ("salt-key -y -a m1", pki),
        ("salt-call test.ping", minion_pki),
        ("salt-run jobs.active", cache),
        ("salt-run jobs.list_jobs", cache),
        ("salt-run manage.up", cache),
        ("salt-run manage.present", cache),
        ("salt-run cache.grains *", cache),
        ("salt-run reactor.list", run_dir),
        ("salt-master", "m/"),
        ("salt-minion", "n/"),
        ("bus", run_dir),
        ("attach", run_dir),
        ("doctor", run_dir),
        ("history", run_dir),
        ("log info", cache),
        ("log vacuum", cache),
        ("status", run_dir),
        ("status --json", run_dir),
        ("consumer ls", run_dir),
        ("consumer rm x", run_dir),
        ("reactor ls", run_dir),
        ("reactor history", cache),
        ("watch -n 1", run_dir),
        ("watch -n 1 --last 1", run_dir),
        ("send a", run_dir),
        ("send --ack a", run_dir),
        ("bench", run_dir),
        ("bench --live", run_dir),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let left = by(&[&words[..], &["-c", config_dir]].concat());
        assert_eq!(left.code, Some(1), "{words:?}: {left:?}");
        // A finding is on stdout, and nothing else is.
        let said = match words[0] {
            "doctor" => left.stdout.clone() + &left.stderr,
            _ => {
                assert_eq!(left.stdout, "", "{words:?}");
                left.stderr.clone()
            }
        };
        let denied = said
            .lines()
            .filter(|line| line.contains("permission denied at"));
        let denied: Vec<&str> = denied.collect();
        let [denied] = denied[..] else {
            panic!("{words:?}: {left:?}");
        };
        // It, or what is in it, or the directory above that cannot be entered.
        let at = denied.split("permission denied at ").nth(1).unwrap();
        let at = Path::new(at.split(": owned").next().unwrap());
        let path = Path::new(config_dir).join(path);
        let is_there = at.starts_with(&path) || path.starts_with(at);
        assert!(
            is_there && at.starts_with(config_dir),
            "{words:?}: {denied}"
        );
        for text in [
            ": owned by user root (uid 0), mode 0",
            ", and this is user daemon (uid 1); run this as root",
        ] {
            assert!(denied.contains(text), "{words:?}: {denied}");
        }
    }
}

/// Only root can become another.
#[test]
fn what_root_does_with_keys_a_master_of_another_user_can_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = root.path().display();
    let [publish_port, ret_port] = free_ports();
    let master = format!(
        "root_dir: {path}/m\nuser: nobody\ninterface: 127.0.0.1\npublish_port: {publish_port}\nret_port: {ret_port}\n"
    );
    let minion = format!(
        "root_dir: {path}/n\nid: m1\nmaster: 127.0.0.1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n"
    );
    fs::write(root.path().join("master"), master).unwrap();
    fs::write(root.path().join("minion"), minion).unwrap();
    let config = root.path().to_str().unwrap();
    let mut running = Running::start(&mut brine(&["salt-master", "-c", config, "-l", "info"]));
    running.says("ready");
    let mut minion = Running::start(&mut brine(&["salt-minion", "-c", config, "-l", "info"]));
    let pki = root.path().join("m/etc/salt/pki/master");
    wait_until(|| pki.join("minions_pre/m1").exists());
    let left = run(
        &mut brine(&["salt-key", "-c", config, "-y", "-a", "m1"]),
        "",
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    minion.says("connected to the master");
    let left = run(
        &mut brine(&["salt-key", "-c", config, "--gen-signature", "--auto-create"]),
        "",
    );
    assert_eq!(left.code, Some(0), "{left:?}");
    let nobody = fs::metadata(&pki).unwrap().uid();
    assert_ne!(nobody, 0);
    let mut folders = vec![pki, root.path().join("m/var/cache/salt/master")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().uid(),
                nobody,
                "{}",
                entry.path().display()
            );
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

#[test]
fn a_closed_terminal_ends_up_and_nothing_stays_behind() {
    let scratch = tempfile::Builder::new().prefix("b").tempdir().unwrap();
    let mut up = Running::start(brine(&["up"]).env("TMPDIR", scratch.path()));
    up.prints("Ctrl-C ends it.");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    up.signal(Signal::HUP);
    assert_eq!(up.left().code, Some(0));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_guessed_minion_id_is_kept_for_the_next_start() {
    for (option, is_kept) in [("", true), ("minion_id_caching: False\n", false)] {
        let root = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let path = root.path().display();
        let [port, _] = free_ports();
        let minion = format!("root_dir: {path}\nmaster: 127.0.0.1\nmaster_port: {port}\n{option}");
        fs::write(root.path().join("minion"), minion).unwrap();
        let config = root.path().to_str().unwrap();
        let kept = root.path().join("etc/salt/minion_id");
        let local = [
            "salt-call",
            "-c",
            config,
            "--local",
            "--out=json",
            "grains.get",
            "id",
        ];
        let left = run(&mut brine(&local), "");
        assert!(!kept.exists(), "{left:?}");
        let returned: serde_json::Value = serde_json::from_str(&left.stdout).unwrap();
        let mut minion = Running::start(&mut brine(&["salt-minion", "-c", config, "-l", "info"]));
        minion.says("ready");
        let id = returned["local"].as_str().unwrap();
        assert_eq!(
            fs::read_to_string(&kept).ok().as_deref(),
            is_kept.then_some(id)
        );
    }
}

#[test]
fn of_a_grain_given_twice_the_last_one_counts() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().to_str().unwrap();
    fs::write(
        root.path().join("minion"),
        format!("id: m1\nroot_dir: {config}\n"),
    )
    .unwrap();
    let grains = "roles:\n  - web\n  - db\nenv: live\nroles:\n  - cache\n";
    fs::write(root.path().join("grains"), grains).unwrap();
    let call = |words: &[&str]| {
        run(
            &mut brine(&[&["salt-call", "-c", config, "--local", "--out=json"], words].concat()),
            "",
        )
    };
    let left = call(&["grains.item", "roles", "env"]);
    let returned: serde_json::Value = serde_json::from_str(&left.stdout).unwrap();
    assert_eq!(
        returned["local"],
        serde_json::json!({"roles": ["cache"], "env": "live"}),
        "{left:?}"
    );
    assert!(
        left.stderr.contains("\"roles\" is given more than once"),
        "{left:?}"
    );
    let left = call(&["grains.setval", "role", "web"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let left = call(&["grains.get", "role"]);
    assert!(
        left.stdout.contains("\"web\"") && left.stderr.is_empty(),
        "{left:?}"
    );
    let file = fs::read_to_string(root.path().join("grains")).unwrap();
    assert_eq!(file, "env: live\nrole: web\nroles:\n- cache\n");
}
