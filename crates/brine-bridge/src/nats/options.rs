//! Where NATS is, who we are there, and which stream to use. The caller has read and checked the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to reach NATS.
#[derive(Clone, Default)]
pub struct Connection {
    /// The servers' addresses, such as `nats://127.0.0.1:4222`.
    pub servers: Vec<String>,
    /// Who we are.
    pub login: Login,
    /// Encrypt, whatever the addresses say.
    pub is_tls_required: bool,
    /// Certificates to trust, in one file, in addition to the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Who we are to NATS.
#[derive(Clone, Default)]
pub enum Login {
    /// Nobody.
    #[default]
    None,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A file of credentials (JWT and nkey), as `nsc` makes it.
    Credentials(PathBuf),
    /// A file with the seed of an nkey.
    NKey(PathBuf),
}

/// Which stream, and what it is like if it must be made. One that is there is used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Its name.
    pub name: String,
    /// Events have subjects `PREFIX.event.…`, what masters tell each other `PREFIX.cluster.…`.
    pub prefix: String,
    /// How many servers keep it.
    pub replicas: usize,
    /// How long; `None` for ever.
    pub max_age: Option<Duration>,
    /// How much; `None` for as much as there is room.
    pub max_bytes: Option<u64>,
}

impl StreamOptions {
    /// Where events' subjects begin.
    #[must_use]
    pub fn events(&self) -> String {
        format!("{}.event", self.prefix)
    }

    /// The prefix of the subjects on which masters talk to each other.
    #[must_use]
    pub fn control(&self) -> String {
        format!("{}.cluster", self.prefix)
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            name: "SALT".to_owned(),
            prefix: "salt".to_owned(),
            replicas: 1,
            max_age: Some(Duration::from_secs(7 * 86_400)),
            max_bytes: None,
        }
    }
}

/// A file that says nothing of who we are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {}: {reason}", .path.display())]
pub struct BadFile {
    option: &'static str,
    path: PathBuf,
    reason: String,
}

/// As far as it can be told from its letters: base32, 58 of them.
fn is_user_seed(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    text.len() == 58 && text.starts_with("SU") && text.bytes().all(is_allowed)
}

impl Connection {
    /// Whether the files can be used, without asking a server.
    ///
    /// # Errors
    /// [`BadFile`] names the one that cannot.
    pub fn check(&self) -> Result<(), BadFile> {
        let option = match &self.login {
            Login::NKey(_) => "nkey",
            _ => "credentials",
        };
        let fault = |path: &Path, reason: &dyn std::fmt::Display| BadFile {
            option,
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| fault(path, &error));
        match &self.login {
            Login::Credentials(path) => {
                let parsed = async_nats::ConnectOptions::new().credentials(&read(path)?);
                let expected = "expected credentials as nsc makes them";
                parsed.map_err(|error| fault(path, &format!("{expected}: {error}")))?;
            }
            Login::NKey(path) => {
                let is_seed = is_user_seed(read(path)?.trim());
                let expected = "expected the seed of a user's nkey, which begins with SU";
                is_seed
                    .then_some(())
                    .ok_or_else(|| fault(path, &expected))?;
            }
            Login::None | Login::Password { .. } | Login::Token(_) => {}
        }
        Ok(())
    }

    /// Whether nothing protects what is sent there, and it leaves this machine.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let is_local = |server: &String| {
            let host = server.rsplit("//").next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            ["127.", "localhost", "[::1]"]
                .iter()
                .any(|own| host.starts_with(own))
        };
        let is_encrypted = self.is_tls_required
            || self
                .servers
                .iter()
                .all(|server| server.starts_with("tls://"));
        let has_login = !matches!(self.login, Login::None)
            || self.certificate.is_some()
            || self.servers.iter().all(|server| server.contains('@'));
        !(self.servers.iter().all(is_local) || is_encrypted && has_login)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses may hold a password, and the login is one.
        let mut shown = out.debug_struct("Connection");
        shown
            .field("tls", &self.is_tls_required)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: &str) -> Connection {
        Connection {
            servers: vec![server.to_owned()],
            ..Connection::default()
        }
    }

    #[test]
    fn an_open_connection_to_another_machine_is_noticed() {
        for (server, is_open) in [
            ("nats://127.0.0.1:4222", false),
            ("localhost", false),
            ("nats://10.0.0.1:4222", true),
            ("tls://10.0.0.1:4222", true),
            ("tls://u:p@10.0.0.1:4222", false),
            ("nats://u:p@10.0.0.1:4222", true),
        ] {
            assert_eq!(connection(server).is_open(), is_open, "{server}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", connection("nats://user:hidden@host"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
