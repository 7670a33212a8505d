//! One transaction: lock and check the position, insert the rows, many at a time, move the position.

use brine_log::Position;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Transaction, TxOpts, Value};

use super::{Connected, MysqlOptions, sorted};
use crate::batch::Batch;
use crate::brine_sink::{self, End};
use crate::rows::{AlterTime, EventRow, JobRow, JobRows};
use crate::sink::SinkError;

/// Rows of one statement; a few lengths, so that prepared statements are used again.
const ROWS: [usize; 3] = [250, 25, 1];
/// Bytes of one statement, well below what servers take.
const STATEMENT_BYTES: usize = 1 << 20;

/// The sink's position; its row is created if there is none.
pub(super) async fn position(conn: &mut Conn, name: &str) -> Result<Option<Position>, SinkError> {
    let insert = "INSERT IGNORE INTO brine_sink VALUES (?, '', 0)";
    conn.exec_drop(insert, (name,)).await.map_err(sorted)?;
    let select = "SELECT log, seq FROM brine_sink WHERE name = ?";
    let row: Option<(String, i64)> = conn.exec_first(select, (name,)).await.map_err(sorted)?;
    Ok(row.and_then(|(log, seq)| brine_sink::position(&log, seq)))
}

/// Moves the position, without events.
pub(super) async fn move_to(
    conn: &mut Conn,
    name: &str,
    position: Position,
) -> Result<(), SinkError> {
    let upsert = "REPLACE INTO brine_sink VALUES (?, ?, ?)";
    let (log, seq) = brine_sink::columns(position);
    let row = (name, log, seq);
    conn.exec_drop(upsert, row).await.map_err(sorted)
}

/// What a batch adds.
struct Rows {
    events: Vec<EventRow>,
    jobs: JobRows,
}

/// Writes the events of a batch that are not there yet; a trial is rolled back.
pub(super) async fn batch(
    connected: &mut Connected,
    name: &str,
    options: &MysqlOptions,
    batch: &Batch<'_>,
    end: End,
) -> Result<(), SinkError> {
    let transaction = connected.conn.start_transaction(TxOpts::default()).await;
    let mut transaction = transaction.map_err(sorted)?;
    let row = brine_sink::row(name, batch.through().log);
    let there = match batch.is_resent() {
        true => None,
        false => locked_position(&mut transaction, &row).await?,
    };
    let there = there.filter(|there| there.log == batch.through().log);
    let is_missing = |position: Position| there.is_none_or(|there| position.seq > there.seq);
    let events = || batch.events().filter(|event| is_missing(event.position));
    let mut rows = Rows {
        events: connected.maker.events(events()).collect(),
        jobs: connected.maker.jobs(events()),
    };
    if !connected.is_full_unicode {
        escape_all(&mut rows);
    }
    write_rows(&mut transaction, options, rows).await?;
    if !batch.is_resent() && is_missing(batch.through()) {
        let through = batch.through();
        let update = "UPDATE brine_sink SET log = ?, seq = ? WHERE name = ?";
        let (log, seq) = brine_sink::columns(through);
        let row = (log, seq, row);
        transaction.exec_drop(update, row).await.map_err(sorted)?;
    }
    let ended = match end {
        End::Commit => transaction.commit().await,
        End::TakeBack => transaction.rollback().await,
    };
    ended.map_err(sorted)
}

/// The position, which nobody else moves before the transaction ends.
async fn locked_position(
    transaction: &mut Transaction<'_>,
    name: &str,
) -> Result<Option<Position>, SinkError> {
    let select = "SELECT log, seq FROM brine_sink WHERE name = ? FOR UPDATE";
    let row = transaction.exec_first(select, (name,)).await;
    let row: Option<(String, i64)> = row.map_err(sorted)?;
    if row.is_none() {
        let insert = "INSERT INTO brine_sink VALUES (?, '', 0)";
        let inserted = transaction.exec_drop(insert, (name,)).await;
        inserted.map_err(sorted)?;
    }
    Ok(row.and_then(|(log, seq)| brine_sink::position(&log, seq)))
}

async fn write_rows(
    transaction: &mut Transaction<'_>,
    options: &MysqlOptions,
    rows: Rows,
) -> Result<(), SinkError> {
    // A return's job first, for those who look it up.
    let (published, told): (Vec<_>, Vec<_>) =
        (rows.jobs.jobs.into_iter()).partition(|job| job.is_published);
    let row = |job: JobRow| vec![job.jid.into(), job.load.into()];
    let upsert = Insert {
        head: "INSERT INTO `jids` (`jid`, `load`) VALUES ",
        row: "(?, ?)",
        tail: " ON DUPLICATE KEY UPDATE `load` = VALUES(`load`)",
    };
    let ignore = Insert {
        head: "INSERT IGNORE INTO `jids` (`jid`, `load`) VALUES ",
        tail: "",
        ..upsert
    };
    upsert
        .run(transaction, published.into_iter().map(row))
        .await?;
    ignore.run(transaction, told.into_iter().map(row)).await?;
    let is_stored = options.alter_time == AlterTime::Stored;
    let events = rows.events.into_iter().map(|row| {
        let mut values: Vec<Value> = vec![row.tag.into(), row.data.into(), row.master.into()];
        if !is_stored {
            values.push(seconds(row.at));
        }
        values
    });
    let insert = match is_stored {
        true => Insert {
            head: "INSERT INTO `salt_events` (`tag`, `data`, `master_id`) VALUES ",
            row: "(?, ?, ?)",
            tail: "",
        },
        false => Insert {
            head: "INSERT INTO `salt_events` (`tag`, `data`, `master_id`, `alter_time`) VALUES ",
            row: "(?, ?, ?, FROM_UNIXTIME(?))",
            tail: "",
        },
    };
    insert.run(transaction, events).await?;
    let returns = rows.jobs.returns.into_iter().map(|row| {
        let success = if row.is_success { "1" } else { "0" };
        let mut values: Vec<Value> = vec![
            row.fun.into(),
            row.jid.into(),
            row.value.into(),
            row.id.into(),
            success.into(),
            row.full.into(),
        ];
        if !is_stored {
            values.push(seconds(row.at));
        }
        values
    });
    let insert = match is_stored {
        true => Insert {
            head: "INSERT INTO `salt_returns` (`fun`, `jid`, `return`, `id`, `success`, `full_ret`) VALUES ",
            row: "(?, ?, ?, ?, ?, ?)",
            tail: "",
        },
        false => Insert {
            head: "INSERT INTO `salt_returns` (`fun`, `jid`, `return`, `id`, `success`, `full_ret`, `alter_time`) VALUES ",
            row: "(?, ?, ?, ?, ?, ?, FROM_UNIXTIME(?))",
            tail: "",
        },
    };
    insert.run(transaction, returns).await
}

/// A statement for many rows.
#[derive(Clone, Copy)]
struct Insert {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
}

impl Insert {
    async fn run(
        self,
        transaction: &mut Transaction<'_>,
        rows: impl Iterator<Item = Vec<Value>>,
    ) -> Result<(), SinkError> {
        let rows: Vec<_> = rows.collect();
        let mut rest = &rows[..];
        while !rest.is_empty() {
            let count = fitting(rest);
            let (these, others) = rest.split_at(count);
            rest = others;
            let places = vec![self.row; count].join(", ");
            let statement = format!("{}{places}{}", self.head, self.tail);
            let values = these.concat();
            let run = transaction.exec_drop(statement, Params::Positional(values));
            run.await.map_err(sorted)?;
        }
        Ok(())
    }
}

/// How many of these rows the next statement takes.
fn fitting(rows: &[Vec<Value>]) -> usize {
    let bytes = |value: &Value| match value {
        Value::Bytes(bytes) => bytes.len(),
        _ => 8,
    };
    let fits = |count: &usize| {
        let rows = rows.get(..*count);
        rows.is_some_and(|rows| rows.iter().flatten().map(bytes).sum::<usize>() < STATEMENT_BYTES)
    };
    ROWS.into_iter().find(fits).unwrap_or(1)
}

fn seconds(at: u64) -> Value {
    #[allow(clippy::cast_precision_loss)] // columns have whole seconds
    Value::Double(at as f64 / 1000.0)
}

/// Makes texts of the old `utf8`, of three bytes at most.
fn escape_all(rows: &mut Rows) {
    for row in &mut rows.events {
        row.tag = replaced(&row.tag);
        row.data = escaped(&row.data);
        row.master = replaced(&row.master);
    }
    for row in &mut rows.jobs.jobs {
        row.load = escaped(&row.load);
    }
    for row in &mut rows.jobs.returns {
        row.id = replaced(&row.id);
        row.fun = replaced(&row.fun);
        row.value = escaped(&row.value);
        row.full = escaped(&row.full);
    }
}

fn replaced(text: &str) -> String {
    text.replace(|one: char| one.len_utf8() > 3, "\u{fffd}")
}

/// JSON in which characters beyond that are pairs of escapes: it reads back as the same text.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for one in json.chars() {
        if one.len_utf8() > 3 {
            for unit in one.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(one);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_the_old_utf8_lacks_are_escaped() {
        assert_eq!(escaped("{\"a\": \"ä😀\"}"), "{\"a\": \"ä\\ud83d\\ude00\"}");
        assert_eq!(replaced("a😀"), "a\u{fffd}");
    }

    #[test]
    fn statements_have_few_lengths() {
        let row = |bytes: usize| vec![Value::Bytes(vec![b'x'; bytes])];
        assert_eq!(fitting(&vec![row(10); 300]), 250);
        assert_eq!(fitting(&vec![row(10); 249]), 25);
        assert_eq!(fitting(&vec![row(100_000); 300]), 1);
        assert_eq!(fitting(&[row(10_000_000)]), 1);
    }
}
