//! Writes a batch within a transaction.

use rusqlite::{Transaction, params};

use super::signed;
use crate::gap::GapReason;
use crate::history::block::Block;
use crate::history::saved::{Consumer, Paused};
use crate::history::store::{Batch, StoreError};
use crate::position::Seq;

pub(super) fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    for first in &batch.removed {
        remove_range(transaction, *first, *first)?;
    }
    for block in &batch.blocks {
        match block.head.sealed {
            true => write_sealed(transaction, block)?,
            false => write_run(transaction, block)?,
        }
    }
    for gap in &batch.gaps {
        let mut insert =
            transaction.prepare_cached("INSERT OR REPLACE INTO gap VALUES (?1, ?2, ?3, ?4)")?;
        let (first, last) = (signed(gap.first.0), signed(gap.last.0));
        insert.execute(params![
            first,
            last,
            signed(gap.at.0),
            gap.reason.to_string()
        ])?;
    }
    if let Some(before) = batch.forget_gaps {
        let stays = GapReason::UncleanShutdown.word();
        transaction.execute(
            "DELETE FROM gap WHERE last < ?1 AND reason <> ?2",
            params![signed(before.0), stays],
        )?;
    }
    if let Some(state) = batch.state {
        let mut insert =
            transaction.prepare_cached("INSERT OR REPLACE INTO state VALUES (0, ?1, ?2, ?3)")?;
        let ceiling = signed(state.ceiling.0);
        insert.execute(params![state.log.to_string(), ceiling, state.is_closed])?;
    }
    for consumer in &batch.consumers {
        write_consumer(transaction, consumer)?;
    }
    for name in &batch.removed_consumers {
        transaction.execute("DELETE FROM consumer WHERE name = ?1", [name])?;
    }
    Ok(())
}

fn remove_range(transaction: &Transaction<'_>, first: Seq, last: Seq) -> Result<(), StoreError> {
    for table in ["block", "tags", "body", "run"] {
        let mut delete = transaction.prepare_cached(&format!(
            "DELETE FROM {table} WHERE first BETWEEN ?1 AND ?2"
        ))?;
        delete.execute([signed(first.0), signed(last.0)])?;
    }
    Ok(())
}

fn write_sealed(transaction: &Transaction<'_>, block: &Block) -> Result<(), StoreError> {
    let head = &block.head;
    remove_range(transaction, head.first, head.last)?;
    let (first, last) = (signed(head.first.0), signed(head.last.0));
    let mut insert =
        transaction.prepare_cached("INSERT INTO block VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        first,
        last,
        signed(head.since.0),
        signed(head.until.0),
        signed(head.events),
        signed(head.event_bytes),
        head.pruned.cast_signed(),
    ])?;
    let mut insert = transaction.prepare_cached("INSERT INTO tags VALUES (?1, ?2, ?3)")?;
    insert.execute(params![first, last, block.tags])?;
    let mut insert = transaction.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?;
    insert.execute(params![first, block.data])?;
    Ok(())
}

fn write_run(transaction: &Transaction<'_>, block: &Block) -> Result<(), StoreError> {
    let head = &block.head;
    // Of a commit that was made, but not acknowledged since its file seemed to be gone, it is there already.
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO run VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        signed(head.first.0),
        signed(head.last.0),
        signed(head.since.0),
        signed(head.until.0),
        signed(head.events),
        signed(head.event_bytes),
        block.data,
    ])?;
    Ok(())
}

fn write_consumer(transaction: &Transaction<'_>, consumer: &Consumer) -> Result<(), StoreError> {
    let paused = match consumer.paused {
        Paused::No => None,
        Paused::UntilResumed => Some(-1),
        Paused::Until(time) => Some(signed(time.0)),
    };
    let mut insert = transaction
        .prepare_cached("INSERT OR REPLACE INTO consumer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    insert.execute(params![
        consumer.name.as_str(),
        consumer.position.log.to_string(),
        signed(consumer.position.seq.0),
        consumer.kind,
        consumer.filter,
        paused,
        signed(consumer.saved_at.0),
    ])?;
    Ok(())
}
