//! Reads blocks, gaps and consumers.

use std::ops::Range;

use rusqlite::{OptionalExtension, Row, params};

use super::{Hex, Number, SqliteReader, first, pragma, signed};
use crate::gap::GapReason;
use crate::history::block::{Block, Head};
use crate::history::saved::{Consumer, ConsumerName, Paused};
use crate::history::store::{BlockReader, RecordedGap, State, StoreError, Totals};
use crate::position::{LogId, Millis, Position, Seq};

/// The columns of a sealed block with its tags and events, in the order [`block_of`] reads.
const SEALED: &str =
    "SELECT block.first, block.last, since, until, events, event_bytes, data, pruned, filter
    FROM block JOIN body USING (first) JOIN tags USING (first)";
const RUN: &str = "SELECT first, last, since, until, events, event_bytes, data FROM run";

impl SqliteReader {
    fn sealed(&mut self, clause: &str, key: Seq) -> Result<Option<Block>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached(&format!("{SEALED} {clause}"))?;
        let found = select.query_row([signed(key.0)], |row| block_of(row, true));
        Ok(found.optional()?)
    }

    fn run(&mut self, clause: &str, key: Seq) -> Result<Option<Block>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!("{RUN} {clause}"))?;
        let found = select.query_row([signed(key.0)], |row| block_of(row, false));
        Ok(found.optional()?)
    }
}

impl BlockReader for SqliteReader {
    fn state(&mut self) -> Result<Option<State>, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(State {
                log: row.get::<_, Hex>(0)?.0,
                ceiling: Seq(row.get::<_, Number>(1)?.0),
                is_closed: row.get(2)?,
            })
        };
        let select = "SELECT log, ceiling, closed FROM state";
        Ok(self.connection.query_row(select, [], read).optional()?)
    }

    fn block(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        // Blocks do not overlap: the last that begins at or before `at` holds it, or none does.
        let holds = |block: &Block| block.head.last >= at;
        let holding = "WHERE block.first <= ?1 ORDER BY block.first DESC LIMIT 1";
        if let Some(block) = self.sealed(holding, at)?.filter(holds) {
            return Ok(Some(block));
        }
        if let Some(block) =
            self.sealed("WHERE block.first > ?1 ORDER BY block.first LIMIT 1", at)?
        {
            return Ok(Some(block));
        }
        if let Some(block) = self
            .run("WHERE first <= ?1 ORDER BY first DESC LIMIT 1", at)?
            .filter(holds)
        {
            return Ok(Some(block));
        }
        self.run("WHERE first > ?1 ORDER BY first LIMIT 1", at)
    }

    fn first_after(&mut self, at: Seq) -> Result<Option<Seq>, StoreError> {
        for table in ["block", "run"] {
            let select = format!("SELECT min(first) FROM {table} WHERE first > ?1");
            let found: Option<Number> =
                self.connection.query_row(&select, [signed(at.0)], first)?;
            if let Some(found) = found {
                return Ok(Some(Seq(found.0)));
            }
        }
        Ok(None)
    }

    fn block_before(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        match self.run("WHERE first < ?1 ORDER BY first DESC LIMIT 1", at)? {
            Some(run) => Ok(Some(run)),
            None => self.sealed(
                "WHERE block.first < ?1 ORDER BY block.first DESC LIMIT 1",
                at,
            ),
        }
    }

    fn find(&mut self, at: Millis) -> Result<Option<Head>, StoreError> {
        let columns = "first, last, since, until, events, event_bytes";
        let sealed = format!(
            "SELECT {columns}, pruned FROM block WHERE until >= ?1 ORDER BY until, first LIMIT 1"
        );
        let run = format!("SELECT {columns} FROM run WHERE until >= ?1 ORDER BY first LIMIT 1");
        for (select, is_sealed) in [(sealed, true), (run, false)] {
            let mut select = self.connection.prepare_cached(&select)?;
            let pruned = is_sealed.then_some(6);
            let found = select.query_row([signed(at.0)], |row| head_of(row, pruned));
            if let Some(head) = found.optional()? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn tags(
        &mut self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Seq, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT first, last, filter FROM tags WHERE first >= ?1 ORDER BY first",
        )?;
        let start = "SELECT max(first) FROM tags WHERE first <= ?1";
        let start: Option<Number> = self.connection.query_row(start, [signed(from.0)], first)?;
        let start = start.map_or(from.0, |number| number.0);
        let mut rows = select.query([signed(start)])?;
        while let Some(row) = rows.next()? {
            let (first, last): (Number, Number) = (row.get(0)?, row.get(1)?);
            let filter = row.get_ref(2)?.as_blob().unwrap_or_default();
            if last.0 >= from.0 && !visit(Seq(first.0), Seq(last.0), filter) {
                break;
            }
        }
        Ok(())
    }

    fn unpruned(&mut self, until: Range<Millis>, rules: u64) -> Result<Option<Block>, StoreError> {
        let mut select = self.connection.prepare_cached(&format!(
            "{SEALED} WHERE until >= ?1 AND until < ?2 AND pruned != ?3 AND events > 0
             ORDER BY until LIMIT 1"
        ))?;
        let key = params![
            signed(until.start.0),
            signed(until.end.0),
            rules.cast_signed()
        ];
        let block = select.query_row(key, |row| block_of(row, true));
        Ok(block.optional()?)
    }

    fn oldest(&mut self, limit: usize) -> Result<Vec<Head>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT first, last, since, until, events, event_bytes, pruned FROM block
             ORDER BY first LIMIT ?1",
        )?;
        let heads = select.query_map([signed(limit as u64)], |row| head_of(row, Some(6)))?;
        Ok(heads.collect::<Result<_, _>>()?)
    }

    fn totals(&mut self) -> Result<Totals, StoreError> {
        let sums = |table: &str| {
            let select = format!(
                "SELECT count(*), ifnull(sum(events), 0), ifnull(sum(event_bytes), 0) FROM {table}"
            );
            let read = |row: &Row<'_>| {
                let [blocks, events, bytes]: [Number; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                Ok((blocks.0, events.0, bytes.0))
            };
            self.connection.query_row(&select, [], read)
        };
        let (blocks, runs) = (sums("block")?, sums("run")?);
        Ok(Totals {
            blocks: blocks.0 + runs.0,
            events: blocks.1 + runs.1,
            event_bytes: blocks.2 + runs.2,
            used_bytes: self.used_bytes()?,
        })
    }

    fn used_bytes(&mut self) -> Result<u64, StoreError> {
        let Number(pages) = pragma(&self.connection, "page_count")?;
        let Number(free) = pragma(&self.connection, "freelist_count")?;
        let Number(page_bytes) = pragma(&self.connection, "page_size")?;
        Ok(pages.saturating_sub(free) * page_bytes)
    }

    fn gaps(&mut self) -> Result<Vec<RecordedGap>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT first, last, at, reason FROM gap ORDER BY first")?;
        let gaps = select.query_map([], |row| {
            let [first, last, at]: [Number; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let reason: String = row.get(3)?;
            Ok(RecordedGap {
                first: Seq(first.0),
                last: Seq(last.0),
                at: Millis(at.0),
                // A later version's reason: the gap is what matters.
                reason: GapReason::parse(&reason).unwrap_or(GapReason::NotWritten),
            })
        })?;
        Ok(gaps.collect::<Result<_, _>>()?)
    }

    fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT name, log, seq, kind, filter, paused, saved_at FROM consumer ORDER BY name",
        )?;
        let consumers = select.query_map([], |row| {
            let name: String = row.get(0)?;
            let paused: Option<i64> = row.get(5)?;
            Ok(ConsumerName::parse(&name).ok().map(|name| Consumer {
                name,
                position: Position {
                    log: row.get::<_, Hex>(1).map_or(LogId(0), |log| log.0),
                    seq: Seq(row.get::<_, Number>(2).map_or(0, |seq| seq.0)),
                },
                kind: row.get(3).unwrap_or_default(),
                filter: row.get(4).unwrap_or_default(),
                paused: match paused {
                    None => Paused::No,
                    Some(time) => match u64::try_from(time) {
                        Ok(time) => Paused::Until(Millis(time)),
                        Err(_) => Paused::UntilResumed,
                    },
                },
                saved_at: Millis(row.get::<_, Number>(6).map_or(0, |at| at.0)),
            }))
        })?;
        consumers
            .filter_map(Result::transpose)
            .map(|consumer| Ok(consumer?))
            .collect()
    }

    fn check(&mut self) -> Result<(), StoreError> {
        let found: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], first)?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Damaged { reason: found }),
        }
    }
}

fn head_of(row: &Row<'_>, pruned: Option<usize>) -> rusqlite::Result<Head> {
    let number = |column| row.get::<_, Number>(column).map(|number| number.0);
    Ok(Head {
        first: Seq(number(0)?),
        last: Seq(number(1)?),
        since: Millis(number(2)?),
        until: Millis(number(3)?),
        events: number(4)?,
        event_bytes: number(5)?,
        sealed: pruned.is_some(),
        pruned: match pruned {
            Some(column) => row.get::<_, i64>(column)?.cast_unsigned(),
            None => 0,
        },
    })
}

fn block_of(row: &Row<'_>, sealed: bool) -> rusqlite::Result<Block> {
    Ok(Block {
        head: head_of(row, sealed.then_some(7))?,
        data: row.get(6)?,
        tags: match sealed {
            true => row.get(8)?,
            false => Vec::new(),
        },
    })
}
