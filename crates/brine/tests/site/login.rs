//! `salt -a` and `-T` of ours beside real Salt's, on whatever master there is: the same output and exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use brine_testkit::program;

use crate::site::Site;

/// Logs in as the users of `sharedsecret` in the site's configuration, whose master and minion run.
pub(crate) fn commands_log_in(site: &Site, salt: &str) {
    let home = site.path("home");
    fs::create_dir_all(&home).unwrap();
    let home = home.to_str().unwrap();
    let ann = ["-a", "sharedsecret", "--username", "ann", "--password"];
    for (password, words) in [
        ("hunter2", &["m1", "test.ping"][..]),
        ("wrong", &["m1", "test.ping"]),
        ("hunter2", &["m1", "cmd.run", "id"]),
        ("hunter2", &["-T", "m1", "test.echo", "x"]),
    ] {
        let arguments = [&ann[..], &[password], words].concat();
        let theirs = {
            let mut command = program::command(salt, "salt", &site.path(""));
            command
                .args(&arguments)
                .env("HOME", home)
                .env_remove("XDG_CONFIG_HOME");
            let output = command.output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            (output.status.code(), stdout, take_token(site))
        };
        let ours = site.run_with(
            &[&["salt"], &arguments[..]].concat(),
            &[("HOME", home), ("XDG_CONFIG_HOME", home)],
            "",
        );
        let ours = (ours.code, ours.stdout, take_token(site));
        assert_eq!(ours, theirs, "{arguments:?}");
    }
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

/// Whether a token was kept; its mode and length.
fn take_token(site: &Site) -> Option<(u32, usize)> {
    let path = site.path("home/salt_token");
    let mode = fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    let length = fs::read(&path).unwrap().len();
    fs::remove_file(path).unwrap();
    Some((mode, length))
}
