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
        write!(out, ", after {from}")?;
        if from.log != to.log {
            write!(out, "; the log is {} now", to.log)?;
        } else if *missed == to.seq.0.checked_sub(from.seq.0) {
            // A bus that was killed goes on billions of numbers later: they would say nothing.
            write!(out, " up to {to}")?;
        }
        write!(out, ": {reason}")
    }
}

#[cfg(test)]
mod tests {
    use brine_log::{LogId, Seq};

    use super::*;

    #[test]
    fn numbers_that_were_never_used_are_not_told() {
        let at = |log, seq| Position {
            log: LogId(log),
            seq: Seq(seq),
        };
        for (to, missed, reason, says) in [
            (
                at(1, 10),
                Some(8),
                None,
                "8 events are missing, after 1-2 up to 1-10: no longer kept",
            ),
            (
                at(1, 3),
                Some(1),
                Some("damaged"),
                "1 event is missing, after 1-2 up to 1-3: damaged",
            ),
            (
                at(1, 4_294_967_298),
                None,
                Some("unclean shutdown"),
                "events may be missing, after 1-2: unclean shutdown",
            ),
            // Eight before the kill, whose numbers are among these.
            (
                at(1, 4_294_967_298),
                Some(8),
                None,
                "8 events are missing, after 1-2: no longer kept",
            ),
            (
                at(2, 0),
                None,
                None,
                "events may be missing, after 1-2; the log is 2 now: no longer kept",
            ),
        ] {
            let missing = Missing::new(at(1, 2), to, missed, reason);
            assert_eq!(missing.to_string(), says);
        }
    }
}
