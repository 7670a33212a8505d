//! Options that open a site to others, each with what it opens.

use brine_wire::Value;

use super::{Find, Remark, Severity};
use crate::load::Loaded;
use crate::role::Role;

pub(super) fn remarks(role: Role, loaded: &Loaded, place: Find<'_>) -> Vec<Remark> {
    let opts = &loaded.opts;
    let is = |name: &str, wanted: bool| opts.get(name) == Some(&Value::Bool(wanted));
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
    if is("open_mode", true) {
        warn(
            "open_mode",
            "every key is accepted, and a known minion's key is replaced by whoever asks",
            "remove it",
        );
    }
    if role == Role::Master {
        if is("auto_accept", true) {
            warn(
                "auto_accept",
                "whoever reaches the master becomes a minion",
                "remove it; accept keys by salt-key -a, or use autosign_grains",
            );
        }
        if is("client_acl_verify", false) {
            warn(
                "client_acl_verify",
                "users may run what publisher_acl does not name",
                "remove it",
            );
        }
        if is("sign_pub_messages", false) {
            warn(
                "sign_pub_messages",
                "minions cannot tell a job of this master from a forged one",
                "remove it",
            );
        }
        if is("file_recv", true) {
            warn(
                "file_recv",
                "every minion may write files to the master",
                "remove it unless minions push files",
            );
        }
        if is("netapi_allow_raw_shell", true) {
            warn(
                "netapi_allow_raw_shell",
                "whoever may use the API's ssh client runs any command",
                "remove it",
            );
        }
        for name in ["peer", "peer_run"] {
            if opens_all(opts.get(name)) {
                warn(
                    name,
                    "every minion may run any function on others",
                    "name the minions and the functions",
                );
            }
        }
        if opens_all(opts.get("publisher_acl")) {
            warn(
                "publisher_acl",
                "a user named by a pattern for all may run any function",
                "name the users and the functions",
            );
        }
        external_auth(opts.get("external_auth"), &mut warn);
        web_api(opts.get("rest_cherrypy"), &mut warn);
    }
    if is("permissive_pki_access", true) {
        warn(
            "permissive_pki_access",
            "the group may read private keys",
            "remove it",
        );
    }
    if is("auth_safemode", true) && role == Role::Minion {
        warn(
            "auth_safemode",
            "a minion that cannot sign in keeps running without a master",
            "remove it",
        );
    }
    if opts.get("ipc_mode").and_then(Value::as_str) == Some("tcp") {
        warn(
            "ipc_mode",
            "every user of this machine can read the bus and fire on it",
            "remove it, so that sockets have owners and modes",
        );
    }
    let hash = opts
        .get("hash_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if matches!(hash, "md5" | "sha1") {
        warn(
            "hash_type",
            "texts with the same hash can be made",
            "write sha256",
        );
    }
    if let Some(Value::Int(bits)) = opts.get("keysize")
        && *bits < 2048
    {
        warn(
            "keysize",
            "keys of so few bits can be broken",
            "write 4096, and make the keys again",
        );
    }
    for name in ["log_level", "log_level_logfile"] {
        let level = opts.get(name).and_then(Value::as_str).unwrap_or_default();
        if matches!(level, "all" | "garbage" | "trace") && place(name).is_some() {
            warn(
                name,
                "such logs hold passwords and pillar data",
                "write info",
            );
        }
    }
    remarks
}

/// Whether a pattern for everybody permits everything.
fn opens_all(value: Option<&Value>) -> bool {
    let Some(Value::Map(map)) = value else {
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
        if opens_all(Some(users)) {
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
