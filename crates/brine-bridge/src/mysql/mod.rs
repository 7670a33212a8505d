//! MySQL and MariaDB: Salt's returner tables, each event once.
//!
//! As for PostgreSQL, the sink's position is a row of `brine_sink` that is locked, read and moved in the transaction
//! that writes the events; the tables must use InnoDB. Strings that a table in the old `utf8` cannot hold (emoji) are
//! escaped in JSON, where that loses nothing.

mod write;

use std::time::Duration;

use brine_log::{LogId, Position};
use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};

use crate::batch::Batch;
use crate::brine_sink::{self, End};
use crate::rows::{AlterTime, JobTables, RowMaker, Tables, Widths};
use crate::secret::Secret;
use crate::sink::{Sink, SinkError};
use crate::text::{Taker, with_hint};
use crate::tls::{TlsError, TlsOptions};

/// How to reach a database, and what to write there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MysqlOptions {
    /// A name or address, or the path of the server's socket.
    pub host: String,
    /// The port, unless it is a socket.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// Whether with TLS, and whom to trust.
    pub tls: Option<TlsOptions>,
    /// Which tables are written.
    pub tables: Tables,
    /// Tables that are missing are made, as Salt's documentation has them, with `utf8mb4`.
    pub create_tables: bool,
    /// When a row is said to be from.
    pub alter_time: AlterTime,
    /// What `master_id` says.
    pub master_id: String,
}

/// Events into MySQL or MariaDB.
#[derive(Debug)]
pub struct MysqlSink {
    name: String,
    options: MysqlOptions,
    connected: Option<Connected>,
}

/// A connection, and what was found at its other end.
#[derive(Debug)]
struct Connected {
    conn: Conn,
    maker: RowMaker,
    /// Whether the tables have room for all of Unicode.
    is_full_unicode: bool,
}

/// The sink's own table.
const SINK_TABLE: &str = "CREATE TABLE IF NOT EXISTS brine_sink \
    (name varchar(150) PRIMARY KEY, log varchar(32) NOT NULL, seq bigint NOT NULL) ENGINE=InnoDB";

const EVENT_TABLE: &str = "CREATE TABLE IF NOT EXISTS `salt_events` (\
    `id` BIGINT NOT NULL AUTO_INCREMENT, `tag` varchar(255) NOT NULL, `data` mediumtext NOT NULL, \
    `alter_time` TIMESTAMP DEFAULT CURRENT_TIMESTAMP, `master_id` varchar(255) NOT NULL, \
    PRIMARY KEY (`id`), KEY `tag` (`tag`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
const JOB_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS `jids` (`jid` varchar(255) NOT NULL, `load` mediumtext NOT NULL, \
     UNIQUE KEY `jid` (`jid`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE IF NOT EXISTS `salt_returns` (`fun` varchar(50) NOT NULL, `jid` varchar(255) NOT NULL, \
     `return` mediumtext NOT NULL, `id` varchar(255) NOT NULL, `success` varchar(10) NOT NULL, \
     `full_ret` mediumtext NOT NULL, `alter_time` TIMESTAMP DEFAULT CURRENT_TIMESTAMP, \
     KEY `id` (`id`), KEY `jid` (`jid`), KEY `fun` (`fun`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
];

impl MysqlSink {
    /// A sink of this name, by which its row in `brine_sink` goes.
    ///
    /// # Errors
    /// [`TlsError`] if a file of certificates cannot be used.
    pub fn new(name: impl Into<String>, options: MysqlOptions) -> Result<Self, TlsError> {
        if let Some(tls) = &options.tls {
            // The driver reads the files with each connection.
            tls.client_config()?;
        }
        Ok(Self {
            name: name.into(),
            options,
            connected: None,
        })
    }

    async fn connect(&self) -> Result<Connected, SinkError> {
        let options = &self.options;
        let connecting = Conn::new(driver_options(options));
        let place = format!("{}:{}", options.host, options.port);
        let conn = match tokio::time::timeout(options.connect_timeout, connecting).await {
            Ok(conn) => conn,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        let conn =
            conn.map_err(|error| SinkError::unavailable(with_hint(format!("{place}: {error}"))));
        let mut connected = Connected {
            conn: conn?,
            maker: RowMaker {
                job_tables: JobTables::Json,
                tables: options.tables,
                widths: Widths::default(),
                taker: Taker::Json,
                master_id: options.master_id.clone(),
            },
            is_full_unicode: true,
        };
        connected.look(options, &self.name).await?;
        Ok(connected)
    }

    async fn connected(&mut self) -> Result<Connected, SinkError> {
        match self.connected.take() {
            Some(connected) => Ok(connected),
            None => self.connect().await,
        }
    }

    /// Writes a batch in one transaction.
    async fn write(&mut self, batch: &Batch<'_>, end: End) -> Result<(), SinkError> {
        let mut connected = self.connected().await?;
        // After an error the connection is not used again: the next one finds the transaction over.
        write::batch(&mut connected, &self.name, &self.options, batch, end).await?;
        self.connected = Some(connected);
        Ok(())
    }
}

fn driver_options(options: &MysqlOptions) -> Opts {
    let mut builder = OptsBuilder::default()
        .user(Some(options.user.as_str()))
        .pass(options.password.as_ref().map(Secret::reveal))
        .db_name(Some(options.database.as_str()))
        .prefer_socket(false)
        .stmt_cache_size(16)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        // Waiting for other transactions is given up after a while, and tried again: then the log says what it waits
        // for.
        .init(vec![
            "SET innodb_lock_wait_timeout = 20, lock_wait_timeout = 20",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ]);
    builder = match options.host.starts_with('/') {
        true => builder.socket(Some(options.host.as_str())),
        false => builder
            .ip_or_hostname(options.host.as_str())
            .tcp_port(options.port),
    };
    if let Some(tls) = &options.tls {
        let mut ssl = SslOpts::default();
        ssl = match tls.trust.file() {
            Some(roots) => ssl
                .with_root_certs(vec![roots.into()])
                .with_disable_built_in_roots(true),
            None => ssl
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        };
        if let Some((certificate, key)) = &tls.identity {
            let identity = ClientIdentity::new(certificate.clone().into(), key.clone().into());
            ssl = ssl.with_client_identity(Some(identity));
        }
        builder = builder.ssl_opts(Some(ssl));
    }
    builder.into()
}

impl Connected {
    /// Looks at the tables, and makes what may be made.
    async fn look(&mut self, options: &MysqlOptions, name: &str) -> Result<(), SinkError> {
        let Tables { events, jobs } = options.tables;
        let mut wanted = vec![SINK_TABLE];
        if options.create_tables && events {
            wanted.push(EVENT_TABLE);
        }
        if options.create_tables && jobs {
            wanted.extend(JOB_TABLES);
        }
        for table in wanted {
            self.conn.query_drop(table).await.map_err(sorted)?;
        }
        let tables: &[(&str, bool)] = &[
            ("salt_events", events),
            ("jids", jobs),
            ("salt_returns", jobs),
        ];
        let mut missing = Vec::new();
        for (table, _) in tables.iter().filter(|(_, is_wanted)| *is_wanted) {
            if !self.look_at(table).await? {
                missing.push(*table);
            }
        }
        if !missing.is_empty() {
            return Err(SinkError::unavailable(format!(
                "database {}: no table {}; make Salt's tables there, or set create_tables: true",
                options.database,
                missing.join(", ")
            )));
        }
        if !self.is_full_unicode {
            tracing::warn!(
                sink = %name,
                "the tables use utf8, which cannot store all characters: the others are escaped in data and replaced in tags; convert the tables to utf8mb4"
            );
        }
        Ok(())
    }

    /// Notes the columns of a table; `false` if there are none.
    async fn look_at(&mut self, table: &str) -> Result<bool, SinkError> {
        let columns: Vec<(String, Option<u64>, Option<String>)> = self
            .conn
            .exec(
                "SELECT column_name, character_maximum_length, character_set_name \
                 FROM information_schema.columns WHERE table_schema = database() AND table_name = ?",
                (table,),
            )
            .await
            .map_err(sorted)?;
        let widths = &mut self.maker.widths;
        for (column, width, charset) in &columns {
            let width = width.and_then(|width| usize::try_from(width).ok());
            match (table, column.as_str()) {
                ("salt_events", "tag") => widths.tag = width,
                ("jids" | "salt_returns", "jid") => widths.jid = width,
                ("salt_returns", "fun") => widths.fun = width,
                ("salt_returns", "id") => widths.id = width,
                _ => {}
            }
            let charset = charset.as_deref().unwrap_or("utf8mb4");
            self.is_full_unicode &= charset == "utf8mb4";
        }
        Ok(!columns.is_empty())
    }
}

impl Sink for MysqlSink {
    async fn begin(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let mut connected = self.connected().await?;
        let row = brine_sink::row(&self.name, log);
        let position = write::position(&mut connected.conn, &row).await?;
        self.connected = Some(connected);
        Ok(position)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        self.write(batch, End::Commit).await?;
        Ok(batch.len())
    }

    async fn probe(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        self.write(batch, End::TakeBack).await
    }

    async fn move_to(&mut self, position: Position) -> Result<(), SinkError> {
        let mut connected = self.connected().await?;
        let row = brine_sink::row(&self.name, position.log);
        write::move_to(&mut connected.conn, &row, position).await?;
        self.connected = Some(connected);
        Ok(())
    }
}

/// What is at fault: the events, or only the server and its surroundings.
#[allow(clippy::needless_pass_by_value)] // for map_err
fn sorted(error: mysql_async::Error) -> SinkError {
    /// Too large a packet, null, out of range, no text of the column's character set, too long, not a number's
    /// text, not JSON.
    const OF_EVENTS: [u16; 8] = [1048, 1153, 1264, 1292, 1366, 1406, 3140, 4025];
    /// Others hold a lock; the server is full, ends, may only be read.
    const AWAY: [u16; 9] = [1021, 1040, 1053, 1114, 1205, 1213, 1290, 1317, 1836];
    match &error {
        mysql_async::Error::Server(server) if OF_EVENTS.contains(&server.code) => {
            SinkError::refused(&error)
        }
        mysql_async::Error::Server(server) if !AWAY.contains(&server.code) => {
            SinkError::uncertain(&error)
        }
        _ => SinkError::unavailable(&error),
    }
}
