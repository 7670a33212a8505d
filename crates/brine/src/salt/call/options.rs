//! The command line of `salt-call`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::options::{ARGUMENTS, BASIC, CONFIG_DIR, Key, LOG_LEVEL, OUTPUT, flag, opt, text};
use crate::salt::optparse::{Opt, Parsed, Syntax, Takes};

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-call",
    usage: "[options] <function> [arguments]",
    about: "Runs a function on this machine's minion. This is Brine.",
    options: &[
        BASIC, CONFIG_DIR, LOG_LEVEL, OWN, NOT_HERE, ARGUMENTS, OUTPUT,
    ],
};

/// What `optparse` does not find.
pub(super) fn check(line: &Parsed<Key>) -> Result<(), String> {
    if let Some(returner) = line.value(Key::Return).filter(|name| !name.is_empty()) {
        return Err(format!(
            "--return {returner}: there are no returners on a minion here; have the master return with event_return"
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
        "Run the function here, without any master.",
    ),
    flag(Key::Grains, &["-g", "--grains"], "Print the grains."),
    flag(
        Key::Doc,
        &["-d", "--doc", "--documentation"],
        "Print the documentation of functions whose names begin so.",
    ),
    text(
        Key::Master,
        &["--master"],
        "MASTER",
        "Sign in at this master, instead of the configured one.",
    ),
    text(
        Key::Id,
        &["--id"],
        "ID",
        "The minion's id, instead of the configured one.",
    ),
    text(
        Key::Return,
        &["--return"],
        "RETURNER",
        "Not here: returners run beside the master.",
    ),
    flag(
        Key::RetcodePassthrough,
        &["--retcode-passthrough"],
        "Exit with the function's own code.",
    ),
    flag(
        Key::Metadata,
        &["--metadata"],
        "Print what is known of the call besides its return value.",
    ),
    flag(
        Key::NoReturnEvent,
        &["--no-return-event"],
        "Do not tell the master what came of it.",
    ),
    opt(
        Key::AuthTimeout,
        &["-t", "--timeout"],
        Takes::Number("AUTH_TIMEOUT"),
        "Seconds a sign-in may take. Default: 60.",
    ),
    text(
        Key::ModuleDirs,
        &["-m", "--module-dirs"],
        "MODULE_DIRS",
        "Another directory of modules; repeatable.",
    ),
    text(
        Key::FileRoot,
        &["--file-root"],
        "FILE_ROOT",
        "With --local: a directory of the file server, instead of the configured ones; repeatable.",
    ),
    text(
        Key::PillarRoot,
        &["--pillar-root"],
        "PILLAR_ROOT",
        "No effect: there is no pillar without a master.",
    ),
];

/// What Salt has and Brine has not.
const NOT_HERE: &[Opt<Key>] = &[
    text(
        Key::NotActedOn,
        &["--states-dir"],
        "STATES_DIR",
        "Not acted on.",
    ),
    text(
        Key::NotActedOn,
        &["--set-metadata"],
        "METADATA",
        "Not acted on.",
    ),
    text(Key::NotActedOn, &["--priv"], "USER", "Not acted on."),
    text(Key::NotActedOn, &["--proxyid"], "PROXYID", "Not acted on."),
    text(
        Key::NotActedOn,
        &["--cachedir"],
        "CACHEDIR",
        "Not acted on.",
    ),
    flag(Key::NotActedOn, &["-r", "--resources"], "Not acted on."),
    flag(
        Key::NoEffect,
        &["--skip-grains"],
        "No effect: grains cost nothing here.",
    ),
    flag(
        Key::NoEffect,
        &["--refresh-grains-cache"],
        "No effect: there is no cache of grains.",
    ),
    flag(Key::NoEffect, &["--output-diff"], "No effect."),
    text(
        Key::NotActedOn,
        &["--module-executors"],
        "EXECUTOR_LIST",
        "Not acted on.",
    ),
    text(
        Key::NotActedOn,
        &["--executor-opts"],
        "EXECUTOR_OPTS",
        "Not acted on.",
    ),
];
