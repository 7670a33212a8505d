//! Options that open a site to others, and what each exposes.

use brine_wire::Value;

use super::{Find, Remark, Severity};
use crate::load::Loaded;
use crate::role::Role;

/// An option whose value opens a site.
struct Danger {
    option: &'static str,
    /// The nodes that read it; none: all.
    role: Option<Role>,
    is_open: fn(&Value) -> bool,
    /// What it opens.
    text: &'static str,
    remedy: &'static str,
}

/// Of the master, and of every node. Those of `external_auth` and `rest_cherrypy` are inside these and have functions.
const DANGERS: [Danger; 13] = [
    every(
        "open_mode",
        is_true,
        "every key is accepted, and a known minion's key is replaced by whoever asks",
        "remove it",
    ),
    master(
        "auto_accept",
        is_true,
        "whoever reaches the master becomes a minion",
        "remove it; accept keys by salt-key -a, or use autosign_grains",
    ),
    master(
        "client_acl_verify",
        is_false,
        "users may run what publisher_acl does not name",
        "remove it",
    ),
    master(
        "sign_pub_messages",
        is_false,
        "minions cannot tell a job of this master from a forged one",
        "remove it",
    ),
    master(
        "netapi_allow_raw_shell",
        is_true,
        "whoever may use the API's ssh client runs any command",
        "remove it",
    ),
    master(
        "publisher_acl",
        opens_all,
        "a user named by a pattern for all may run any function",
        "name the users and the functions",
    ),
    every(
        "permissive_pki_access",
        is_true,
        "the group may read private keys",
        "remove it",
    ),
    Danger {
        option: "auth_safemode",
        role: Some(Role::Minion),
        is_open: is_true,
        text: "a minion that cannot sign in keeps running without a master",
        remedy: "remove it",
    },
    every(
        "ipc_mode",
        |value| value.as_str() == Some("tcp"),
        "every user of this machine can read the bus and fire on it",
        "remove it, so that sockets have owners and modes",
    ),
    every(
        "hash_type",
        |value| matches!(value.as_str(), Some("md5" | "sha1")),
        "texts with the same hash can be made",
        "write sha256",
    ),
    every(
        "keysize",
        |value| matches!(value, Value::Int(bits) if *bits < 2048),
        "keys of so few bits can be broken",
        "write 4096, and make the keys again",
    ),
    every(
        "log_level",
        shows_secrets,
        "such logs contain passwords and pillar data",
        "write info",
    ),
    every(
        "log_level_logfile",
        shows_secrets,
        "such logs contain passwords and pillar data",
        "write info",
    ),
];

const fn every(
    option: &'static str,
    is_open: fn(&Value) -> bool,
    text: &'static str,
    remedy: &'static str,
) -> Danger {
    Danger {
        option,
        role: None,
        is_open,
        text,
        remedy,
    }
}

const fn master(
    option: &'static str,
    is_open: fn(&Value) -> bool,
    text: &'static str,
    remedy: &'static str,
) -> Danger {
    let danger = every(option, is_open, text, remedy);
    Danger {
        role: Some(Role::Master),
        ..danger
    }
}

pub(super) fn remarks(role: Role, loaded: &Loaded, place: Find<'_>) -> Vec<Remark> {
    let opts = &loaded.opts;
    let mut remarks = Vec::new();
    let mut warn = |option: &str, text: &str, remedy: &str| {
        let outermost = option.split(": ").next().unwrap_or(option);
        remarks.push(Remark {
            severity: Severity::Warning,
            kind: "dangerous-option",
            place: place(option).or_else(|| place(outermost)),
            text: format!("{option}: {text}"),
            remedy: remedy.to_owned(),
        });
    };
    for danger in &DANGERS {
        let is_read = danger.role.is_none_or(|reads| reads == role);
        if is_read && opts.get(danger.option).is_some_and(danger.is_open) {
            warn(danger.option, danger.text, danger.remedy);
        }
    }
    if role == Role::Master {
        external_auth(opts.get("external_auth"), &mut warn);
        web_api(opts.get("rest_cherrypy"), &mut warn);
    }
    remarks
}

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

fn shows_secrets(level: &Value) -> bool {
    matches!(level.as_str(), Some("all" | "garbage" | "trace"))
}

/// Whether a pattern for everybody permits everything.
fn opens_all(value: &Value) -> bool {
    let Value::Map(map) = value else {
        return false;
    };
    map.iter().any(|(who, what)| {
        let is_all = |value: &Value| matches!(value.as_str(), Some(".*" | "*"));
        is_all(who)
            && what
                .as_array()
                .is_some_and(|functions| functions.iter().any(is_all))
    })
}

fn external_auth(value: Option<&Value>, warn: &mut impl FnMut(&str, &str, &str)) {
    let Some(Value::Map(backends)) = value else {
        return;
    };
    for (name, users) in backends {
        if name.as_str() == Some("auto") {
            warn(
                "external_auth: auto",
                "every password is right",
                "remove it: it is for tests",
            );
        }
        let Some(name) = name.as_str() else { continue };
        if opens_all(users) {
            let option = format!("external_auth: {name}");
            warn(
                &option,
                "whoever can log in may run any function on all minions",
                "name the users and the functions",
            );
        }
    }
}

fn web_api(value: Option<&Value>, warn: &mut impl FnMut(&str, &str, &str)) {
    let Some(Value::Map(api)) = value else {
        return;
    };
    let is_on = |key: &str| api.get(key).is_some_and(Value::is_true);
    let host = api.get("host").and_then(Value::as_str).unwrap_or("0.0.0.0");
    let is_local = host == "localhost" || host.starts_with("127.") || host == "::1";
    if is_on("disable_ssl") && !is_local {
        warn(
            "rest_cherrypy: disable_ssl",
            "passwords and tokens cross the network readable",
            "set ssl_crt and ssl_key, or host: 127.0.0.1 behind a proxy",
        );
    }
    if is_on("webhook_disable_auth") {
        warn(
            "rest_cherrypy: webhook_disable_auth",
            "whoever reaches the API fires events salt/netapi/hook",
            "remove it, or let the reactor check a signature",
        );
    }
    if api.get("cors_origin").and_then(Value::as_str) == Some("*") {
        warn(
            "rest_cherrypy: cors_origin",
            "pages of every site may use the API with a user's token",
            "name the origins",
        );
    }
    if is_on("debug") {
        warn(
            "rest_cherrypy: debug",
            "answers show tracebacks",
            "remove it",
        );
    }
}
