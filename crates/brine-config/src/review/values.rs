//! Options with a fixed set of values, or a fixed shape, that have another: Salt takes most of them for the default or
//! for nothing, without a word.
//!
//! Facts: what Salt 3006.28 and 3008.3 compare the options with, where they read them. Some are read by one of the two
//! alone: `hgfs_branch_method` and `pillar_cache_backend` by 3006.28, `cluster_encryption_algorithm` by 3008.3.

use brine_wire::{Value, python_text};

use super::{Find, Remark, Severity};
use crate::opts::Opts;
use crate::role::Role;

const LEVELS: &str = "all, garbage, trace, debug, profile, info, warning, error, critical, quiet";
const SIGNING: &str = "PKCS1v15-SHA1, PKCS1v15-SHA224";
const ENCRYPTION: &str = "OAEP-SHA1, OAEP-SHA224";
const CACHES: &str = "disk, memory";

/// The options, their words, and what comes of another word.
const WORDS: &[(&str, &str, Severity)] = &[
    // Salt logs by its default then.
    ("log_level", LEVELS, Severity::Warning),
    ("log_level_logfile", LEVELS, Severity::Warning),
    (
        "hash_type",
        // Any that Python's hashlib has, and whose digest has a fixed length. Brine's nodes say themselves which of them
        // they do not know.
        "md5, sha1, sha224, sha256, sha384, sha512, sha3_224, sha3_256, sha3_384, sha3_512, blake2b, blake2s",
        Severity::Error,
    ),
    ("ipc_mode", "ipc, tcp", Severity::Warning),
    ("backup_mode", "minion, master, both", Severity::Warning),
    ("file_client", "remote, local", Severity::Warning),
    (
        "event_match_type",
        "startswith, endswith, find, regex, fnmatch",
        Severity::Warning,
    ),
    ("gpg_cache_backend", CACHES, Severity::Warning),
    ("pillar_cache_backend", CACHES, Severity::Warning),
    (
        "hgfs_branch_method",
        "branches, bookmarks, mixed",
        Severity::Warning,
    ),
    ("master_uri_format", "default, ip_only", Severity::Warning),
    (
        "pillar_source_merging_strategy",
        "smart, recurse, aggregate, overwrite, list, none",
        Severity::Warning,
    ),
    (
        "top_file_merging_strategy",
        "merge, same, merge_all",
        Severity::Warning,
    ),
    (
        "state_output",
        "full, terse, mixed, changes, filter, full_id, terse_id, mixed_id, changes_id, filter_id",
        Severity::Warning,
    ),
    ("syndic_failover", "random, ordered", Severity::Warning),
    ("syndic_mode", "sync, cluster", Severity::Warning),
    ("encryption_algorithm", ENCRYPTION, Severity::Error),
    (
        "cluster_encryption_algorithm",
        ENCRYPTION,
        Severity::Warning,
    ),
    ("signing_algorithm", SIGNING, Severity::Error),
    ("publish_signing_algorithm", SIGNING, Severity::Error),
];

/// Whose start depends on the word. The other role reads the option later, or never.
const OF_ONE_ROLE: [(&str, Role); 3] = [
    ("encryption_algorithm", Role::Minion),
    ("signing_algorithm", Role::Minion),
    ("publish_signing_algorithm", Role::Master),
];

/// The options whose words count in any case.
const ANY_CASE: [&str; 1] = ["state_output"];

/// Whether a value has a shape.
type HasShape = fn(&Value) -> bool;

/// The options that are mappings, or lists, of something: whether a value has the shape, and the shape for people. What
/// is no mapping or list at all is told from its type.
const SHAPES: &[(&str, HasShape, &str)] = &[
    (
        "nodegroups",
        |groups| match groups {
            Value::Array(groups) => groups.iter().all(|group| is_map_of(group, is_text_or_list)),
            groups => is_map_of(groups, is_text_or_list),
        },
        "a mapping of names to targets, such as {web: 'web* or G@role:web', db: [db1, db2]}",
    ),
    (
        "ssh_list_nodegroups",
        |groups| is_map_of(groups, is_text_or_list),
        "a mapping of names to minions, such as {db: [db1, db2]}",
    ),
    (
        "log_granular_levels",
        |levels| is_map_of(levels, is_level),
        "a mapping of loggers to levels, such as {salt.loader: debug}",
    ),
    (
        "file_roots",
        |roots| is_map_of(roots, is_list_of_text),
        "a mapping of environments to lists of directories, such as {base: [/srv/salt]}",
    ),
    (
        "pillar_roots",
        |roots| is_map_of(roots, is_list_of_text),
        "a mapping of environments to lists of directories, such as {base: [/srv/pillar]}",
    ),
    (
        "publisher_acl",
        |users| is_map_of(users, is_list),
        "a mapping of users to lists of functions, such as {fred: [test.ping]}",
    ),
    (
        "external_auth",
        |backends| is_map_of(backends, is_map),
        "a mapping of backends to users, such as {pam: {fred: [test.ping]}}",
    ),
    (
        "peer",
        |minions| is_map_of(minions, is_list),
        "a mapping of minions to lists of functions, such as {'web.*': [test.ping]}",
    ),
    (
        "peer_run",
        |minions| is_map_of(minions, is_list),
        "a mapping of minions to lists of runners, such as {'web.*': [manage.up]}",
    ),
    (
        "schedule",
        |jobs| {
            let not_jobs = ["enabled", "skip_function", "skip_during_range", "splay"];
            is_map_but(jobs, &not_jobs, is_map)
        },
        "a mapping of names to jobs, such as {ping: {function: test.ping, minutes: 5}}",
    ),
    (
        "beacons",
        |beacons| {
            is_map_but(beacons, &["enabled"], |beacon| {
                is_list(beacon) || is_map(beacon)
            })
        },
        "a mapping of beacons to lists of options, such as {load: [{interval: 10}]}",
    ),
    (
        "ext_pillar",
        |pillars| is_list_of(pillars, is_map),
        "a list of mappings, such as [{cmd_yaml: cat /etc/salt/yaml}]",
    ),
    (
        "engines",
        |engines| {
            let is_engine = |engine: &Value| engine.as_str().is_some() || is_map(engine);
            is_list_of(engines, is_engine) || is_map(engines)
        },
        "a list of names or of mappings, such as [{sqs_events: {queue: q1}}]",
    ),
];

/// The options of which Salt checks no type, or of which a type says little, and what they may be.
const PLAIN: &[(&str, HasShape, &str)] = &[
    (
        "autosign_grains",
        is_list_of_text,
        "a list of grains, such as [uuid]",
    ),
    (
        "mine_functions",
        |functions| is_list(functions) || is_map(functions),
        "a mapping of functions to arguments, such as {network.ip_addrs: []}",
    ),
    (
        "master_finger",
        is_fingerprint,
        "a fingerprint, such as salt-key -F master prints: pairs of hexadecimal digits with colons between them",
    ),
];

/// A fingerprint, of any hash that Salt has.
fn is_fingerprint(value: &Value) -> bool {
    let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
    let is_pairs = |text: &str| text.split(':').count() >= 16 && text.split(':').all(is_byte);
    value
        .as_str()
        .is_some_and(|text| text.is_empty() || is_pairs(text))
}

/// What is wrong with the words and shapes of options.
pub(super) fn remarks(role: Role, opts: &Opts, place: Find<'_>) -> Vec<Remark> {
    let wrong = |name: &str, severity, text: String, remedy: String| Remark {
        severity,
        kind: "wrong-value",
        place: place(name),
        text: format!("option {name}: {text}"),
        remedy,
    };
    let mut remarks = Vec::new();
    for &(name, words, severity) in WORDS {
        let found = opts.get(name).unwrap_or(&Value::Nil);
        let is_right = match words {
            LEVELS => is_level(found),
            words => is_word(found, words, ANY_CASE.contains(&name)),
        };
        if !is_right {
            let mut of_one_role = OF_ONE_ROLE.iter();
            let severity = match of_one_role.any(|&(one, whose)| one == name && whose != role) {
                true => Severity::Warning,
                false => severity,
            };
            let text = format!("unknown value {}", python_text::str(found));
            remarks.push(wrong(name, severity, text, format!("write one of {words}")));
        }
    }
    for &(name, is_right, expected) in PLAIN {
        let found = opts.get(name).unwrap_or(&Value::Nil);
        if *found != Value::Nil && !is_right(found) {
            let text = format!("expected {expected}, found {}", python_text::str(found));
            remarks.push(wrong(
                name,
                Severity::Warning,
                text,
                "correct it".to_owned(),
            ));
        }
    }
    for &(name, has_shape, shape) in SHAPES {
        let found = opts.get(name).unwrap_or(&Value::Nil);
        if matches!(found, Value::Map(_) | Value::Array(_)) && !has_shape(found) {
            let text = format!("expected {shape}");
            let remedy = "correct it: Salt ignores what has another shape, or fails over it";
            remarks.push(wrong(name, Severity::Warning, text, remedy.to_owned()));
        }
    }
    remarks
}

/// Whether a value is nothing or one of these words. Lists and mappings are told from their type.
fn is_word(value: &Value, words: &str, any_case: bool) -> bool {
    let found = match value {
        Value::Nil | Value::Array(_) | Value::Map(_) => return true,
        value => python_text::str(value),
    };
    found.is_empty()
        || words.split(", ").any(|word| match any_case {
            true => word == found.to_lowercase(),
            false => word == found,
        })
}

/// A level's word in any case, or Python's number for it.
fn is_level(value: &Value) -> bool {
    matches!(value, Value::Int(_)) || is_word(value, LEVELS, true)
}

fn is_map(value: &Value) -> bool {
    value.as_map().is_some()
}

fn is_map_of(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    is_map_but(value, &[], is_item)
}

/// Whether it is a mapping of such items, apart from these keys, which are not about an item.
fn is_map_but(value: &Value, others: &[&str], is_item: impl Fn(&Value) -> bool) -> bool {
    let is_other = |key: &Value| key.as_str().is_some_and(|key| others.contains(&key));
    let map = value.as_map();
    map.is_some_and(|map| {
        map.iter()
            .all(|(key, value)| is_other(key) || is_item(value) || *value == Value::Nil)
    })
}

fn is_list_of(value: &Value, is_item: impl Fn(&Value) -> bool) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().all(is_item))
}

fn is_list(value: &Value) -> bool {
    value.as_array().is_some()
}

fn is_list_of_text(value: &Value) -> bool {
    is_list_of(value, |item| item.as_str().is_some())
}

fn is_text_or_list(value: &Value) -> bool {
    value.as_str().is_some() || is_list(value)
}
