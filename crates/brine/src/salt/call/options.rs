//! The command line of `salt-call`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::options::{
    ARGUMENTS, BASIC, CONFIG_DIR, Key, LOG_LEVEL, NO_LOG_FILE, OUTPUT, flag, opt, text,
};
use crate::salt::optparse::{Opt, Parsed, Syntax, Takes};

pub(in crate::salt) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-call",
    usage: "[options] <function> [arguments]",
    about: "Runs a function on this machine's minion. This is Brine.",
    options: &[
        BASIC,
        NO_LOG_FILE,
        CONFIG_DIR,
        LOG_LEVEL,
        OWN,
        NOT_HERE,
        ARGUMENTS,
        OUTPUT,
    ],
};

/// The checks that `optparse` does not make.
pub(super) fn check(line: &Parsed<Key>) -> Result<(), String> {
    if let Some(returner) = line.value(Key::Return).filter(|name| !name.is_empty()) {
        return Err(format!(
            "--return {returner}: Brine's minions have no returners; use event_return on the master"
        ));
    }
    if line.has(Key::Grains) && !line.words.is_empty() {
        return Err("-g/--grains does not accept any arguments".to_owned());
    }
    Ok(())
}

const OWN: &[Opt<Key>] = &[
    flag(
        Key::Local,
        &["--local"],
        "Run the function without a master.",
    ),
    flag(Key::Grains, &["-g", "--grains"], "Print the grains."),
    flag(
        Key::Doc,
        &["-d", "--doc", "--documentation"],
        "Print the documentation of the functions whose names begin with the given text.",
    ),
    text(
        Key::Master,
        &["--master"],
        "MASTER",
        "Sign in to this master instead of the configured one.",
    ),
    text(
        Key::Id,
        &["--id"],
        "ID",
        "Use this minion id instead of the configured one.",
    ),
    text(
        Key::Return,
        &["--return"],
        "RETURNER",
        "Not supported: in Brine returners run beside the master.",
    ),
    flag(
        Key::RetcodePassthrough,
        &["--retcode-passthrough"],
        "Exit with the function's exit code.",
    ),
    flag(
        Key::Metadata,
        &["--metadata"],
        "Print the call's metadata besides its return value.",
    ),
    flag(
        Key::NoReturnEvent,
        &["--no-return-event"],
        "Do not send the return to the master.",
    ),
    opt(
        Key::AuthTimeout,
        &["-t", "--timeout"],
        Takes::Number("AUTH_TIMEOUT"),
        "Time limit for a sign-in, in seconds. Default: 60.",
    ),
    text(
        Key::ModuleDirs,
        &["-m", "--module-dirs"],
        "MODULE_DIRS",
        "An additional directory of modules; repeatable.",
    ),
    text(
        Key::FileRoot,
        &["--file-root"],
        "FILE_ROOT",
        "With --local: a directory of the file server that replaces the configured ones; repeatable.",
    ),
    text(
        Key::NotActedOn,
        &["--pillar-root"],
        "PILLAR_ROOT",
        "Ignored: without a master there is no pillar.",
    ),
];

/// Salt's options that Brine lacks.
const NOT_HERE: &[Opt<Key>] = &[
    text(
        Key::NotActedOn,
        &["--states-dir"],
        "STATES_DIR",
        "Not supported.",
    ),
    text(
        Key::NotActedOn,
        &["--set-metadata"],
        "METADATA",
        "Not supported.",
    ),
    text(Key::NotActedOn, &["--priv"], "USER", "Not supported."),
    text(Key::NotActedOn, &["--proxyid"], "PROXYID", "Not supported."),
    text(
        Key::NotActedOn,
        &["--cachedir"],
        "CACHEDIR",
        "Not supported.",
    ),
    flag(Key::NotActedOn, &["-r", "--resources"], "Not supported."),
    flag(
        Key::NoEffect,
        &["--skip-grains"],
        "Ignored: loading grains takes a millisecond.",
    ),
    flag(
        Key::NoEffect,
        &["--refresh-grains-cache"],
        "Ignored: Brine does not cache grains.",
    ),
    flag(
        Key::StateOutputDiff,
        &["--output-diff"],
        "Print only states that failed or changed something.",
    ),
    text(
        Key::NotActedOn,
        &["--module-executors"],
        "EXECUTOR_LIST",
        "Not supported.",
    ),
    text(
        Key::NotActedOn,
        &["--executor-opts"],
        "EXECUTOR_OPTS",
        "Not supported.",
    ),
];
