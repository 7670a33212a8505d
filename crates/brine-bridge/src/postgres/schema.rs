//! Salt's tables as a database has them: for which returner, and how wide their columns are.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{PostgresOptions, sorted};
use crate::rows::{JobTables, Tables, Widths};
use crate::sink::SinkError;

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Schema {
    pub(super) widths: Widths,
    pub(super) job_tables: JobTables,
    /// Whether JSON goes into `jsonb`, which must be said where a statement does not imply it.
    pub(super) jids_are_json: bool,
}

/// The sink's own table.
const SINK_TABLE: &str = "CREATE TABLE IF NOT EXISTS brine_sink \
    (name text PRIMARY KEY, log text NOT NULL, seq bigint NOT NULL)";

/// Salt's, as its documentation of `pgjsonb` has them.
const EVENT_TABLE: &str = "\
    CREATE SEQUENCE IF NOT EXISTS seq_salt_events_id;
    CREATE TABLE IF NOT EXISTS salt_events (
        id bigint NOT NULL UNIQUE DEFAULT nextval('seq_salt_events_id'),
        tag varchar(255) NOT NULL, data jsonb NOT NULL,
        alter_time timestamp with time zone NOT NULL DEFAULT now(), master_id varchar(255) NOT NULL);
    CREATE INDEX IF NOT EXISTS idx_salt_events_tag ON salt_events (tag);
    CREATE INDEX IF NOT EXISTS idx_salt_events_data ON salt_events USING gin (data) WITH (fastupdate = on);";
const JOB_TABLES: &str = "\
    CREATE TABLE IF NOT EXISTS jids (jid varchar(255) NOT NULL PRIMARY KEY, load jsonb NOT NULL);
    CREATE INDEX IF NOT EXISTS idx_jids_jsonb ON jids USING gin (load) WITH (fastupdate = on);
    CREATE TABLE IF NOT EXISTS salt_returns (
        fun varchar(50) NOT NULL, jid varchar(255) NOT NULL, return jsonb NOT NULL, id varchar(255) NOT NULL,
        success varchar(10) NOT NULL, full_ret jsonb NOT NULL,
        alter_time timestamp with time zone DEFAULT now());
    CREATE INDEX IF NOT EXISTS idx_salt_returns_id ON salt_returns (id);
    CREATE INDEX IF NOT EXISTS idx_salt_returns_jid ON salt_returns (jid);
    CREATE INDEX IF NOT EXISTS idx_salt_returns_fun ON salt_returns (fun);
    CREATE INDEX IF NOT EXISTS idx_salt_returns_return ON salt_returns USING gin (return) WITH (fastupdate = on);
    CREATE INDEX IF NOT EXISTS idx_salt_returns_full_ret ON salt_returns USING gin (full_ret) WITH (fastupdate = on);";

impl Schema {
    /// Looks, and makes what may be made.
    pub(super) async fn read(
        client: &Client,
        options: &PostgresOptions,
    ) -> Result<Self, SinkError> {
        let Tables { events, jobs } = options.tables;
        if options.create_tables {
            let mut wanted = String::new();
            if events {
                wanted.push_str(EVENT_TABLE);
            }
            if jobs {
                wanted.push_str(JOB_TABLES);
            }
            make(client, &wanted).await.map_err(sorted)?;
        }
        make_sink_table(client).await?;
        let mut schema = Self::default();
        let mut missing = Vec::new();
        for (table, is_wanted) in [
            ("salt_events", events),
            ("jids", jobs),
            ("salt_returns", jobs),
        ] {
            let columns = columns(client, table).await?;
            if is_wanted && columns.is_empty() {
                missing.push(table);
            }
            for column in columns {
                schema.note(table, &column);
            }
        }
        match missing.is_empty() {
            true => Ok(schema),
            false => Err(SinkError::unavailable(format!(
                "database {}: no table {}; make Salt's tables there, or set create_tables: true",
                options.database,
                missing.join(", ")
            ))),
        }
    }

    fn note(&mut self, table: &str, column: &Column) {
        let widths = &mut self.widths;
        let narrower = |known: Option<usize>| match (known, column.width) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match (table, column.name.as_str()) {
            ("salt_events", "tag") => widths.tag = column.width,
            ("jids" | "salt_returns", "jid") => widths.jid = narrower(widths.jid),
            ("salt_returns", "fun") => widths.fun = column.width,
            ("salt_returns", "id") => widths.id = column.width,
            ("jids", "load") => self.jids_are_json = column.is_jsonb,
            ("jids", "tgt_type") => self.job_tables = JobTables::LocalCache,
            _ => {}
        }
    }
}

struct Column {
    name: String,
    is_jsonb: bool,
    width: Option<usize>,
}

/// The columns of a table that a statement without a schema finds.
async fn columns(client: &Client, table: &str) -> Result<Vec<Column>, SinkError> {
    let rows = client
        .query(
            "SELECT attname::text, format_type(atttypid, NULL), \
                    CASE WHEN atttypid = 'varchar'::regtype AND atttypmod > 4 THEN atttypmod - 4 END \
             FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
            &[&table],
        )
        .await
        .map_err(sorted)?;
    let columns = rows.iter().map(|row| {
        let width: Option<i32> = row.get(2);
        Column {
            name: row.get(0),
            is_jsonb: row.get::<_, String>(1) == "jsonb",
            width: width.and_then(|width| usize::try_from(width).ok()),
        }
    });
    Ok(columns.collect())
}

/// Its own table, unless it is there: who may not make tables may still have had one made.
async fn make_sink_table(client: &Client) -> Result<(), SinkError> {
    let there = client
        .query_one("SELECT to_regclass('brine_sink') IS NOT NULL", &[])
        .await
        .map_err(sorted)?;
    if there.get(0) {
        return Ok(());
    }
    make(client, SINK_TABLE).await.map_err(|error| {
        let reason = super::shown(&error);
        SinkError::unavailable(format!(
            "{reason}; the sink needs its own table: {SINK_TABLE}"
        ))
    })
}

/// Makes tables that may be there. `IF NOT EXISTS` does not see what another sink is making at the moment: then it is
/// there on the next try.
async fn make(client: &Client, tables: &str) -> Result<(), tokio_postgres::Error> {
    let made = client.batch_execute(tables).await;
    let is_made_by_another = |error: &tokio_postgres::Error| {
        let known = [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
        ];
        error.code().is_some_and(|code| known.contains(code))
    };
    match made {
        Err(error) if is_made_by_another(&error) => client.batch_execute(tables).await,
        made => made,
    }
}
