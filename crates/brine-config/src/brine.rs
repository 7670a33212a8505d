//! The options under Brine's own configuration key, `brine:`.
//!
//! Real Salt ignores it. Nothing is guessed here: a key that does not exist is an error.

use std::path::PathBuf;

use brine_wire::compat::Compat;
use brine_wire::{Map, Value};

use crate::brine_values::{bytes, shown, unknown};
use crate::error::ConfigError;
use crate::history::{HistoryOptions, redact};
use crate::nats::ClusterOptions;
use crate::reactor::ReactorOptions;
use crate::sinks::{self, SinkOptions};
use crate::spool::SpoolOptions;
use crate::types::type_name;

/// The list of permissions of the local socket, not yet parsed: whoever serves the socket parses it.
#[derive(Debug, Clone, PartialEq)]
pub struct AclOption(pub Value);

// A `Value` may hold a NaN, which is not equal to itself; no valid list of permissions does.
impl Eq for AclOption {}

/// Brine's own options; `None` where the file has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Brine {
    /// `compat` (series or release; the newest): the Salt series (`3006`) or release (`'3006.25'`) whose framing subscribers
    /// read.
    pub compat: Option<Compat>,
    /// `log_bytes` (size; `64MiB`): the most memory the event log takes when subscribers lag.
    pub log_bytes: Option<u64>,
    /// `keep_bytes` (size; `1MiB`): how much of the newest events stays in memory when no subscriber lags.
    pub keep_bytes: Option<u64>,
    /// `overflow_bytes` (size; `4GiB`, at most half of the free space): the most disk space for events that slow subscribers
    /// still need; 0 for none.
    pub overflow_bytes: Option<u64>,
    /// `history` (`true`, `false` or the options below; `true` for `salt-master`): whether events are kept on disk, where and how long.
    pub history: HistoryOptions,
    /// `redact` (list; none): names of fields whose values are not kept on disk.
    pub redact: Vec<String>,
    /// `sinks` (names with the options below; none): where events go.
    pub sinks: Vec<SinkOptions>,
    /// `max_pending_keys` (number; 10000): how many minions' keys may wait to be accepted; further ones are not kept.
    pub max_pending_keys: Option<usize>,
    /// `minion_tags` (`audit`; off): events that the tag policy refuses minions are fired all the same, and only reported.
    pub audit_minion_tags: bool,
    /// `audit` (bool; `false`): who subscribes, who fires what belongs to the master, and who changes keys, is reported in events.
    pub audit: bool,
    /// `acl` (users and groups with permissions; none): who else may use the local socket, and for what.
    pub acl: Option<AclOption>,
    /// `spool` (`false` or the options below; on): what a minion keeps on disk for a master that is away; with `false` in
    /// memory.
    pub spool: SpoolOptions,
    /// `python` (name or path; `python3`): the Python that runs users' modules.
    pub python: Option<String>,
    /// `auth` (the options below): what `external_auth` has here besides Salt's.
    pub auth: AuthOptions,
    /// `api` (the options below): the HTTP API.
    pub api: ApiOptions,
    /// `reactor` (the options below): limits of the reactor.
    pub reactor: ReactorOptions,
    /// `cluster` (the options of NATS below; none): this master's bus is one with those of others.
    pub cluster: Option<ClusterOptions>,
}

/// `brine: {auth: …}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthOptions {
    /// `allow_auto` (bool; `false`): the back end `auto`, which lets everybody in, may be used.
    pub allow_auto: bool,
    /// `users` (path; none): the file of Brine's own users (`eauth: brine`), lines that `brine password` prints.
    pub users: Option<PathBuf>,
}

/// `brine: {api: …}`. Most options of the API are Salt's, under `rest_cherrypy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiOptions {
    /// `in_master` (bool; `false`): `salt-master` serves the API itself.
    pub in_master: bool,
    /// `allow_query_token` (bool; `true`): streams take their token from the query, too, as Salt's documentation shows it.
    pub allow_query_token: bool,
    /// `forms` (series or release; that of the bus): the release whose stamps and words streams use, if not that of the bus.
    pub forms: Option<Compat>,
    /// `client_ca` (path; none): clients must show a certificate that one in this file has signed.
    pub client_ca: Option<PathBuf>,
    /// `open_exporter` (bool; `false`): `/metrics/salt-exporter`, which names minions, needs no login.
    pub open_exporter: bool,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            in_master: false,
            allow_query_token: true,
            forms: None,
            client_ca: None,
            open_exporter: false,
        }
    }
}

pub(crate) const KEYS: [&str; 17] = [
    "acl",
    "api",
    "audit",
    "auth",
    "cluster",
    "compat",
    "history",
    "keep_bytes",
    "log_bytes",
    "max_pending_keys",
    "minion_tags",
    "overflow_bytes",
    "python",
    "reactor",
    "redact",
    "sinks",
    "spool",
];

impl Brine {
    /// Reads the value of `brine:`.
    pub(crate) fn parse(value: Option<&Value>) -> Result<Self, ConfigError> {
        let mut brine = Self::default();
        let options = match value {
            None | Some(Value::Nil) => &Map::new(),
            Some(Value::Map(options)) => options,
            Some(other) => {
                return Err(ConfigError::WrongType {
                    option: "brine".to_owned(),
                    expected: "a mapping",
                    found: type_name(other).to_owned(),
                });
            }
        };
        for (key, value) in options {
            match key.as_str() {
                Some("compat") => brine.compat = Some(compat(value)?),
                Some("log_bytes") => brine.log_bytes = Some(bytes("log_bytes", value)?),
                Some("acl") => brine.acl = Some(AclOption(value.clone())),
                Some("keep_bytes") => brine.keep_bytes = Some(bytes("keep_bytes", value)?),
                Some("overflow_bytes") => {
                    brine.overflow_bytes = Some(bytes("overflow_bytes", value)?);
                }
                Some("max_pending_keys") => {
                    brine.max_pending_keys = Some(count("max_pending_keys", value)?);
                }
                Some("history") => brine.history = HistoryOptions::parse(value)?,
                Some("spool") => brine.spool = SpoolOptions::parse(value)?,
                Some("redact") => brine.redact = redact(value)?,
                Some("minion_tags") => brine.audit_minion_tags = is_audited(value)?,
                Some("audit") => brine.audit = is_on("audit", value)?,
                Some("python") => brine.python = Some(python(value)?),
                Some("sinks") => brine.sinks = sinks::parse(value)?,
                Some("auth") => brine.auth = AuthOptions::parse(value)?,
                Some("cluster") => brine.cluster = ClusterOptions::parse(value)?,
                Some("api") => brine.api = ApiOptions::parse(value)?,
                Some("reactor") => brine.reactor = ReactorOptions::parse(value)?,
                other => return Err(unknown(other.unwrap_or_else(|| type_name(key)), &KEYS)),
            }
        }
        Ok(brine)
    }
}

impl AuthOptions {
    fn parse(value: &Value) -> Result<Self, ConfigError> {
        let mut auth = Self::default();
        for (key, value) in options_of("auth", value)? {
            match key.as_str() {
                Some("allow_auto") => auth.allow_auto = flag("auth: allow_auto", value)?,
                Some("users") => auth.users = Some(file("auth: users", value)?),
                other => {
                    let key = other.unwrap_or_else(|| type_name(key));
                    return Err(unknown(key, &["allow_auto", "users"]));
                }
            }
        }
        Ok(auth)
    }
}

impl ApiOptions {
    fn parse(value: &Value) -> Result<Self, ConfigError> {
        const KEYS: [&str; 5] = [
            "allow_query_token",
            "client_ca",
            "forms",
            "in_master",
            "open_exporter",
        ];
        let mut api = Self::default();
        for (key, value) in options_of("api", value)? {
            match key.as_str() {
                Some("in_master") => api.in_master = flag("api: in_master", value)?,
                Some("allow_query_token") => {
                    api.allow_query_token = flag("api: allow_query_token", value)?;
                }
                Some("forms") => api.forms = Some(compat(value)?),
                Some("open_exporter") => {
                    api.open_exporter = flag("api: open_exporter", value)?;
                }
                Some("client_ca") => api.client_ca = Some(file("api: client_ca", value)?),
                other => return Err(unknown(other.unwrap_or_else(|| type_name(key)), &KEYS)),
            }
        }
        Ok(api)
    }
}

fn options_of<'v>(key: &'static str, value: &'v Value) -> Result<&'v Map, ConfigError> {
    value.as_map().ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a mapping",
        found: shown(value),
    })
}

fn flag(key: &'static str, value: &Value) -> Result<bool, ConfigError> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        _ => Err(ConfigError::BadBrineValue {
            key,
            expected: "true or false",
            found: shown(value),
        }),
    }
}

fn file(key: &'static str, value: &Value) -> Result<PathBuf, ConfigError> {
    let path = value.as_str().map(PathBuf::from);
    let path = path.filter(|path| path.is_absolute());
    path.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "the absolute path of a file",
        found: shown(value),
    })
}

fn compat(value: &Value) -> Result<Compat, ConfigError> {
    let text = match value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(series) => Some(series.to_string()),
        // 3006.2 may have been 3006.20 before YAML read it; two digits leave no doubt.
        Value::Float(release) => Some(release.to_string()).filter(|text| {
            text.split_once('.')
                .is_some_and(|(_, patch)| patch.len() > 1)
        }),
        _ => None,
    };
    let compat = text.as_deref().and_then(|text| text.parse().ok());
    compat.ok_or_else(|| ConfigError::BadBrineValue {
        key: "compat",
        expected: "a Salt series or, in quotes, a release, such as 3006 or '3006.25'",
        found: shown(value),
    })
}

fn count(key: &'static str, value: &Value) -> Result<usize, ConfigError> {
    let count = value.as_int().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a number",
        found: shown(value),
    })
}

fn is_audited(value: &Value) -> Result<bool, ConfigError> {
    match value.as_str() {
        Some("audit") => Ok(true),
        Some("enforce") => Ok(false),
        _ => Err(ConfigError::BadBrineValue {
            key: "minion_tags",
            expected: "enforce or audit",
            found: shown(value),
        }),
    }
}

fn is_on(key: &'static str, value: &Value) -> Result<bool, ConfigError> {
    match value {
        Value::Bool(is_on) => Ok(*is_on),
        _ => Err(ConfigError::BadBrineValue {
            key,
            expected: "true or false",
            found: shown(value),
        }),
    }
}

fn python(value: &Value) -> Result<String, ConfigError> {
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| ConfigError::BadBrineValue {
        key: "python",
        expected: "the name or path of a Python, such as /usr/bin/python3.11",
        found: shown(value),
    });
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Brine, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        Brine::parse(Some(&value)).map_err(|error| error.to_string())
    }

    #[test]
    fn all_options_are_read() {
        assert_eq!(parse("{}"), Ok(Brine::default()));
        let brine =
            parse("{compat: 3006, log_bytes: 64MiB, keep_bytes: 1, python: python3.9}").unwrap();
        assert_eq!(brine.keep_bytes, Some(1));
        assert_eq!(brine.python.as_deref(), Some("python3.9"));
        assert_eq!(brine.compat, "3006".parse().ok());
        assert_eq!(brine.log_bytes, Some(64 << 20));
        assert_eq!(parse("{compat: 3006.25}"), parse("{compat: '3006.25'}"));
    }

    #[test]
    fn a_misspelt_key_names_the_nearest_one() {
        assert_eq!(
            parse("{log_size: 1}").unwrap_err(),
            "brine: log_size: no such option; did you mean log_bytes?"
        );
        assert!(parse("{Compat: 3006}").unwrap_err().ends_with("compat?"));
        assert!(
            parse("{api: {in-master: true}}")
                .unwrap_err()
                .ends_with("in_master?")
        );
    }

    #[test]
    fn the_api_and_its_users() {
        let brine = parse("{auth: {allow_auto: true, users: /etc/users}, api: {in_master: true}}");
        let brine = brine.unwrap();
        assert!(brine.auth.allow_auto && brine.api.in_master && brine.api.allow_query_token);
        for bad in [
            "{auth: 1}",
            "{auth: {users: x}}",
            "{api: {allow_query_token: 'no'}}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_release_that_yaml_may_have_shortened_is_refused() {
        // 3006.10 and 3006.1 are the same number.
        assert!(
            parse("{compat: 3006.10}")
                .unwrap_err()
                .contains("in quotes")
        );
        assert!(parse("{compat: '3006.10'}").is_ok());
        for bad in [
            "{compat: 2019}",
            "{compat: [3006]}",
            "{log_bytes: -1}",
            "{log_bytes: 1TB}",
            "{python: 3}",
            "[1]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
