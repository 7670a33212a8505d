//! The command line of `salt-run`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::options::{
    ARGUMENTS, BASIC, CONFIG_DIR, EXTERNAL_AUTH, Key, LOG_LEVEL, NO_LOG_FILE, OUTPUT, flag, opt,
    text,
};
use crate::salt::optparse::{Opt, Syntax, Takes};

pub(in crate::salt) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-run",
    usage: "[options] <function> [arguments]",
    about: "Runs a function on the master's machine. This is Brine; -d lists its functions.",
    options: &[
        BASIC,
        NO_LOG_FILE,
        CONFIG_DIR,
        LOG_LEVEL,
        OWN,
        ARGUMENTS,
        EXTERNAL_AUTH,
        OUTPUT,
    ],
};

const OWN: &[Opt<Key>] = &[
    opt(
        Key::NotActedOn,
        &["-t", "--timeout"],
        Takes::Number("TIMEOUT"),
        "Ignored: functions take timeout as an argument.",
    ),
    text(
        Key::Jid,
        &["--jid"],
        "JID",
        "Use this job id instead of a new one.",
    ),
    flag(
        Key::Doc,
        &["-d", "--doc", "--documentation"],
        "Print the functions and their arguments.",
    ),
    flag(
        Key::Async,
        &["--async"],
        "Start the function and return at once.",
    ),
    flag(
        Key::NoEffect,
        &["--skip-grains"],
        "Ignored: no grains are loaded.",
    ),
    flag(Key::Quiet, &["--quiet"], "Do not print the return value."),
];
