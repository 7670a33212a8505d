//! Where NATS is and which stream is used: the options of `brine: {cluster: …}`, which a sink of type `nats` has too.
//!
//! Only values, each checked by itself and against the others. What they mean to NATS is known where it is spoken.

use std::path::PathBuf;

use brine_wire::{Map, Value, nats_subject};

use crate::brine_values::{bytes, shown, unknown};
use crate::error::ConfigError;
use crate::history::{Age, age, bad, directory};
use crate::types::type_name;

/// How to reach a stream of NATS JetStream.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// `servers`: addresses such as `nats://127.0.0.1:4222`, one or a list.
    pub servers: Vec<String>,
    /// `stream`: its name.
    pub stream: Option<String>,
    /// `prefix`: where subjects begin.
    pub prefix: Option<String>,
    /// `replicas`: how many servers keep a stream that must be made.
    pub replicas: Option<usize>,
    /// `max_age`: how long it keeps events.
    pub max_age: Option<Age>,
    /// `max_bytes`: how much.
    pub max_bytes: Option<u64>,
    /// `user` and `password`.
    pub user: Option<(String, String)>,
    /// `token`.
    pub token: Option<String>,
    /// `credentials`: a file of NATS's.
    pub credentials: Option<PathBuf>,
    /// `nkey`: a file with a seed.
    pub nkey: Option<PathBuf>,
    /// `tls`: `true`, or files.
    pub tls: Option<NatsTls>,
}

/// `tls`: encryption, and the files for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// `ca`: certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// `cert` and `key`: our own.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// `brine: {cluster: …}`: this master's bus is one with those of others.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The stream.
    pub nats: NatsOptions,
    /// `secret`: what all masters share, so that they publish each other's jobs.
    pub secret: Option<String>,
}

const KEYS: [&str; 13] = [
    "cluster.credentials",
    "cluster.max_age",
    "cluster.max_bytes",
    "cluster.nkey",
    "cluster.password",
    "cluster.prefix",
    "cluster.replicas",
    "cluster.secret",
    "cluster.servers",
    "cluster.stream",
    "cluster.tls",
    "cluster.token",
    "cluster.user",
];
/// A shorter secret can be guessed.
const MIN_SECRET: usize = 16;

impl ClusterOptions {
    pub(crate) fn parse(value: &Value) -> Result<Option<Self>, ConfigError> {
        let mut options = match value {
            Value::Nil | Value::Bool(false) => return Ok(None),
            Value::Map(options) => options.clone(),
            other => return Err(bad("cluster", "a mapping of its options", other)),
        };
        let secret = options.remove("secret");
        let secret = secret.as_ref().map(secret_text).transpose()?;
        Ok(Some(Self {
            nats: NatsOptions::parse(&options)?,
            secret,
        }))
    }
}

impl NatsOptions {
    /// Reads a mapping that has these options alone.
    ///
    /// # Errors
    /// [`ConfigError`] for an option that does not exist or has a value that cannot be used, or that another excludes.
    pub fn parse(options: &Map) -> Result<Self, ConfigError> {
        let mut nats = Self::default();
        let (mut user, mut password) = (None, None);
        for (key, value) in options {
            match key.as_str() {
                Some("servers") => nats.servers = servers(value)?,
                Some("stream") => nats.stream = Some(stream(value)?),
                Some("prefix") => nats.prefix = Some(prefix(value)?),
                Some("replicas") => nats.replicas = Some(replicas(value)?),
                Some("max_age") => nats.max_age = Some(age("cluster.max_age", value)?),
                Some("max_bytes") => nats.max_bytes = Some(bytes("cluster.max_bytes", value)?),
                Some("user") => user = Some(text("cluster.user", value)?),
                Some("password") => password = Some(text("cluster.password", value)?),
                Some("token") => nats.token = Some(text("cluster.token", value)?),
                Some("credentials") => {
                    nats.credentials = Some(directory("cluster.credentials", value)?);
                }
                Some("nkey") => nats.nkey = Some(directory("cluster.nkey", value)?),
                Some("tls") => nats.tls = tls(value)?,
                other => {
                    let key = other.unwrap_or_else(|| type_name(key));
                    return Err(unknown(&format!("cluster.{key}"), &KEYS));
                }
            }
        }
        nats.user = match (user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => return Err(missing("cluster.password", "a password, beside user")),
            (None, Some(_)) => return Err(missing("cluster.user", "a user, beside password")),
        };
        if nats.servers.is_empty() {
            return Err(missing(
                "cluster.servers",
                "an address such as nats://127.0.0.1:4222",
            ));
        }
        let logins = [
            nats.user.is_some(),
            nats.token.is_some(),
            nats.credentials.is_some(),
            nats.nkey.is_some(),
        ];
        if logins.iter().filter(|is_set| **is_set).count() > 1 {
            return Err(ConfigError::BadBrineValue {
                key: "cluster",
                expected: "one of user, token, credentials and nkey",
                found: "several".to_owned(),
            });
        }
        Ok(nats)
    }
}

// They hold secrets.
impl std::fmt::Debug for NatsOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NatsOptions")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClusterOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.nats.fmt(out)
    }
}

fn missing(key: &'static str, expected: &'static str) -> ConfigError {
    ConfigError::BadBrineValue {
        key,
        expected,
        found: "nothing".to_owned(),
    }
}

fn servers(value: &Value) -> Result<Vec<String>, ConfigError> {
    let expected =
        "an address such as nats://127.0.0.1:4222 or tls://nats.example.org, or a list of them";
    let items = match value {
        Value::Array(items) if !items.is_empty() => items.as_slice(),
        Value::Array(_) => return Err(bad("cluster.servers", expected, value)),
        other => std::slice::from_ref(other),
    };
    let address = |item: &Value| match item.as_str().filter(|text| is_address(text)) {
        Some(address) => Ok(address.to_owned()),
        // It may hold a password.
        None => Err(ConfigError::BadBrineValue {
            key: "cluster.servers",
            expected,
            found: "something else".to_owned(),
        }),
    };
    items.iter().map(address).collect()
}

fn is_address(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let host = rest.rsplit('@').next().unwrap_or_default();
    let port = match host.rsplit_once(':') {
        // An IPv6 address in brackets without a port.
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    matches!(scheme, "nats" | "tls")
        && !host.is_empty()
        && port
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(',')
}

fn stream(value: &Value) -> Result<String, ConfigError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let name = value.as_str();
    let name = name.filter(|name| (1..=64).contains(&name.len()) && name.bytes().all(is_allowed));
    let expected = "a name of 1 to 64 letters, digits, dashes and underscores";
    name.map(str::to_owned)
        .ok_or_else(|| bad("cluster.stream", expected, value))
}

fn prefix(value: &Value) -> Result<String, ConfigError> {
    let prefix = value.as_str().filter(|text| nats_subject::is_prefix(text));
    let expected =
        "words of letters, digits, dashes and underscores with dots between them, such as salt";
    prefix
        .map(str::to_owned)
        .ok_or_else(|| bad("cluster.prefix", expected, value))
}

fn replicas(value: &Value) -> Result<usize, ConfigError> {
    let replicas = value
        .as_int()
        .and_then(|number| usize::try_from(number).ok());
    replicas
        .filter(|number| (1..=5).contains(number))
        .ok_or_else(|| bad("cluster.replicas", "a number of servers from 1 to 5", value))
}

fn text(key: &'static str, value: &Value) -> Result<String, ConfigError> {
    let text = match value {
        Value::Str(text) if !text.is_empty() => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    // What is there may be a secret.
    text.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a text that is not empty",
        found: type_name(value).to_owned(),
    })
}

fn secret_text(value: &Value) -> Result<String, ConfigError> {
    let secret = text("cluster.secret", value)?;
    match secret.len() < MIN_SECRET {
        true => Err(ConfigError::BadBrineValue {
            key: "cluster.secret",
            expected: "a text of at least 16 bytes, such as `openssl rand -hex 32` prints",
            found: "a shorter one".to_owned(),
        }),
        false => Ok(secret),
    }
}

fn tls(value: &Value) -> Result<Option<NatsTls>, ConfigError> {
    let options = match value {
        Value::Bool(false) | Value::Nil => return Ok(None),
        Value::Bool(true) => return Ok(Some(NatsTls::default())),
        Value::Map(options) => options,
        _ => {
            return Err(ConfigError::BadBrineValue {
                key: "cluster.tls",
                expected: "true, false, or a mapping with ca, cert and key",
                found: shown(value),
            });
        }
    };
    let mut tls = NatsTls::default();
    let (mut cert, mut key) = (None, None);
    for (name, value) in options {
        match name.as_str() {
            Some("ca") => tls.ca = Some(directory("cluster.tls.ca", value)?),
            Some("cert") => cert = Some(directory("cluster.tls.cert", value)?),
            Some("key") => key = Some(directory("cluster.tls.key", value)?),
            other => {
                let name = other.unwrap_or_else(|| type_name(name));
                let keys = ["cluster.tls.ca", "cluster.tls.cert", "cluster.tls.key"];
                return Err(unknown(&format!("cluster.tls.{name}"), &keys));
            }
        }
    }
    tls.certificate = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(missing(
                "cluster.tls.key",
                "the certificate's key, beside cert",
            ));
        }
        (None, Some(_)) => {
            return Err(missing(
                "cluster.tls.cert",
                "the key's certificate, beside key",
            ));
        }
    };
    Ok(Some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn parse(yaml: &str) -> Result<Option<ClusterOptions>, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        ClusterOptions::parse(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(parse("null"), Ok(None));
        let cluster = parse("{servers: 127.0.0.1:4222}").unwrap().unwrap();
        assert_eq!(cluster.nats.servers, ["127.0.0.1:4222"]);
        let cluster = parse(
            "{servers: ['nats://u:p@a:1', 'tls://[::1]:2'], stream: S-1, prefix: a.b, replicas: 3, max_age: 1d, \
             max_bytes: 1GiB, user: u, password: p, tls: {ca: /ca, cert: /c, key: /k}, \
             secret: 0123456789abcdef}",
        );
        let ClusterOptions { nats, secret } = cluster.unwrap().unwrap();
        assert_eq!(secret.as_deref(), Some("0123456789abcdef"));
        assert_eq!(nats.servers.len(), 2);
        assert_eq!(
            (nats.stream.as_deref(), nats.prefix.as_deref()),
            (Some("S-1"), Some("a.b"))
        );
        assert_eq!((nats.replicas, nats.max_bytes), (Some(3), Some(1 << 30)));
        assert_eq!(nats.max_age, Some(Age::For(Duration::from_secs(86_400))));
        assert_eq!(nats.user, Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(
            nats.tls.unwrap().certificate,
            Some(("/c".into(), "/k".into()))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, key) in [
            ("{}", "cluster.servers"),
            ("7", "cluster"),
            ("{servers: []}", "cluster.servers"),
            ("{servers: 'http://x'}", "cluster.servers"),
            ("{servers: 'a:port'}", "cluster.servers"),
            ("{servers: a, stream: 'a.b'}", "cluster.stream"),
            ("{servers: a, prefix: 'a.>'}", "cluster.prefix"),
            ("{servers: a, replicas: 7}", "cluster.replicas"),
            ("{servers: a, max_age: 7}", "cluster.max_age"),
            ("{servers: a, user: x}", "cluster.password"),
            ("{servers: a, password: x}", "cluster.user"),
            ("{servers: a, credentials: x}", "cluster.credentials"),
            ("{servers: a, token: a, nkey: /x}", "one of user, token"),
            ("{servers: a, tls: {cert: /x}}", "cluster.tls.key"),
            ("{servers: a, tls: {crt: /x}}", "cluster.tls.cert"),
            ("{servers: a, secret: short}", "cluster.secret"),
            ("{servers: a, server: b}", "cluster.servers"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(
                error.starts_with("brine: cluster") && error.contains(key),
                "{yaml}: {error}"
            );
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for yaml in [
            "{servers: a, secret: hidden}",
            "{servers: 'x://u:hidden@a'}",
        ] {
            assert!(!parse(yaml).unwrap_err().contains("hidden"));
        }
        let cluster = parse("{servers: a, token: hidden, secret: hiddenhiddenhidden}").unwrap();
        assert!(!format!("{cluster:?}").contains("hidden"));
    }
}
