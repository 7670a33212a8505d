//! The options of external authentication.

use std::path::PathBuf;
use std::time::Duration;

use brine_wire::{Map, Value};

/// How people log in.
#[derive(Clone)]
pub struct AuthConfig {
    /// Salt's option `external_auth`: back ends, and for each the users with their permissions.
    pub external_auth: Map,
    /// Salt's option `sharedsecret`.
    pub sharedsecret: Option<String>,
    /// How long tokens live.
    pub token_expire: Duration,
    /// Salt's option `token_expire_user_override`: `true`, or for each back end the users who may choose.
    pub token_expire_user_override: Value,
    /// Salt's option `permissive_acl`.
    pub permissive_acl: bool,
    /// Whether the back end `auto`, which lets everybody in, may be used.
    pub allows_auto: bool,
    /// The file of Brine's own users (`eauth: brine`).
    pub users_file: Option<PathBuf>,
    /// Salt's options `auth.ldap.…`, by what follows that.
    pub ldap: Map,
    /// How `pam` is asked.
    pub pam: PamOptions,
}

/// How the system's modules are asked.
#[derive(Debug, Clone)]
pub struct PamOptions {
    /// Salt's option `auth.pam.service`: the file of `/etc/pam.d` that counts.
    pub service: String,
    /// The program that asks them, called with the argument `pam-helper`.
    pub program: PathBuf,
    /// How long it may take.
    pub answer_within: Duration,
}

impl Default for PamOptions {
    fn default() -> Self {
        Self {
            service: "login".to_owned(),
            // Even when its file has been replaced by another version.
            program: "/proc/self/exe".into(),
            answer_within: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the shared secret nor what back ends are told, passwords of theirs among it.
        let backends: Vec<&str> = self
            .external_auth
            .iter()
            .filter_map(|(name, _)| name.as_str())
            .collect();
        out.debug_struct("AuthConfig")
            .field("external_auth", &backends)
            .field("token_expire", &self.token_expire)
            .field("allows_auto", &self.allows_auto)
            .finish_non_exhaustive()
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            external_auth: Map::new(),
            sharedsecret: None,
            token_expire: Duration::from_secs(43_200),
            token_expire_user_override: false.into(),
            permissive_acl: false,
            allows_auto: false,
            users_file: None,
            ldap: Map::new(),
            pam: PamOptions::default(),
        }
    }
}
