//! What all databases share: a sink's position as its row in `brine_sink`, and how a transaction ends.

use brine_log::{LogId, Position, Seq};

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What it has written stays.
    Commit,
    /// It was only to be seen whether the server takes it.
    TakeBack,
}

/// The `name` of a sink's row: `audit@b4d0fa0d2a4fe1b6`. Several masters may write to one database, with sinks of one
/// name: each has a row, because it is a position in its own log.
pub(crate) fn row(name: &str, log: LogId) -> String {
    format!("{name}@{log}")
}

/// What the columns say; `None` for a row that has no position yet.
pub(crate) fn position(log: &str, seq: i64) -> Option<Position> {
    let log: LogId = log.parse().ok()?;
    let seq = Seq(u64::try_from(seq).ok()?);
    Some(Position { log, seq })
}

/// What is written to the columns.
pub(crate) fn columns(position: Position) -> (String, i64) {
    let seq = i64::try_from(position.seq.0).unwrap_or(i64::MAX);
    (position.log.to_string(), seq)
}
