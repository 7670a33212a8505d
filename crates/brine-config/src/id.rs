//! A node's id when none is configured: the remembered one, or one guessed from the host name.
//!
//! A minion's id decides its sockets' names, so a guess must equal the running minion's id. Salt writes its id to a
//! file, which is therefore read first.

use std::fs;
use std::net::Ipv4Addr;

use brine_wire::Value;

use crate::environment::Environment;
use crate::opts::Opts;
use crate::paths;

/// An id found without configuration.
pub(crate) struct Guess {
    pub(crate) id: String,
    /// It comes from the file in which the minion keeps it.
    pub(crate) is_remembered: bool,
    /// It is an address, to which no domain is appended.
    pub(crate) is_address: bool,
}

/// Finds an id as Salt does.
pub(crate) fn guess_id(opts: &Opts, environment: &Environment) -> Guess {
    if let Some(id) = remembered(opts) {
        return Guess {
            id,
            is_remembered: true,
            is_address: false,
        };
    }
    let names = environment.host_names.iter();
    let name = names.map(String::as_str).find(|name| !is_local(name));
    let mut id = name.unwrap_or("localhost").to_owned();
    if matches!(opts.flag("minion_id_lowercase"), Ok(true)) {
        id = id.to_lowercase();
    }
    match opts.get("minion_id_remove_domain") {
        Some(Value::Bool(true)) => id.truncate(id.find('.').unwrap_or(id.len())),
        Some(Value::Str(domain)) if !domain.is_empty() => remove_domain(&mut id, domain),
        _ => {}
    }
    Guess {
        is_remembered: false,
        is_address: id.parse::<Ipv4Addr>().is_ok(),
        id,
    }
}

/// The first line of `etc/salt/minion_id` below `root_dir`.
fn remembered(opts: &Opts) -> Option<String> {
    let is_wanted = opts.get("minion_id_caching").is_none()
        || matches!(opts.flag("minion_id_caching"), Ok(true));
    if !is_wanted {
        return None;
    }
    let file = paths::join(opts.text("root_dir").ok()?, "etc/salt/minion_id");
    let text = fs::read_to_string(file).ok()?;
    let id = text.lines().next()?.trim();
    (!id.is_empty() && id != "localhost").then(|| id.to_owned())
}

/// Names that do not identify a host.
fn is_local(name: &str) -> bool {
    let starts = [
        "localhost",
        "ip6-",
        "ipv6-",
        "0.0.0.0",
        "::1",
        "fe00::",
        "fe02::",
    ];
    let is_loopback = name
        .strip_prefix("127.")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_loopback
        || starts.iter().any(|start| name.starts_with(start))
        || (name.starts_with("1.0.0.") && name.contains(".ip6.arpa"))
}

fn remove_domain(id: &mut String, domain: &str) {
    let suffix = format!(".{domain}").to_uppercase();
    if id.to_uppercase().ends_with(&suffix) {
        let kept = id.chars().count() - suffix.chars().count();
        *id = id.chars().take(kept).collect();
    }
}

/// The id with `append_domain` after it, unless it ends so already or ends in a dot.
pub(crate) fn with_domain(opts: &Opts, id: &str) -> String {
    match opts.get("append_domain") {
        Some(Value::Str(domain)) if !id.ends_with(domain.as_str()) && !id.ends_with('.') => {
            format!("{id}.{domain}")
        }
        _ => id.to_owned(),
    }
}
