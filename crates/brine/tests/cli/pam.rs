//! Logins by `external_auth: pam`, with the system's own modules. Users, passwords and services are this file's: they
//! lie over those of the machine in a mount name space of each helper's own, so only root can run these tests.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_auth::{AuthConfig, Authority, Login, LoginError, PamOptions, TokenLayout, TokenStore};
use brine_testkit::user::can_switch;
use brine_testkit::wait_until;
use brine_wire::{Value, json};

/// Of `ann pass`, with few rounds.
const HASH: &str = "$6$rounds=1000$saltsalt$qY4faBQXlLiJgfAkX.OxQHLpPIZQtlIb/1MfaYZDWuuOXBi1dF7hHUJLz9pEZ1GY4iqdxaI9uPlxXBGWt.wYa1";

/// A machine with users: a directory that lies over `/etc` where PAM looks.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Self { directory };
        fs::create_dir(machine.path("pam.d")).unwrap();
        let unix = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n";
        machine.service("login", unix);
        machine.service(
            "other",
            "auth required pam_deny.so\naccount required pam_deny.so\n",
        );
        let users = [
            "root:x:0:0",
            "ann:x:9001:9001",
            "locked:x:9002:9001",
            "gone:x:9003:9001",
            "stale:x:9004:9001",
        ];
        let users = users.map(|user| format!("{user}::/:/bin/sh\n"));
        fs::write(machine.path("passwd"), users.concat()).unwrap();
        fs::write(
            machine.path("group"),
            "root:x:0:\nstaff:x:9001:\nops:x:9010:ann\nothers:x:9011:root\n",
        )
        .unwrap();
        // Locked by `passwd -l`; expired in 1970; a password that must be changed.
        let shadow = format!(
            "ann:{HASH}:19000:0:99999:7:::\nlocked:!{HASH}:19000:0:99999:7:::\ngone:{HASH}:19000:0:99999:7::1:\n\
             stale:{HASH}:0:0:99999:7:::\n"
        );
        fs::write(machine.path("shadow"), shadow).unwrap();
        machine.script(
            "helper",
            &format!(
                "exec unshare --mount --propagation private sh -ec '\n\
                 for file in pam.d passwd group shadow; do mount --bind \"$0/$file\" \"/etc/$file\"; done\n\
                 exec \"$@\"' '{}' '{}' \"$@\"\n",
                machine.directory.path().display(),
                env!("CARGO_BIN_EXE_brine"),
            ),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn service(&self, name: &str, rules: &str) {
        fs::write(self.path("pam.d").join(name), rules).unwrap();
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// A service whose module is a script.
    fn scripted(&self, service: &str, text: &str) {
        let script = self.script(service, text);
        let module = format!(
            "auth required pam_exec.so expose_authtok quiet {}",
            script.display()
        );
        self.service(
            service,
            &format!("{module}\naccount required pam_permit.so\n"),
        );
    }

    fn authority(&self, service: &str, answer_within: Duration) -> Authority {
        let permissions =
            br#"{"pam": {"ann": ["test.*"], "ops%": ["state.*"], "others%": [".*"]}}"#;
        let Ok(Value::Map(external_auth)) = json::parse(permissions) else {
            panic!("permissions are a mapping");
        };
        let config = AuthConfig {
            external_auth,
            pam: PamOptions {
                service: service.to_owned(),
                program: self.path("helper"),
                answer_within,
            },
            ..AuthConfig::default()
        };
        let tokens = TokenStore::new(self.path("tokens"), TokenLayout::Cache, "sha256");
        Authority::new(config, tokens)
    }

    /// What comes of a login, its own number of failures not counted.
    fn log_in(&self, service: &str, user: &str, password: &str) -> Result<Vec<String>, LoginError> {
        let authority = self.authority(service, brine_testkit::DEADLINE);
        let token = authority.log_in(&login(user, password), None)?;
        Ok(token.groups)
    }
}

fn login(user: &str, password: &str) -> Login {
    read(user, password).unwrap()
}

fn read(user: &str, password: &str) -> Option<Login> {
    let fields = [("username", user), ("password", password), ("eauth", "pam")];
    Login::from_map(&fields.into_iter().collect())
}

#[test]
fn the_systems_users_log_in_and_bring_their_groups() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    let authority = machine.authority("login", brine_testkit::DEADLINE);
    let token = authority.log_in(&login("ann", "ann pass"), None).unwrap();
    assert_eq!(token.groups, ["ops", "staff"]);
    assert_eq!(
        authority.auth_list(&token),
        ["test.*".into(), "state.*".into()]
    );
    assert_eq!(
        authority.token(&token.token).unwrap().unwrap().groups,
        ["ops", "staff"]
    );
}

#[test]
fn nobody_else_does() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    let long = "a".repeat(1024);
    for (user, password) in [
        ("ann", "ann pas"),
        ("ann", ""),
        ("ann", "ann pass\0"),
        ("ann:x", "ann pass"),
        ("ANN", "ann pass"),
        ("../ann", "ann pass"),
        ("--help", "ann pass"),
        ("%s%n", "ann pass"),
        ("Ann\u{fffd}é", "ann pass"),
        (&*long, &*long),
        ("nobody there", "ann pass"),
        ("root", ""),
        ("locked", "ann pass"),
        ("gone", "ann pass"),
        ("stale", "ann pass"),
    ] {
        let refused = machine.log_in("login", user, password);
        assert_eq!(refused, Err(LoginError::Wrong), "{user:?} {password:?}");
    }
    // These get no further than the request.
    for user in ["ann\0", "ann\0root", "ann\n"] {
        assert!(read(user, "ann pass").is_none(), "{user:?}");
    }
    // A service without a file is that of the name `other`.
    let refused = machine.log_in("nosuch", "ann", "ann pass");
    assert_eq!(refused, Err(LoginError::Wrong));
}

#[test]
fn modules_are_told_user_and_password_and_nothing_of_it_is_in_arguments() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    let seen = machine.path("seen");
    machine.scripted(
        "told",
        &format!(
            "echo '{{\"accepted\": false}}'; echo '{{\"accepted\": false}}' >/proc/$PPID/fd/1\n\
             {{ cat /proc/$PPID/cmdline /proc/$PPID/environ; echo \"user=$PAM_USER password=$(cat)\"; }} >{}\n",
            seen.display()
        ),
    );
    // Not one of the system's: without groups.
    assert_eq!(
        machine.log_in("told", "bob", "bob's \"pass\"\n"),
        Ok(Vec::new())
    );
    let seen = fs::read_to_string(seen).unwrap();
    assert_eq!(seen.matches("bob's").count(), 1, "{seen}");
    assert!(seen.contains("user=bob password=bob's \"pass\""), "{seen}");
}

#[test]
fn a_module_that_hangs_is_given_up_with_all_that_it_has_started() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    let pid = machine.path("pid");
    machine.scripted(
        "hangs",
        &format!(
            "echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000\n",
            pid.display()
        ),
    );
    // Long enough for the module to begin, wherever these tests run: it is on record by then, or the time is doubled.
    let mut answer_within = Duration::from_secs(1);
    while !pid.exists() {
        let authority = machine.authority("hangs", answer_within);
        let refused = authority.log_in(&login("ann", "ann pass"), None);
        assert!(
            matches!(&refused, Err(LoginError::Broken(why)) if why.contains("no answer within")),
            "{refused:?}"
        );
        answer_within *= 2;
    }
    let pid = fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    wait_until("the module's process to end", || !process.exists());
}

#[test]
fn a_module_that_crashes_takes_its_login_alone() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    machine.scripted("crashes", "kill -ABRT $PPID\n");
    let refused = machine.log_in("crashes", "ann", "ann pass");
    assert!(
        matches!(&refused, Err(LoginError::Broken(why)) if why.contains("without an answer")),
        "{refused:?}"
    );
    assert!(machine.log_in("login", "ann", "ann pass").is_ok());
}

#[test]
fn failures_are_limited_here_too() {
    if !can_switch() {
        return;
    }
    let machine = Machine::new();
    let authority = machine.authority("other", brine_testkit::DEADLINE);
    let from = Some(IpAddr::V4(1.into()));
    let attempts = (0..11).map(|_| authority.log_in(&login("ann", "ann pass"), from));
    let last = attempts.last();
    assert!(
        matches!(last, Some(Err(LoginError::TooMany { .. }))),
        "{last:?}"
    );
}

#[test]
fn options_that_name_no_service_are_refused() {
    let machine = Machine::new();
    for service in ["", "../login", "a\0b"] {
        let refused = machine.log_in(service, "ann", "ann pass");
        assert!(
            matches!(&refused, Err(LoginError::Broken(why)) if why.contains("auth.pam.service")),
            "{refused:?}"
        );
    }
    let without = AuthConfig {
        pam: PamOptions {
            program: "/nonexistent".into(),
            ..PamOptions::default()
        },
        external_auth: [("pam", brine_wire::Map::new())].into_iter().collect(),
        ..AuthConfig::default()
    };
    let tokens = TokenStore::new(machine.path("tokens"), TokenLayout::Cache, "sha256");
    let refused = Authority::new(without, tokens).log_in(&login("ann", "ann pass"), None);
    assert!(
        matches!(&refused, Err(LoginError::Broken(why)) if why.contains("/nonexistent")),
        "{refused:?}"
    );
}
