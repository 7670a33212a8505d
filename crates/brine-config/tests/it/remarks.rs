//! What a user is told of a configuration: errors and warnings, word by word.

use std::fs;
use std::path::Path;

use brine_config::{Environment, Loaded, Opts, Role};

/// Loads `files`, the first of which is the main one; `DIR` is their directory in all texts.
fn load(role: Role, files: &[(&str, &str)]) -> Result<(Loaded, String), String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let environment = Environment {
        host_names: vec!["localhost".to_owned(), "web1.example.org".to_owned()],
        ..Environment::default()
    };
    let without_dir = |text: String| text.replace(dir.path().to_str().unwrap(), "DIR");
    let main = dir.path().join(files[0].0);
    match Opts::load(role, &main, &environment) {
        Ok(loaded) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
            Ok((loaded, without_dir(warnings.join("\n"))))
        }
        Err(error) => Err(without_dir(error.to_string())),
    }
}

fn warnings(role: Role, files: &[(&str, &str)]) -> String {
    load(role, files).unwrap().1
}

fn refusal(text: &str) -> String {
    load(Role::Master, &[("master", text)]).unwrap_err()
}

#[test]
fn an_error_names_the_file_the_line_and_the_column() {
    assert_eq!(
        refusal("id: x\nsock_dir: [/a\n"),
        "DIR/master: line 3, column 1: not YAML: expected `,` or `]`"
    );
    assert_eq!(
        refusal("sock_dir: /a\nid: x\nsock_dir: /b\n"),
        "DIR/master: line 3, column 1: key \"sock_dir\" is given twice in this mapping; keep one"
    );
    assert_eq!(
        refusal("- a\n"),
        "DIR/master: expected `option: value` lines, found a list"
    );
    assert_eq!(
        refusal("id: x\nsock_dir: 5\n"),
        "option sock_dir: expected text, found an integer"
    );
    assert_eq!(
        refusal("brine: {log_byte: 5}\n"),
        "DIR/master, line 1: brine: log_byte: no such option; did you mean log_bytes?"
    );
}

#[test]
fn an_option_of_a_sink_is_named_with_file_and_line() {
    assert_eq!(
        refusal("id: x\nbrine:\n  sinks:\n    audit:\n      type: postgres\n      prot: 1\n"),
        "DIR/master, line 6: brine: sinks: audit: prot: no such option; did you mean port?"
    );
    // What is missing is missing in its mapping.
    assert_eq!(
        refusal("brine:\n  sinks:\n    a:\n      type: file\n"),
        "DIR/master, line 3: brine: sinks: a: path: expected an absolute path, found nothing"
    );
}

#[test]
fn salts_own_options_are_read_for_a_master_of_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("master");
    fs::write(
        &main,
        "id: x\nevent_return: pgjsonb\nreturner.pgjsonb.port: x\n",
    )
    .unwrap();
    // Salt's may be read by commands beside it.
    let loaded = Opts::load(Role::Master, &main, &Environment::default()).unwrap();
    assert_eq!(
        loaded.master_sinks().unwrap_err().to_string(),
        format!(
            "{}, line 3: returner.pgjsonb.port: expected a number from 0 to 65535, found \"x\"",
            main.display()
        )
    );
}

#[test]
fn an_ordinary_configuration_is_not_remarked_on() {
    let files = [
        (
            "master",
            "id: x\ninterface: 0.0.0.0\nno_such_option: 1\nauto_accept: false\npeer: {}\next_pillar: []\n",
        ),
        (
            "master.d/a.conf",
            "external_auth: {pam: {ann: ['*']}}\nreactor: []\n",
        ),
    ];
    assert_eq!(warnings(Role::Master, &files), "");
}

#[test]
fn a_known_option_that_changes_nothing_is_named() {
    let files = [(
        "master",
        "id: x\ngitfs_root: a\nworker_threads: '10'\nsalt_event_pub_hwm: 5\n",
    )];
    assert_eq!(
        warnings(Role::Master, &files),
        "option gitfs_root is ignored\n\
         option worker_threads is ignored\n\
         option salt_event_pub_hwm is no longer read by Salt; \
         a slow subscriber costs the bus nothing here, remove it"
    );
}

#[test]
fn a_value_of_another_type_is_named_and_used() {
    let files = [(
        "master",
        "id: x\nmax_event_size: big\nexternal_auth: [pam]\n",
    )];
    let (loaded, warnings) = load(Role::Master, &files).unwrap();
    assert_eq!(
        warnings,
        "option max_event_size: expected an integer, found text\n\
         option external_auth: expected a mapping, found a list"
    );
    assert_eq!(loaded.opts.text("max_event_size").unwrap(), "big");
    assert_eq!(
        loaded.opts.int("max_event_size").unwrap_err().to_string(),
        "option max_event_size: expected an integer, found text"
    );
}

#[test]
fn included_files_that_cannot_be_used_are_left_out() {
    let files = [
        ("master", "id: x\ninclude: [none.conf, self.conf, 5]\n"),
        ("master.d/bad.conf", "pub_hwm: [\n"),
        ("self.conf", "include: self.conf\nworker_threads: 7\n"),
    ];
    let (loaded, warnings) = load(Role::Master, &files).unwrap();
    assert_eq!(
        warnings,
        "DIR/master.d/bad.conf: line 2, column 1: not YAML: expected a value; the file is skipped\n\
         include DIR/none.conf matches no file\n\
         DIR/self.conf includes itself; the inner include is skipped\n\
         option include: expected text or a list of texts, found an integer\n\
         option worker_threads is ignored"
    );
    assert_eq!(loaded.opts.int("worker_threads").unwrap(), 7);
}

#[test]
fn a_device_is_not_read_as_an_included_file() {
    let files = [("master", "id: x\ninclude: /dev/zero\n")];
    let (_, warnings) = load(Role::Master, &files).unwrap();
    assert_eq!(
        warnings,
        "/dev/zero: not a regular file; the file is skipped"
    );
}

#[test]
fn a_guessed_minion_id_causes_a_warning() {
    let (loaded, warnings) = load(Role::Minion, &[("minion", "root_dir: /nowhere\n")]).unwrap();
    assert_eq!(loaded.opts.text("id").unwrap(), "web1.example.org");
    assert_eq!(
        warnings,
        "no id configured; using web1.example.org, guessed from the host name; \
         set `id` if that is wrong"
    );
}

#[test]
fn a_missing_file_means_the_defaults() {
    let environment = Environment::default();
    let missing = Path::new("/nowhere/at/all");
    let loaded = Opts::load(Role::Master, missing, &environment).unwrap();
    assert_eq!(
        loaded.opts.text("sock_dir").unwrap(),
        "/var/run/salt/master"
    );
    assert_eq!(loaded.opts.text("conf_file").unwrap(), "/etc/salt/master");
    assert!(!loaded.opts.is_set("ssl"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn the_name_of_a_file_of_rules_is_a_value_of_reactor() {
    let of = |value: &str| {
        let text = format!("id: x\nreactor: {value}\n");
        warnings(Role::Master, &[("master", &text)])
    };
    assert_eq!(of("/srv/rules.yaml"), "");
    assert!(of("rules.yaml").contains("option reactor: expected a list"));
}
