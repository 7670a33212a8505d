//! Where NATS is and which stream is used: the options of `brine: {cluster: …}`, which a sink of type `nats` also
//! has.
//!
//! Only values, each checked by itself and against the others. The code that speaks NATS knows what they mean.

use std::path::PathBuf;

use brine_wire::{Value, nats_subject};

use crate::error::ConfigError;
use crate::history::Age;
use crate::sinks::section::Section;

/// How to reach a stream of NATS JetStream.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// `servers` (text or list; required): addresses such as `nats://127.0.0.1:4222`.
    pub servers: Vec<String>,
    /// `stream` (text; `SALT`): the stream's name.
    pub stream: Option<String>,
    /// `prefix` (text; `salt`): how subjects begin.
    pub prefix: Option<String>,
    /// `replicas` (number; 1): how many servers keep a stream that Brine creates.
    pub replicas: Option<usize>,
    /// `max_age` (time or `forever`; `7d`): how long the stream keeps events.
    pub max_age: Option<Age>,
    /// `max_bytes` (size; none): how large the stream may become.
    pub max_bytes: Option<u64>,
    /// `user`, `password` (texts; none): who Brine is to NATS.
    pub user: Option<(String, String)>,
    /// `token` (text; none): the same by a token.
    pub token: Option<String>,
    /// `credentials` (path; none): the same by a file of credentials.
    pub credentials: Option<PathBuf>,
    /// `nkey` (path; none): the same by a file with a seed.
    pub nkey: Option<PathBuf>,
    /// `tls` (bool; `false`): encrypt, also where an address says `nats://`.
    pub is_tls_required: bool,
    /// `ca` (path; the system's): a file of certificates to trust.
    pub ca: Option<PathBuf>,
    /// `cert`, `key` (paths; none): the client's own certificate and key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// `brine: {cluster: …}`: this master's bus is one with those of others.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The stream.
    pub nats: NatsOptions,
    /// `secret` (text of at least 16 bytes; none): cluster: what all masters share, so that they publish each other's jobs.
    pub secret: Option<String>,
    /// Where the option stands: the file and the line.
    pub place: Option<(String, usize)>,
}

/// The options of [`NatsOptions`].
pub(crate) const NATS: &[&str] = &[
    "servers",
    "stream",
    "prefix",
    "replicas",
    "max_age",
    "max_bytes",
    "user",
    "password",
    "token",
    "credentials",
    "nkey",
    "tls",
    "ca",
    "cert",
    "key",
];

/// A shorter secret can be guessed.
const MIN_SECRET: usize = 16;

impl ClusterOptions {
    pub(crate) fn parse(value: &Value) -> Result<Option<Self>, ConfigError> {
        match value {
            Value::Bool(false) => return Ok(None),
            // What its lines said may be commented out; whoever wants no cluster says so.
            Value::Nil => {
                let expected = "a mapping of options, or false";
                return Err(ConfigError::bad_option("brine: cluster", expected, value));
            }
            _ => {}
        }
        let section = Section::new("brine: cluster".to_owned(), value)?;
        section.only(&[NATS, &["secret"]], None)?;
        let nats = NatsOptions::parse(&section)?;
        let secret = section.text("secret")?;
        if secret
            .as_ref()
            .is_some_and(|secret| secret.len() < MIN_SECRET)
        {
            let expected = "a text of at least 16 bytes, such as `openssl rand -hex 32` prints";
            return Err(section.bad_with("secret", expected, "a shorter one"));
        }
        section.finish()?;
        let place = None;
        Ok(Some(Self {
            nats,
            secret,
            place,
        }))
    }
}

impl NatsOptions {
    /// Reads these options out of a mapping, which may have others.
    pub(crate) fn parse(section: &Section<'_>) -> Result<Self, ConfigError> {
        let nats = Self {
            servers: servers(section)?,
            stream: checked(
                section,
                "stream",
                "a name of 1 to 64 letters, digits, dashes and underscores",
                is_stream,
            )?,
            prefix: checked(
                section,
                "prefix",
                "words of letters, digits, dashes and underscores with dots between them, such as salt",
                nats_subject::is_prefix,
            )?,
            replicas: section.count("replicas", 1..=5)?,
            max_age: max_age(section)?,
            max_bytes: section.bytes("max_bytes")?.map(|bytes| bytes as u64),
            user: user(section)?,
            token: section.text("token")?,
            credentials: section.path("credentials")?,
            nkey: section.path("nkey")?,
            is_tls_required: section.flag("tls")?.unwrap_or_default(),
            ca: section.path("ca")?,
            certificate: section.identity()?,
        };
        let logins = [
            ("user", nats.user.is_some()),
            ("token", nats.token.is_some()),
            ("credentials", nats.credentials.is_some()),
            ("nkey", nats.nkey.is_some()),
        ];
        let set = logins.iter().filter(|(_, is_set)| *is_set);
        let set: Vec<_> = set.map(|(name, _)| *name).collect();
        if let [_, second, ..] = set[..] {
            let expected = "one of user, token, credentials and nkey";
            return Err(section.bad_with(second, expected, &set.join(" and ")));
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

fn user(section: &Section<'_>) -> Result<Option<(String, String)>, ConfigError> {
    match (section.text("user")?, section.text("password")?) {
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (None, None) => Ok(None),
        (user, _) => Err(section.one_of(user.is_some(), "user", "password")),
    }
}

fn servers(section: &Section<'_>) -> Result<Vec<String>, ConfigError> {
    let expected =
        "an address such as nats://127.0.0.1:4222 or tls://nats.example.org, or a list of them";
    let servers = section.texts("servers", expected)?;
    if section.is_empty_list("servers") {
        return Err(section.bad_with("servers", expected, "an empty list"));
    }
    if servers.is_empty() {
        return Err(section.missing("servers", expected));
    }
    // It may hold a password, and is not shown.
    match servers.iter().find_map(|server| fault(server)) {
        None => Ok(servers),
        Some(fault) => Err(section.bad_with("servers", expected, fault)),
    }
}

/// What is wrong with an address.
fn fault(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let host = rest.rsplit('@').next().unwrap_or_default();
    let is_port = match host.rsplit_once(':') {
        // An IPv6 address in brackets without a port.
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains(',') {
        return Some("one with spaces, commas or other characters that no address has");
    }
    if !matches!(scheme, "nats" | "tls") {
        return Some("one that begins with neither nats:// nor tls://");
    }
    if host.is_empty() {
        return Some("one without a host");
    }
    (!is_port).then_some("one whose port is no number up to 65535")
}

fn is_stream(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn checked(
    section: &Section<'_>,
    name: &'static str,
    expected: &str,
    is_good: impl Fn(&str) -> bool,
) -> Result<Option<String>, ConfigError> {
    let text = section.text(name)?;
    match text.as_deref().is_none_or(is_good) {
        true => Ok(text),
        false => Err(section.bad(name, expected, &text.unwrap_or_default().into())),
    }
}

fn max_age(section: &Section<'_>) -> Result<Option<Age>, ConfigError> {
    match section.text("max_age") {
        Ok(Some(text)) if text == "forever" => Ok(Some(Age::Forever)),
        _ => Ok(section.span("max_age")?.map(Age::For)),
    }
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
        assert_eq!(parse("false"), Ok(None));
        let cluster = parse("{servers: 127.0.0.1:4222}").unwrap().unwrap();
        assert_eq!(cluster.nats.servers, ["127.0.0.1:4222"]);
        let cluster = parse(
            "{servers: ['nats://u:p@a:1', 'tls://[::1]:2'], stream: S-1, prefix: a.b, replicas: 3, max_age: 1d, \
             max_bytes: 1GiB, user: u, password: p, tls: true, ca: /ca, cert: /c, key: /k, \
             secret: 0123456789abcdef}",
        );
        let ClusterOptions { nats, secret, .. } = cluster.unwrap().unwrap();
        assert_eq!(secret.as_deref(), Some("0123456789abcdef"));
        assert_eq!(nats.servers.len(), 2);
        assert_eq!(
            (nats.stream.as_deref(), nats.prefix.as_deref()),
            (Some("S-1"), Some("a.b"))
        );
        assert_eq!((nats.replicas, nats.max_bytes), (Some(3), Some(1 << 30)));
        assert_eq!(nats.max_age, Some(Age::For(Duration::from_secs(86_400))));
        assert_eq!(nats.user, Some(("u".to_owned(), "p".to_owned())));
        assert!(nats.is_tls_required);
        assert_eq!(nats.certificate, Some(("/c".into(), "/k".into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, key) in [
            ("{}", "servers"),
            ("7", "cluster"),
            (
                "null",
                "brine: cluster: expected a mapping of options, or false, found nothing",
            ),
            ("{servers: []}", "found an empty list"),
            ("{servers: ['nats://x', 3]}", "or a list of them, found 3"),
            ("{servers: 'http://x'}", "neither nats:// nor tls://"),
            ("{servers: 'a:port'}", "no number up to 65535"),
            ("{servers: 'a b'}", "found one with spaces"),
            ("{servers: 'nats://u:p@'}", "found one without a host"),
            ("{servers: a, stream: 'a.b'}", "stream"),
            ("{servers: a, prefix: 'a.>'}", "prefix"),
            ("{servers: a, replicas: 7}", "replicas"),
            ("{servers: a, max_age: 7}", "max_age"),
            (
                "{servers: a, user: x}",
                "user: expected user and password together, found no password",
            ),
            (
                "{servers: a, password: x}",
                "password: expected user and password together, found no user",
            ),
            ("{servers: a, credentials: x}", "credentials"),
            (
                "{servers: a, token: a, nkey: /x}",
                "nkey: expected one of user, token, credentials and nkey, found token and nkey",
            ),
            (
                "{servers: a, cert: /x}",
                "cert: expected cert and key together, found no key",
            ),
            ("{servers: a, tls: {cert: /x}}", "tls"),
            ("{servers: a, secret: short}", "secret"),
            ("{servers: a, server: b}", "did you mean servers"),
            // Misspelt first, and missing only then.
            (
                "{server: b}",
                "server: no such option; did you mean servers?",
            ),
            (
                "{servers: a, user: u, pasword: p}",
                "pasword: no such option; did you mean password?",
            ),
            ("{servers: a, secret: short}", "found a shorter one"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(
                error.starts_with("brine: cluster") && error.contains(key),
                "{yaml}: {error}"
            );
        }
        let cluster = parse("{servers: a, max_age: forever}").unwrap().unwrap();
        assert_eq!(cluster.nats.max_age, Some(Age::Forever));
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
