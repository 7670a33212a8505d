//! Which events a reader cannot have, and why.
//!
//! Every reader gets a gap as a value where events are missing. This module does not know why they are missing.

use std::fmt;

use crate::position::Position;

/// Events a cursor cannot have: they are gone, or their position is not of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first event that is missing.
    pub from: Position,
    /// The event with which the cursor continues.
    pub to: Position,
    /// Why, where that is known.
    pub reason: Option<GapReason>,
    /// How many of the numbers in between killed processes left unused: those have no event.
    pub unused: u64,
}

impl Gap {
    /// How many events are missing; `None` if nobody can know: the reader was at a position of another log or beyond
    /// the tail, or a process was killed and most of its last numbers were never used.
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        let is_known =
            self.from.log == self.to.log && self.reason != Some(GapReason::UncleanShutdown);
        let missed = self.to.seq.0.checked_sub(self.from.seq.0);
        let missed = missed.map(|missed| missed.saturating_sub(self.unused));
        missed.filter(|_| is_known)
    }
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The process was killed. Most of the numbers were never used.
    UncleanShutdown,
    /// The store could not be written, most often because the disk was full.
    NotWritten,
    /// Events arrived faster than they could be written, and nothing kept them any longer.
    Overrun,
    /// The block that held them is damaged.
    Damaged,
    /// They were removed on request.
    Purged,
    /// The store could not be read. They may be there another time.
    Unreadable,
    /// Events with their tags are kept for a shorter time.
    Expired,
}

impl GapReason {
    /// All of them with the words that are stored and shown.
    const ALL: [(Self, &'static str); 7] = [
        (Self::UncleanShutdown, "unclean shutdown"),
        (Self::NotWritten, "not written"),
        (Self::Overrun, "overrun"),
        (Self::Damaged, "damaged"),
        (Self::Purged, "purged"),
        (Self::Unreadable, "unreadable"),
        (Self::Expired, "expired"),
    ];

    /// The reason that is written so.
    #[cfg(feature = "history")]
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, word)| *word == text);
        found.map(|(reason, _)| *reason)
    }

    /// The word for it that is stored and shown.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(reason, _)| *reason == self);
        found.map_or("unknown", |(_, word)| word)
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
