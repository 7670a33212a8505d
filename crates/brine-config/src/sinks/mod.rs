//! The options under `brine: {sinks: …}`, and Salt's own options with the same effect: where events go.
//!
//! Only values: the program makes sinks of them. Every mistake that can be found without asking the other side is
//! found here, before anything starts.

mod databases;
mod others;
mod salt;
pub(crate) mod section;

use std::time::Duration;

use brine_wire::{Map, Value};

pub(crate) use salt::file_options;

pub use databases::{DatabaseOptions, DatabaseTls, Schema};
pub use others::{FileSinkOptions, HttpSinkOptions, OtlpOptions, Secret, WebhookOptions};
use section::Section;

use crate::error::ConfigError;
use crate::nats::{NATS, NatsOptions};
use databases::DATABASE;
use others::{FILE, HTTP, OTLP, WEBHOOK};
pub(crate) use salt::of_salt;

/// One sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkOptions {
    /// Its name, that of its consumer.
    pub name: String,
    /// The option that asks for it: `brine: sinks: NAME`, or one of Salt's.
    pub option: String,
    /// Where that stands: the file and the line.
    pub place: Option<(String, usize)>,
    /// `tags` (shell patterns; every tag): the tags it takes.
    pub tags: Vec<String>,
    /// `exclude` (shell patterns; none): tags it does not take.
    pub exclude: Vec<String>,
    /// `filter` (text; none): terms that fields must fulfil, such as `ok:false`.
    pub filter: String,
    /// `deliver` (`new` or `all`; `new`): with `all`, a new sink begins with the oldest event that is kept.
    pub from_oldest: bool,
    /// `batch_events` (number; 1000): the most events of one batch.
    pub batch_events: Option<usize>,
    /// `batch_bytes` (size; `4MiB`): the most bytes of one batch.
    pub batch_bytes: Option<usize>,
    /// `batch_wait` (seconds; 0): how long a batch that is not full waits for more.
    pub batch_wait: Option<Duration>,
    /// `origins` (`own` or `all`; `own`): with `all`, it also takes the events of other masters in a cluster.
    pub takes_others: bool,
    /// `attempts` (number; 3): after so many refusals an event becomes a dead letter.
    pub attempts: Option<u32>,
    /// The options that name its files, which may be wrong though they are read: each with its own place.
    pub files: Vec<FileOption>,
    /// `type` (`postgres`, `mysql`, `file`, `webhook`, `otlp`, `nats` or `returner`): what the sink is; its own options are below.
    pub kind: SinkKind,
}

/// An option that names a file of certificates or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOption {
    /// What the sink calls it, one of three names.
    pub name: &'static str,
    /// What the configuration calls it, in full.
    pub option: String,
    /// Where it stands.
    pub place: Option<(String, usize)>,
}

/// What is on the other side.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SinkKind {
    /// PostgreSQL.
    Postgres(DatabaseOptions),
    /// MySQL or MariaDB.
    Mysql(DatabaseOptions),
    /// Lines in a file.
    File(FileSinkOptions),
    /// An HTTP server.
    Webhook(WebhookOptions),
    /// OpenTelemetry logs.
    Otlp(OtlpOptions),
    /// A stream of NATS JetStream.
    Nats(NatsOptions),
    /// A user's own returner module, of this name.
    Returner(String),
}

impl SinkKind {
    /// Its type, as `type:` names it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
            Self::File(_) => "file",
            Self::Webhook(_) => "webhook",
            Self::Otlp(_) => "otlp",
            Self::Nats(_) => "nats",
            Self::Returner(_) => "returner",
        }
    }
}

const TYPES: [&str; 7] = [
    "postgres", "mysql", "file", "webhook", "otlp", "nats", "returner",
];

/// The options that each sink has.
const COMMON: &[&str] = &[
    "type",
    "tags",
    "exclude",
    "filter",
    "deliver",
    "batch_events",
    "batch_bytes",
    "batch_wait",
    "origins",
    "attempts",
];
const RETURNER: &[&str] = &["module"];

/// The options of a type besides those of each sink; of all types, where none is said.
fn options_of(name: Option<&str>) -> &'static [&'static [&'static str]] {
    match name {
        Some("postgres" | "mysql") => &[COMMON, DATABASE],
        Some("file") => &[COMMON, FILE],
        Some("webhook") => &[COMMON, HTTP, WEBHOOK],
        Some("otlp") => &[COMMON, HTTP, OTLP],
        Some("nats") => &[COMMON, NATS],
        Some("returner") => &[COMMON, RETURNER],
        _ => &[COMMON, DATABASE, FILE, HTTP, WEBHOOK, OTLP, NATS, RETURNER],
    }
}

impl SinkOptions {
    /// A sink that takes everything.
    pub(crate) const fn new(name: String, option: String, kind: SinkKind) -> Self {
        Self {
            name,
            option,
            place: None,
            tags: Vec::new(),
            exclude: Vec::new(),
            filter: String::new(),
            from_oldest: false,
            batch_events: None,
            batch_bytes: None,
            batch_wait: None,
            takes_others: false,
            attempts: None,
            files: Vec::new(),
            kind,
        }
    }
}

/// Reads the value of `brine: {sinks: …}`: a mapping from names to options.
pub(crate) fn parse(value: &Value) -> Result<Vec<SinkOptions>, ConfigError> {
    let sinks = match value {
        Value::Nil => &Map::new(),
        Value::Map(sinks) => sinks,
        other => {
            return Err(ConfigError::bad_option(
                "brine: sinks",
                "a mapping from names to options",
                other,
            ));
        }
    };
    sinks
        .into_iter()
        .map(|(name, options)| one(name, options))
        .collect()
}

/// Adds those that Salt's options ask for. A name is that of one consumer.
pub(crate) fn add(sinks: &mut Vec<SinkOptions>, more: Vec<SinkOptions>) -> Result<(), ConfigError> {
    for sink in more {
        if sinks.iter().any(|known| known.name == sink.name) {
            return Err(ConfigError::bad_option(
                &format!("brine: sinks: {}", sink.name),
                "another name: event_return or a job cache asks for a sink of this one",
                &sink.name.into(),
            ));
        }
        sinks.push(sink);
    }
    Ok(())
}

/// The consumers of the cluster and of the reactor.
const RESERVED: [&str; 2] = ["cluster", "reactor"];

fn one(name: &Value, options: &Value) -> Result<SinkOptions, ConfigError> {
    let is_plain = |name: &&str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=128).contains(&name.len()) && name.bytes().all(is_allowed)
    };
    let name = name.as_str().filter(is_plain).ok_or_else(|| {
        ConfigError::bad_option(
            "brine: sinks",
            "names of 1 to 128 letters, digits, dots, dashes and underscores",
            name,
        )
    })?;
    if RESERVED.contains(&name) {
        return Err(ConfigError::bad_option(
            "brine: sinks",
            "another name: a saved position of Brine's own has this one",
            &name.into(),
        ));
    }
    let option = format!("brine: sinks: {name}");
    let mut section = Section::new(option.clone(), options)?;
    let kind = section.word("type", &TYPES)?;
    section.only(options_of(kind), kind.is_none().then_some("type"))?;
    let kind = match kind {
        Some("postgres") => {
            SinkKind::Postgres(DatabaseOptions::parse(&mut section, Schema::Postgres)?)
        }
        Some("mysql") => SinkKind::Mysql(DatabaseOptions::parse(&mut section, Schema::Mysql)?),
        Some("file") => SinkKind::File(FileSinkOptions::parse(&mut section)?),
        Some("webhook") => SinkKind::Webhook(WebhookOptions::parse(&mut section)?),
        Some("otlp") => SinkKind::Otlp(OtlpOptions::parse(&mut section)?),
        Some("nats") => SinkKind::Nats(NatsOptions::parse(&section)?),
        Some("returner") => SinkKind::Returner(section.required_text("module")?),
        _ => return Err(section.missing("type", &TYPES.join(", "))),
    };
    let mut sink = SinkOptions::new(name.to_owned(), option, kind);
    let patterns = "a pattern of tags such as salt/job/*, or a list of them";
    sink.tags = section.texts("tags", patterns)?;
    sink.exclude = section.texts("exclude", patterns)?;
    sink.filter = section.text("filter")?.unwrap_or_default();
    sink.from_oldest = section.word("deliver", &["all", "new"])? == Some("all");
    sink.batch_events = section.count("batch_events", 1..=100_000)?;
    sink.batch_bytes = section.bytes("batch_bytes")?;
    sink.batch_wait = section.seconds("batch_wait")?;
    sink.takes_others = section.word("origins", &["own", "all"])? == Some("all");
    let attempts = section.count("attempts", 1..=1000)?;
    sink.attempts = attempts.and_then(|attempts| u32::try_from(attempts).ok());
    section.finish()?;
    Ok(sink)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Vec<SinkOptions>, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        super::parse(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn every_type_is_read() {
        let sinks = parse(
            "audit: {type: postgres, host: db, password: x, tags: 'salt/job/*', exclude: [a, b], deliver: all}
old: {type: mysql, host: /run/mysqld/mysqld.sock, tables: [events]}
lines: {type: file, path: /var/log/salt/events, rotate_bytes: 100MiB, rotate_after: 1d, keep: 7}
hook: {type: webhook, url: 'https://example.org/in', secret: s, batch_events: 50, batch_wait: 1.5, attempts: 5}
stream: {type: nats, servers: 'nats://127.0.0.1:4222', prefix: audit, origins: all}
logs: {type: otlp, url: 'http://127.0.0.1:4318/v1/logs', headers: {x-key: k}}
own: {type: returner, module: mine, filter: 'ok:false'}",
        )
        .unwrap();
        let [audit, old, lines, hook, stream, logs, own] = &sinks[..] else {
            panic!("expected seven sinks")
        };
        assert!(audit.from_oldest && audit.tags == ["salt/job/*"] && audit.exclude.len() == 2);
        let SinkKind::Postgres(database) = &audit.kind else {
            panic!("expected PostgreSQL")
        };
        assert_eq!((database.port, database.user.as_str()), (5432, "salt"));
        assert!(database.events && database.jobs);
        assert!(!format!("{database:?}").contains("\"x\""), "{database:?}");
        let SinkKind::Mysql(database) = &old.kind else {
            panic!("expected MySQL")
        };
        assert!(database.events && !database.jobs);
        assert!(matches!(&lines.kind, SinkKind::File(file) if file.keep == Some(7)));
        assert_eq!(hook.batch_wait, Some(Duration::from_millis(1500)));
        assert!(matches!(&hook.kind, SinkKind::Webhook(hook) if hook.secret.is_some()));
        assert!(matches!(&logs.kind, SinkKind::Otlp(otlp) if otlp.service == "salt"));
        assert_eq!(own.kind, SinkKind::Returner("mine".to_owned()));
        assert!(stream.takes_others && !own.takes_others);
        assert!(
            matches!(&stream.kind, SinkKind::Nats(nats) if nats.prefix.as_deref() == Some("audit"))
        );
        assert_eq!(parse("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, error) in [
            (
                "[a]",
                "brine: sinks: expected a mapping from names to options, found a list",
            ),
            (
                "{cluster: {type: file, path: /x}}",
                "brine: sinks: expected another name: a saved position of Brine's own has this one, found \"cluster\"",
            ),
            (
                "{a: {host: x}}",
                "brine: sinks: a: type: expected postgres, mysql, file, webhook, otlp, nats, returner, found nothing",
            ),
            (
                "{a: {type: postgres, port: many}}",
                "brine: sinks: a: port: expected a number from 1 to 65535, found \"many\"",
            ),
            (
                "{a: {type: postgres, hosts: x}}",
                "brine: sinks: a: hosts: no such option; did you mean host?",
            ),
            (
                "{a: {type: file}}",
                "brine: sinks: a: path: expected an absolute path, found nothing",
            ),
            (
                "{a: {type: webhook, url: x, cert: /c}}",
                "brine: sinks: a: cert: expected cert and key together, found no key",
            ),
            (
                "{a: {type: nats, servers: x, secret: s}}",
                "brine: sinks: a: secret: no such option; there are type, tags, exclude, filter, deliver, \
                 batch_events, batch_bytes, batch_wait, origins, attempts, servers, stream, prefix, replicas, \
                 max_age, max_bytes, user, password, token, credentials, nkey, tls, ca, cert, key",
            ),
            // A misspelt option is not one that is missing.
            (
                "{a: {typ: file, path: /x}}",
                "brine: sinks: a: typ: no such option; did you mean type?",
            ),
            (
                "a: {kind: file, path: /x}",
                "brine: sinks: a: kind: no such option; did you mean type?",
            ),
            (
                "{a: {type: file, pth: /x}}",
                "brine: sinks: a: pth: no such option; did you mean path?",
            ),
            (
                "{a: {type: webhook, uri: x}}",
                "brine: sinks: a: uri: no such option; did you mean url?",
            ),
            (
                "{a: {type: otlp, urls: x}}",
                "brine: sinks: a: urls: no such option; did you mean url?",
            ),
            (
                "{a: {type: nats, server: x}}",
                "brine: sinks: a: server: no such option; did you mean servers?",
            ),
            (
                "{a: {type: returner, modul: x}}",
                "brine: sinks: a: modul: no such option; did you mean module?",
            ),
            (
                "{a: {type: file, path: /x, rotate: 1MiB}}",
                "brine: sinks: a: rotate: no such option; did you mean rotate_bytes?",
            ),
            // Nothing is like it.
            (
                "{a: {type: file, path: /x, zzzzzz: 1}}",
                "brine: sinks: a: zzzzzz: no such option; there are type, tags, exclude, filter, deliver, \
                 batch_events, batch_bytes, batch_wait, origins, attempts, path, rotate_bytes, rotate_after, keep, \
                 compress, sync",
            ),
            (
                "{a: {type: file, path: /x, keep: 0}}",
                "brine: sinks: a: keep: expected a number from 1 to 1000000, found 0",
            ),
            (
                "{a: {type: mysql, ca: /ca}}",
                "brine: sinks: a: tls: expected require or verify, where ca or cert is given, found nothing",
            ),
            (
                "{a: {type: mysql, tls: prefer}}",
                "brine: sinks: a: tls: expected off, require or verify, found \"prefer\"",
            ),
            (
                "{a: {type: webhook, url: x, headers: [y]}}",
                "brine: sinks: a: headers: expected a mapping of texts, found a list",
            ),
            (
                "{a: {type: webhook, url: x, headers: {x-key: 1}}}",
                "brine: sinks: a: headers: expected a mapping of texts, found no text for \"x-key\"; put it in quotes",
            ),
            (
                "{a: {type: postgres, host: ''}}",
                "brine: sinks: a: host: expected text that is not empty, found \"\"",
            ),
            (
                "{a: {type: postgres, tables: []}}",
                "brine: sinks: a: tables: expected events, jobs or both, found an empty list",
            ),
            (
                "{a: {type: postgres, connect_timeout: 0}}",
                "brine: sinks: a: connect_timeout: expected a number of seconds above 0, found 0",
            ),
            (
                "{a: {type: webhook, url: x, timeout: 0}}",
                "brine: sinks: a: timeout: expected a number of seconds above 0, found 0",
            ),
            (
                "{a: {type: webhook, url: x, secret: ''}}",
                "brine: sinks: a: secret: expected text that is not empty, found \"\"",
            ),
            (
                "{a: {type: webhook, url: 'HTTP://x', ca: /ca}}",
                "brine: sinks: a: url: expected an address that begins with https://, where ca or cert is given, \
                 found one that begins with http://",
            ),
            (
                "{a: {type: otlp, url: x, service: 3}}",
                "brine: sinks: a: service: expected text that is not empty, found 3",
            ),
            (
                "{a: {type: file, path: /x, tags: ''}}",
                "brine: sinks: a: tags: expected a pattern of tags such as salt/job/*, or a list of them, found \"\"",
            ),
            (
                "{a: {type: file, path: /x, tags: [1]}}",
                "brine: sinks: a: tags: expected a pattern of tags such as salt/job/*, or a list of them, found 1",
            ),
            (
                "{a: {type: file, path: /x, exclude: 4}}",
                "brine: sinks: a: exclude: expected a pattern of tags such as salt/job/*, or a list of them, found 4",
            ),
        ] {
            assert_eq!(parse(yaml).unwrap_err(), error);
        }
        assert!(
            parse("{'a b': {type: file}}")
                .unwrap_err()
                .contains("names of")
        );
    }
}
