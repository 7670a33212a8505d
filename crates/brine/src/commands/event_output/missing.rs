//! What commands say about events that a reader cannot have. Knows the words, not where they are printed.

use std::fmt;

use brine_log::Position;
use brine_view::text::grouped;

/// Events that cannot be had.
pub(crate) struct Missing<'a> {
    /// The last event before them.
    pub(super) from: Position,
    /// The last one that is missing.
    pub(super) to: Position,
    /// How many they are, if anybody knows.
    pub(super) missed: Option<u64>,
    pub(super) reason: &'a str,
}

impl<'a> Missing<'a> {
    /// Without a reason, nothing keeps them any longer.
    pub(crate) fn new(
        from: Position,
        to: Position,
        missed: Option<u64>,
        reason: Option<&'a str>,
    ) -> Self {
        Self {
            from,
            to,
            missed,
            reason: reason.unwrap_or("no longer kept"),
        }
    }

    /// How many they are, if anybody knows.
    pub(crate) const fn missed(&self) -> Option<u64> {
        self.missed
    }
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            missed,
            reason,
        } = self;
        match missed {
            Some(1) => out.write_str("1 event is missing")?,
            Some(missed) => write!(out, "{} events are missing", grouped(*missed))?,
            None => out.write_str("events may be missing")?,
        }
        write!(out, ", after {from} up to {to}: {reason}")
    }
}
