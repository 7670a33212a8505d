//! Sinks of type `postgres` and `mysql`: how to reach a database.

use std::path::PathBuf;
use std::time::Duration;

use brine_wire::Value;

use super::others::Secret;
use super::section::Section;
use crate::error::ConfigError;

/// Which defaults count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// PostgreSQL's.
    Postgres,
    /// MySQL's.
    Mysql,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// `host` (text; `localhost`): a name, an address, or the directory or file of the server's socket.
    pub host: String,
    /// `port` (number; 5432, MySQL 3306): the server's port.
    pub port: u16,
    /// `user` (text; `salt`): the database's user.
    pub user: String,
    /// `password` (text; none): the user's password.
    pub password: Option<Secret>,
    /// `database` (text; `salt`): the database's name.
    pub database: String,
    /// `connect_timeout` (seconds; 10): how long connecting may take.
    pub connect_timeout: Duration,
    /// How the connection is encrypted.
    pub tls: DatabaseTls,
    /// `tables` (list of `events` and `jobs`; both): `events` writes `salt_events`, `jobs` writes `jids` and `salt_returns`.
    pub events: bool,
    /// Whether `tables` has `jobs`.
    pub jobs: bool,
    /// `create_tables` (bool; `false`): creates missing tables.
    pub create_tables: bool,
    /// `alter_time` (`stored` or `event`; `stored`): whether a row's time is when it was stored or when the event arrived.
    pub is_event_time: bool,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseTls {
    /// `tls` (`off`, `prefer`, `require` or `verify`; `prefer`, MySQL `off`): whether the connection is encrypted, and the server's name verified.
    pub mode: Option<&'static str>,
    /// `ca` (path; the system's): a file of certificates, one of which must have signed the server's.
    pub ca: Option<PathBuf>,
    /// `cert`, `key` (paths; none): the client's own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The options of [`DatabaseOptions`].
pub(super) const DATABASE: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "database",
    "connect_timeout",
    "tls",
    "ca",
    "cert",
    "key",
    "tables",
    "create_tables",
    "alter_time",
];

/// The words of `tls`.
pub(super) const TLS_MODES: [&str; 4] = ["off", "prefer", "require", "verify"];

impl DatabaseOptions {
    /// As Salt's returners have it.
    pub(super) fn new(schema: Schema) -> Self {
        Self {
            host: "localhost".to_owned(),
            port: match schema {
                Schema::Postgres => 5432,
                Schema::Mysql => 3306,
            },
            user: "salt".to_owned(),
            password: None,
            database: "salt".to_owned(),
            connect_timeout: Duration::from_secs(10),
            tls: DatabaseTls::default(),
            events: true,
            jobs: true,
            create_tables: false,
            is_event_time: false,
        }
    }

    pub(super) fn parse(section: &mut Section<'_>, schema: Schema) -> Result<Self, ConfigError> {
        let mut options = Self::new(schema);
        if let Some(host) = section.filled_text("host")? {
            options.host = host;
        }
        if let Some(port) = section.count("port", 1..=65_535)? {
            options.port = u16::try_from(port).unwrap_or(options.port);
        }
        if let Some(user) = section.filled_text("user")? {
            options.user = user;
        }
        options.password = section.text("password")?.map(Secret);
        if let Some(database) = section.filled_text("database")? {
            options.database = database;
        }
        if let Some(timeout) = section.some_seconds("connect_timeout")? {
            options.connect_timeout = timeout;
        }
        options.tls = DatabaseTls {
            mode: section.word("tls", &TLS_MODES)?,
            ca: section.path("ca")?,
            identity: section.identity()?,
        };
        let is_off = match schema {
            Schema::Postgres => options.tls.mode == Some("off"),
            Schema::Mysql => matches!(options.tls.mode, None | Some("off" | "prefer")),
        };
        if is_off && (options.tls.ca.is_some() || options.tls.identity.is_some()) {
            // Whoever names certificates believes that they are used.
            let expected = "require or verify, where ca or cert is given";
            let found = options.tls.mode.map_or(Value::Nil, Value::from);
            return Err(section.bad("tls", expected, &found));
        }
        if schema == Schema::Mysql && options.tls.mode == Some("prefer") {
            return Err(section.bad("tls", "off, require or verify", &"prefer".into()));
        }
        let expected = "events, jobs or both";
        let tables = section.texts("tables", expected)?;
        let is_known = |table: &&String| ["events", "jobs"].contains(&table.as_str());
        if let Some(other) = tables.iter().find(|table| !is_known(table)) {
            return Err(section.bad("tables", expected, &other.as_str().into()));
        }
        if section.is_empty_list("tables") {
            return Err(section.bad_with("tables", expected, "an empty list"));
        }
        if !tables.is_empty() {
            options.events = tables.iter().any(|table| table == "events");
            options.jobs = tables.iter().any(|table| table == "jobs");
        }
        options.create_tables = section.flag("create_tables")?.unwrap_or_default();
        options.is_event_time = section.word("alter_time", &["stored", "event"])? == Some("event");
        Ok(options)
    }
}
