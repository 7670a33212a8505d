//! What wheel functions do, for people: runner `doc.wheel`.

use brine_wire::Map;

/// Each function, by name.
pub(crate) const WHEEL_HELP: [(&str, &str); 18] = [
    (
        "config.values",
        "Options of the master that a page may show.",
    ),
    (
        "key.accept",
        "Accepts the keys whose ids match a shell pattern.",
    ),
    (
        "key.accept_dict",
        "Accepts the keys in a mapping of states to ids.",
    ),
    (
        "key.delete",
        "Deletes the keys whose ids match a shell pattern.",
    ),
    (
        "key.delete_dict",
        "Deletes the keys in a mapping of states to ids.",
    ),
    (
        "key.finger",
        "The fingerprints of the keys whose ids match a shell pattern.",
    ),
    (
        "key.finger_master",
        "The fingerprint of the master's own public key.",
    ),
    ("key.gen", "Makes a pair of keys; no file of it is kept."),
    (
        "key.gen_accept",
        "Makes a pair of keys for a minion and accepts it; nothing if the minion has a key, unless force is true.",
    ),
    (
        "key.glob_match",
        "The ids that match a shell pattern, by state.",
    ),
    (
        "key.list",
        "The ids of keys in a state: `un`, `acc`, `rej`, `den`, or all.",
    ),
    ("key.list_all", "The ids of all keys, by state."),
    ("key.master_key_str", "The master's own public key."),
    (
        "key.name_match",
        "The ids that match a shell pattern, by state.",
    ),
    (
        "key.print",
        "The public keys whose ids match a shell pattern.",
    ),
    (
        "key.reject",
        "Rejects the keys whose ids match a shell pattern.",
    ),
    (
        "key.reject_dict",
        "Rejects the keys in a mapping of states to ids.",
    ),
    (
        "minions.connected",
        "The ids of the minions that are connected.",
    ),
];

/// The documentation of all functions, by name, indented as that of runner functions.
pub(crate) fn documentation() -> Map {
    let indented = |(name, help)| (name, format!("\n    {help}\n"));
    WHEEL_HELP.into_iter().map(indented).collect()
}
