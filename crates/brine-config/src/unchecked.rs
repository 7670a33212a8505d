//! The options that Salt reads without a check of their types and without a default: what becomes of each here.
//!
//! `tests/oracle/unchecked.py` finds the names in the source of Salt 3008.3 and 3006.28.

use crate::role::Role;

/// Who reads an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Brine, in these roles.
    Brine(&'static [Role]),
    /// Salt's own daemons of these roles: Brine ignores it.
    SaltAlone(&'static [Role]),
    /// Modules, returners or commands, Salt's or a user's, which find it in their configuration here, too.
    Modules,
}

/// An option of whose value Salt checks nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unchecked {
    /// Its name.
    pub(crate) name: &'static str,
    /// Who reads it.
    pub(crate) reader: Reader,
}

const MASTER: &[Role] = &[Role::Master];
const MINION: &[Role] = &[Role::Minion];
const BOTH: &[Role] = &[Role::Master, Role::Minion];

/// All of them, sorted by name.
pub(crate) const UNCHECKED: &[Unchecked] = &[
    ignored("add_delegated_functions", MINION),
    ignored("add_delegated_modules", MINION),
    ignored("alert_master", MINION),
    by_brine("api_logfile", MASTER),
    by_brine("api_pidfile", MASTER),
    by_modules("apiopts"),
    by_brine("append_domain", MINION),
    by_brine("autoreject_file", MASTER),
    by_brine("autosign_file", MASTER),
    by_brine("autosign_grains", MINION),
    by_brine("autosign_grains_dir", MASTER),
    ignored("batch_manager_loop_interval", MASTER),
    ignored("beacons", MINION),
    by_brine("brine", BOTH),
    by_modules("cache_event_strip_fields"),
    ignored("cluster_join_timeout", MASTER),
    by_brine("cmd_blacklist_glob", MINION),
    by_brine("cmd_whitelist_glob", MINION),
    ignored("color_theme", BOTH),
    by_modules("default_target"),
    ignored("delegated_functions", MINION),
    ignored("delegated_modules", MINION),
    by_modules("diff_cache_events"),
    by_modules("docker"),
    by_modules("eauth_redis_host"),
    by_modules("eauth_redis_port"),
    by_modules("enable_cloud_grains"),
    ignored("environment", MINION),
    ignored("exclude_ext_pillar", MASTER),
    ignored("executor_opts", MINION),
    ignored("ext_pillar_first", MASTER),
    ignored("ext_processes", MASTER),
    ignored("fileserver_events", MASTER),
    ignored("fileserver_ftp_timeout", MINION),
    ignored("fileserver_list_cache_time", MASTER),
    by_modules("filter_events"),
    ignored("fluent_handler", BOTH),
    ignored("force_color", BOTH),
    by_modules("gpg_keydir"),
    ignored("grain_opts", MINION),
    by_modules("hide_pillar"),
    by_brine("include", BOTH),
    ignored("lazy_loader_strict_matching", BOTH),
    by_modules("ldap"),
    ignored("log_datefmt_console", BOTH),
    ignored("log_fmt", BOTH),
    ignored("logstash_udp_handler", BOTH),
    ignored("logstash_zmq_handler", BOTH),
    ignored("master_id", MASTER),
    by_modules("master_uri_list"),
    by_modules("max_render_file_size"),
    ignored("metaproxy", MINION),
    ignored("mine_functions", MINION),
    by_brine("mine_get", MASTER),
    ignored("minion_pillar_cache", MINION),
    ignored("module_executors", MINION),
    by_modules("multimaster"),
    by_modules("mysql"),
    by_modules("mysql_auth"),
    by_modules("napalm"),
    by_modules("netapi"),
    ignored("no_parse", MINION),
    by_modules("pam"),
    ignored("peer_run", MASTER),
    by_modules("pillar"),
    by_brine("pillar_raise_on_missing", MINION),
    by_modules("postgres"),
    by_brine("presence_events", MASTER),
    by_modules("profiles"),
    ignored("profiling_enabled", BOTH),
    ignored("profiling_path", BOTH),
    ignored("proxy", MINION),
    ignored("proxyid", MINION),
    ignored("proxymodule", MINION),
    by_modules("query"),
    by_modules("reactor_path"),
    by_modules("redis"),
    ignored("register_returner", MASTER),
    ignored("resources", MINION),
    by_brine("rest_cherrypy", MASTER),
    by_brine("rest_tornado", MASTER),
    by_modules("roster"),
    by_modules("roster_defaults"),
    by_modules("roster_dir"),
    by_modules("roster_file"),
    ignored("run_schedule_jobs_in_background", MINION),
    by_modules("runners"),
    ignored("sentry_handler", BOTH),
    by_brine("sharedsecret", MASTER),
    by_modules("smtp"),
    by_brine("source_ip", MINION),
    ignored("splaytime", MINION),
    by_modules("sqlite3"),
    by_brine("state_output_exclude", BOTH),
    by_brine("state_output_terse", BOTH),
    by_brine("state_tabular", BOTH),
    ignored("syndic_dir", BOTH),
    ignored("syndic_master_port", BOTH),
    ignored("syndic_mode", BOTH),
    ignored("syndic_sock_dir", BOTH),
    ignored("syndic_user", BOTH),
    by_modules("telemetry"),
    by_modules("thin_dir"),
    ignored("thorium_recompile", MASTER),
    by_modules("timezone"),
    by_brine("token_dir", MASTER),
    by_brine("token_file", MASTER),
    ignored("transport_opts", BOTH),
    ignored("use_yamlloader_old", MINION),
    by_modules("utc_hour"),
    by_modules("vault"),
    by_modules("venafi"),
    by_modules("verify_ssl"),
    ignored("zmq_heartbeat_ivl", BOTH),
    ignored("zmq_heartbeat_timeout", BOTH),
];

const fn by_brine(name: &'static str, roles: &'static [Role]) -> Unchecked {
    let reader = Reader::Brine(roles);
    Unchecked { name, reader }
}

const fn ignored(name: &'static str, roles: &'static [Role]) -> Unchecked {
    let reader = Reader::SaltAlone(roles);
    Unchecked { name, reader }
}

const fn by_modules(name: &'static str) -> Unchecked {
    let reader = Reader::Modules;
    Unchecked { name, reader }
}

/// The option of a name.
pub(crate) fn unchecked(name: &str) -> Option<&'static Unchecked> {
    let at = UNCHECKED
        .binary_search_by(|option| option.name.cmp(name))
        .ok()?;
    UNCHECKED.get(at)
}

/// Whether Salt's daemon of a role acts on it and Brine does not.
pub(crate) fn is_ignored(name: &str, role: Role) -> bool {
    let role = match role {
        Role::Client => Role::Master,
        role => role,
    };
    unchecked(name).is_some_and(
        |option| matches!(option.reader, Reader::SaltAlone(roles) if roles.contains(&role)),
    )
}
