//! The options that real Salt knows: their types and defaults, and which of them Brine supports.
//!
//! `tests/oracle/options.py` writes `options.tsv` from Salt 3008.3 and 3006.28; defaults are 3008.3's. Options that
//! are read but whose types Salt does not check (`presence_events`, `reactor`'s contents) are not in it and never
//! cause a warning.

use std::sync::LazyLock;

use brine_wire::Value;

use crate::role::Role;
use crate::types::Type;
use crate::yaml;

/// An option of Salt's.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    /// The types that Salt accepts; empty if Salt does not check it.
    pub(crate) types: Vec<Type>,
    master: &'static str,
    minion: &'static str,
}

impl Known {
    /// Its default in a role.
    pub(crate) fn default(&self, role: Role) -> Option<Value> {
        let json = match role {
            Role::Master | Role::Client => self.master,
            Role::Minion => self.minion,
        };
        match json {
            "-" => None,
            _ => yaml::load(json.as_bytes()).ok(),
        }
    }

    /// Whether setting it changes anything in a role.
    pub(crate) fn is_acted_on(&self, role: Role) -> bool {
        let is_shown = role == Role::Master && SHOWN_TO_MINIONS.contains(&self.name);
        let is_masters = role != Role::Minion && OF_MASTERS.contains(&self.name);
        is_shown || is_masters || ACTED_ON.contains(&self.name)
    }
}

/// All known options, sorted by name.
pub(crate) static OPTIONS: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let rows = include_str!("options.tsv").lines();
    rows.filter_map(|row| {
        let mut columns = row.split('\t');
        let name = columns.next()?;
        let types = columns.next()?.split('|').filter_map(Type::of_name);
        Some(Known {
            name,
            types: types.collect(),
            master: columns.next()?,
            minion: columns.next()?,
        })
    })
    .collect()
});

/// The option of a name.
pub(crate) fn known(name: &str) -> Option<&'static Known> {
    let at = OPTIONS
        .binary_search_by(|option| option.name.cmp(name))
        .ok()?;
    OPTIONS.get(at)
}

/// The replacement of an option that was removed from Salt.
pub(crate) fn obsolete(name: &str) -> Option<&'static str> {
    match name {
        "salt_event_pub_hwm" | "event_publisher_pub_hwm" => {
            Some("a slow subscriber costs the bus nothing here, remove it")
        }
        "event_listen_queue" | "event_listen_queue_max_seconds" => {
            Some("event_return_queue and event_return_queue_max_seconds batch returners")
        }
        "client_acl" => Some("use publisher_acl"),
        "client_acl_blacklist" => Some("use publisher_acl_blacklist"),
        _ => None,
    }
}

/// What does not happen when Brine ignores an option that does much in Salt.
pub(crate) fn consequence(name: &str, role: Role) -> Option<&'static str> {
    Some(match (role, name) {
        (Role::Master | Role::Client, "pillar_roots" | "ext_pillar") => {
            "minions of this master get an empty pillar"
        }
        (Role::Minion, "pillar_roots" | "ext_pillar") => "the pillar is empty without a master",
        (Role::Master | Role::Client, "master_tops") => "minions get no states from it",
        (Role::Master | Role::Client, "peer") => {
            "the master refuses what minions ask of each other"
        }
        (Role::Master | Role::Client, "peer_run") => {
            "the master refuses what minions ask it to run"
        }
        (Role::Master | Role::Client, "file_recv") => "the master takes no files from minions",
        (_, "schedule") => "none of its jobs runs",
        (_, "engines") => "no engine runs",
        (Role::Minion, "beacons") => "no beacon runs",
        (Role::Minion, "mine_functions") => "nothing of it goes to the mine",
        (Role::Minion, "proxy") => "the minion controls no device",
        (Role::Minion, "startup_states") => "no state runs at the start",
        (Role::Minion, "disable_modules" | "whitelist_modules") => {
            "functions that are built into Brine run all the same"
        }
        _ => return None,
    })
}

/// The options of a master that its minions ask for with `_master_opts` and act on, in its order.
pub const SHOWN_TO_MINIONS: [&str; 15] = [
    "top_file_merging_strategy",
    "env_order",
    "default_top",
    "renderer",
    "failhard",
    "state_top",
    "state_top_saltenv",
    "nodegroups",
    "state_auto_order",
    "state_events",
    "state_aggregate",
    "jinja_env",
    "jinja_sls_env",
    "jinja_lstrip_blocks",
    "jinja_trim_blocks",
];

/// The options that Brine acts on in masters alone: those that ask for sinks, and where keys are.
const OF_MASTERS: &[&str] = &[
    "event_return",
    "event_return_blacklist",
    "event_return_queue",
    "event_return_queue_max_seconds",
    "event_return_whitelist",
    "ext_job_cache",
    "keys.cache_driver",
    "master_job_cache",
];

/// The options that Brine acts on.
const ACTED_ON: &[&str] = &[
    "acceptance_wait_time",
    "acceptance_wait_time_max",
    "allow_minion_key_revoke",
    "always_verify_signature",
    "append_minionid_config_dirs",
    "auth_events",
    "auth_safemode",
    "auth_timeout",
    "auth_tries",
    "auto_accept",
    "autosign_timeout",
    "cachedir",
    "clean_dynamic_modules",
    "cli_summary",
    "client_acl_verify",
    "cmd_safe",
    "conf_file",
    "default_include",
    "drop_messages_signature_fail",
    "enable_legacy_startup_events",
    "encryption_algorithm",
    "enforce_mine_cache",
    "event_match_type",
    "extension_modules",
    "external_auth",
    "extmod_blacklist",
    "extmod_whitelist",
    "file_buffer_size",
    "file_client",
    "file_ignore_glob",
    "file_ignore_regex",
    "file_roots",
    "fileserver_followsymlinks",
    "fips_mode",
    "gather_job_timeout",
    "grains",
    "hash_type",
    "id",
    "interface",
    "ipc_mode",
    "ipv6",
    "job_cache",
    "keep_jobs",
    "keep_jobs_seconds",
    "key_pass",
    "keysize",
    "log_file",
    "log_level",
    "log_level_logfile",
    "loop_interval",
    "master",
    "master_alive_interval",
    "master_failback",
    "master_failback_interval",
    "master_finger",
    "master_port",
    "master_pubkey_signature",
    "master_shuffle",
    "master_sign_key_name",
    "master_sign_pubkey",
    "master_stats",
    "master_stats_event_iter",
    "master_tries",
    "master_type",
    "master_use_pubkey_signature",
    "max_event_size",
    "max_minions",
    "minimum_auth_version",
    "minion_data_cache",
    "minion_data_cache_events",
    "minion_id_caching",
    "minion_id_lowercase",
    "minion_id_remove_domain",
    "minion_jid_queue_hwm",
    "minion_sign_messages",
    "module_dirs",
    "netapi_allow_raw_shell",
    "netapi_enable_clients",
    "nodegroups",
    "open_mode",
    "order_masters",
    "permissive_acl",
    "permissive_pki_access",
    "pidfile",
    "ping_interval",
    "ping_on_rotate",
    "pki_dir",
    "preserve_minion_cache",
    "process_count_max",
    "pub_hwm",
    "publish_port",
    "publish_session",
    "publish_signing_algorithm",
    "publisher_acl",
    "publisher_acl_blacklist",
    "random_master",
    "random_reauth_delay",
    "random_startup_delay",
    "reactor",
    "reactor_worker_threads",
    "recon_default",
    "recon_max",
    "rejected_retry",
    "request_channel_timeout",
    "request_channel_tries",
    "request_server_ttl",
    "require_minion_sign_messages",
    "rest_timeout",
    "ret_port",
    "retry_dns",
    "retry_dns_count",
    "return_retry_timer",
    "return_retry_timer_max",
    "return_retry_tries",
    "root_dir",
    "rotate_aes_key",
    "runner_returns",
    "show_jid",
    "sign_pub_messages",
    "signing_algorithm",
    "signing_key_pass",
    "sock_dir",
    "source_publish_port",
    "source_ret_port",
    "ssl",
    "start_event_grains",
    "state_compress_ids",
    "state_output",
    "state_output_diff",
    "state_output_pct",
    "state_output_profile",
    "state_verbose",
    "sudo_acl",
    "tcp_keepalive",
    "tcp_keepalive_cnt",
    "tcp_keepalive_idle",
    "tcp_keepalive_intvl",
    "tcp_master_pub_port",
    "tcp_master_pull_port",
    "tcp_pub_port",
    "tcp_pull_port",
    "tcp_reconnect_backoff",
    "timeout",
    "token_expire",
    "token_expire_user_override",
    "transport",
    "use_master_when_local",
    "user",
    "utils_dirs",
    "verify_master_pubkey_sign",
    "zmq_backlog",
    "zmq_filtering",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unchecked::{Reader, UNCHECKED};

    #[test]
    fn the_table_is_sorted_and_every_default_reads() {
        assert!(OPTIONS.len() > 500);
        assert!(OPTIONS.is_sorted_by(|a, b| a.name < b.name));
        for option in OPTIONS.iter() {
            for (role, json) in [(Role::Master, option.master), (Role::Minion, option.minion)] {
                assert_eq!(
                    option.default(role).is_some(),
                    json != "-",
                    "{}",
                    option.name
                );
            }
        }
    }

    #[test]
    fn what_is_acted_on_is_what_the_code_reads() {
        /// Read as something else than this option: an argument or a job's field of the same name, only to warn of it, or
        /// only to learn where a real master has its tokens.
        const OTHERS: [&str; 11] = [
            "cache",
            "cluster_pool_port",
            "eauth_tokens",
            "ipc_write_buffer",
            "local",
            "password",
            "publish_timeout",
            "return",
            "saltenv",
            "schedule",
            "serial",
        ];
        const READERS: [&str; 11] = [
            "flag", "text", "get", "int", "seconds", "count", "port", "path", "texts", "number",
            "is_true",
        ];
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut folders: Vec<_> = [
            "crates/brine/src",
            "crates/brine-config/src",
            "crates/brine-net/src",
            "crates/brine-node",
            "python/lib",
            "python/src",
        ]
        .map(|folder| root.join(folder))
        .into();
        let mut code = String::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if path.is_dir() && name != "tests" {
                    folders.push(path);
                } else if (name.ends_with(".rs") || name.ends_with(".py")) && name != "options.rs"
                    || path.ends_with("master/options.rs")
                    || path.ends_with("minion/options.rs")
                    || path.ends_with("brine-node/src/options.rs")
                    || path.ends_with("http_api/options.rs")
                {
                    code.push_str(&std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        let literals: std::collections::HashSet<_> = code.split('"').collect();
        let unchecked = UNCHECKED.iter();
        let unchecked = unchecked.filter(|option| matches!(option.reader, Reader::Brine(_)));
        let unchecked: Vec<_> = unchecked.map(|option| option.name).collect();
        for name in ACTED_ON.iter().chain(OF_MASTERS).chain(&unchecked) {
            assert!(literals.contains(name), "{name}: nothing reads it");
        }
        for reader in READERS {
            for call in code.split(&format!(".{reader}(\"")).skip(1) {
                let name = call.split('"').next().unwrap_or_default();
                let is_listed = [ACTED_ON, OF_MASTERS, &SHOWN_TO_MINIONS]
                    .iter()
                    .any(|list| list.contains(&name));
                assert!(
                    known(name).is_none() || is_listed || OTHERS.contains(&name),
                    "{name}: read and not listed"
                );
            }
        }
    }

    #[test]
    fn the_reference_has_every_option() {
        use brine_testkit::reference::{cell, is_current};
        use std::fmt::Write as _;
        let mut page = String::from(
            "# Salt's options\n\nEvery option that Salt 3008.3 and 3006.28 check, its type and its defaults. \
             \"Brine\" says whose setting changes what Brine does: its master's, its minion's or both. Others are \
             read and ignored; `brine check` names those that a file sets.\n\n\
             | option | type | master's default | minion's default | Brine |\n| --- | --- | --- | --- | --- |\n",
        );
        for option in OPTIONS.iter() {
            let types: Vec<_> = option.types.iter().map(|one| one.name()).collect();
            let shown = |default: &str| match default {
                "-" => String::new(),
                default => format!("`{}`", default.replace('|', "\\|")),
            };
            let roles = [(Role::Master, "master"), (Role::Minion, "minion")];
            let roles = roles
                .into_iter()
                .filter(|(role, _)| option.is_acted_on(*role));
            let roles: Vec<_> = roles.map(|(_, name)| name).collect();
            let (types, roles) = (types.join(" or "), roles.join(", "));
            let (master, minion) = (shown(option.master), shown(option.minion));
            writeln!(
                page,
                "| `{}` | {} | {master} | {minion} | {roles} |",
                option.name,
                cell(&types)
            )
            .unwrap();
        }
        page.push_str(
            "\n## Options without a type\n\nOptions that Salt reads from its files without a check of their types. \
             \"Modules\": they are for modules, returners or commands, which find them here, too. What has \
             neither is ignored: the daemon says so at its start, and `brine check` does.\n\n\
             | option | Brine |\n| --- | --- |\n",
        );
        for option in UNCHECKED {
            let readers = match option.reader {
                Reader::Brine([Role::Master]) => "master",
                Reader::Brine([Role::Minion]) => "minion",
                Reader::Brine(_) => "master, minion",
                Reader::SaltAlone(_) => "",
                Reader::Modules => "modules",
            };
            writeln!(page, "| `{}` | {readers} |", option.name).unwrap();
        }
        is_current("salt-options.md", &page);
    }

    /// The documentation of the structs that Brine's own options are read into.
    #[test]
    fn the_reference_has_brines_own_options() {
        use std::fmt::Write as _;
        let mut page = String::from(
            "# Brine's own options\n\nBelow `brine:` in a master's or minion's configuration, which Salt ignores. A key \
             that is not here is an error.\n",
        );
        for (title, more, key, source) in [
            ("", "", "", include_str!("brine.rs")),
            (
                "history",
                "history.md",
                "history.",
                include_str!("history.rs"),
            ),
            ("spool", "spool.md", "spool.", include_str!("spool.rs")),
            (
                "reactor",
                "reactor.md",
                "reactor.",
                include_str!("reactor.rs"),
            ),
            (
                "sinks: every sink",
                "sinks.md",
                "",
                include_str!("sinks/mod.rs"),
            ),
            (
                "sinks: PostgreSQL, MySQL, MariaDB",
                "sinks.md",
                "",
                include_str!("sinks/databases.rs"),
            ),
            (
                "sinks: file, webhook, otlp",
                "sinks.md",
                "",
                include_str!("sinks/others.rs"),
            ),
            (
                "sinks: NATS, and cluster",
                "cluster.md",
                "",
                include_str!("nats.rs"),
            ),
        ] {
            if !title.is_empty() {
                write!(page, "\n## {title}\n\nSee [{more}](../{more}).\n").unwrap();
            }
            page.push_str("\n| option | type; default | |\n| --- | --- | --- |\n");
            let mut section = key;
            let lines: Vec<&str> = source.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                match *line {
                    "pub struct AuthOptions {" => section = "auth.",
                    "pub struct ApiOptions {" => section = "api.",
                    "pub enum SyncOption {" => section = "history.sync: ",
                    "pub struct ThrottleOption {" => section = "reactor.throttle.PATTERN.",
                    _ => {}
                }
                let Some((name, text)) = line
                    .strip_prefix("/// `")
                    .and_then(|rest| rest.split_once('`'))
                else {
                    continue;
                };
                if at > 0 && lines[at - 1].starts_with("///") {
                    continue;
                }
                // Of fields and variants alone, not of the types they are in.
                let below = lines[at..]
                    .iter()
                    .find(|line| !line.starts_with("//") && !line.starts_with("#["));
                let is_type = |below: &&str| {
                    ["struct ", "enum ", "fn "]
                        .iter()
                        .any(|word| below.contains(word))
                };
                if below.is_none_or(is_type) {
                    continue;
                }
                let more = lines[at + 1..].iter();
                let more = more.map_while(|line| line.strip_prefix("/// "));
                let text = [text].into_iter().chain(more).collect::<Vec<_>>().join(" ");
                // `name` (type; default): what it does.
                let (names, what) = text.split_once(": ").expect(&text);
                let (names, values) = names.split_once(" (").unwrap_or((names, ")"));
                let values = values.strip_suffix(')').expect(&text);
                let what = what.replace('|', "\\|");
                writeln!(page, "| `{section}{name}`{names} | {values} | {what} |").unwrap();
            }
        }
        brine_testkit::reference::is_current("brine-options.md", &page);
    }

    #[test]
    fn what_is_acted_on_is_known() {
        for name in ACTED_ON.iter().chain(OF_MASTERS) {
            assert!(known(name).is_some(), "{name}");
        }
        assert!(ACTED_ON.is_sorted());
    }
}
