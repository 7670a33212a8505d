//! The command line of `salt-key`. Facts: Salt 3008.3's `--help` and behaviour.

use crate::salt::options::{
    BASIC, CONFIG_DIR, Key, LEVELS, NO_LOG_FILE, OUTPUT, external_auth, flag, opt, text,
};
use crate::salt::optparse::{Opt, Parsed, Syntax, Takes};

pub(in crate::salt) const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-key",
    usage: "[options]",
    about: "Lists, accepts, rejects and deletes the keys of minions. This is Brine.",
    options: &[
        BASIC,
        NO_LOG_FILE,
        CONFIG_DIR,
        LOG_LEVEL,
        OWN,
        OUTPUT,
        ACTIONS,
        GENERATION,
        LOGIN,
    ],
};

/// The bounds of `--keysize`, in bits.
const KEYSIZES: std::ops::RangeInclusive<i64> = 2048..=32768;

/// The checks that `optparse` does not make.
pub(super) fn check(line: &Parsed<Key>) -> Result<(), String> {
    let words = ["acc", "pre", "un", "rej", "den", "all"];
    if let Some(list) = line.value(Key::List)
        && !list.is_empty()
        && !words.iter().any(|word| list.starts_with(word))
    {
        return Err(format!("'{list}' is not a valid argument to '--list'"));
    }
    let keysize: Option<i64> = line
        .value(Key::Keysize)
        .and_then(|text| text.trim().parse().ok());
    match keysize {
        Some(bits) if bits < *KEYSIZES.start() => {
            Err("The minimum value for keysize is 2048".to_owned())
        }
        Some(bits) if bits > *KEYSIZES.end() => {
            Err("The maximum value for keysize is 32768".to_owned())
        }
        _ => Ok(()),
    }
}

/// `-a` means `--accept` in `salt-key`.
const LOGIN: &[Opt<Key>] = &external_auth(&["--auth", "--eauth", "--external-auth"]);

/// `-l` means `--list` in `salt-key`.
const LOG_LEVEL: &[Opt<Key>] = &[opt(
    Key::LogLevel,
    &["--log-level"],
    Takes::OneOf("LOG_LEVEL", LEVELS),
    "Log level for stderr. Default: 'warning'.",
)];

const OWN: &[Opt<Key>] = &[
    text(
        Key::NotActedOn,
        &["-u", "--user"],
        "USER",
        "Ignored: the configured user applies.",
    ),
    flag(Key::Quiet, &["-q", "--quiet"], "Suppress output."),
    flag(Key::Yes, &["-y", "--yes"], "Answer yes to all questions."),
    text(
        Key::RotateAes,
        &["--rotate-aes-key"],
        "ROTATE_AES_KEY",
        "False: do not replace the shared key when keys are deleted or rejected.",
    ),
    text(
        Key::PreserveMinions,
        &["--preserve-minions"],
        "PRESERVE_MINIONS",
        "True: keep cached data of minions whose keys are deleted.",
    ),
];

const ACTIONS: &[Opt<Key>] = &[
    text(
        Key::List,
        &["-l", "--list"],
        "ARG",
        "List the keys in a state: acc, pre (or un), rej, den; or all.",
    ),
    flag(Key::ListAll, &["-L", "--list-all"], "List all keys."),
    text(
        Key::Accept,
        &["-a", "--accept"],
        "ACCEPT",
        "Accept the pending keys that match a glob.",
    ),
    flag(
        Key::AcceptAll,
        &["-A", "--accept-all"],
        "Accept all pending keys.",
    ),
    text(
        Key::Reject,
        &["-r", "--reject"],
        "REJECT",
        "Reject the pending keys that match a glob.",
    ),
    flag(
        Key::RejectAll,
        &["-R", "--reject-all"],
        "Reject all pending keys.",
    ),
    flag(
        Key::IncludeAll,
        &["--include-all"],
        "Include rejected keys when accepting, accepted keys when rejecting.",
    ),
    flag(
        Key::IncludeAccepted,
        &["--include-accepted"],
        "Include accepted keys when rejecting.",
    ),
    flag(
        Key::IncludeRejected,
        &["--include-rejected"],
        "Include rejected keys when accepting.",
    ),
    flag(
        Key::IncludeDenied,
        &["--include-denied"],
        "Include denied keys when accepting or rejecting.",
    ),
    text(
        Key::Print,
        &["-p", "--print"],
        "PRINT",
        "Print the keys that match a glob.",
    ),
    flag(Key::PrintAll, &["-P", "--print-all"], "Print all keys."),
    text(
        Key::Delete,
        &["-d", "--delete"],
        "DELETE",
        "Delete the keys that match a glob, whatever their state.",
    ),
    flag(Key::DeleteAll, &["-D", "--delete-all"], "Delete all keys."),
    text(
        Key::Finger,
        &["-f", "--finger"],
        "FINGER",
        "Print the fingerprints of the keys that match a glob.",
    ),
    flag(
        Key::FingerAll,
        &["-F", "--finger-all"],
        "Print the fingerprints of all keys.",
    ),
];

const GENERATION: &[Opt<Key>] = &[
    text(
        Key::GenKeys,
        &["--gen-keys"],
        "GEN_KEYS",
        "Generate a key pair with this name.",
    ),
    text(
        Key::GenKeysDir,
        &["--gen-keys-dir"],
        "GEN_KEYS_DIR",
        "The directory of the key pair. Default: '.'.",
    ),
    opt(
        Key::Keysize,
        &["--keysize"],
        Takes::Number("KEYSIZE"),
        "The size of new keys in bits. Default: 2048.",
    ),
    flag(
        Key::GenSignature,
        &["--gen-signature"],
        "Sign the master's public key, for minions that verify the signature.",
    ),
    text(
        Key::Priv,
        &["--priv"],
        "PRIV",
        "The private key to sign with. Default: master_sign.pem in pki_dir.",
    ),
    text(
        Key::SignaturePath,
        &["--signature-path"],
        "SIGNATURE_PATH",
        "The directory of the signature. Default: pki_dir.",
    ),
    text(
        Key::Pub,
        &["--pub"],
        "PUB",
        "The public key to sign. Default: master.pub in pki_dir.",
    ),
    flag(
        Key::AutoCreate,
        &["--auto-create"],
        "Generate the signing key if it does not exist.",
    ),
];
