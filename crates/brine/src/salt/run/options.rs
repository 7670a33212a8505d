//! The command line of `salt-run`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::optparse::{Opt, Syntax, Takes};

/// An option of `salt-run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Version,
    Versions,
    Help,
    ConfigDir,
    LogLevel,
    ArgsStdin,
    Jid,
    NoParse,
    Doc,
    Async,
    Quiet,
    Out,
    OutFile,
    OutFileAppend,
    OutIndent,
    NoColor,
    ForceColor,
    /// Changes nothing for what is printed here.
    NoEffect,
    /// Asks for something that is not there; told of when it is used.
    NotActedOn,
}

use Key::{
    ArgsStdin, Async, ConfigDir, Doc, ForceColor, Help, Jid, LogLevel, NoColor, NoEffect, NoParse,
    NotActedOn, Out, OutFile, OutFileAppend, OutIndent, Quiet, Version, Versions,
};

/// In Salt's order, which shows in its error texts.
pub(super) const LEVELS: &[&str] = &[
    "all", "debug", "error", "critical", "garbage", "info", "profile", "quiet", "trace", "warning",
];

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-run",
    usage: "[options] <function> [arguments]",
    about: "Runs a function beside the master. This is Brine; it has the functions\n\
            event.send and state.event.",
    options: &[
        flag(Version, &["--version"], "Print the version and exit."),
        flag(
            Versions,
            &["-V", "--versions-report"],
            "Print the version at length and exit.",
        ),
        flag(Help, &["-h", "--help"], "Print this help and exit."),
        text(NotActedOn, &["--saltfile"], "SALTFILE", "Not acted on."),
        text(
            ConfigDir,
            &["-c", "--config-dir"],
            "CONFIG_DIR",
            "Directory of the configuration file `master`. Default: '/etc/salt'.",
        ),
        opt(
            NoEffect,
            &["-t", "--timeout"],
            Takes::Number("TIMEOUT"),
            "No function here has a time to wait.",
        ),
        flag(
            ArgsStdin,
            &["--args-stdin"],
            "Read more arguments from stdin, one per line.",
        ),
        text(Jid, &["--jid"], "JID", "The job id, instead of a new one."),
        flag(NoEffect, &["--hard-crash"], "No effect."),
        text(
            NoParse,
            &["--no-parse"],
            "argname1,argname2,...",
            "Arguments whose values stay text.",
        ),
        flag(
            Doc,
            &["-d", "--doc", "--documentation"],
            "Print what functions there are and what they take.",
        ),
        flag(
            Async,
            &["--async"],
            "Start the function and return at once.",
        ),
        flag(
            NoEffect,
            &["--skip-grains"],
            "No effect: no grains are loaded.",
        ),
        text(
            NotActedOn,
            &["-a", "--auth", "--eauth", "--external-auth"],
            "EAUTH",
            "Not acted on.",
        ),
        flag(NotActedOn, &["-T", "--make-token"], "Not acted on."),
        text(NotActedOn, &["--username"], "USERNAME", "Not acted on."),
        text(NotActedOn, &["--password"], "PASSWORD", "Not acted on."),
        text(
            Out,
            &["--out", "--output"],
            "OUTPUT",
            "How to print the return value: nested, json, yaml, raw, txt, pprint.",
        ),
        opt(
            OutIndent,
            &["--out-indent", "--output-indent"],
            Takes::Number("OUTPUT_INDENT"),
            "Spaces per level; a negative number: all on one line.",
        ),
        text(
            OutFile,
            &["--out-file", "--output-file"],
            "OUTPUT_FILE",
            "Write the return value to a file.",
        ),
        flag(
            OutFileAppend,
            &["--out-file-append", "--output-file-append"],
            "Append to that file.",
        ),
        flag(NoColor, &["--no-color", "--no-colour"], "No colours."),
        flag(
            ForceColor,
            &["--force-color", "--force-colour"],
            "Colours although it is no terminal.",
        ),
        text(
            NoEffect,
            &["--state-output", "--state_output"],
            "STATE_OUTPUT",
            "No effect.",
        ),
        text(
            NoEffect,
            &["--state-verbose", "--state_verbose"],
            "STATE_VERBOSE",
            "No effect.",
        ),
        text(
            NoEffect,
            &["--profiling-path"],
            "PROFILING_PATH",
            "No effect.",
        ),
        flag(NoEffect, &["--enable-profiling"], "No effect."),
        flag(Quiet, &["--quiet"], "Do not print the return value."),
        opt(
            LogLevel,
            &["-l", "--log-level"],
            Takes::OneOf("LOG_LEVEL", LEVELS),
            "What is logged on stderr. Default: 'warning'.",
        ),
        text(
            NoEffect,
            &["--log-file"],
            "LOG_FILE",
            "No effect: no log file is written.",
        ),
        opt(
            NoEffect,
            &["--log-file-level"],
            Takes::OneOf("LOG_LEVEL_LOGFILE", LEVELS),
            "No effect.",
        ),
    ],
};

const fn opt(
    key: Key,
    names: &'static [&'static str],
    takes: Takes,
    help: &'static str,
) -> Opt<Key> {
    Opt {
        key,
        names,
        takes,
        help,
    }
}

const fn flag(key: Key, names: &'static [&'static str], help: &'static str) -> Opt<Key> {
    opt(key, names, Takes::Nothing, help)
}

const fn text(
    key: Key,
    names: &'static [&'static str],
    value: &'static str,
    help: &'static str,
) -> Opt<Key> {
    opt(key, names, Takes::Text(value), help)
}
