//! The master's options for external authentication.

use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_auth::{AuthConfig, PamOptions, TokenLayout, TokenStore};
use brine_config::{Brine, Opts};
use brine_wire::compat::{Compat, Series};
use brine_wire::{Map, Value, python_text};

/// What `external_auth` needs of the master's options.
#[derive(Debug, Clone)]
pub(super) struct ExternalOptions {
    pub(super) auth: AuthConfig,
    /// `token_dir`, where releases before 3008 keep tokens.
    token_dir: Option<PathBuf>,
}

impl ExternalOptions {
    pub(super) fn from_opts(opts: &Opts, brine: &Brine) -> Self {
        let map = |name| opts.get(name).and_then(Value::as_map).cloned();
        let expire = opts.int("token_expire").unwrap_or(43_200);
        let token_dir = opts.text("token_dir").ok();
        let external_auth = map("external_auth").unwrap_or_default();
        Self {
            auth: AuthConfig {
                external_auth,
                sharedsecret: match opts.get("sharedsecret") {
                    Some(Value::Str(secret)) => Some(secret.clone()),
                    Some(Value::Int(secret)) => Some(secret.to_string()),
                    _ => None,
                },
                token_expire: Duration::from_secs(u64::try_from(expire).unwrap_or(43_200)),
                token_expire_user_override: opts
                    .get("token_expire_user_override")
                    .cloned()
                    .unwrap_or(Value::Nil),
                permissive_acl: opts.flag("permissive_acl").unwrap_or(false),
                allows_auto: brine.auth.allow_auto,
                users_file: brine.auth.users.clone(),
                ldap: below(opts, "auth.ldap."),
                pam: pam(opts),
            },
            token_dir: token_dir
                .filter(|directory| !directory.is_empty())
                .map(Into::into),
        }
    }

    /// Where Salt keeps tokens: 3008 below `cachedir`, earlier releases in `token_dir`.
    pub(super) fn token_store(
        &self,
        compat: Compat,
        cachedir: &Path,
        hash_type: &str,
    ) -> TokenStore {
        let (directory, layout) = match compat.series() {
            Series::S3008 => (cachedir.join("tokens"), TokenLayout::Cache),
            _ => {
                let directory = self.token_dir.clone();
                let directory = directory.unwrap_or_else(|| cachedir.join("tokens"));
                (directory, TokenLayout::Bare)
            }
        };
        TokenStore::new(directory, layout, hash_type)
    }
}

/// Names in `external_auth` of which this program has no back end, and what that means.
#[must_use]
pub fn missing_backends(opts: &Opts) -> Vec<(String, String)> {
    let backends = opts.get("external_auth").and_then(Value::as_map);
    let names = backends.into_iter().flatten();
    let names = names.map(|(name, _)| python_text::str(name));
    let missing = names.filter(|name| !brine_auth::has_backend(name));
    let say = |name: String| {
        let why = match &*name {
            "pam" => {
                "this program is built without PAM (cargo's feature pam): its users cannot log in"
                    .to_owned()
            }
            name => format!(
                "Brine has no back end {name}: its users cannot log in; there are sharedsecret, file, ldap, pam, rest, brine \
                 and auto"
            ),
        };
        let text = format!("option external_auth: {why}");
        (name, text)
    };
    missing.map(say).collect()
}

/// Salt's options `auth.pam.…`.
fn pam(opts: &Opts) -> PamOptions {
    if opts.get("auth.pam.python").is_some() {
        tracing::warn!("option auth.pam.python is ignored: Brine asks PAM without Python");
    }
    let mut pam = PamOptions::default();
    if let Some(service) = opts.get("auth.pam.service") {
        pam.service = python_text::str(service);
    }
    pam
}

/// The options whose names begin so, by the rest of their names.
fn below(opts: &Opts, prefix: &str) -> Map {
    let all = opts.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(prefix)?;
        Some((name, value.clone()))
    });
    all.collect()
}
