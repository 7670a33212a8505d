//! Gaps where retention has removed events of some tags from a stored segment that holds others.
//!
//! Of a removed event its number, time and tag are left. A reader that says which it would have read gets a gap for each
//! run of them, however many segments that run crosses and whatever else is in between that the reader does not want.
//! This module does not know where segments come from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::position::{Millis, Seq};
use crate::segment::{Segment, nth};

/// Which events a reader would read, as far as tag and time tell.
#[derive(Clone)]
pub struct Expected {
    tags: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Received at this time or later.
    pub since: Millis,
    /// Received at this time or earlier.
    pub until: Millis,
    /// The last event.
    pub end: Seq,
}

impl Expected {
    /// All events with such tags.
    pub fn tags(tags: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            tags: Arc::new(tags),
            since: Millis(0),
            until: Millis(u64::MAX),
            end: Seq(u64::MAX),
        }
    }

    /// Those up to an event and to a time; `None` is no bound.
    #[must_use]
    pub fn up_to(mut self, end: Option<Seq>, until: Option<Millis>) -> Self {
        self.end = end.unwrap_or(self.end);
        self.until = until.unwrap_or(self.until);
        self
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Expected")
            .field("since", &self.since)
            .field("until", &self.until)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The gaps that a reader gets for removed events.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// `None`: nothing.
    expected: Option<Expected>,
    run: Option<Run>,
}

/// Removed events for which the reader has not had a gap yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// The first of them.
    pub(crate) from: Seq,
    /// Behind the last number that was looked at.
    pub(crate) to: Seq,
    /// How many they are.
    pub(crate) events: u64,
}

/// What a stored segment holds at a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These of its events, by their place in it.
    Events(Range<usize>),
    /// The run of removed events is complete.
    Complete,
    /// It has nothing else to read; the run may go on behind it.
    GoesOn,
}

impl Removed {
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected = Some(expected);
    }

    /// Where a reader looks next that has been told of everything before `seq`.
    pub(crate) fn next(&self, seq: Seq) -> Seq {
        self.run.map_or(seq, |run| run.to)
    }

    /// Notes that there is nothing before `to`; whether that is for a run to remember.
    pub(crate) fn pass(&mut self, to: Seq) -> bool {
        if let Some(run) = &mut self.run {
            run.to = to;
        }
        self.run.is_some()
    }

    /// The run, which ends here.
    pub(crate) fn take(&mut self) -> Option<Run> {
        self.run.take()
    }

    pub(crate) fn forget(&mut self) {
        self.run = None;
    }

    /// Looks at a segment from one of its events on.
    pub(crate) fn look(&mut self, segment: &Segment, from: Seq) -> Found {
        let all = nth(segment.first, from)..segment.events();
        let Some(expected) = &self.expected else {
            return Found::Events(all);
        };
        for nth in all.clone() {
            let seq = Seq(segment.first.0 + nth as u64);
            let removed = segment.removed(nth);
            match (removed, &mut self.run) {
                (Some((tag, at)), run) if expected.has(seq, at, tag) => {
                    if run.is_none() && nth > all.start {
                        return Found::Events(all.start..nth);
                    }
                    let run = run.get_or_insert(Run {
                        from: seq,
                        to: seq,
                        events: 0,
                    });
                    run.to = Seq(seq.0 + 1);
                    run.events += 1;
                }
                (_, Some(run)) if expected.ends_run(segment, nth, seq) => {
                    run.to = seq;
                    return Found::Complete;
                }
                _ => {}
            }
        }
        match self.pass(segment.end()) {
            true => Found::GoesOn,
            false => Found::Events(all),
        }
    }
}

impl Expected {
    fn has(&self, seq: Seq, at: Millis, tag: &str) -> bool {
        seq <= self.end && (self.since..=self.until).contains(&at) && (self.tags)(tag)
    }

    /// Whether the reader stops at this event, or reads it.
    fn ends_run(&self, segment: &Segment, nth: usize, seq: Seq) -> bool {
        let Some(event) = segment.event(nth) else {
            return false;
        };
        if seq > self.end || event.at > self.until {
            return true;
        }
        let tag = event.event.get(..event.tag_bytes).unwrap_or_default();
        !tag.is_empty() && (self.tags)(&String::from_utf8_lossy(tag))
    }
}
