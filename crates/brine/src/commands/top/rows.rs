//! The rows of the list of events: the newest from memory, older ones that were read from history.
//!
//! Rows have numbers: those in memory as the model counts them, from 0 up; those from history from −1 down, the one
//! right before memory first. So a row keeps its number while others come and go.

use std::collections::VecDeque;

use brine_view::site::{Recent, Row};

/// The most rows that are read back; further back, `brine history` is the tool.
const MAX_PAST: usize = 20_000;
/// The most bytes of them.
const MAX_PAST_BYTES: usize = 32 << 20;

/// What was read from history, oldest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    rows: VecDeque<Row>,
    bytes: usize,
    /// Nothing older is there, or may be read.
    pub(super) is_complete: bool,
    /// A request is under way.
    pub(super) is_asked: bool,
}

impl Past {
    /// Puts older rows in front; `rows` are oldest first. What is there already is left out.
    pub(super) fn prepend(&mut self, rows: Vec<Row>, first_known: u64) {
        self.is_asked = false;
        let mut limit = self.rows.front().map_or(first_known, Row::seq);
        let mut added = 0;
        for row in rows.into_iter().rev() {
            if row.seq() >= limit {
                continue;
            }
            limit = row.seq();
            self.bytes += size(&row);
            self.rows.push_front(row);
            added += 1;
        }
        if added == 0 || self.rows.len() >= MAX_PAST || self.bytes >= MAX_PAST_BYTES {
            self.is_complete = true;
        }
    }

    /// Forgets all: the view is live again, or the filter is another.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn first(&self) -> Option<&Row> {
        self.rows.front()
    }

    /// The row of a number below zero.
    fn get(&self, number: i64) -> Option<&Row> {
        let back = usize::try_from(number.checked_neg()?).ok()?;
        self.rows.get(self.rows.len().checked_sub(back)?)
    }
}

fn size(row: &Row) -> usize {
    match row {
        Row::Event { tag, data, .. } => 64 + tag.len() + data.as_ref().map_or(0, |data| data.len()),
        Row::Gap(_) => 64,
    }
}

/// Both parts as one list.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) past: &'a Past,
    pub(super) recent: &'a Recent,
}

impl<'a> Rows<'a> {
    pub(super) fn get(self, number: i64) -> Option<&'a Row> {
        match u64::try_from(number) {
            Ok(number) => self.recent.get(number),
            Err(_) => self.past.get(number),
        }
    }

    /// The number of the newest row.
    pub(super) fn newest(self) -> Option<i64> {
        let end = i64::try_from(self.recent.end()).unwrap_or(i64::MAX);
        let has_rows = self.recent.end() > self.recent.first();
        if has_rows {
            Some(end - 1)
        } else {
            self.get(-1).map(|_| -1)
        }
    }

    /// The number of the oldest row.
    pub(super) fn oldest(self) -> Option<i64> {
        match i64::try_from(self.past.rows.len()) {
            Ok(past @ 1..) => Some(-past),
            _ if self.recent.end() > self.recent.first() => i64::try_from(self.recent.first()).ok(),
            _ => None,
        }
    }

    /// The row after one.
    pub(super) fn after(self, number: i64) -> Option<i64> {
        let next = match number {
            -1 => i64::try_from(self.recent.first()).ok()?,
            number => number + 1,
        };
        self.get(next).map(|_| next)
    }

    /// The row before one.
    pub(super) fn before(self, number: i64) -> Option<i64> {
        let first = i64::try_from(self.recent.first()).ok()?;
        let previous = if number == first { -1 } else { number - 1 };
        self.get(previous).map(|_| previous)
    }
}
