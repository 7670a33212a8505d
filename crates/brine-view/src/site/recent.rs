//! The last events in order of arrival, with the gaps between them, limited in number and bytes.

use std::collections::VecDeque;

use super::{Arrival, Gap};

/// The most rows.
pub(super) const MAX_ROWS: usize = 20_000;
/// The most bytes of tags and data.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Larger data are not kept; history has them.
const MAX_DATA: usize = 1 << 20;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An event.
    Event {
        /// Its number.
        seq: u64,
        /// When it arrived.
        at: u64,
        /// Its tag.
        tag: Box<str>,
        /// Its data as they came; `None` if they are too large to be kept.
        data: Option<Box<[u8]>>,
        /// Whether it reports a failure.
        is_failure: bool,
    },
    /// Missing events.
    Gap(Gap),
}

impl Row {
    /// Its number, or that of the event after it.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Event { seq, .. } => *seq,
            Self::Gap(gap) => gap.before,
        }
    }

    /// When it came.
    #[must_use]
    pub const fn at(&self) -> u64 {
        match self {
            Self::Event { at, .. } => *at,
            Self::Gap(gap) => gap.at,
        }
    }

    fn bytes(&self) -> usize {
        /// What a row takes beside its tag and data.
        const ROW: usize = 64;
        match self {
            Self::Event { tag, data, .. } => {
                ROW + tag.len() + data.as_ref().map_or(0, |data| data.len())
            }
            Self::Gap(gap) => ROW + gap.reason.len(),
        }
    }
}

/// The last rows.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    rows: VecDeque<Row>,
    bytes: usize,
    /// How many rows were dropped at the front, ever.
    dropped: u64,
}

impl Recent {
    pub(super) fn push(&mut self, event: Arrival<'_>, is_failure: bool) {
        let data = (event.data.len() <= MAX_DATA).then(|| event.data.into());
        self.push_row(Row::Event {
            seq: event.seq,
            at: event.at,
            tag: event.tag.into(),
            data,
            is_failure,
        });
    }

    pub(super) fn push_gap(&mut self, gap: Gap) {
        self.push_row(Row::Gap(gap));
    }

    fn push_row(&mut self, row: Row) {
        self.bytes += row.bytes();
        self.rows.push_back(row);
        while self.rows.len() > MAX_ROWS || (self.bytes > MAX_BYTES && self.rows.len() > 1) {
            if let Some(gone) = self.rows.pop_front() {
                self.bytes -= gone.bytes();
                self.dropped += 1;
            }
        }
    }

    /// The number of the first row that is kept, counted over all there ever were.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.dropped
    }

    /// The number of the row that comes next.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.dropped + self.rows.len() as u64
    }

    /// The row of a number, if it is still kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Row> {
        let index = number.checked_sub(self.dropped)?;
        self.rows.get(usize::try_from(index).ok()?)
    }

    /// How many bytes tags and data take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
