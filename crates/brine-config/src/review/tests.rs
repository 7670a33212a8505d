//! What a review says of files with faults.

use std::fs;

use super::*;

fn reviewed(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("master");
    fs::write(
        &file,
        format!("root_dir: {}\n{text}", folder.path().display()),
    )
    .unwrap();
    let (remarks, _) = review(Role::Master, &file, &Environment::default());
    let lines = remarks.iter().map(|remark| {
        let place = remark
            .place
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string);
        format!(
            "{:?} {} {place} {}; {}\n",
            remark.severity, remark.kind, remark.text, remark.remedy
        )
    });
    lines
        .collect::<String>()
        .replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_plain_configuration_is_fine() {
    assert_eq!(
        reviewed(
            "interface: 127.0.0.1\nreactor: []\nmysql.host: db1\nrest_cherrypy: {port: 8000}\n"
        ),
        ""
    );
}

#[test]
fn misspelt_options_are_found_with_their_lines() {
    insta::assert_snapshot!(reviewed("\nret_prot: 4506\nauto_acept: true\nour_own_thing: 1\n"), @r#"
    Warning unknown-option master:3 option ret_prot is not one of Salt's or Brine's; did you mean ret_port? nothing reads it as it is
    Warning unknown-option master:4 option auto_acept is not one of Salt's or Brine's; did you mean auto_accept? nothing reads it as it is
    Note unknown-option master:5 option our_own_thing is not one of Salt's or Brine's; leave it if a module of your own reads it by config.get, else remove it
    "#);
}

#[test]
fn misspelt_options_of_returners_are_found() {
    insta::assert_snapshot!(reviewed("event_return: pgjsonb\nreturner.pgjsonb.prot: 1\nreturner.pgjsonb.port: 1\nreturner.postgres: {hots: x}\n"), @r#"
    Warning unknown-option master:3 option returner.pgjsonb.prot is not one of its returner; did you mean port? nothing reads it as it is
    Warning unknown-option master:5 option returner.postgres: hots is not one of its returner; did you mean host? nothing reads it as it is
    "#);
}

#[test]
fn faults_under_brine_have_lines_too() {
    insta::assert_snapshot!(reviewed("brine:\n  log_bytes: 1\n  histroy: x\n"), @r#"Error unknown-option master:4 brine: histroy: no such option; did you mean history?; write history, or remove the line: Brine does not start with it"#);
    insta::assert_snapshot!(reviewed("brine:\n  history: {max_age: 7x, max_bytes: lots}\n  log_bytes: many\n"), @r#"
    Error wrong-value master:3 brine: history.max_age: expected a time with its units such as 7d, 12h or 1d12h, or forever, found "7x"; write a time with its units such as 7d, 12h or 1d12h, or forever
    Error wrong-value master:3 brine: history.max_bytes: expected a number of bytes, or a number with KiB, MiB or GiB, found "lots"; write a number of bytes, or a number with KiB, MiB or GiB
    Error wrong-value master:4 brine: log_bytes: expected a number of bytes, or a number with KiB, MiB or GiB, found "many"; write a number of bytes, or a number with KiB, MiB or GiB
    "#);
    insta::assert_snapshot!(reviewed("brine:\n  sinks: {a: {type: postgre}}\n"), @r#"Error wrong-value master:3 brine: sinks: a: type: expected postgres, mysql, file, webhook, otlp, nats, returner, found "postgre"; write postgres, mysql, file, webhook, otlp, nats, returner"#);
    insta::assert_snapshot!(reviewed("brine:\n  log_bytes: many\n"), @r#"Error wrong-value master:3 brine: log_bytes: expected a number of bytes, or a number with KiB, MiB or GiB, found "many"; write a number of bytes, or a number with KiB, MiB or GiB"#);
}

/// Every option that Salt's daemons and basic modules read is acted on, ignored with a word, or left to modules.
#[test]
fn what_salt_reads_is_known() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/unchecked.py");
    for version in ["3008.3", "3006.28"] {
        let mut python = brine_testkit::salt::python(version);
        let output = python.arg(&program).output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        assert!(names.lines().count() > 50, "{names}");
        let unknown: Vec<&str> = names.lines().filter(|name| !is_known(name)).collect();
        assert_eq!(unknown, [""; 0], "{version}");
    }
}

#[test]
fn what_would_be_missed_is_a_warning_and_says_what_is_missing() {
    let text = "pillar_roots: {base: [/srv/own]}\next_pillar: [{cmd_yaml: cat x}]\npeer_run: {'.*': ['.*']}\n\
                fileserver_events: true\n";
    insta::assert_snapshot!(reviewed(text), @r#"
    Warning ignored-option master:2 option pillar_roots is ignored: minions of this master get an empty pillar; Brine's own master and minion ignore it; a real one beside brine attach does not
    Warning ignored-option master:3 option ext_pillar is ignored: minions of this master get an empty pillar; Brine's own master and minion ignore it; a real one beside brine attach does not
    Warning ignored-option master:4 option peer_run is ignored: the master refuses what minions ask it to run; Brine's own master and minion ignore it; a real one beside brine attach does not
    Note ignored-option master:5 option fileserver_events is ignored; Brine's own master and minion ignore it; a real one beside brine attach does not
    "#);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("minion");
    let text = "id: x\nbeacons: {load: [{interval: 10}]}\nproxy: {x: 1}\nmine_functions: {test.ping: []}\n\
                cmd_blacklist_glob: ['rm*']\ncmd_whitelist_glob: ['ls*']\nmodule_executors: [sudo]\n\
                disable_modules: [cmd]\n";
    fs::write(&file, text).unwrap();
    let (remarks, _) = review(Role::Minion, &file, &Environment::default());
    let said = remarks
        .iter()
        .map(|remark| format!("{:?} {}\n", remark.severity, remark.text));
    insta::assert_snapshot!(said.collect::<String>(), @r"
    Warning option beacons is ignored: no beacon runs
    Warning option proxy is ignored: the minion controls no device
    Warning option mine_functions is ignored: nothing of it goes to the mine
    Warning option disable_modules is ignored: functions that are built into Brine run all the same
    Note option module_executors is ignored
    ");
}

#[test]
fn what_opens_a_site_is_said() {
    let text = "open_mode: true\nauto_accept: true\npeer: {'.*': ['.*']}\nhash_type: md5\nkeysize: 1024\n\
                external_auth: {auto: {'*': ['.*']}}\nrest_cherrypy: {disable_ssl: true, webhook_disable_auth: true}\n\
                permissive_pki_access: true\nsign_pub_messages: false\nlog_level: trace\nfile_recv: true\n";
    insta::assert_snapshot!(reviewed(text), @r#"
    Warning ignored-option master:4 option peer is ignored: the master refuses what minions ask of each other; Brine's own master and minion ignore it; a real one beside brine attach does not
    Warning ignored-option master:12 option file_recv is ignored: the master takes no files from minions; Brine's own master and minion ignore it; a real one beside brine attach does not
    Warning dangerous-option master:2 open_mode: every key is accepted, and a known minion's key is replaced by whoever asks; remove it
    Warning dangerous-option master:3 auto_accept: whoever reaches the master becomes a minion; remove it; accept keys by salt-key -a, or use autosign_grains
    Warning dangerous-option master:10 sign_pub_messages: minions cannot tell a job of this master from a forged one; remove it
    Warning dangerous-option master:9 permissive_pki_access: the group may read private keys; remove it
    Warning dangerous-option master:5 hash_type: texts with the same hash can be made; write sha256
    Warning dangerous-option master:6 keysize: keys of so few bits can be broken; write 4096, and make the keys again
    Warning dangerous-option master:11 log_level: such logs contain passwords and pillar data; write info
    Warning dangerous-option master:7 external_auth: auto: every password is right; remove it: it is for tests
    Warning dangerous-option master:7 external_auth: auto: whoever can log in may run any function on all minions; name the users and the functions
    Warning dangerous-option master:8 rest_cherrypy: disable_ssl: passwords and tokens cross the network readable; set ssl_crt and ssl_key, or host: 127.0.0.1 behind a proxy
    Warning dangerous-option master:8 rest_cherrypy: webhook_disable_auth: whoever reaches the API fires events salt/netapi/hook; remove it, or let the reactor check a signature
    "#);
}

#[test]
fn files_that_are_no_yaml_and_old_options() {
    insta::assert_snapshot!(reviewed("a: b: c\n"), @r#"Error not-yaml master:2 master: line 2, column 5: not YAML: a second `key: value` is not allowed here; correct the line; Salt does not read the file either"#);
    insta::assert_snapshot!(reviewed("include: [no/such.conf]\nclient_acl: {}\nworker_threads: many\nret_port: 4505\n"), @r#"
    Error one-port-twice master:5 publish_port and ret_port are the same port; give each its own port; Salt's are 4505 and 4506
    Warning include-matches-nothing master:2 include no/such.conf matches no file; correct the path, or remove it
    Warning obsolete-option master:3 option client_acl is no longer read by Salt; use publisher_acl; use publisher_acl
    Warning wrong-type master:4 option worker_threads: expected an integer, found text; write an integer
    Note ignored-option master:4 option worker_threads is ignored; Brine's own master and minion ignore it; a real one beside brine attach does not
    "#);
}

#[test]
fn words_that_no_option_knows_are_found() {
    insta::assert_snapshot!(reviewed("log_level: loud\nhash_type: rot13\n"), @r#"
    Error wrong-value master:3 option hash_type: unknown value rot13; write one of md5, sha1, sha224, sha256, sha384, sha512, sha3_224, sha3_256, sha3_384, sha3_512, blake2b, blake2s
    Warning wrong-value master:2 option log_level: unknown value loud; write one of all, garbage, trace, debug, profile, info, warning, error, critical, quiet
    "#);
}

#[test]
fn values_and_shapes_that_no_option_has_are_found() {
    let text = "ipc_mode: foo\nnodegroups: [a]\nlog_granular_levels: {salt: loud}\nfile_roots: {base: /srv/salt}\n\
                publisher_acl: {fred: test.ping}\nbackup_mode: yes\nstate_output: Terse\nsyndic_failover: last\n";
    insta::assert_snapshot!(reviewed(text), @r#"
    Warning wrong-value master:2 option ipc_mode: unknown value foo; write one of ipc, tcp
    Warning wrong-value master:7 option backup_mode: unknown value True; write one of minion, master, both
    Warning wrong-value master:9 option syndic_failover: unknown value last; write one of random, ordered
    Warning wrong-value master:3 option nodegroups: expected a mapping of names to targets, such as {web: 'web* or G@role:web', db: [db1, db2]}; correct it: Salt ignores what has another shape, or fails over it
    Warning wrong-value master:4 option log_granular_levels: expected a mapping of loggers to levels, such as {salt.loader: debug}; correct it: Salt ignores what has another shape, or fails over it
    Warning wrong-value master:5 option file_roots: expected a mapping of environments to lists of directories, such as {base: [/srv/salt]}; correct it: Salt ignores what has another shape, or fails over it
    Warning wrong-value master:6 option publisher_acl: expected a mapping of users to lists of functions, such as {fred: [test.ping]}; correct it: Salt ignores what has another shape, or fails over it
    Note ignored-option master:4 option log_granular_levels is ignored; Brine's own master and minion ignore it; a real one beside brine attach does not
    Note ignored-option master:7 option backup_mode is ignored; Brine's own master and minion ignore it; a real one beside brine attach does not
    Note ignored-option master:9 option syndic_failover is ignored; Brine's own master and minion ignore it; a real one beside brine attach does not
    "#);
    let right = "ipc_mode: tcp\nnodegroups: {a: 'web*', b: [x, y]}\nlog_granular_levels: {salt: debug}\nfile_client: local\n\
                 pillar_roots: {base: [/srv/pillar]}\nschedule: {enabled: true, x: {function: test.ping}}\n\
                 beacons: {load: [{interval: 10}]}\next_pillar: [{cmd_yaml: cat x}]\nengines: [slack, {sqs: {}}]\n";
    assert!(
        !reviewed(right).contains("wrong-value"),
        "{}",
        reviewed(right)
    );
    assert!(!reviewed("nodegroups: [{a: 'web*'}]\n").contains("wrong-value"));
}

/// What either release takes, though it is rare.
#[test]
fn what_salt_takes_is_no_fault() {
    let right = "hash_type: BLAKE2b\nlog_level: 10\nlog_granular_levels: {salt: 10, salt.loader: DEBUG}\n\
                 beacons: {enabled: true, load: {interval: 10}}\npeer_run: {'.*': [manage.up]}\n\
                 schedule: {enabled: false, splay: 5, skip_function: test.ping, skip_during_range: {start: 8am, end: 5pm}}\n";
    let said = reviewed(right);
    assert!(!said.contains("wrong-value"), "{said}");
    // The master starts with it: it never reads the option.
    let said = reviewed("encryption_algorithm: none\ncluster_encryption_algorithm: none\n");
    assert!(
        !said.contains("Error") && said.contains("Warning wrong-value"),
        "{said}"
    );
    assert!(
        reviewed("peer: {'.*': {test.ping: x}}\nschedule: {a: true}\n")
            .contains("option peer: expected")
    );
}

#[test]
fn what_no_type_tells_is_looked_at() {
    for (wrong, right) in [
        ("autosign_grains: uuid\n", "autosign_grains: [uuid]\n"),
        ("mine_functions: x\n", "mine_functions: {test.ping: []}\n"),
        (
            "master_finger: abc\n",
            "master_finger: '00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:FF'\n",
        ),
    ] {
        let (option, _) = wrong.split_once(':').unwrap();
        let found = format!("wrong-value master:2 option {option}: expected");
        assert!(reviewed(wrong).contains(&found), "{}", reviewed(wrong));
        assert!(
            !reviewed(right).contains("wrong-value"),
            "{}",
            reviewed(right)
        );
    }
}
