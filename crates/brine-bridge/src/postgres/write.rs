//! One transaction: lock and check the position, copy the rows, move the position.

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use super::schema::Schema;
use super::{Connected, PostgresOptions, sorted};
use crate::batch::Batch;
use crate::brine_sink::{self, End};
use crate::local_cache;
use crate::rows::{AlterTime, EventRow, JobRow, JobTables, ReturnRow};
use crate::sink::SinkError;
use brine_log::Position;

/// What one message of a copy holds, in bytes: the server works on one while the next is made.
const PIECE_BYTES: usize = 64 << 10;

/// The sink's position; its row is created if there is none.
pub(super) async fn position(client: &Client, name: &str) -> Result<Option<Position>, SinkError> {
    let insert = "INSERT INTO brine_sink VALUES ($1, '', 0) ON CONFLICT (name) DO NOTHING";
    client.execute(insert, &[&name]).await.map_err(sorted)?;
    let row = client
        .query_one("SELECT log, seq FROM brine_sink WHERE name = $1", &[&name])
        .await
        .map_err(sorted)?;
    Ok(brine_sink::position(row.get(0), row.get(1)))
}

/// Moves the position, without events.
pub(super) async fn move_to(
    client: &Client,
    name: &str,
    position: Position,
) -> Result<(), SinkError> {
    let upsert = "INSERT INTO brine_sink VALUES ($1, $2, $3) \
        ON CONFLICT (name) DO UPDATE SET log = EXCLUDED.log, seq = EXCLUDED.seq";
    let (log, seq) = brine_sink::columns(position);
    let written = client.execute(upsert, &[&name, &log, &seq]).await;
    written.map_err(sorted).map(drop)
}

/// Writes the events of a batch that are not there yet; a trial is rolled back.
pub(super) async fn batch(
    connected: &mut Connected,
    name: &str,
    options: &PostgresOptions,
    batch: &Batch<'_>,
    end: End,
) -> Result<(), SinkError> {
    let Connected {
        client,
        schema,
        maker,
    } = connected;
    let transaction = client.transaction().await.map_err(sorted)?;
    let row = brine_sink::row(name, batch.through().log);
    let there = match batch.is_resent() {
        true => None,
        false => locked_position(&transaction, &row).await?,
    };
    let there = there.filter(|there| there.log == batch.through().log);
    let is_missing = |position: Position| there.is_none_or(|there| position.seq > there.seq);
    let missing = || batch.events().filter(|event| is_missing(event.position));
    // A return's job first, for those who look it up.
    let jobs = maker.jobs(missing());
    for is_published in [true, false] {
        let jobs = jobs.jobs.iter();
        let jobs = jobs.filter(|job| job.is_published == is_published);
        write_jobs(&transaction, schema, is_published, jobs.collect()).await?;
    }
    let (column, time): (&str, Time) = match options.alter_time {
        AlterTime::Event => (", alter_time", stamp),
        AlterTime::Stored => ("", |_, _| ()),
    };
    let statement = format!("COPY salt_events (tag, data, master_id{column}) FROM STDIN");
    let events = maker.events(missing());
    copy(&transaction, &statement, events, |row, out| {
        event_line(row, out);
        time(row.at, out);
    })
    .await?;
    let (full, added) = match (schema.job_tables, column) {
        (JobTables::Json, column) => (", full_ret", column),
        (JobTables::LocalCache, "") => ("", ""),
        (JobTables::LocalCache, _) => ("", ", added"),
    };
    let statement =
        format!("COPY salt_returns (fun, jid, return, id, success{full}{added}) FROM STDIN");
    copy(&transaction, &statement, jobs.returns.iter(), |row, out| {
        return_line(row, schema.job_tables, out);
        time(row.at, out);
    })
    .await?;
    if !batch.is_resent() && is_missing(batch.through()) {
        let (log, seq) = brine_sink::columns(batch.through());
        transaction
            .execute(
                "UPDATE brine_sink SET log = $2, seq = $3 WHERE name = $1",
                &[&row, &log, &seq],
            )
            .await
            .map_err(sorted)?;
    }
    let ended = match end {
        End::Commit => transaction.commit().await,
        End::TakeBack => transaction.rollback().await,
    };
    ended.map_err(sorted)
}

/// Adds when a row is from, as one more field.
type Time = fn(u64, &mut Vec<u8>);

/// The position, which nobody else moves before the transaction ends.
async fn locked_position(
    transaction: &Transaction<'_>,
    name: &str,
) -> Result<Option<Position>, SinkError> {
    let select = "SELECT log, seq FROM brine_sink WHERE name = $1 FOR UPDATE";
    let row = transaction.query_opt(select, &[&name]).await;
    match row.map_err(sorted)? {
        Some(row) => Ok(brine_sink::position(row.get(0), row.get(1))),
        // Somebody has removed it, or emptied the database: events are not to be taken for written.
        None => {
            let insert = "INSERT INTO brine_sink VALUES ($1, '', 0)";
            let inserted = transaction.execute(insert, &[&name]).await;
            inserted.map_err(sorted)?;
            Ok(None)
        }
    }
}

fn event_line(row: &EventRow, out: &mut Vec<u8>) {
    escaped(&row.tag, out);
    for field in [&row.data, &row.master] {
        out.push(b'\t');
        escaped(field, out);
    }
}

fn return_line(row: &ReturnRow, tables: JobTables, out: &mut Vec<u8>) {
    let success = if row.is_success { "true" } else { "false" };
    let full = (tables == JobTables::Json).then_some(&*row.full);
    escaped(&row.fun, out);
    let fields = [&*row.jid, &row.value, &row.id, success];
    for field in fields.into_iter().chain(full) {
        out.push(b'\t');
        escaped(field, out);
    }
}

async fn write_jobs(
    transaction: &Transaction<'_>,
    schema: &Schema,
    is_published: bool,
    jobs: Vec<&JobRow>,
) -> Result<(), SinkError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let jids: Vec<&str> = jobs.iter().map(|job| &*job.jid).collect();
    let (names, columns, casts): (&[&str], Vec<Vec<Option<String>>>, &str) = match schema.job_tables
    {
        JobTables::Json => {
            let loads = jobs.iter().map(|job| Some(job.load.clone())).collect();
            let cast = if schema.jids_are_json {
                "load::jsonb"
            } else {
                "load"
            };
            (&["load"], vec![loads], cast)
        }
        JobTables::LocalCache => {
            let started = jobs.iter().map(|job| local_cache::started(&job.jid));
            let mut columns = vec![started.collect::<Vec<_>>()];
            columns.extend((0..local_cache::COLUMNS.len()).map(|nth| {
                let column = jobs.iter().map(|job| job.columns.get(nth).cloned());
                column.collect::<Vec<_>>()
            }));
            (&LOCAL_CACHE, columns, LOCAL_CACHE_CASTS)
        }
    };
    let listed = names.join(", ");
    let conflict = match is_published {
        true => {
            let set = names.iter().map(|name| format!("{name} = EXCLUDED.{name}"));
            format!("DO UPDATE SET {}", set.collect::<Vec<_>>().join(", "))
        }
        false => "DO NOTHING".to_owned(),
    };
    let arrays = (1..=names.len() + 1).map(|nth| format!("${nth}::text[]"));
    let insert = format!(
        "INSERT INTO jids (jid, {listed}) SELECT jid, {casts} FROM unnest({}) AS new (jid, {listed}) \
         ON CONFLICT (jid) {conflict}",
        arrays.collect::<Vec<_>>().join(", ")
    );
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&jids];
    values.extend(columns.iter().map(|column| column as &(dyn ToSql + Sync)));
    let written = transaction.execute(&insert, &values).await;
    written.map_err(sorted).map(drop)
}

/// The columns of `jids` in `postgres_local_cache`, without `jid`; and how texts become what they hold.
const LOCAL_CACHE: [&str; 9] = [
    "started", "tgt_type", "cmd", "tgt", "kwargs", "ret", "username", "arg", "fun",
];
const LOCAL_CACHE_CASTS: &str =
    "coalesce(started::timestamptz, now()), tgt_type, cmd, tgt, kwargs, ret, username, arg, fun";

/// Copies rows in, while the next ones are made; sends nothing to the server if there are none.
async fn copy<R>(
    transaction: &Transaction<'_>,
    statement: &str,
    rows: impl Iterator<Item = R>,
    line: impl Fn(&R, &mut Vec<u8>),
) -> Result<(), SinkError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let copy = transaction.copy_in::<_, Bytes>(statement).await;
    let mut copy = std::pin::pin!(copy.map_err(sorted)?);
    let mut piece = Vec::with_capacity(PIECE_BYTES * 2);
    for row in rows {
        line(&row, &mut piece);
        piece.push(b'\n');
        if piece.len() >= PIECE_BYTES {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES * 2));
            copy.send(full.into()).await.map_err(sorted)?;
        }
    }
    copy.feed(piece.into()).await.map_err(sorted)?;
    copy.finish().await.map_err(sorted).map(drop)
}

/// A text as a field of a line that is copied.
fn escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    while let Some(at) = rest.iter().position(is_special) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\t",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A moment as one more field.
fn stamp(at: u64, out: &mut Vec<u8>) {
    out.push(b'\t');
    let since_epoch = std::time::Duration::from_millis(at);
    brine_wire::stamp::append(since_epoch, brine_wire::compat::StampStyle::Naive, out);
    out.extend_from_slice(b"+00");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_hold_anything() {
        let mut field = Vec::new();
        escaped("a\tb\\n\nc\rä", &mut field);
        stamp(1_795_939_260_123, &mut field);
        assert_eq!(
            String::from_utf8(field).unwrap(),
            "a\\tb\\\\n\\nc\\rä\t2026-11-29T08:01:00.123000+00"
        );
    }
}
