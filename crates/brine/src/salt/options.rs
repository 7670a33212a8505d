//! The options of Salt's commands: the list of all, and the groups that commands share.
//! Facts: Salt 3008.3's `--help` and behaviour.

use super::optparse::{Opt, Takes};
use crate::daemon::DETACHED;

/// An option of any command.
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
    StateOutput,
    StateVerbose,
    StateOutputDiff,
    /// What it asks for is so anyway, or Salt ignores it, too.
    NoEffect,
    /// Ignored; using it prints a warning.
    NotActedOn,
    // salt-master, salt-minion
    Daemon,
    Detached,
    PidFile,
    User,
    LogFile,
    LogFileLevel,
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
    // salt
    Eauth,
    MakeToken,
    Username,
    Password,
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
    /// Not supported, and refused because ignoring it would do harm.
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

/// In Salt's order, which its error texts show.
pub(super) const LEVELS: &[&str] = &[
    "all", "debug", "error", "critical", "garbage", "info", "profile", "quiet", "trace", "warning",
];

/// The options of every command.
pub(super) const BASIC: &[Opt<Key>] = &[
    flag(Key::Version, &["--version"], "Print the version and exit."),
    flag(
        Key::Versions,
        &["-V", "--versions-report"],
        "Print detailed version information and exit.",
    ),
    flag(Key::Help, &["-h", "--help"], "Print this help and exit."),
    text(
        Key::NotActedOn,
        &["--saltfile"],
        "SALTFILE",
        "Not supported.",
    ),
    flag(Key::NotActedOn, &["--hard-crash"], "Ignored."),
];

/// The log file of commands, which write none.
pub(super) const NO_LOG_FILE: &[Opt<Key>] = &[
    text(
        Key::NotActedOn,
        &["--log-file", "--key-logfile"],
        "LOG_FILE",
        "Ignored: only daemons write a log file.",
    ),
    opt(
        Key::NotActedOn,
        &["--log-file-level"],
        Takes::OneOf("LOG_LEVEL_LOGFILE", LEVELS),
        "Ignored: only daemons write a log file.",
    ),
];

/// The directory of the configuration.
pub(super) const CONFIG_DIR: &[Opt<Key>] = &[text(
    Key::ConfigDir,
    &["-c", "--config-dir"],
    "CONFIG_DIR",
    "Directory of the configuration files. Default: '/etc/salt'.",
)];

/// The log level, for commands in which `-l` means that.
pub(super) const LOG_LEVEL: &[Opt<Key>] = &[opt(
    Key::LogLevel,
    &["-l", "--log-level"],
    Takes::OneOf("LOG_LEVEL", LEVELS),
    "Log level for stderr. Default: 'warning'.",
)];

/// The options of daemons.
pub(super) const DAEMON: &[Opt<Key>] = &[
    flag(
        Key::Daemon,
        &["-d", "--daemon"],
        "Run in the background; returns when the daemon is ready.",
    ),
    flag(Key::Detached, &[DETACHED], ""),
    text(
        Key::PidFile,
        &["--pid-file"],
        "PIDFILE",
        "File for the process id. Default: the option pidfile.",
    ),
    text(Key::User, &["-u", "--user"], "USER", "Run as this user."),
    text(
        Key::LogFile,
        &["--log-file"],
        "LOG_FILE",
        "Log file. Default: the option log_file, of salt-api api_logfile.",
    ),
    opt(
        Key::LogFileLevel,
        &["--log-file-level"],
        Takes::OneOf("LOG_LEVEL_LOGFILE", LEVELS),
        "Log level of the log file. Default: the option log_level_logfile.",
    ),
    flag(
        Key::NotActedOn,
        &["--disable-keepalive"],
        "Ignored: leave restarts to a service manager.",
    ),
];

/// How return values are printed.
pub(super) const OUTPUT: &[Opt<Key>] = &[
    text(
        Key::Out,
        &["--out", "--output"],
        "OUTPUT",
        "How to print return values: nested, highstate, json, yaml, raw, txt, pprint, table.",
    ),
    opt(
        Key::OutIndent,
        &["--out-indent", "--output-indent"],
        Takes::Number("OUTPUT_INDENT"),
        "Spaces per level; with a negative number all on one line.",
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
        "Print colours even if stdout is not a terminal.",
    ),
    text(
        Key::StateOutput,
        &["--state-output", "--state_output"],
        "STATE_OUTPUT",
        "How to print states: full, terse, mixed, changes, filter; each also with _id.",
    ),
    text(
        Key::StateVerbose,
        &["--state-verbose", "--state_verbose"],
        "STATE_VERBOSE",
        "False: do not print states that succeeded without changes.",
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
        "Arguments whose values are not parsed, but stay text.",
    ),
    text(
        Key::NotActedOn,
        &["--profiling-path"],
        "PROFILING_PATH",
        "Ignored.",
    ),
    flag(Key::NotActedOn, &["--enable-profiling"], "Ignored."),
];

/// External authentication.
pub(super) const EXTERNAL_AUTH: &[Opt<Key>] =
    &external_auth(&["-a", "--auth", "--eauth", "--external-auth"]);

/// The same, with other names for `--auth`.
pub(super) const fn external_auth(names: &'static [&'static str]) -> [Opt<Key>; 4] {
    [
        text(
            Key::Eauth,
            names,
            "EAUTH",
            "Log in with this kind of authentication of the master's external_auth, such as pam.",
        ),
        flag(
            Key::MakeToken,
            &["-T", "--make-token"],
            "Have the master make a token, and keep it for the next commands.",
        ),
        text(
            Key::Username,
            &["--username"],
            "USERNAME",
            "The user who logs in. Default: asked for.",
        ),
        text(
            Key::Password,
            &["--password"],
            "PASSWORD",
            "The user's password, which other users of this machine can see here. Default: asked for.",
        ),
    ]
}

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
