//! `salt-call`, and a minion's own files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;

use super::{Node, free_ports};
use crate::support::{Running, brine, run, wait_until};

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

/// As real `salt-call` does, whoever runs the command.
#[test]
fn salt_call_logs_that_a_command_failed() {
    let node = Node::accepted();
    let line = "Command 'exit' failed with return code: 3\n";
    for more in [&[][..], &["--local"]] {
        let call = |words: &[&str]| node.run(&[&["salt-call"], more, words].concat());
        let left = call(&["cmd.run", "exit 3"]);
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(1), "local:\n"),
            "{left:?}"
        );
        assert!(left.stderr.ends_with(line), "{left:?}");
        for quiet in [
            "ignore_retcode=True",
            "output_loglevel=quiet",
            "success_retcodes=3",
        ] {
            let left = call(&["cmd.run", "exit 3", quiet]);
            assert!(!left.stderr.contains("failed"), "{quiet}: {left:?}");
        }
    }
}

#[test]
fn salt_call_says_why_there_is_no_master() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let [free, _] = free_ports();
    let refused = format!("127.0.0.1:{free}");
    for (master, said) in [
        (
            "nosuchhost.invalid",
            "cannot resolve master \"nosuchhost.invalid\"",
        ),
        (&*refused, "Connection refused"),
    ] {
        let config = format!(
            "root_dir: {path}\nid: m1\nmaster: '{master}'\nauth_tries: 1\nauth_timeout: 1\n"
        );
        fs::write(root.path().join("minion"), config).unwrap();
        let left = run(&mut brine(&["salt-call", "-c", path, "test.ping"]), "");
        assert_eq!((left.code, left.stdout.as_str()), (Some(1), ""), "{left:?}");
        assert!(left.stderr.contains(said), "{left:?}");
    }
}

#[test]
fn salt_call_does_not_wait_for_a_minion_that_hangs() {
    let node = Node::accepted();
    node.minion.signal(Signal::STOP);
    let left = node.run(&["salt-call", "test.ping"]);
    node.minion.signal(Signal::CONT);
    assert_eq!(
        (left.code, left.stdout.as_str()),
        (Some(0), "local:\n    True\n"),
        "{left:?}"
    );
    let pid = node.minion.pid();
    let stopped = format!("(pid {pid}, which is stopped: kill -CONT {pid} lets it go on)");
    assert!(left.stderr.contains(&stopped), "{left:?}");
    assert!(
        left.stderr
            .ends_with("Running test.ping without the minion, as when none runs\n"),
        "{left:?}"
    );
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
