//! The options of Salt's commands: all there are, and the groups that commands share.
//! Facts: Salt 3008.3's `--help` and behaviour.

use super::optparse::{Opt, Takes};
use crate::daemon::DETACHED;

/// An option, whichever command has it.
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
    /// Changes nothing here.
    NoEffect,
    /// Asks for something that is not there; told of when it is used.
    NotActedOn,
    // salt-master, salt-minion
    Daemon,
    Detached,
    PidFile,
    User,
    // salt-call
    Local,
    Grains,
    Master,
    Id,
    Return,
    RetcodePassthrough,
    Metadata,
    NoReturnEvent,
    AuthTimeout,
    ModuleDirs,
    FileRoot,
    PillarRoot,
    // salt
    Timeout,
    Static,
    Verbose,
    ShowJid,
    Summary,
    Batch,
    BatchWait,
    BatchSafeLimit,
    BatchSafeSize,
    Failhard,
    Subset,
    PreviewTarget,
    ArgsSeparator,
    ReturnTo,
    SetMetadata,
    Pcre,
    ListTarget,
    GrainTarget,
    GrainPcre,
    Nodegroup,
    Compound,
    PillarTarget,
    PillarPcre,
    Ipcidr,
    Delimiter,
    /// Asks for what is not there, and would do harm if it were passed over.
    Refused,
    // salt-key
    List,
    ListAll,
    Accept,
    AcceptAll,
    Reject,
    RejectAll,
    IncludeAll,
    IncludeAccepted,
    IncludeRejected,
    IncludeDenied,
    Print,
    PrintAll,
    Delete,
    DeleteAll,
    Finger,
    FingerAll,
    Yes,
    RotateAes,
    PreserveMinions,
    GenKeys,
    GenKeysDir,
    Keysize,
    GenSignature,
    Priv,
    SignaturePath,
    Pub,
    AutoCreate,
}

/// In Salt's order, which shows in its error texts.
pub(super) const LEVELS: &[&str] = &[
    "all", "debug", "error", "critical", "garbage", "info", "profile", "quiet", "trace", "warning",
];

/// What every command has.
pub(super) const BASIC: &[Opt<Key>] = &[
    flag(Key::Version, &["--version"], "Print the version and exit."),
    flag(
        Key::Versions,
        &["-V", "--versions-report"],
        "Print the version at length and exit.",
    ),
    flag(Key::Help, &["-h", "--help"], "Print this help and exit."),
    text(
        Key::NotActedOn,
        &["--saltfile"],
        "SALTFILE",
        "Not acted on.",
    ),
    flag(Key::NoEffect, &["--hard-crash"], "No effect."),
    text(
        Key::NoEffect,
        &["--log-file", "--key-logfile"],
        "LOG_FILE",
        "No effect: no log file is written.",
    ),
    opt(
        Key::NoEffect,
        &["--log-file-level"],
        Takes::OneOf("LOG_LEVEL_LOGFILE", LEVELS),
        "No effect.",
    ),
];

/// Where the configuration is.
pub(super) const CONFIG_DIR: &[Opt<Key>] = &[text(
    Key::ConfigDir,
    &["-c", "--config-dir"],
    "CONFIG_DIR",
    "Directory of the configuration files. Default: '/etc/salt'.",
)];

/// The level of the log, for commands in which `-l` is that.
pub(super) const LOG_LEVEL: &[Opt<Key>] = &[opt(
    Key::LogLevel,
    &["-l", "--log-level"],
    Takes::OneOf("LOG_LEVEL", LEVELS),
    "What is logged on stderr. Default: 'warning'.",
)];

/// How a process that serves lives.
pub(super) const DAEMON: &[Opt<Key>] = &[
    flag(
        Key::Daemon,
        &["-d", "--daemon"],
        "Run in the background; returns when all is ready.",
    ),
    flag(Key::Detached, &[DETACHED], ""),
    text(
        Key::PidFile,
        &["--pid-file"],
        "PIDFILE",
        "File for the process id. Default: as the option pidfile says.",
    ),
    text(Key::User, &["-u", "--user"], "USER", "Run as this user."),
    flag(
        Key::NoEffect,
        &["--disable-keepalive"],
        "No effect: a service manager starts it again.",
    ),
];

/// How return values are printed.
pub(super) const OUTPUT: &[Opt<Key>] = &[
    text(
        Key::Out,
        &["--out", "--output"],
        "OUTPUT",
        "How to print return values: nested, json, yaml, raw, txt, pprint.",
    ),
    opt(
        Key::OutIndent,
        &["--out-indent", "--output-indent"],
        Takes::Number("OUTPUT_INDENT"),
        "Spaces per level; a negative number: all on one line.",
    ),
    text(
        Key::OutFile,
        &["--out-file", "--output-file"],
        "OUTPUT_FILE",
        "Write return values to a file.",
    ),
    flag(
        Key::OutFileAppend,
        &["--out-file-append", "--output-file-append"],
        "Append to that file.",
    ),
    flag(Key::NoColor, &["--no-color", "--no-colour"], "No colours."),
    flag(
        Key::ForceColor,
        &["--force-color", "--force-colour"],
        "Colours although it is no terminal.",
    ),
    text(
        Key::NoEffect,
        &["--state-output", "--state_output"],
        "STATE_OUTPUT",
        "No effect.",
    ),
    text(
        Key::NoEffect,
        &["--state-verbose", "--state_verbose"],
        "STATE_VERBOSE",
        "No effect.",
    ),
];

/// How arguments of functions are read.
pub(super) const ARGUMENTS: &[Opt<Key>] = &[
    flag(
        Key::ArgsStdin,
        &["--args-stdin"],
        "Read more arguments from stdin, one per line.",
    ),
    text(
        Key::NoParse,
        &["--no-parse"],
        "argname1,argname2,...",
        "Arguments whose values stay text.",
    ),
    text(
        Key::NoEffect,
        &["--profiling-path"],
        "PROFILING_PATH",
        "No effect.",
    ),
    flag(Key::NoEffect, &["--enable-profiling"], "No effect."),
];

/// Logins other than this machine's.
pub(super) const EXTERNAL_AUTH: &[Opt<Key>] = &[
    text(
        Key::NotActedOn,
        &["-a", "--auth", "--eauth", "--external-auth"],
        "EAUTH",
        "Not acted on.",
    ),
    flag(Key::NotActedOn, &["-T", "--make-token"], "Not acted on."),
    text(
        Key::NotActedOn,
        &["--username"],
        "USERNAME",
        "Not acted on.",
    ),
    text(
        Key::NotActedOn,
        &["--password"],
        "PASSWORD",
        "Not acted on.",
    ),
];

pub(super) const fn opt(
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

pub(super) const fn flag(key: Key, names: &'static [&'static str], help: &'static str) -> Opt<Key> {
    opt(key, names, Takes::Nothing, help)
}

pub(super) const fn text(
    key: Key,
    names: &'static [&'static str],
    value: &'static str,
    help: &'static str,
) -> Opt<Key> {
    opt(key, names, Takes::Text(value), help)
}
