//! PostgreSQL: Salt's returner tables, each event once.
//!
//! The sink's position is a row of `brine_sink`, written in the same transaction as the events, so the row says what
//! is there whatever is interrupted. The row is locked while a batch is written: a transaction whose outcome is
//! unknown is over before anything is written again. Salt's tables stay as Salt makes them, for either returner:
//! `pgjsonb` and `postgres` differ in the types of columns, which the sink looks up.

mod schema;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use brine_log::{LogId, Position};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::batch::Batch;
use crate::brine_sink::{self, End};
use crate::rows::{AlterTime, RowMaker, Tables};
use crate::secret::Secret;
use crate::sink::{Sink, SinkError};
use crate::text::{Taker, with_hint};
use crate::tls::TlsOptions;
use schema::Schema;

/// How to reach a database, and what to write there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// A name or address, or the directory of the server's socket.
    pub host: String,
    /// The port, of the socket too.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// The database.
    pub database: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// Whether with TLS.
    pub tls: PostgresTls,
    /// Which tables are written.
    pub tables: Tables,
    /// Tables that are missing are made, as for `pgjsonb`.
    pub create_tables: bool,
    /// When a row is said to be from.
    pub alter_time: AlterTime,
    /// What `master_id` says.
    pub master_id: String,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresTls {
    /// Never.
    Off,
    /// If the server offers it.
    Preferred(TlsOptions),
    /// Always.
    Required(TlsOptions),
}

/// Events into PostgreSQL.
pub struct PostgresSink {
    name: String,
    options: PostgresOptions,
    connector: MakeRustlsConnect,
    connected: Option<Connected>,
}

/// A connection, and what was found at its other end.
struct Connected {
    client: Client,
    schema: Schema,
    maker: RowMaker,
}

/// A statement that waits for others this long is given up, and tried again: then the log says what it waits for.
const LOCK_TIME: Duration = Duration::from_secs(20);

impl PostgresSink {
    /// A sink of this name, by which its row in `brine_sink` goes.
    ///
    /// # Errors
    /// [`TlsError`](crate::tls::TlsError) if a file of certificates cannot be used.
    pub fn new(
        name: impl Into<String>,
        options: PostgresOptions,
    ) -> Result<Self, crate::tls::TlsError> {
        let tls = match &options.tls {
            PostgresTls::Off => &TlsOptions::default(),
            PostgresTls::Preferred(tls) | PostgresTls::Required(tls) => tls,
        };
        Ok(Self {
            name: name.into(),
            connector: MakeRustlsConnect::new(tls.client_config()?),
            options,
            connected: None,
        })
    }

    async fn connect(&self) -> Result<Connected, SinkError> {
        let options = &self.options;
        let mut config = Config::new();
        config
            .user(options.user.as_str())
            .dbname(options.database.as_str())
            .port(options.port)
            .application_name(format!("brine sink {}", self.name))
            .connect_timeout(options.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(60))
            .ssl_mode(match options.tls {
                PostgresTls::Off => SslMode::Disable,
                PostgresTls::Preferred(_) => SslMode::Prefer,
                PostgresTls::Required(_) => SslMode::Require,
            });
        match options.host.starts_with('/') {
            true => config.host_path(PathBuf::from(&options.host)),
            false => config.host(options.host.as_str()),
        };
        if let Some(password) = &options.password {
            config.password(password.reveal());
        }
        let place = format!("{}:{}", options.host, options.port);
        let connected = config.connect(self.connector.clone()).await;
        let (client, connection) = connected.map_err(|error| {
            let shown = with_hint(shown(&error));
            SinkError::unavailable(format!("{place}: {shown}"))
        })?;
        // Ends when the client is dropped, or the server goes: then the client says so.
        tokio::spawn(async move { drop(connection.await) });
        let settings = format!(
            "SET lock_timeout = '{}s'; SET standard_conforming_strings = on; SET client_encoding = 'UTF8'",
            LOCK_TIME.as_secs()
        );
        client.batch_execute(&settings).await.map_err(sorted)?;
        let schema = Schema::read(&client, options).await?;
        let maker = RowMaker {
            job_tables: schema.job_tables,
            tables: options.tables,
            widths: schema.widths,
            taker: Taker::Postgres,
            master_id: options.master_id.clone(),
        };
        Ok(Connected {
            client,
            schema,
            maker,
        })
    }

    /// The connection; reconnects if there is none.
    async fn connected(&mut self) -> Result<Connected, SinkError> {
        match self.connected.take() {
            Some(connected) if !connected.client.is_closed() => Ok(connected),
            _ => self.connect().await,
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

impl Sink for PostgresSink {
    async fn begin(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let connected = self.connected().await?;
        let row = brine_sink::row(&self.name, log);
        let position = write::position(&connected.client, &row).await?;
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
        let connected = self.connected().await?;
        let row = brine_sink::row(&self.name, position.log);
        write::move_to(&connected.client, &row, position).await?;
        self.connected = Some(connected);
        Ok(())
    }
}

/// What is at fault: the events, or only the server and its surroundings.
#[allow(clippy::needless_pass_by_value)] // for map_err
fn sorted(error: tokio_postgres::Error) -> SinkError {
    let reason = shown(&error);
    let class = error.code().map(SqlState::code);
    match class {
        Some(code) if is_about_data(code) => SinkError::refused(reason),
        Some(code) if !is_away(code) => SinkError::uncertain(reason),
        _ => SinkError::unavailable(reason),
    }
}

/// What the connection is (08, 28, 3D), what may be done with it (25), what others do (40, 55), what the server has room
/// for (53), what its operator does (57), what its system does (58). What is left may be one event's doing, such as an
/// exception that a trigger raises.
fn is_away(code: &str) -> bool {
    let class = code.get(..2);
    matches!(
        class,
        Some("08" | "25" | "28" | "3D" | "40" | "53" | "55" | "57" | "58")
    )
}

/// What the data is (22), what the schema forbids (23), what is larger than the server takes (54).
fn is_about_data(code: &str) -> bool {
    matches!(code.get(..2), Some("22" | "23" | "54"))
}

/// What the server says, with its hints: the error alone says only that there is one.
fn shown(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    if let Some(told) = error.as_db_error() {
        let mut text = format!("{} ({})", told.message(), told.code().code());
        // Details of such an error quote the row: values of events, passwords among them, belong into no log.
        let detail = told.detail().filter(|_| !is_about_data(told.code().code()));
        for more in [detail, told.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more);
        }
        return text;
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PostgresSink")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
