//! The back ends of `external_auth`, which know whether a user and a password belong together.
//!
//! When the API runs beside a real master, it asks that master for Salt's other back ends; also for `pam`, if this
//! program is built without the feature `pam`.

mod file;
mod hashes;
mod ldap;
#[cfg(feature = "pam")]
pub(crate) mod pam;
mod rest;

use std::path::PathBuf;
use std::time::Duration;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Argon2, password_hash};
use brine_wire::{Map, Value};

use crate::config::AuthConfig;
use crate::login::Login;
pub(crate) use hashes::same;

/// A back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Everybody who knows the option `sharedsecret`, by any name.
    SharedSecret,
    /// Everybody.
    Auto,
    /// A file of users: text, htpasswd or htdigest.
    File,
    /// Brine's own users, with argon2.
    Brine,
    /// A directory.
    Ldap,
    /// An HTTP server that is asked.
    Rest,
    /// The system's modules.
    #[cfg(feature = "pam")]
    Pam,
}

/// What a back end knows of a user, beside the password.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) groups: Vec<String>,
    /// Permissions of the back end's own, beside those of `external_auth`.
    pub(crate) permissions: Vec<Value>,
}

/// How long another server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a back end cannot tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    /// An option is missing or wrong.
    #[error("{option}: expected {expected}")]
    Option {
        option: &'static str,
        expected: &'static str,
    },
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: line {line}: {what}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        what: &'static str,
    },
    /// Another server does not answer as it should.
    #[error("{server}: {reason}")]
    Server { server: String, reason: String },
}

/// Whether this program has a back end of `external_auth` by this name.
#[must_use]
pub fn has_backend(name: &str) -> bool {
    Backend::named(name).is_some()
}

impl Backend {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sharedsecret" => Self::SharedSecret,
            "auto" => Self::Auto,
            "file" => Self::File,
            "brine" => Self::Brine,
            "ldap" => Self::Ldap,
            "rest" => Self::Rest,
            #[cfg(feature = "pam")]
            "pam" => Self::Pam,
            _ => return None,
        })
    }

    /// Whether others are asked, who may take their time: nothing of this process is busy meanwhile.
    pub(crate) const fn asks_others(self) -> bool {
        match self {
            Self::SharedSecret | Self::Auto | Self::File | Self::Brine => false,
            Self::Ldap | Self::Rest => true,
            #[cfg(feature = "pam")]
            Self::Pam => true,
        }
    }
}

/// What is known of the user, if user and password belong together; `options` are those of the back end.
pub(crate) fn check(
    backend: Backend,
    login: &Login,
    options: &Map,
    config: &AuthConfig,
) -> Result<Option<Known>, BackendError> {
    let is_right = match backend {
        Backend::Ldap => return ldap::check(login, &config.ldap),
        Backend::Rest => return rest::check(login, options),
        #[cfg(feature = "pam")]
        Backend::Pam => return pam::check(login, &config.pam),
        Backend::Auto => true,
        Backend::SharedSecret => {
            let secret = config.sharedsecret.as_deref();
            let secret = secret.filter(|secret| !secret.is_empty());
            let secret = secret.ok_or(BackendError::Option {
                option: "sharedsecret",
                expected: "a text that only administrators know",
            })?;
            same(secret.as_bytes(), login.password.as_bytes())
        }
        Backend::File => file::check(login, options)?,
        Backend::Brine => {
            let path = config.users_file.as_deref();
            let path = path.ok_or(BackendError::Option {
                option: "brine: {auth: {users: …}}",
                expected: "the file of Brine's own users",
            })?;
            file::check_own(login, path)?
        }
    };
    Ok(is_right.then(Known::default))
}

/// A line for the file of Brine's own users: what `brine password` prints.
///
/// # Errors
/// When the system gives no random bytes or the password is too long.
pub fn hash_password(user: &str, password: &str) -> Result<String, password_hash::Error> {
    let mut random = [0; 16];
    OsRng
        .try_fill_bytes(&mut random)
        .map_err(|_| password_hash::Error::Crypto)?;
    let salt = SaltString::encode_b64(&random)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt)?;
    Ok(format!("{user}:{hash}"))
}
