//! The command line of `salt`. Facts: Salt 3008.3's `--help` and behaviour.

use brine_node::client::BatchSize;

use crate::salt::options::{
    ARGUMENTS, BASIC, CONFIG_DIR, EXTERNAL_AUTH, Key, LOG_LEVEL, NO_LOG_FILE, OUTPUT, flag, opt,
    text,
};
use crate::salt::optparse::{Opt, Parsed, Syntax, Takes};

pub(in crate::salt) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt",
    usage: "[options] '<target>' <function> [arguments]",
    about: "Has minions run a function and prints what they return. This is Brine.",
    options: &[
        BASIC,
        NO_LOG_FILE,
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
    if let Some(text) = line
        .value(Key::Batch)
        .filter(|text| BatchSize::parse(text).is_none())
    {
        return Err(format!(
            "Invalid batch specification '{text}': must be an integer or percentage string like '10' or '25%'."
        ));
    }
    if line.has(Key::Batch) && line.has(Key::Async) {
        return Err(
            "options --batch and --async: a batch needs this command until its end".to_owned(),
        );
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
    text(
        Key::Batch,
        &["-b", "--batch", "--batch-size"],
        "BATCH",
        "Run on this many minions at a time: a number, or a percentage such as 25%.",
    ),
    opt(
        Key::BatchWait,
        &["--batch-wait"],
        Takes::Decimal("BATCH_WAIT"),
        "Seconds to wait after a minion of a batch has returned before the next one takes its place.",
    ),
    opt(
        Key::BatchSafeLimit,
        &["--batch-safe-limit"],
        Takes::Number("BATCH_SAFE_LIMIT"),
        "Run as a batch if the target selects so many minions or more.",
    ),
    opt(
        Key::BatchSafeSize,
        &["--batch-safe-size"],
        Takes::Number("BATCH_SAFE_SIZE"),
        "The size of such a batch. Default: 8.",
    ),
    flag(
        Key::Failhard,
        &["--failhard"],
        "End a batch at the first minion that fails.",
    ),
    opt(
        Key::Subset,
        &["--subset"],
        Takes::Number("SUBSET"),
        "Run on this many of the minions, chosen at random among those that have the function.",
    ),
    flag(
        Key::PreviewTarget,
        &["--preview-target"],
        "Print which minions the target selects, and do not run the function.",
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
    flag(
        Key::StateOutputDiff,
        &["--output-diff"],
        "Print only states that failed or changed something.",
    ),
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
const REFUSED: &[Opt<Key>] = &[flag(
    Key::Refused,
    &["-R", "--range"],
    "Refused: there is no range server.",
)];

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
