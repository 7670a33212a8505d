//! Jobs: what `salt` and `salt-run` print of them.

use rustix::process::Signal;

use super::Node;
use crate::support::{brine, run, wait_until};

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
    // A job of the master itself.
    let echoed = node.run(&["salt-run", "--jid", "20261130120000000001", "test.arg", "x"]);
    assert_eq!(echoed.code, Some(0), "{echoed:?}");
    let questions = [
        vec!["jobs.lookup_jid", "20261130120000000001"],
        vec!["jobs.list_job", "20261130120000000001"],
        vec!["jobs.list_jobs", "search_function=runner.test.arg"],
        vec!["jobs.last_run", "function=runner.test.arg"],
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
    for questions in [
        &questions[..],
        &[
            vec!["manage.versions"],
            vec!["test.arg", "a", "b=2", "__c=3"],
        ],
    ] {
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
        "nobody test.ping --static --out=json",
        "nobody test.ping --out=yaml",
        "-b 1 --static nobody test.ping --out=json",
        "-b 1 -L m1,m2 test.ping",
        "--subset 1 nobody test.ping",
    ];
    // Minions of other masters may match: that there are none here is not said.
    let with_syndics = ["nobody test.ping --static --out=json"];
    print_as_salts(&node, &calls);
    let file = node.root.path().join("master");
    let mut config = std::fs::read_to_string(&file).unwrap();
    config.push_str("order_masters: True\n");
    std::fs::write(&file, config).unwrap();
    print_as_salts(&node, &with_syndics);
}

/// Each call prints what real `salt` prints, and ends with its code.
fn print_as_salts(node: &Node, calls: &[&str]) {
    let config_dir = node.root.path().to_str().unwrap();
    let words = calls.iter().map(|call| call.split(' ').collect());
    let words: Vec<Vec<_>> = words.collect();
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
