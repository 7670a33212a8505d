//! Prints events of a store.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;

use anyhow::bail;
use brine_log::history::{GapReason, HistoryReader};
use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::time::StartText;

use crate::commands::event_output::{Missing, Output, Printer};
use crate::commands::history_store::{self, Record};
use crate::commands::selection::Selection;
use crate::show;

/// More tags than this are not remembered.
const MAX_TAGS: usize = 1_000_000;

/// A store, which of its events are chosen, and where they are printed.
pub(super) struct StoredEvents<'a> {
    pub(super) reader: HistoryReader,
    pub(super) selection: &'a Selection,
    pub(super) printer: &'a mut Printer,
    /// Stop after so many.
    pub(super) count: Option<u64>,
}

impl StoredEvents<'_> {
    /// Prints from where the reader is; gives the last event read, or the last that is missing behind it.
    pub(super) fn print_forward(
        &mut self,
        until: Option<Millis>,
    ) -> anyhow::Result<Option<Position>> {
        let log = self.reader.log_id();
        let (mut left, mut last) = (self.count, None);
        history_store::forward(&mut self.reader, self.selection, until, &mut |record| {
            let is_event = write(self.printer, log, &record)?;
            last = Some(match &record {
                Record::Event { position, .. } => *position,
                Record::Gap { seqs, .. } => before(log, seqs.end),
            });
            Ok(counted(&mut left, is_event))
        })?;
        Ok(last)
    }

    /// Prints from the end, newest first.
    pub(super) fn print_backward(
        &mut self,
        window: (Option<Millis>, Option<Millis>),
    ) -> anyhow::Result<()> {
        let log = self.reader.log_id();
        let mut left = self.count;
        history_store::backward(&mut self.reader, self.selection, window, &mut |record| {
            let is_event = write(self.printer, log, &record)?;
            Ok(counted(&mut left, is_event))
        })
    }

    /// Moves the reader to the first of the last `count` chosen events of a time; to the end if there are none.
    pub(super) fn seek_last(
        &mut self,
        window: (Option<Millis>, Option<Millis>),
        count: u64,
    ) -> anyhow::Result<()> {
        let (mut left, mut first) = (Some(count), None);
        history_store::backward(&mut self.reader, self.selection, window, &mut |record| {
            Ok(match record {
                Record::Event { position, .. } => {
                    first = Some(position.seq);
                    counted(&mut left, true)
                }
                Record::Gap { .. } => ControlFlow::Continue(()),
            })
        })?;
        match first {
            Some(first) => self.reader.seek(first),
            // Never fails: the end is always there.
            None => drop(history_store::seek(
                &mut self.reader,
                Some(&StartText::New),
                true,
            )?),
        }
        Ok(())
    }

    /// Prints the newest event of each tag, oldest first unless asked otherwise.
    pub(super) fn print_last_per_tag(
        &mut self,
        window: (Option<Millis>, Option<Millis>),
        reverse: bool,
    ) -> anyhow::Result<()> {
        let (mut tags, mut newest) = (HashSet::new(), Vec::new());
        history_store::backward(&mut self.reader, self.selection, window, &mut |record| {
            if let Record::Event {
                event,
                position,
                at,
            } = record
                && tags.insert(event.tag().to_owned())
            {
                newest.push((event.to_event(), position, at));
            }
            if tags.len() > MAX_TAGS {
                bail!("more than {MAX_TAGS} tags; add a tag or a filter");
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(count) = self.count {
            newest.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        }
        if !reverse {
            newest.reverse();
        }
        for (event, position, at) in newest {
            self.printer
                .event_at(event.to_ref(), Some((position, at)))?;
        }
        Ok(())
    }
}

/// Writes a record; whether it was an event.
fn write(printer: &mut Printer, log: LogId, record: &Record<'_>) -> io::Result<bool> {
    match record {
        Record::Event {
            event,
            position,
            at,
        } => printer.event_at(*event, Some((*position, *at))),
        Record::Gap {
            seqs,
            reason,
            missed,
        } => {
            let (from, to) = (before(log, seqs.start), before(log, seqs.end));
            let missing = Missing::new(from, to, *missed, reason.map(GapReason::word));
            if !printer.gap(&missing)? {
                printer.flush()?;
                show::complain(&missing);
            }
            Ok(false)
        }
    }
}

/// The position after which this number comes next.
fn before(log: LogId, seq: Seq) -> Position {
    Position {
        log,
        seq: Seq(seq.0.saturating_sub(1)),
    }
}

/// Counts an event that was printed; whether that was the last one wanted.
pub(super) fn counted(left: &mut Option<u64>, is_event: bool) -> ControlFlow<()> {
    if let Some(left) = left
        && is_event
    {
        *left -= 1;
        if *left == 0 {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}
