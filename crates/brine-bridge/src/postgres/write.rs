//! One transaction: the position is looked at and locked, rows are copied in, the position moves.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use tokio_postgres::{Client, Transaction};

use super::{Connected, PostgresOptions, sorted};
use crate::batch::Batch;
use crate::brine_sink;
use crate::rows::{AlterTime, JobRow, Rows};
use crate::sink::SinkError;
use brine_log::Position;

/// What one message of a copy holds, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The sink's position; its row is made if there is none.
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

/// Writes what is not there yet of a batch.
pub(super) async fn batch(
    connected: &mut Connected,
    name: &str,
    options: &PostgresOptions,
    batch: &Batch<'_>,
) -> Result<(), SinkError> {
    let transaction = connected.client.transaction().await.map_err(sorted)?;
    let there = locked_position(&transaction, name).await?;
    let there = there.filter(|there| there.log == batch.through().log && !batch.is_resent());
    let is_missing = |position: Position| there.is_none_or(|there| position.seq > there.seq);
    let events = batch.events();
    let rows = connected
        .maker
        .rows(events.filter(|event| is_missing(event.position)));
    write_rows(&transaction, connected.schema.jids_are_json, options, &rows).await?;
    if !batch.is_resent() && is_missing(batch.through()) {
        let (log, seq) = brine_sink::columns(batch.through());
        transaction
            .execute(
                "UPDATE brine_sink SET log = $2, seq = $3 WHERE name = $1",
                &[&name, &log, &seq],
            )
            .await
            .map_err(sorted)?;
    }
    transaction.commit().await.map_err(sorted)
}

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

async fn write_rows(
    transaction: &Transaction<'_>,
    jids_are_json: bool,
    options: &PostgresOptions,
    rows: &Rows,
) -> Result<(), SinkError> {
    let (column, time): (&str, fn(u64) -> String) = match options.alter_time {
        AlterTime::Event => (", alter_time", stamp),
        AlterTime::Stored => ("", |_| String::new()),
    };
    // A return's job first, for those who look it up.
    for is_published in [true, false] {
        let jobs = rows
            .jobs
            .iter()
            .filter(|job| job.is_published == is_published);
        write_jobs(transaction, jids_are_json, is_published, jobs).await?;
    }
    let master = escaped(&options.master_id);
    let events = rows.events.iter().map(|row| {
        let (tag, data) = (escaped(&row.tag), escaped(&row.data));
        format!("{tag}\t{data}\t{master}{}\n", time(row.at))
    });
    let statement = format!("COPY salt_events (tag, data, master_id{column}) FROM STDIN");
    copy(transaction, &statement, events).await?;
    let returns = rows.returns.iter().map(|row| {
        let [fun, jid, value, id, full] =
            [&row.fun, &row.jid, &row.value, &row.id, &row.full].map(|text| escaped(text));
        let success = row.is_success;
        format!(
            "{fun}\t{jid}\t{value}\t{id}\t{success}\t{full}{}\n",
            time(row.at)
        )
    });
    let statement =
        format!("COPY salt_returns (fun, jid, return, id, success, full_ret{column}) FROM STDIN");
    copy(transaction, &statement, returns).await
}

async fn write_jobs<'r>(
    transaction: &Transaction<'_>,
    jids_are_json: bool,
    is_published: bool,
    jobs: impl Iterator<Item = &'r JobRow>,
) -> Result<(), SinkError> {
    let (jids, loads): (Vec<&str>, Vec<&str>) = jobs.map(|job| (&*job.jid, &*job.load)).unzip();
    if jids.is_empty() {
        return Ok(());
    }
    let cast = if jids_are_json { "::jsonb" } else { "" };
    let conflict = match is_published {
        true => "DO UPDATE SET load = EXCLUDED.load",
        false => "DO NOTHING",
    };
    let insert = format!(
        "INSERT INTO jids (jid, load) SELECT jid, load{cast} FROM unnest($1::text[], $2::text[]) AS new (jid, load) \
         ON CONFLICT (jid) {conflict}"
    );
    let written = transaction.execute(&insert, &[&jids, &loads]).await;
    written.map_err(sorted).map(drop)
}

/// Copies lines in; nothing is said to the server where there are none.
async fn copy(
    transaction: &Transaction<'_>,
    statement: &str,
    lines: impl ExactSizeIterator<Item = String>,
) -> Result<(), SinkError> {
    if lines.len() == 0 {
        return Ok(());
    }
    let copy = transaction.copy_in::<_, Bytes>(statement).await;
    let mut copy = std::pin::pin!(copy.map_err(sorted)?);
    let mut piece = BytesMut::new();
    for line in lines {
        piece.extend_from_slice(line.as_bytes());
        if piece.len() >= PIECE_BYTES {
            copy.feed(piece.split().freeze()).await.map_err(sorted)?;
        }
    }
    copy.feed(piece.freeze()).await.map_err(sorted)?;
    copy.finish().await.map_err(sorted).map(drop)
}

/// A text as a field of a line that is copied.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
    out
}

/// A moment as a field.
fn stamp(at: u64) -> String {
    let since_epoch = std::time::Duration::from_millis(at);
    let stamp = brine_wire::stamp::format(since_epoch, brine_wire::compat::StampStyle::Naive);
    let mut field = String::new();
    // Memory takes it.
    let _ = write!(field, "\t{stamp}+00");
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_hold_anything() {
        assert_eq!(escaped("a\tb\\n\nc\r"), "a\\tb\\\\n\\nc\\r");
        assert_eq!(stamp(1_795_939_260_123), "\t2026-11-29T08:01:00.123000+00");
    }
}
