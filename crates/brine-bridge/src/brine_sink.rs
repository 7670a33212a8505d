//! What all databases have in common: a sink's position as the columns `log` and `seq` of its row in `brine_sink`, and
//! how a transaction ends.

use brine_log::{LogId, Position, Seq};

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// What it has written stays.
    Commit,
    /// It was only to be seen whether the server takes it.
    TakeBack,
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
