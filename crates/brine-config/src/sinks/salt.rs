//! Salt's own options that ask for sinks: `event_return`, `master_job_cache`, `ext_job_cache`.
//!
//! Names of returners and of their options are Salt's; so are the defaults, as far as Salt's documentation and the
//! code of 3006.28 and 3008.3 agree.

use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_wire::Value;

use super::databases::{DatabaseOptions, DatabaseTls, Schema};
use super::others::{FileSinkOptions, Secret};
use super::{RESERVED, SinkKind, SinkOptions};
use crate::error::ConfigError;
use crate::opts::Opts;

/// A batch that is not full waits this long where `event_return_queue` asks for one and says not how long. Salt waits
/// until it is full.
const QUEUE_TIME: Duration = Duration::from_secs(10);

/// Returners that store events and are not ours: known, so that nobody looks for a user's module.
const UNSUPPORTED: [&str; 10] = [
    "carbon",
    "cassandra_cql",
    "elasticsearch",
    "local",
    "mattermost",
    "mongo",
    "slack_webhook",
    "smtp",
    "splunk",
    "sqlite3",
];

/// The options of returners for PostgreSQL that name files: the certificates to trust, our own and its key.
const POSTGRES_FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];
/// The same for MySQL.
const MYSQL_FILES: [&str; 3] = ["ssl_ca", "ssl_cert", "ssl_key"];

/// What can be said for one.
const SUPPORTED: &str = "pgjsonb, postgres, postgres_local_cache, mysql, rawfile_json, or the name of an own module \
     in _returners";

/// The sinks that a master's options ask for.
pub(crate) fn of_salt(opts: &Opts) -> Result<Vec<SinkOptions>, ConfigError> {
    let returners = names(opts, "event_return")?;
    let caches = [
        cache(opts, "master_job_cache", "local_cache")?,
        cache(opts, "ext_job_cache", "")?,
    ];
    let mut sinks = Vec::new();
    for (nth, name) in returners.iter().enumerate() {
        if returners[..nth].contains(name) {
            let (expected, found) = ("each returner once", format!("{name} twice"));
            return Err(ConfigError::bad_option_with(
                "event_return",
                expected,
                found,
            ));
        }
        if RESERVED.contains(&&**name) {
            let expected =
                "a module with another name: a saved position of Brine's own has this one";
            return Err(ConfigError::bad_option(
                "event_return",
                expected,
                &name.as_str().into(),
            ));
        }
        let kind = kind(opts, "event_return", name)?;
        let mut sink = SinkOptions::new(
            name.clone(),
            "event_return".to_owned(),
            with_tables(kind, true, false),
        );
        sink.tags = patterns(opts, "event_return_whitelist")?;
        sink.exclude = patterns(opts, "event_return_blacklist")?;
        queue(opts, &mut sink)?;
        sinks.push(sink);
    }
    for (option, name) in caches.into_iter().flatten() {
        let kind = kind(opts, option, &name)?;
        if !matches!(kind, SinkKind::Postgres(_) | SinkKind::Mysql(_)) {
            let expected = "pgjsonb, postgres, postgres_local_cache, mysql or local_cache";
            return Err(ConfigError::bad_option(option, expected, &name.into()));
        }
        // A sink of its own: its position is another one when events are filtered.
        let name = format!("{name}-jobs");
        if sinks.iter().all(|sink: &SinkOptions| sink.name != name) {
            let mut sink =
                SinkOptions::new(name, option.to_owned(), with_tables(kind, false, true));
            sink.tags = ["salt/job/*", "salt/run/*", "salt/wheel/*"]
                .map(str::to_owned)
                .into();
            sinks.push(sink);
        }
    }
    Ok(sinks)
}

/// A name or a list of names.
fn names(opts: &Opts, option: &'static str) -> Result<Vec<String>, ConfigError> {
    let expected = "the name of a returner, or a list of names";
    let names = match opts.get(option) {
        None | Some(Value::Nil) => Some(Vec::new()),
        Some(Value::Str(name)) if name.is_empty() => Some(Vec::new()),
        Some(Value::Str(name)) => Some(vec![name.clone()]),
        Some(Value::Array(names)) => {
            let name = |name: &Value| match name.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(ConfigError::bad_option(option, expected, name)),
            };
            return names.iter().map(name).collect();
        }
        Some(_) => None,
    };
    names.ok_or_else(|| {
        let found = opts.get(option).unwrap_or(&Value::Nil);
        ConfigError::bad_option(option, expected, found)
    })
}

fn patterns(opts: &Opts, option: &'static str) -> Result<Vec<String>, ConfigError> {
    let patterns = match opts.get(option) {
        None | Some(Value::Nil) => Some(Vec::new()),
        Some(Value::Array(patterns)) => {
            let patterns = patterns.iter();
            patterns
                .map(|one| one.as_str().map(str::to_owned))
                .collect()
        }
        Some(_) => None,
    };
    patterns.ok_or_else(|| {
        let found = opts.get(option).unwrap_or(&Value::Nil);
        ConfigError::bad_option(option, "a list of tag patterns", found)
    })
}

fn cache(
    opts: &Opts,
    option: &'static str,
    own: &str,
) -> Result<Option<(&'static str, String)>, ConfigError> {
    let name = opts.is_set(option).then(|| opts.text(option)).transpose()?;
    let name = name.filter(|name| *name != own && *name != "local_cache" && !name.is_empty());
    Ok(name.map(|name| (option, name.to_owned())))
}

fn queue(opts: &Opts, sink: &mut SinkOptions) -> Result<(), ConfigError> {
    let queue = match opts.is_set("event_return_queue") {
        true => opts.int("event_return_queue")?,
        false => 0,
    };
    let most = match opts.is_set("event_return_queue_max_seconds") {
        true => opts.int("event_return_queue_max_seconds")?,
        false => 0,
    };
    for (option, number) in [
        ("event_return_queue", queue),
        ("event_return_queue_max_seconds", most),
    ] {
        if number < 0 {
            let found = Value::Int(number.into());
            return Err(ConfigError::bad_option(option, "a number from 0", &found));
        }
    }
    // 0 and 1: each event at once.
    if queue > 1 {
        sink.batch_events = usize::try_from(queue).ok();
        let seconds = u64::try_from(most).ok().filter(|seconds| *seconds > 0);
        sink.batch_wait = Some(seconds.map_or(QUEUE_TIME, Duration::from_secs));
    }
    Ok(())
}

fn kind(opts: &Opts, option: &str, name: &str) -> Result<SinkKind, ConfigError> {
    Ok(match name {
        "pgjsonb" => SinkKind::Postgres(postgres(opts, "returner.pgjsonb", "salt", "pass")?),
        "postgres" => {
            SinkKind::Postgres(postgres(opts, "returner.postgres", "localhost", "passwd")?)
        }
        "postgres_local_cache" => SinkKind::Postgres(postgres(
            opts,
            "master_job_cache.postgres",
            "salt",
            "passwd",
        )?),
        "mysql" => SinkKind::Mysql(mysql(opts)?),
        "rawfile_json" => {
            let filename = setting(opts, "rawfile_json", "filename");
            let filename = filename.and_then(Value::as_str);
            let path = PathBuf::from(filename.unwrap_or("/var/log/salt/events"));
            SinkKind::File(FileSinkOptions::new(path))
        }
        other if UNSUPPORTED.contains(&other) || other.is_empty() => {
            return Err(ConfigError::bad_option(option, SUPPORTED, &other.into()));
        }
        module => SinkKind::Returner(module.to_owned()),
    })
}

fn with_tables(mut kind: SinkKind, events: bool, jobs: bool) -> SinkKind {
    if let SinkKind::Postgres(database) | SinkKind::Mysql(database) = &mut kind {
        (database.events, database.jobs) = (events, jobs);
    }
    kind
}

/// What the options of a returner that name files are called: `ca`, `cert`, `key`, where they stand, and their names.
pub(crate) fn file_options(sink: &SinkOptions) -> Vec<[&'static str; 3]> {
    let returner = sink.name.strip_suffix("-jobs").unwrap_or(&sink.name);
    let (below, names) = match returner {
        "pgjsonb" => ("returner.pgjsonb", POSTGRES_FILES),
        "postgres" => ("returner.postgres", POSTGRES_FILES),
        "postgres_local_cache" => ("master_job_cache.postgres", POSTGRES_FILES),
        "mysql" => ("mysql", MYSQL_FILES),
        _ => return Vec::new(),
    };
    let own = ["ca", "cert", "key"].into_iter().zip(names);
    own.map(|(own, name)| [own, below, name]).collect()
}

/// An option of a returner: `returner.pgjsonb.host: x`, or `host: x` below `returner.pgjsonb:`.
fn setting<'o>(opts: &'o Opts, returner: &str, name: &str) -> Option<&'o Value> {
    let below = || opts.get(returner)?.as_map()?.get(name);
    let value = opts.get(&format!("{returner}.{name}")).or_else(below);
    value.filter(|value| **value != Value::Nil)
}

/// Reads what all databases have.
struct Settings<'o> {
    opts: &'o Opts,
    returner: &'static str,
}

impl Settings<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match setting(self.opts, self.returner, name) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text.clone())),
            Some(Value::Int(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.bad(name, "text", other)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u16>, ConfigError> {
        let Some(value) = setting(self.opts, self.returner, name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Str(text) => text.trim().parse().ok(),
            other => other.as_int().and_then(|number| u16::try_from(number).ok()),
        };
        number
            .map(Some)
            .ok_or_else(|| self.bad(name, "a number from 0 to 65535", value))
    }

    fn file(&self, name: &str) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.text(name)?.filter(|path| !path.is_empty());
        Ok(path.map(|path| Path::new(&path).to_owned()))
    }

    /// A certificate and its key: both or none.
    fn identity(&self, cert: &str, key: &str) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        match (self.file(cert)?, self.file(key)?) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => {
                let option = format!("{}.{cert}", self.returner);
                let expected = format!("{cert} and {key} together");
                Err(ConfigError::bad_option_with(
                    &option,
                    &expected,
                    "one of them",
                ))
            }
        }
    }

    fn bad(&self, name: &str, expected: &str, found: &Value) -> ConfigError {
        ConfigError::bad_option(&format!("{}.{name}", self.returner), expected, found)
    }

    fn fill(&self, database: &mut DatabaseOptions, password: &str) -> Result<(), ConfigError> {
        if let Some(host) = self.text("host")? {
            database.host = host;
        }
        if let Some(port) = self.number("port")?.filter(|port| *port > 0) {
            database.port = port;
        }
        if let Some(user) = self.text("user")? {
            database.user = user;
        }
        database.password = Some(Secret(
            self.text(password)?.unwrap_or_else(|| "salt".to_owned()),
        ));
        if let Some(name) = self.text("db")? {
            database.database = name;
        }
        Ok(())
    }
}

fn postgres(
    opts: &Opts,
    returner: &'static str,
    host: &str,
    password: &str,
) -> Result<DatabaseOptions, ConfigError> {
    let settings = Settings { opts, returner };
    let mut database = DatabaseOptions::new(Schema::Postgres);
    database.host = host.to_owned();
    settings.fill(&mut database, password)?;
    if let Some(seconds) = settings
        .number("connect_timeout")?
        .filter(|seconds| *seconds > 0)
    {
        database.connect_timeout = Duration::from_secs(seconds.into());
    }
    let mode = match settings.text("sslmode")?.as_deref() {
        None => None,
        Some("disable") => Some("off"),
        Some("allow" | "prefer") => Some("prefer"),
        Some("require") => Some("require"),
        Some("verify-ca" | "verify-full") => Some("verify"),
        Some(other) => {
            let expected = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(settings.bad("sslmode", expected, &other.into()));
        }
    };
    let [ca, cert, key] = POSTGRES_FILES;
    database.tls = DatabaseTls {
        mode,
        ca: settings.file(ca)?,
        identity: settings.identity(cert, key)?,
    };
    Ok(database)
}

fn mysql(opts: &Opts) -> Result<DatabaseOptions, ConfigError> {
    let settings = Settings {
        opts,
        returner: "mysql",
    };
    let mut database = DatabaseOptions::new(Schema::Mysql);
    database.host = "salt".to_owned();
    settings.fill(&mut database, "pass")?;
    let [ca, cert, key] = MYSQL_FILES;
    let ca = settings.file(ca)?;
    database.tls = DatabaseTls {
        mode: ca.as_ref().map(|_| "verify"),
        ca,
        identity: settings.identity(cert, key)?,
    };
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, Value)]) -> Result<Vec<SinkOptions>, String> {
        let mut opts = Opts::default();
        for (name, value) in options {
            opts.set(name, value.clone());
        }
        of_salt(&opts).map_err(|error| error.to_string())
    }

    #[test]
    fn salts_options_are_sinks() {
        let sinks = of(&[
            (
                "event_return",
                Value::Array(vec!["pgjsonb".into(), "mine".into()]),
            ),
            (
                "event_return_whitelist",
                Value::Array(vec!["salt/job/*".into()]),
            ),
            ("event_return_queue", 500.into()),
            ("event_return_queue_max_seconds", 3.into()),
            ("master_job_cache", "postgres_local_cache".into()),
            ("master_job_cache.postgres.passwd", "p".into()),
            ("ext_job_cache", "pgjsonb".into()),
            ("returner.pgjsonb.host", "db".into()),
            ("returner.pgjsonb.port", "5433".into()),
            (
                "returner.pgjsonb",
                Value::Map([("db", "events")].into_iter().collect()),
            ),
        ])
        .unwrap();
        let names: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "pgjsonb",
                "mine",
                "postgres_local_cache-jobs",
                "pgjsonb-jobs"
            ]
        );
        let SinkKind::Postgres(database) = &sinks[0].kind else {
            panic!("expected PostgreSQL")
        };
        assert_eq!((database.host.as_str(), database.port), ("db", 5433));
        assert_eq!(database.database, "events");
        assert!(database.events && !database.jobs);
        assert_eq!(sinks[0].tags, ["salt/job/*"]);
        assert_eq!(sinks[0].batch_events, Some(500));
        assert_eq!(sinks[0].batch_wait, Some(Duration::from_secs(3)));
        assert_eq!(sinks[1].kind, SinkKind::Returner("mine".to_owned()));
        for cache in &sinks[2..] {
            assert!(matches!(&cache.kind, SinkKind::Postgres(jobs) if jobs.jobs && !jobs.events));
        }
        assert!(
            matches!(&sinks[2].kind, SinkKind::Postgres(jobs) if jobs.password == Some(Secret("p".to_owned())))
        );
    }

    #[test]
    fn salts_defaults_are_no_sinks() {
        let sinks = of(&[
            ("event_return", "".into()),
            ("master_job_cache", "local_cache".into()),
        ]);
        assert_eq!(sinks, Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(
            of(&[("event_return", "splunk".into())]).unwrap_err(),
            "event_return: expected pgjsonb, postgres, postgres_local_cache, mysql, rawfile_json, or the name of an own \
             module in _returners, found \"splunk\""
        );
        let bad = of(&[("event_return", "mysql".into()), ("mysql.port", "x".into())]);
        assert!(
            bad.unwrap_err()
                .starts_with("mysql.port: expected a number")
        );
        let twice = Value::Array(vec!["mysql".into(), "mine".into(), "mysql".into()]);
        assert_eq!(
            of(&[("event_return", twice)]).unwrap_err(),
            "event_return: expected each returner once, found mysql twice"
        );
        let reserved = of(&[("event_return", "cluster".into())]).unwrap_err();
        assert!(
            reserved.contains("a module with another name"),
            "{reserved}"
        );
        assert_eq!(
            of(&[("event_return", Value::Array(vec!["mysql".into(), 1.into()]))]).unwrap_err(),
            "event_return: expected the name of a returner, or a list of names, found 1"
        );
        let queue = [
            ("event_return", "mysql".into()),
            ("event_return_queue", Value::Int(-1)),
        ];
        assert_eq!(
            of(&queue).unwrap_err(),
            "event_return_queue: expected a number from 0, found -1"
        );
        let bad = of(&[("master_job_cache", "rawfile_json".into())]);
        assert!(bad.unwrap_err().starts_with("master_job_cache: expected"));
    }
}
