//! What the API is configured to do: `rest_cherrypy` and what goes with it, checked.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use brine_wire::{Map, Value};

/// The API's options: Salt's of the same names, under `rest_cherrypy`, but for those that say otherwise.
#[derive(Debug, Clone)]
pub struct RestOptions {
    /// What one client may take.
    pub limits: Limits,
    /// `netapi_enable_clients` of the master: which clients may be used.
    pub enabled_clients: Vec<String>,
    /// `netapi_allow_raw_shell` of the master.
    pub allow_raw_shell: bool,
    /// `external_auth` of the master, of which a login shows the permissions.
    pub external_auth: Map,
    /// Streams take their token from the query, too (`brine: {api: {allow_query_token: …}}`).
    pub allow_query_token: bool,
    /// `root_prefix`: where the API begins.
    pub root_prefix: String,
    /// `enable_sessions`: without, there is no `/login`, `/logout`, `/minions` and `/jobs`.
    pub enable_sessions: bool,
    /// `webhook_url`: the path of webhooks, without slashes around it.
    pub webhook_url: String,
    /// `webhook_disable_auth`: anybody may fire webhooks.
    pub webhook_disable_auth: bool,
    /// `stats_disable_auth`: anybody may read `/stats`.
    pub stats_disable_auth: bool,
    /// `app`: a page for browsers, in place of Brine's own.
    pub app: Option<PathBuf>,
    /// `app_path`, without slashes around it.
    pub app_path: String,
    /// `static`: a folder of files.
    pub static_files: Option<PathBuf>,
    /// `static_path`, without slashes around it.
    pub static_path: String,
    /// `favicon`: a file.
    pub favicon: Option<PathBuf>,
    /// `authorized_ips`: who else gets 403; empty for everybody.
    pub authorized_ips: Vec<String>,
    /// `api_acl: {users: …}`: from which addresses a user may log in; `None` for all.
    pub api_acl: Option<HashMap<String, Vec<String>>>,
    /// `brine: {api: {open_exporter: …}}`: `/metrics/salt-exporter`, which names minions, is for everybody and not
    /// for who is logged in.
    pub open_exporter: bool,
    /// `cors_origin` of `rest_tornado`: origins of pages that may use the browser's cookie; `*` for all.
    pub cors_origin: Vec<String>,
    /// `debug`: answers to unforeseen errors say what happened.
    pub debug: bool,
    /// Where sessions are kept, so that they outlive a restart.
    pub session_directory: Option<PathBuf>,
    /// How values are written as YAML, block style, keys sorted.
    pub to_yaml: fn(&Value) -> String,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            enabled_clients: Vec::new(),
            allow_raw_shell: false,
            external_auth: Map::new(),
            allow_query_token: true,
            root_prefix: String::new(),
            enable_sessions: true,
            webhook_url: "hook".to_owned(),
            webhook_disable_auth: false,
            stats_disable_auth: false,
            app: None,
            app_path: "app".to_owned(),
            static_files: None,
            static_path: "static".to_owned(),
            favicon: None,
            authorized_ips: Vec::new(),
            api_acl: None,
            open_exporter: false,
            cors_origin: Vec::new(),
            debug: false,
            session_directory: None,
            // JSON is YAML.
            to_yaml: |value| {
                let mut text = String::new();
                brine_wire::json::to_line(value, &mut text);
                text
            },
        }
    }
}

/// What clients may take of connections, bytes and time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections together.
    pub connections: usize,
    /// The most connections of one address.
    pub connections_per_address: usize,
    /// The most handshakes of TLS under way; the library keeps up to 64 KiB for each. Beyond it the oldest of the address
    /// that has most is ended.
    pub handshakes: usize,
    /// The most streams of one user.
    pub streams_per_user: usize,
    /// How many commands run at a time: `thread_pool`.
    pub commands: usize,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most fields of a head.
    pub head_fields: usize,
    /// How long a client may take to send a head, and how long a connection may be idle between two.
    pub head_timeout: Duration,
    /// The largest body, in bytes: `max_request_body_size`.
    pub body_bytes: usize,
}

impl Limits {
    /// These limits, so that connections leave half of this many open files for what requests and sessions need: connections
    /// to the bus and to the master, the files of tokens.
    #[must_use]
    pub fn within_open_files(self, files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(files / 2),
            connections_per_address: self.connections_per_address.min(files / 4),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_address: 16_384,
            handshakes: 1024,
            streams_per_user: 16_384,
            commands: 100,
            head_bytes: 16 << 10,
            head_fields: 64,
            head_timeout: Duration::from_secs(30),
            body_bytes: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_open_files() {
        for files in [64, 1024, 20_000, 1 << 20] {
            let limits = Limits::default().within_open_files(files as u64);
            assert!(limits.connections <= files / 2);
            assert!(limits.connections_per_address <= limits.connections / 2);
        }
    }
}
