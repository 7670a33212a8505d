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

/// What `optparse` does not find. What would run a function on other minions than asked for is
/// refused, not warned of.
pub(super) fn check(line: &Parsed<Key>) -> Result<(), String> {
    if let Some(name) = line.names(Key::Refused).next() {
        return Err(format!(
            "option {name}: not here; say with a target (-L, -E, -C) which minions are to run it"
        ));
    }
    Ok(())
}

const OWN: &[Opt<Key>] = &[
    opt(
        Key::Timeout,
        &["-t", "--timeout"],
        Takes::Number("TIMEOUT"),
        "Seconds after which minions that have not answered are asked whether they still run it. Default: 5.",
    ),
    flag(
        Key::Static,
        &["-s", "--static"],
        "Print all returns at once when they are there.",
    ),
    flag(
        Key::Async,
        &["--async"],
        "Print the job's id, and do not wait for returns.",
    ),
    flag(
        Key::Verbose,
        &["-v", "--verbose"],
        "Print the job's id before the returns.",
    ),
    flag(
        Key::ShowJid,
        &["--show-jid"],
        "Print the job's id before the returns.",
    ),
    flag(Key::NoEffect, &["--hide-timeout"], "No effect, as in Salt."),
    flag(
        Key::NoEffect,
        &["--show-timeout"],
        "No effect: minions that did not return are always shown.",
    ),
    flag(
        Key::Summary,
        &["--summary"],
        "Print how many minions returned, after the returns.",
    ),
    flag(
        Key::Doc,
        &["-d", "--doc", "--documentation"],
        "Print the documentation of functions whose names begin so.",
    ),
    text(
        Key::ArgsSeparator,
        &["--args-separator"],
        "ARGS_SEPARATOR",
        "What stands between the arguments of several functions. Default: ','.",
    ),
    text(
        Key::ReturnTo,
        &["--return"],
        "RETURNER",
        "Have Salt's own minions return to this too.",
    ),
    text(
        Key::SetMetadata,
        &["--metadata"],
        "METADATA",
        "A mapping that goes with the job and comes back with the returns.",
    ),
    flag(Key::NoEffect, &["--output-diff"], "No effect."),
    text(
        Key::NotActedOn,
        &["--return_config"],
        "RETURNER_CONF",
        "Not acted on.",
    ),
    text(
        Key::NotActedOn,
        &["--return_kwargs"],
        "RETURNER_KWARGS",
        "Not acted on.",
    ),
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
    flag(Key::NotActedOn, &["--start-event"], "Not acted on."),
    flag(Key::NotActedOn, &["-p", "--progress"], "Not acted on."),
    flag(Key::NotActedOn, &["--failhard"], "Not acted on."),
];

/// What the target is; a shell glob for ids without one of these.
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
        "What stands between the parts of a grain or pillar key. Default: ':'.",
    ),
];

/// What Brine has not, and what must not be passed over.
const REFUSED: &[Opt<Key>] = &[
    text(
        Key::Refused,
        &["-b", "--batch", "--batch-size"],
        "BATCH",
        "Refused: this master publishes to all minions at once.",
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

/// The target's type, as jobs name it: that of the last option there.
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
