//! `-a` and `-T` of our `salt`, `salt-run` and `salt-key` beside real Salt's, on whatever master there is: the same output
//! and exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use brine_testkit::program;

use crate::site::{Site, wait_until};

/// Logs in as the users of `sharedsecret` in the site's configuration, whose master and minion run.
pub(crate) fn commands_log_in(site: &Site, salt: &str) {
    let home = site.path("home");
    fs::create_dir_all(&home).unwrap();
    let home = home.to_str().unwrap();
    let who = |user, password| {
        [
            "--auth",
            "sharedsecret",
            "--username",
            user,
            "--password",
            password,
        ]
    };
    // Over zeromq: Salt's own salt-run makes no request over tcp of a number beyond 64 bits.
    let jid = a_job(site);
    for (command, user, password, words) in [
        ("salt", "ann", "hunter2", &["m1", "test.ping"][..]),
        ("salt", "ann", "wrong", &["m1", "test.ping"]),
        ("salt", "ann", "hunter2", &["m1", "cmd.run", "id"]),
        ("salt", "ann", "hunter2", &["-T", "m1", "test.echo", "x"]),
        ("salt-run", "fred", "hunter2", &["manage.up"]),
        ("salt-run", "fred", "hunter2", &["-T", "manage.up"]),
        ("salt-run", "fred", "hunter2", &["jobs.exit_success", &jid]),
        ("salt-run", "fred", "wrong", &["manage.up"]),
        ("salt-run", "ann", "hunter2", &["manage.up"]),
        ("salt-key", "fred", "hunter2", &["-L"]),
        (
            "salt-key",
            "fred",
            "hunter2",
            &["-l", "acc", "--out", "json"],
        ),
        ("salt-key", "fred", "hunter2", &["-f", "m1"]),
        ("salt-key", "fred", "hunter2", &["-p", "m*"]),
        ("salt-key", "fred", "hunter2", &["-T", "-L"]),
        ("salt-key", "fred", "hunter2", &["-y", "-a", "nosuch"]),
        ("salt-key", "fred", "wrong", &["-L"]),
        ("salt-key", "ann", "hunter2", &["-L"]),
    ] {
        let arguments = [&who(user, password)[..], words].concat();
        let theirs = {
            let mut theirs = program::command(salt, command, &site.path(""));
            theirs
                .args(&arguments)
                .env("HOME", home)
                .env_remove("XDG_CONFIG_HOME");
            let output = theirs.output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            (output.status.code(), stdout, take_token(site))
        };
        let ours = site.run_with(
            &[&[command], &arguments[..]].concat(),
            &[("HOME", home), ("XDG_CONFIG_HOME", home)],
            "",
        );
        let ours = (ours.code, ours.stdout, take_token(site));
        assert_eq!(ours, theirs, "{command} {arguments:?}");
    }
    // Real salt-key would ask, and accept nothing.
    let pending = include_str!("../cli/minion.pub");
    fs::write(site.path("m/pki/minions_pre/m2"), pending).unwrap();
    let arguments = [&who("fred", "hunter2")[..], &["-a", "m*"]].concat();
    let accepted = site.run_with(
        &[&["salt-key"], &arguments[..]].concat(),
        &[("HOME", home), ("XDG_CONFIG_HOME", home)],
        "y\n",
    );
    assert!(
        accepted.stdout.ends_with("Key for minion m2 accepted.\n"),
        "{}",
        accepted.stdout
    );
    assert!(site.path("m/pki/minions/m2").exists());
    let deleted = site.run_with(
        &[
            &["salt-key"],
            &who("fred", "hunter2")[..],
            &["-y", "-d", "m2"],
        ]
        .concat(),
        &[("HOME", home), ("XDG_CONFIG_HOME", home)],
        "",
    );
    assert!(
        deleted.stdout.ends_with("Key for minion m2 deleted.\n"),
        "{}",
        deleted.stdout
    );
    let environment = [("HOME", home), ("XDG_CONFIG_HOME", home)];
    let asked = site.run_with(
        &["salt", "-a", "sharedsecret", "m1", "test.ping"],
        &environment,
        "ann\nhunter2\n",
    );
    assert_eq!(asked.stdout, "username: m1:\n    True\n");
    let unknown = site.run_with(
        &["salt", "-a", "nosuch", "m1", "test.ping"],
        &environment,
        "",
    );
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stdout.starts_with(
            "The specified external authentication system \"nosuch\" is not available\n"
        ),
        "{}",
        unknown.stdout
    );
}

/// The id of a job whose return is in the master's job cache.
fn a_job(site: &Site) -> String {
    let published = site.run(&["salt", "--async", "m1", "test.ping"]);
    let (_, jid) = published.stdout.rsplit_once(' ').unwrap();
    let jid = jid.trim().to_owned();
    let successes = ["salt-run", "jobs.exit_success", &jid];
    wait_until("the job's return is kept", || {
        site.run(&successes).stdout == "m1:\n    True\n"
    });
    jid
}

/// Whether a token was kept; its mode and length.
fn take_token(site: &Site) -> Option<(u32, usize)> {
    let path = site.path("home/salt_token");
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    let length = fs::read(&path).unwrap().len();
    fs::remove_file(path).unwrap();
    Some((mode, length))
}
