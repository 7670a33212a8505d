//! Computes the options that follow from others, as Salt does after reading its files.
//!
//! The order is Salt's, since each step uses the results of the previous ones: socket directory,
//! id, `root_dir`, the rest. Facts: `docs/protocol/ipc.md` §2; Salt 3008.3.

use brine_wire::{Map, Value};

use crate::environment::Environment;
use crate::error::{ConfigError, Warning};
use crate::id::{guess_id, with_domain};
use crate::opts::Opts;
use crate::paths;
use crate::role::Role;

/// Applies the files' values over the defaults and computes the dependent options.
pub(crate) fn resolve(
    role: Role,
    opts: &mut Opts,
    mut overrides: Map,
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    adjust_log_file(opts, &mut overrides);
    if overrides.get("cluster_pool_port").is_none()
        && let Some(port) = overrides.get("cluster_port").cloned()
    {
        overrides.insert("cluster_pool_port", port);
    }
    for (name, value) in overrides {
        if let Value::Str(name) = name {
            opts.set_given(&name, value);
        }
    }
    match role {
        Role::Master | Role::Client => {
            shorten_sock_dir(opts)?;
            set_master_directories(opts)?;
            set_id(role, opts, environment, warnings)?;
            keep_tokens_complete(opts);
        }
        Role::Minion => {
            set_id(role, opts, environment, warnings)?;
            append_id_to_directories(opts)?;
            shorten_sock_dir(opts)?;
            set_extension_modules(opts)?;
            if opts.get("beacons").is_none() {
                opts.set("beacons", Map::new());
            }
        }
    }
    size_write_buffer(opts, environment);
    prepend_root_dir(role, opts, environment)?;
    for name in ["open_mode", "auto_accept"] {
        // Salt accepts only a plain `true` here; a minion's auto_accept is not read.
        if role != Role::Minion || name == "open_mode" {
            let is_on = opts.get(name) == Some(&Value::Bool(true));
            opts.set(name, is_on);
        }
    }
    let hash_type = opts.text("hash_type")?.to_lowercase();
    opts.set("hash_type", hash_type);
    Ok(())
}

/// `log_dir` is the directory of a `log_file` without one.
fn adjust_log_file(defaults: &Opts, overrides: &mut Map) {
    let Some(Value::Str(directory)) = overrides.get("log_dir") else {
        return;
    };
    let file = match overrides.get("log_file") {
        Some(Value::Str(file)) if !file.is_empty() => file,
        _ => paths::file_name(defaults.text("log_file").unwrap_or_default()),
    };
    if !directory.is_empty() {
        let file = paths::join(directory, file);
        overrides.insert("log_file", file);
    }
}

/// A socket path must be short: a long `sock_dir` is replaced by one below `cachedir`.
fn shorten_sock_dir(opts: &mut Opts) -> Result<(), ConfigError> {
    let cachedir = opts.text("cachedir")?;
    if opts.text("sock_dir")?.chars().count() > cachedir.chars().count() + 10 {
        let sock_dir = paths::join(cachedir, ".salt-unix");
        opts.set("sock_dir", sock_dir);
    }
    Ok(())
}

fn set_master_directories(opts: &mut Opts) -> Result<(), ConfigError> {
    for (option, name) in [("token_dir", "tokens"), ("syndic_dir", "syndics")] {
        let directory = paths::join(opts.text("cachedir")?, name);
        opts.set(option, directory);
    }
    set_extension_modules(opts)
}

fn set_extension_modules(opts: &mut Opts) -> Result<(), ConfigError> {
    if matches!(opts.get("extension_modules"), Some(Value::Str(own)) if !own.is_empty()) {
        return Ok(());
    }
    let directory = paths::join(opts.text("cachedir")?, "extmods");
    opts.set("extension_modules", directory);
    Ok(())
}

/// The configured id, or a guess; a master's guess ends in `_master`.
fn set_id(
    role: Role,
    opts: &mut Opts,
    environment: &Environment,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    let configured = match opts.get("id") {
        None | Some(Value::Nil) => "",
        _ => opts.text("id")?,
    };
    let is_configured = !configured.is_empty();
    let mut id = if is_configured {
        with_domain(opts, configured)
    } else {
        let guess = guess_id(opts, environment);
        let id = if guess.is_address {
            guess.id
        } else {
            with_domain(opts, &guess.id)
        };
        if role == Role::Minion && !guess.is_remembered {
            warnings.push(Warning::GuessedId { id: id.clone() });
        }
        id
    };
    if !is_configured && role != Role::Minion {
        id.push_str("_master");
    }
    opts.set("id", id);
    Ok(())
}

/// `append_minionid_config_dirs`: directories of several minions on one machine.
fn append_id_to_directories(opts: &mut Opts) -> Result<(), ConfigError> {
    let Some(Value::Array(names)) = opts.get("append_minionid_config_dirs").cloned() else {
        return Ok(());
    };
    let id = opts.text("id")?.to_owned();
    for name in names.iter().filter_map(Value::as_str) {
        match name {
            "pki_dir" | "cachedir" | "extension_modules" => {
                let directory = paths::join(opts.text(name)?, &id);
                opts.set(name, directory);
            }
            "default_include" | "pidfile" => {
                let path = opts.text(name)?;
                let mut directory = paths::directory(path).to_owned();
                if name == "pidfile" {
                    directory = paths::join(&directory, "salt");
                }
                let directory = paths::join(&directory, &id);
                let path = paths::join(&directory, paths::file_name(path));
                opts.set(name, path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The `rest` back end cannot look permissions up again, so its tokens must carry them.
fn keep_tokens_complete(opts: &mut Opts) {
    let back_ends = opts.get("external_auth").and_then(Value::as_map);
    if back_ends.is_some_and(|back_ends| back_ends.get("rest").is_some()) {
        opts.set("keep_acl_in_token", true);
    }
}

/// `dynamic` is half of a twentieth of the memory, of at least 10 MiB.
fn size_write_buffer(opts: &mut Opts, environment: &Environment) {
    const AT_LEAST: u64 = 10 << 20;
    if opts.get("ipc_write_buffer").and_then(Value::as_str) == Some("dynamic") {
        let bytes = (environment.memory / 20).max(AT_LEAST) / 2;
        opts.set("ipc_write_buffer", bytes);
    }
}

/// `root_dir` before the paths that Salt puts it before.
fn prepend_root_dir(
    role: Role,
    opts: &mut Opts,
    environment: &Environment,
) -> Result<(), ConfigError> {
    const BOTH: &[&str] = &[
        "pki_dir",
        "cachedir",
        "sock_dir",
        "extension_modules",
        "pidfile",
    ];
    const MASTER: &[&str] = &[
        "autosign_file",
        "autoreject_file",
        "token_dir",
        "syndic_dir",
        "sqlite_queue_dir",
        "autosign_grains_dir",
    ];
    const LOGS: &[&str] = &["log_file", "key_logfile"];
    const MASTER_LOGS: &[&str] = &["ssh_log_file"];

    let root_dir = paths::normalize(&paths::join(
        &environment.current_dir,
        opts.text("root_dir")?,
    ));
    let (more, more_logs) = match role {
        Role::Master | Role::Client => (MASTER, MASTER_LOGS),
        Role::Minion => (&[][..], &[][..]),
    };
    for name in BOTH.iter().chain(more) {
        if opts.get(name).is_some() {
            let path = paths::under_root(&root_dir, opts.text(name)?);
            opts.set(name, path);
        }
    }
    for name in LOGS.iter().chain(more_logs) {
        if opts.is_set(name) && !paths::has_scheme(opts.text(name)?) {
            let path = paths::under_root(&root_dir, opts.text(name)?);
            opts.set(name, path);
        }
    }
    Ok(())
}
