//! Help, completions, manual pages, links, and wrong usage.

use std::fs;
use std::process::Command;

use crate::support::{Bus, brine, run};

#[test]
fn every_command_has_help_and_wrong_usage_is_code_2() {
    for command in [
        "up",
        "bus",
        "watch",
        "send",
        "bench",
        "history",
        "status",
        "log",
        "consumer",
        "links",
        "completions",
        "man",
    ] {
        let left = run(&mut brine(&[command, "--help"]), "");
        assert_eq!(
            (left.code, left.stderr.as_str()),
            (Some(0), ""),
            "{command}"
        );
        let left = run(&mut brine(&[command, "--bogus"]), "");
        assert_eq!(
            (left.code, left.stdout.as_str()),
            (Some(2), ""),
            "{command}"
        );
    }
}

/// What other tools call it: docker and kubectl have `ls` and `rm`, nats and systemd `list` and `delete`.
#[test]
fn commands_have_the_names_that_people_know() {
    for (command, name, others) in [
        ("consumer", "ls", &["list"][..]),
        ("consumer", "info", &["show"]),
        ("consumer", "add", &["create"]),
        ("consumer", "rm", &["remove", "delete"]),
        ("consumer", "dead", &["dead-letters"]),
        ("reactor", "ls", &["list"]),
        ("log", "info", &["show"]),
        ("log", "purge", &["rm", "remove", "delete"]),
    ] {
        let help = |name: &str| run(&mut brine(&[command, name, "--help"]), "");
        let expected = help(name);
        assert_eq!(expected.code, Some(0), "{command} {name}");
        let all = run(&mut brine(&[command, "--help"]), "").stdout;
        for other in others {
            assert_eq!(help(other), expected, "{command} {other}");
            assert!(all.contains(other), "{command} {other}: {all}");
        }
    }
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let left = run(&mut brine(&["completions", shell]), "");
        assert_eq!(left.code, Some(0));
        assert!(left.stdout.contains("watch"), "{shell}");
    }
    let place = Bus::absent();
    let left = run(&mut brine(&["man", &place.path("man")]), "");
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
    let page = fs::read_to_string(place.path("man/brine-watch.1")).unwrap();
    assert!(page.contains("Events as they come") || page.contains("Show events as they come"));
}

/// By either of its names: `brine salt-key`, and `salt-key` where there is a link.
#[test]
fn bash_completes_salts_commands_with_their_own_options() {
    let place = Bus::absent();
    let script = run(&mut brine(&["completions", "bash"]), "").stdout;
    fs::create_dir_all(place.path("")).unwrap();
    fs::write(place.path("script"), script).unwrap();
    for (function, typed, expected, other) in [
        ("_brine", "brine salt-k", "salt-key", "watch"),
        (
            "_brine",
            "brine salt-key --acc",
            "--accept-all",
            "--log-level",
        ),
        ("_brine", "brine wa", "watch", "salt"),
        (
            "_brine_salt",
            "salt-key --acc",
            "--accept-all",
            "--log-level",
        ),
        (
            "_brine_salt",
            "/usr/bin/salt-call --lo",
            "--local",
            "--accept",
        ),
        ("_brine_salt", "salt-call -l de", "debug", "--local"),
        ("_brine_salt", "salt-master --d", "--daemon", "--detached"),
    ] {
        let words: Vec<&str> = typed.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let at = words.len() - 1;
        let commands = format!(
            ". '{}'\nCOMP_WORDS=({typed}) COMP_CWORD={at}\n{function} '{}' '{last}' '{before}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"; complete -p {}",
            place.path("script"),
            words[0],
            words[0].rsplit('/').next().unwrap()
        );
        let left = run(Command::new("bash").args(["-c", &commands]), "");
        assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""), "{typed}");
        let offered: Vec<&str> = left.stdout.lines().collect();
        assert!(offered.contains(&expected), "{typed}: {offered:?}");
        assert!(!offered.contains(&other), "{typed}: {offered:?}");
    }
}

/// Keys of a master that is configured in a directory, and functions.
#[test]
fn bash_completes_names_of_minions_keys_and_functions() {
    let place = Bus::absent();
    let pki = place.path("pki");
    for (state, id) in [
        ("minions", "web1"),
        ("minions_pre", "web2"),
        ("minions_rejected", "db3"),
        ("minions_rejected", "-x1"),
    ] {
        fs::create_dir_all(format!("{pki}/{state}")).unwrap();
        fs::write(format!("{pki}/{state}/{id}"), "").unwrap();
    }
    let config = place.path("etc");
    fs::create_dir_all(&config).unwrap();
    fs::write(format!("{config}/master"), format!("pki_dir: {pki}\n")).unwrap();
    let script = run(&mut brine(&["completions", "bash"]), "").stdout;
    fs::write(place.path("script"), script).unwrap();
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_brine")).parent();
    let path = format!("{}:/usr/bin:/bin", directory.unwrap().display());
    for (function, typed, expected) in [
        ("_brine_with_names", "brine salt-key -c DIR -a we", "web2"),
        ("_brine_salt", "salt-key -c DIR -d we", "web1 web2"),
        (
            "_brine_salt",
            "salt-key --config-dir DIR -y -r web",
            "web1 web2",
        ),
        ("_brine_salt", "salt-key -l rej", "rej rejected"),
        ("_brine_salt", "salt -c DIR -t 5 w", "web1"),
        ("_brine_salt", "salt -c DIR web1 test.pi", "test.ping"),
        (
            "_brine_salt",
            "salt-call -l debug grains.it",
            "grains.item grains.items",
        ),
        ("_brine_salt", "salt-run jobs.lookup", "jobs.lookup_jid"),
        ("_brine_with_names", "brine statu", "status"),
        // Bash has `=` as a word of its own.
        ("_brine_salt", "salt-key -c DIR --accept = we", "web2"),
        ("_brine_salt", "salt-key --config-dir = DIR -a we", "web2"),
        ("_brine_salt", "salt-key -cDIR -a we", "web2"),
        ("_brine_salt", "salt -c DIR --timeout = 5 w", "web1"),
        ("_brine_with_names", "brine watch --match = gl", "glob"),
        // A value, unlike an option, may be a name that begins so.
        ("_brine_salt", "salt-key -c DIR -d -x", "-x1"),
        ("_brine_salt", "salt -c DIR -x", ""),
        ("_brine_salt", "salt-key -c DIR -a no", "no files"),
        (
            "_brine_with_names",
            "brine salt-key -c DIR -d no",
            "no files",
        ),
    ] {
        let typed = typed.replace("DIR", &config);
        let words: Vec<&str> = typed.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let at = words.len() - 1;
        let commands = format!(
            ". '{}'\ncompopt() {{ [[ \"$1 $2 $3 $4\" == '+o bashdefault +o default' ]] && echo no files; }}\n\
             COMP_WORDS=({typed}) COMP_CWORD={at}\n{function} '{}' '{last}' '{before}'\n\
             echo ${{COMPREPLY[*]}}",
            place.path("script"),
            words[0],
        );
        let left = run(
            Command::new("bash")
                .args(["-c", &commands])
                .env("PATH", &path),
            "",
        );
        assert_eq!(left.stdout.trim_end(), expected, "{typed}: {left:?}");
    }
    // Other shells have one word, which is replaced as a whole.
    let left = run(
        &mut brine(&[
            "completions",
            "--values",
            "--",
            "salt-key",
            "-c",
            &config,
            "--accept=we",
        ]),
        "",
    );
    assert_eq!(left.stdout, "--accept=web2\n", "{left:?}");
}

#[test]
fn a_minion_is_not_asked_for_a_reactor() {
    let place = Bus::absent();
    let folder = place.path("n");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/minion"), "id: m1\n").unwrap();
    for words in [&["ls"][..], &["history"], &["rerun", "1"]] {
        let left = run(
            &mut brine(&[&["reactor"], words, &["-c", &folder]].concat()),
            "",
        );
        assert!(
            left.code == Some(1) && left.stderr.starts_with("brine: a minion has no reactor"),
            "{words:?}: {left:?}"
        );
    }
}

#[test]
fn zsh_and_fish_know_salts_commands_by_both_names() {
    for (shell, lines) in [
        (
            "zsh",
            [
                "#compdef brine salt salt-api ",
                "compdef _brine_salt salt salt-api ",
            ],
        ),
        (
            "fish",
            [
                "complete -c salt --wraps 'brine salt'",
                "complete -c salt-key --wraps 'brine salt-key'",
            ],
        ),
    ] {
        let script = run(&mut brine(&["completions", shell]), "").stdout;
        for expected in lines {
            assert!(
                script.lines().any(|line| line.starts_with(expected)),
                "{expected}"
            );
        }
        assert!(script.contains("accept-all"), "{shell}");
    }
}

#[test]
fn a_link_by_salts_name_is_salts_command() {
    let place = Bus::absent();
    let links = place.path("bin");
    let link = format!("{links}/salt-run");
    let left = run(&mut brine(&["links", &links]), "");
    assert_eq!(left.code, Some(0));
    assert!(left.stdout.lines().any(|line| line == link), "{left:?}");
    // Again, nothing is left to do.
    assert_eq!(run(&mut brine(&["links", &links]), "").stdout, "");
    let left = run(Command::new(&link).arg("--version"), "");
    assert!(left.stdout.starts_with("salt-run 3008 (Brine "), "{left:?}");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "another program").unwrap();
    let left = run(&mut brine(&["links", &links]), "");
    assert_eq!(left.code, Some(1));
    assert!(left.stderr.contains("--force"), "{left:?}");
    assert_eq!(
        run(&mut brine(&["links", "--force", &links]), "").code,
        Some(0)
    );
}

#[test]
fn a_bench_of_its_own_bus_finds_no_faults() {
    let left = run(&mut brine(&["bench", "--duration", "0.1", "--json"]), "");
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.stdout.contains("\"lost\":0"), "{left:?}");
}

#[test]
fn bench_loads_a_bus_in_use_only_with_live() {
    let bus = Bus::start();
    let left = bus.run(&["bench", "-d", "0.1"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(1), ""));
    let expected = format!(
        "brine: master bus in use (pid {}); add --live to load it anyway\n",
        bus.pid()
    );
    assert_eq!(left.stderr, expected);
    let watch = bus.listener(&["watch", "-n", "1"]);
    let left = bus.run(&["bench", "-d", "0.1", "--json", "--live"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let event = watch.left().stdout;
    assert!(event.starts_with(r#"{"tag": "brine/bench/"#), "{event}");
}

#[test]
fn slips_of_a_newcomer_are_answered_with_what_to_do() {
    let place = Bus::absent();
    let directory = place.path("");
    let file = place.path("master");
    for (words, code, says) in [
        (
            &["watch", "-c", &file][..],
            1,
            "expected a directory, found a file; for a file: --config /",
        ),
        (
            &["watch", "--config", &directory],
            1,
            "expected a file, found a directory; for a directory: -c /",
        ),
        (
            &["check", "-c", &file],
            1,
            "expected a directory, found a file; for a file: --config /",
        ),
        (
            &["check", "--config", &directory],
            1,
            "expected a file, found a directory; for a directory: -c /",
        ),
        (
            &["watch", ""],
            2,
            "a tag is empty: no event has such a tag; for every event, leave it out",
        ),
        (
            &["history", "a/*", "-x", ""],
            2,
            "--exclude: a tag is empty",
        ),
        (
            &["watch", "--exec", " "],
            2,
            "expected a shell command, found nothing",
        ),
        (&["watch", "-n", "-5"], 2, "tip: -n takes no negative value"),
        (
            &["history", "--since", "-5m"],
            2,
            "tip: --since takes a time, such as 5m (five minutes ago)",
        ),
        (
            &["bench", "--size", "5"],
            2,
            "unexpected argument '--size' found\n\nUsage",
        ),
        (
            &["completions", "tcsh"],
            2,
            "[possible values: bash, elvish, fish, powershell, zsh]\n\nFor more",
        ),
    ] {
        let left = run(&mut brine(words), "");
        assert_eq!(left.code, Some(code), "{words:?}: {left:?}");
        assert!(left.stderr.contains(says), "{words:?}: {left:?}");
    }
    for (words, same) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "watch"], &["watch", "--help"]),
        (&["help", "consumer", "add"], &["consumer", "add", "--help"]),
        (&["help", "salt-key"], &["salt-key", "--help"]),
    ] {
        assert_eq!(
            run(&mut brine(words), ""),
            run(&mut brine(same), ""),
            "{words:?}"
        );
    }
}

#[test]
fn check_finds_sockets_that_cannot_be() {
    let place = Bus::absent();
    let file = place.path("long");
    let long = "x".repeat(100);
    for (text, severity, says) in [
        (
            format!("root_dir: /tmp/{long}\n"),
            "error",
            "master_event_pull.ipc",
        ),
        (
            format!("sock_dir: /tmp/{long}\n"),
            "warning",
            "/.salt-unix instead",
        ),
        (
            "ipc_mode: tcp\ntcp_master_pub_port: 99999\n".to_owned(),
            "error",
            "tcp_master_pub_port",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let left = run(&mut brine(&["check", "--config", &file]), "");
        let is_of = |line: &&str| line.starts_with(severity) && line.contains(says);
        assert_eq!(left.stdout.lines().filter(is_of).count(), 1, "{left:?}");
    }
}

#[test]
fn check_finds_what_fits_neither_the_configuration_nor_the_machine() {
    let place = Bus::absent();
    let nosuch = place.path("nosuch");
    for (name, text, says) in [
        ("minion", "id: a b/c\n", "found \"a b/c\"".to_owned()),
        (
            "minion",
            "id: a\nmaster: 127.0.0.1:99999\n",
            "found 127.0.0.1:99999".to_owned(),
        ),
        (
            "master",
            "nodegroups: {a: N@b}\n",
            "nodegroups: a: Failed nodegroup expansion: unknown".to_owned(),
        ),
        (
            "master",
            "nodegroups: {c: 'E@['}\n",
            "nodegroups: c: invalid target".to_owned(),
        ),
        (
            "master",
            "nodegroups: {d: , e: 'web*'}\n",
            "nodegroups: d: it has no target".to_owned(),
        ),
        (
            "master",
            "rest_cherrypy: {port: x, disable_ssl: true, host: 127.0.0.1}\n",
            "port: expected a number".to_owned(),
        ),
        (
            "master",
            "rest_cherrypy: {prot: 8000}\n",
            "rest_cherrypy: set port".to_owned(),
        ),
        (
            "master",
            "external_auth: {pamm: {fred: [test.ping]}}\n",
            "no back end pamm".to_owned(),
        ),
        (
            "master",
            "brine: {python: /nosuch/python}\n",
            "/nosuch/python is no file".to_owned(),
        ),
        (
            "master",
            "brine: {history: {directory: /etc/passwd}}\n",
            "found a file: /etc/passwd".to_owned(),
        ),
        (
            "master",
            &format!("file_roots: {{base: ['{nosuch}']}}\n"),
            format!("base: {nosuch} does not exist"),
        ),
    ] {
        let file = place.path(name);
        fs::write(&file, text).unwrap();
        let left = run(&mut brine(&["check", "--config", &file]), "");
        assert_eq!(left.stderr, "", "{text}");
        let findings = left
            .stdout
            .lines()
            .filter(|line| line.starts_with("error") || line.starts_with("warning"));
        let findings: Vec<_> = findings.collect();
        assert!(
            findings.len() == 1 && findings[0].contains(&says),
            "{text}: {left:?}"
        );
    }
}

/// Without its file Salt's defaults would hold, and the command would be about the machine's own
/// master.
#[test]
fn a_configuration_directory_without_the_nodes_file_is_an_error() {
    let place = Bus::absent();
    fs::create_dir(place.path("empty")).unwrap();
    let empty = place.path("empty");
    for (arguments, file) in [
        (&["send", "t"][..], "master"),
        (&["send", "t", "--node", "minion"], "minion"),
        (&["watch", "-n", "1"], "master"),
        (&["bus"], "master"),
        (&["bench"], "master"),
        (&["bench", "fleet"], "master"),
    ] {
        let left = run(brine(arguments).args(["-c", &empty]), "");
        assert_eq!(left.code, Some(1), "{arguments:?}: {left:?}");
        let expected = format!("brine: {empty}: no file `{file}`\n");
        assert_eq!(left.stderr, expected, "{arguments:?}");
        let left = run(brine(arguments).args(["-c", "/nosuch/dir"]), "");
        assert_eq!(left.code, Some(1), "{arguments:?}: {left:?}");
        assert_eq!(left.stderr, "brine: /nosuch/dir: no such directory\n");
    }
}

/// Root may read whatever another user may not; a link to itself nobody can.
#[test]
fn a_configuration_file_that_cannot_be_read_is_an_error() {
    let place = Bus::absent();
    let directory = place.path("closed");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink("master", format!("{directory}/master")).unwrap();
    for arguments in [&["send", "t"][..], &["watch", "-n", "1"], &["bus"]] {
        let left = run(brine(arguments).args(["-c", &directory]), "");
        assert_eq!(left.code, Some(1), "{arguments:?}: {left:?}");
        let expected = format!("brine: {directory}/master: Too many levels of symbolic links");
        assert!(left.stderr.starts_with(&expected), "{left:?}");
    }
}

#[test]
fn each_option_that_brine_does_not_start_with_is_named_at_once() {
    let place = Bus::absent();
    let file = place.path("wrong");
    let wrong =
        "ret_port: 99999\npublish_port: -1\ntransport: udp\nbrine: {log_bytes: many, audit: 7}\n";
    fs::write(&file, wrong).unwrap();
    let left = run(&mut brine(&["check", "--config", &file]), "");
    for option in [
        "ret_port",
        "publish_port",
        "transport",
        "log_bytes",
        "audit",
    ] {
        let is_of = |line: &&str| line.starts_with("error") && line.contains(option);
        assert_eq!(
            left.stdout.lines().filter(is_of).count(),
            1,
            "{option}: {left:?}"
        );
    }
    fs::write(&file, "a: b: c\n").unwrap();
    let left = run(&mut brine(&["doctor", "--config", &file]), "");
    assert!(
        left.code == Some(1)
            && left
                .stdout
                .contains("disks and deliveries were not checked"),
        "{left:?}"
    );
}

#[test]
fn the_node_is_that_of_the_configuration_that_is_named() {
    let place = Bus::absent();
    let config = place.path("etc");
    fs::create_dir_all(&config).unwrap();
    let text = format!("id: m1\nsock_dir: {}\n", place.path("none"));
    fs::write(format!("{config}/minion"), &text).unwrap();
    let asked = |arguments: &[&str]| {
        let words = [&["send", "t", "a=1", "-t", "0"], arguments].concat();
        run(&mut brine(&words), "").stderr
    };
    let (master, minion) = ("/none/master_event_pull.ipc", "/none/minion_event_");
    let file = format!("{config}/minion");
    for named in [["-c", &config], ["--config", &file]] {
        assert!(asked(&named).contains(minion), "{}", asked(&named));
    }
    fs::write(format!("{config}/master"), text).unwrap();
    assert!(asked(&["-c", &config]).contains(master));
    let said = asked(&["-c", &config, "--node", "minion"]);
    assert!(said.contains(minion), "{said}");
    fs::remove_file(format!("{config}/minion")).unwrap();
    let said = asked(&["-c", &config, "--node", "minion"]);
    assert_eq!(said, format!("brine: {config}: no file `minion`\n"));
}

/// A configuration may be checked on another machine than the one it is for.
#[test]
fn check_warns_of_a_user_that_this_machine_does_not_have() {
    let place = Bus::absent();
    let config = place.path("etc");
    fs::create_dir_all(&config).unwrap();
    fs::write(format!("{config}/master"), "user: no-such-user\n").unwrap();
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["check", "--strict"], 1),
        (&["doctor"], 1),
    ] {
        let left = run(&mut brine(&[arguments, &["-c", &config]].concat()), "");
        assert_eq!(left.code, Some(code), "{arguments:?} {left:?}");
        assert!(
            left.stdout.contains("there is no user no-such-user"),
            "{arguments:?} {left:?}"
        );
    }
}
