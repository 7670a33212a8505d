//! The command line of `salt`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::options::{
    ARGUMENTS, BASIC, CONFIG_DIR, EXTERNAL_AUTH, Key, LOG_LEVEL, OUTPUT, flag, opt, text,
};
use crate::salt::optparse::{Opt, Parsed, Syntax, Takes};

pub(super) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt",
    usage: "[options] '<target>' <function> [arguments]",
    about: "Has minions run a function and prints what they return. This is Brine.",
    options: &[
        BASIC,
        CONFIG_DIR,
        LOG_LEVEL,
        OWN,
        TARGETS,
        REFUSED,
        ARGUMENTS,
        OUTPUT,
        EXTERNAL_AUTH,
    ],
};

/// The checks that `optparse` does not make. Options whose absence would run a function on other minions than
/// requested are refused; a warning would not do.
pub(super) fn check(line: &Parsed<Key>) -> Result<(), String> {
    if let Some(name) = line.names(Key::Refused).next() {
        return Err(format!(
            "option {name} is not supported; name the minions with a target (-L, -E, -C)"
        ));
    }
    Ok(())
}

const OWN: &[Opt<Key>] = &[
    opt(
        Key::Timeout,
        &["-t", "--timeout"],
        Takes::Number("TIMEOUT"),
        "Seconds to wait before asking minions that have not returned whether they still run the job. Default: 5.",
    ),
    flag(
        Key::Static,
        &["-s", "--static"],
        "Print all returns together at the end.",
    ),
    flag(
        Key::Async,
        &["--async"],
        "Print the job id and do not wait for returns.",
    ),
    flag(
        Key::Verbose,
        &["-v", "--verbose"],
        "Print the job id before the returns.",
    ),
    flag(
        Key::ShowJid,
        &["--show-jid"],
        "Print the job id before the returns.",
    ),
    flag(Key::NoEffect, &["--hide-timeout"], "No effect, as in Salt."),
    flag(
        Key::NoEffect,
        &["--show-timeout"],
        "Ignored: minions that did not return are always shown.",
    ),
    flag(
        Key::Summary,
        &["--summary"],
        "After the returns, print how many minions returned.",
    ),
    flag(
        Key::Doc,
        &["-d", "--doc", "--documentation"],
        "Print the documentation of the functions whose names begin with the given text.",
    ),
    text(
        Key::ArgsSeparator,
        &["--args-separator"],
        "ARGS_SEPARATOR",
        "The separator between the arguments of several functions. Default: ','.",
    ),
    text(
        Key::ReturnTo,
        &["--return"],
        "RETURNER",
        "Have real Salt minions send their returns to this returner too.",
    ),
    text(
        Key::SetMetadata,
        &["--metadata"],
        "METADATA",
        "A mapping to attach to the job; returns repeat it.",
    ),
    flag(Key::NoEffect, &["--output-diff"], "No effect."),
    text(
        Key::NotActedOn,
        &["--return_config"],
        "RETURNER_CONF",
        "Not supported.",
    ),
    text(
        Key::NotActedOn,
        &["--return_kwargs"],
        "RETURNER_KWARGS",
        "Not supported.",
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
    flag(Key::NotActedOn, &["--start-event"], "Not supported."),
    flag(Key::NotActedOn, &["-p", "--progress"], "Not supported."),
    flag(Key::NotActedOn, &["--failhard"], "Not supported."),
];

/// The type of the target; without one of these it is a glob for ids.
const TARGETS: &[Opt<Key>] = &[
    flag(
        Key::Pcre,
        &["-E", "--pcre"],
        "The target is a regular expression for ids.",
    ),
    flag(
        Key::ListTarget,
        &["-L", "--list"],
        "The target is a list of ids.",
    ),
    flag(
        Key::GrainTarget,
        &["-G", "--grain"],
        "The target is a grain and a glob: os:Debian.",
    ),
    flag(
        Key::GrainPcre,
        &["--grain-pcre", "-P"],
        "The target is a grain and a regular expression.",
    ),
    flag(
        Key::Nodegroup,
        &["-N", "--nodegroup"],
        "The target is the name of a node group.",
    ),
    flag(
        Key::Compound,
        &["-C", "--compound"],
        "The target combines others: 'G@os:Debian and web*'.",
    ),
    flag(
        Key::PillarTarget,
        &["-I", "--pillar"],
        "The target is a pillar key and a glob.",
    ),
    flag(
        Key::PillarPcre,
        &["-J", "--pillar-pcre"],
        "The target is a pillar key and a regular expression.",
    ),
    flag(
        Key::Ipcidr,
        &["-S", "--ipcidr"],
        "The target is an address or a network.",
    ),
    text(
        Key::Delimiter,
        &["--delimiter"],
        "DELIMITER",
        "The separator between the parts of a grain or pillar key. Default: ':'.",
    ),
];

/// Options that Brine lacks and must not ignore.
const REFUSED: &[Opt<Key>] = &[
    text(
        Key::Refused,
        &["-b", "--batch", "--batch-size"],
        "BATCH",
        "Refused: the job would run on all targeted minions at once.",
    ),
    text(Key::Refused, &["--batch-wait"], "BATCH_WAIT", "Refused."),
    text(
        Key::Refused,
        &["--batch-safe-limit"],
        "BATCH_SAFE_LIMIT",
        "Refused.",
    ),
    text(
        Key::Refused,
        &["--batch-safe-size"],
        "BATCH_SAFE_SIZE",
        "Refused.",
    ),
    text(Key::Refused, &["--subset"], "SUBSET", "Refused."),
    flag(Key::Refused, &["--preview-target"], "Refused."),
    flag(Key::Refused, &["-R", "--range"], "Refused."),
];

/// The target's type as jobs name it; the last option wins.
pub(super) fn target_type(line: &Parsed<Key>) -> &'static str {
    let types = [
        (Key::Pcre, "pcre"),
        (Key::ListTarget, "list"),
        (Key::GrainTarget, "grain"),
        (Key::GrainPcre, "grain_pcre"),
        (Key::Nodegroup, "nodegroup"),
        (Key::Compound, "compound"),
        (Key::PillarTarget, "pillar"),
        (Key::PillarPcre, "pillar_pcre"),
        (Key::Ipcidr, "ipcidr"),
    ];
    let given = types.into_iter().find(|(key, _)| line.has(*key));
    given.map_or("glob", |(_, name)| name)
}
