//! `brine history`: events that were stored, oldest first; stops at the end, or follows the bus.
//!
//! Reads the store itself, so that it also works when no bus is running.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use brine_log::history::{Consumer, ConsumerName, HistoryReader, Maintenance, Paused};
use brine_log::{Millis, Position, Seq};
use brine_wire::time::{Bound, StartText};

use super::event_output::{Form, Printer};
use super::history_store::{self, AtEnd, Gone, Record, StoreArgs};
use super::selection::{Selection, SelectionArgs};
use crate::clock::{self, Zone};
use crate::interrupt::Interrupt;
use crate::show::{self, Colour};
use crate::usage::wrong_usage;

/// The exit code that says: what was asked for is gone.
const GONE: u8 = 3;

/// The arguments of `brine history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
TIME is 10m, 1h30m, 2026-11-29 08:01 (local time), 2026-11-29T08:01:00Z, @1700000000, yesterday or
a job id. START is a time, a sequence (42), a position (7f3a-42: after it), earliest or new.

On a terminal: sequence, time of arrival (UTC), tag and data. In a pipe, or with --json: one JSON
object per line, which `brine send --stdin` takes. Missing events are named on stderr, and with
--seq as a line {\"gap\": …}.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the start that was asked for is not in the history.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    window: WindowArgs,
    /// The last N events that match
    #[arg(long, visible_alias = "tail", value_name = "N", conflicts_with_all = ["since", "from", "cursor"],
          value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Stop after N events
    #[arg(short = 'n', long, visible_alias = "limit", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Newest first
    #[arg(short, long, conflicts_with_all = ["from", "cursor"])]
    reverse: bool,
    /// Go on with what arrives, as `brine watch` does
    #[arg(short, long, conflicts_with_all = ["reverse", "cursor", "until"])]
    follow: bool,
    /// Start at the oldest event if the start that was asked for is gone
    #[arg(long)]
    allow_gap: bool,
    /// Go on after the position saved under this name, and save the new one at the end. The bus must
    /// not be running
    #[arg(long, value_name = "NAME", value_parser = history_store::consumer_name,
          conflicts_with_all = ["since", "from"])]
    cursor: Option<ConsumerName>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The options that say from when to when.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WindowArgs {
    /// Events that arrived at this time or later
    #[arg(short = 'S', long, value_name = "TIME", conflicts_with = "from")]
    pub(crate) since: Option<String>,
    /// Events that arrived at this time or earlier
    #[arg(short = 'U', long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Where to start [default: earliest]
    #[arg(long, visible_alias = "start-sequence", value_name = "START")]
    pub(crate) from: Option<String>,
    /// Dates without a zone are UTC
    #[arg(long)]
    pub(crate) utc: bool,
}

impl WindowArgs {
    /// Where to start, and the last time wanted. A text that is neither ends the program.
    pub(crate) fn read(&self) -> (Option<StartText>, Option<Millis>) {
        let zone = Zone::from_flag(self.utc);
        let time = |text: &String, bound| {
            let time = zone.time(text, bound);
            time.unwrap_or_else(|error| wrong_usage(&error.to_string()))
        };
        let start = match (&self.since, &self.from) {
            (Some(since), _) => Some(history_store::since(time(since, Bound::Since))),
            (None, Some(from)) => {
                let start = zone.start(from);
                Some(start.unwrap_or_else(|error| wrong_usage(&error.to_string())))
            }
            (None, None) => None,
        };
        (
            start,
            self.until.as_ref().map(|until| time(until, Bound::Until)),
        )
    }
}

/// The options that say what output looks like.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FormArgs {
    /// One JSON object per line [default when stdout is no terminal]
    #[arg(long, conflicts_with = "pretty")]
    pub(crate) json: bool,
    /// Data indented, over several lines
    #[arg(long)]
    pub(crate) pretty: bool,
    /// In JSON and --pretty: with sequence, position and time of arrival
    #[arg(long)]
    pub(crate) seq: bool,
    /// Colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: Colour,
}

impl FormArgs {
    pub(crate) fn output(&self) -> Output {
        // Colours are for people, also through a pipe into a pager.
        let is_terminal = io::stdout().is_terminal() || self.color == Colour::Always;
        let form = if self.pretty {
            Form::Pretty
        } else if self.json || !is_terminal {
            Form::JsonLines
        } else {
            Form::Columns
        };
        Output {
            with_position: self.seq || form == Form::Columns,
            printer: Printer::new(form, self.color.on_stdout()),
        }
    }
}

/// Where records go.
pub(crate) struct Output {
    printer: Printer,
    with_position: bool,
}

impl Output {
    /// Writes a record; whether it was an event.
    fn record(&mut self, log: brine_log::LogId, record: &Record<'_>) -> io::Result<bool> {
        match record {
            Record::Event {
                event,
                position,
                at,
            } => {
                let at = self.with_position.then_some((*position, *at));
                self.printer.event_at(*event, at)
            }
            Record::Gap { seqs, reason } => {
                if self.with_position && self.printer.is_json() {
                    let at = |seq| Position { log, seq };
                    self.printer.gap(at(seqs.start), at(seqs.end), reason)?;
                } else {
                    self.printer.flush()?;
                    show::complain(&format_args!(
                        "events {} to {} are missing: {reason}",
                        seqs.start,
                        seqs.end.0.saturating_sub(1)
                    ));
                }
                Ok(false)
            }
        }
    }
}

/// Prints what is stored.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let selection = arguments.selection.compile()?;
    let window = arguments.window.read();
    let mut output = arguments.form.output();
    if arguments.follow {
        let following = Following {
            last: arguments.last,
            count: arguments.count,
            deadline: None,
            allow_gap: arguments.allow_gap,
        };
        return follow(
            &arguments.store,
            &selection,
            window.0.as_ref(),
            following,
            output,
        );
    }
    if let Some(name) = &arguments.cursor {
        let limit = arguments.count;
        return next(&arguments.store, name, &selection, limit, true, &mut output);
    }
    let mut reader = arguments.store.open()?;
    if let Some(count) = arguments.last {
        print_last(
            &mut reader,
            &selection,
            window.1,
            count,
            arguments,
            &mut output,
        )?;
    } else if arguments.reverse {
        let since = match &window.0 {
            Some(StartText::Time(time)) => Some(clock::millis(*time)),
            _ => None,
        };
        print_backward(
            &mut reader,
            &selection,
            (since, window.1),
            arguments.count,
            &mut output,
        )?;
    } else {
        if let Err(gone) = history_store::seek(&mut reader, window.0.as_ref(), arguments.allow_gap)?
        {
            return Ok(is_gone(&gone));
        }
        print_forward(
            &mut reader,
            &selection,
            window.1,
            arguments.count,
            &mut output,
        )?;
    }
    output.printer.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// How a store is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Following {
    /// So many of the events before now.
    pub(crate) last: Option<u64>,
    /// Stop after so many events.
    pub(crate) count: Option<u64>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) allow_gap: bool,
}

/// Prints what is stored, and then what a running bus adds to it. Both come from the store, in
/// order, so that nothing is missing or repeated where the past ends.
pub(crate) fn follow(
    store: &StoreArgs,
    selection: &Selection,
    start: Option<&StartText>,
    following: Following,
    mut output: Output,
) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::catch()?;
    let mut reader = store.open()?;
    if let Some(count) = following.last {
        seek_last(&mut reader, selection, None, count)?;
    } else if let Err(gone) = history_store::seek(&mut reader, start, following.allow_gap)? {
        return Ok(is_gone(&gone));
    }
    let log = reader.log_id();
    let (mut left, output) = (following.count, std::cell::RefCell::new(&mut output));
    let mut wait = || {
        output.borrow_mut().printer.flush()?;
        let is_over = following.deadline.is_some_and(|at| Instant::now() >= at);
        Ok(match interrupt.has_come() || is_over {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    history_store::forward(
        &mut reader,
        selection,
        None,
        AtEnd::Follow(&mut wait),
        &mut |record| {
            let is_event = output.borrow_mut().record(log, &record)?;
            match interrupt.has_come() {
                true => Ok(ControlFlow::Break(())),
                false => Ok(counted(&mut left, is_event)),
            }
        },
    )?;
    output.borrow_mut().printer.flush()?;
    Ok(match left {
        Some(1..) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn is_gone(gone: &Gone) -> ExitCode {
    show::complain(gone);
    ExitCode::from(GONE)
}

/// Prints from where the reader is; gives the last event read.
fn print_forward(
    reader: &mut HistoryReader,
    selection: &Selection,
    until: Option<Millis>,
    count: Option<u64>,
    output: &mut Output,
) -> anyhow::Result<Option<Position>> {
    let log = reader.log_id();
    let (mut left, mut last) = (count, None);
    history_store::forward(reader, selection, until, AtEnd::Stop, &mut |record| {
        let is_event = output.record(log, &record)?;
        if let Record::Event { position, .. } = &record {
            last = Some(*position);
        }
        Ok(counted(&mut left, is_event))
    })?;
    Ok(last)
}

fn print_backward(
    reader: &mut HistoryReader,
    selection: &Selection,
    window: (Option<Millis>, Option<Millis>),
    count: Option<u64>,
    output: &mut Output,
) -> anyhow::Result<()> {
    let log = reader.log_id();
    let mut left = count;
    history_store::backward(reader, selection, window, &mut |record| {
        let is_event = output.record(log, &record)?;
        Ok(counted(&mut left, is_event))
    })
}

/// Finds the last events from the end, and prints them in order.
fn print_last(
    reader: &mut HistoryReader,
    selection: &Selection,
    until: Option<Millis>,
    count: u64,
    arguments: &Arguments,
    output: &mut Output,
) -> anyhow::Result<()> {
    if arguments.reverse {
        return print_backward(reader, selection, (None, until), Some(count), output);
    }
    seek_last(reader, selection, until, count)?;
    print_forward(reader, selection, until, arguments.count, output).map(drop)
}

/// Moves a reader to the first of the last `count` chosen events; to the end if there are none.
fn seek_last(
    reader: &mut HistoryReader,
    selection: &Selection,
    until: Option<Millis>,
    count: u64,
) -> anyhow::Result<()> {
    let (mut left, mut first) = (Some(count), None);
    history_store::backward(reader, selection, (None, until), &mut |record| {
        Ok(match record {
            Record::Event { position, .. } => {
                first = Some(position.seq);
                counted(&mut left, true)
            }
            Record::Gap { .. } => ControlFlow::Continue(()),
        })
    })?;
    match first {
        Some(first) => reader.seek(first),
        // Never fails: the end is always there.
        None => drop(history_store::seek(reader, Some(&StartText::New), true)?),
    }
    Ok(())
}

fn counted(left: &mut Option<u64>, is_event: bool) -> ControlFlow<()> {
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

/// The arguments of `brine consumer next`.
#[derive(Debug, clap::Args)]
pub(crate) struct NextArguments {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// How many events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Leave the position where it is
    #[arg(long)]
    no_ack: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints a consumer's next events.
pub(crate) fn run_next(arguments: &NextArguments) -> anyhow::Result<ExitCode> {
    let mut reader = arguments.store.open()?;
    let saved = reader.consumers()?;
    let Some(consumer) = saved.iter().find(|saved| saved.name == arguments.name) else {
        anyhow::bail!(
            "no consumer {}; brine consumer add makes one",
            arguments.name
        );
    };
    drop(reader);
    let selection = SelectionArgs {
        filter: Some(consumer.filter.clone()).filter(|filter| filter.contains(':')),
        tags: tags_of(&consumer.filter),
        ..SelectionArgs::default()
    };
    let selection = selection.compile()?;
    let mut output = arguments.form.output();
    next(
        &arguments.store,
        &arguments.name,
        &selection,
        Some(arguments.count),
        !arguments.no_ack,
        &mut output,
    )
}

/// A consumer's filter is a tag pattern, or field terms.
fn tags_of(filter: &str) -> Vec<String> {
    let is_tag = !filter.is_empty() && !filter.contains(':');
    is_tag.then(|| filter.to_owned()).into_iter().collect()
}

/// Prints what comes after a saved position, and saves the new one.
fn next(
    store: &StoreArgs,
    name: &ConsumerName,
    selection: &Selection,
    count: Option<u64>,
    acknowledge: bool,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let directory = store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    let saved = reader
        .consumers()?
        .into_iter()
        .find(|saved| saved.name == *name);
    if let Some(saved) = &saved {
        if saved.paused.is_paused(clock::now()) {
            anyhow::bail!("consumer {name} is paused; brine consumer resume {name}");
        }
        let start = StartText::After {
            log: saved.position.log.to_string(),
            sequence: saved.position.seq.0,
        };
        // Events that retention removed before they were read are shown as a gap, not skipped.
        if let Err(gone) = history_store::seek(&mut reader, Some(&start), true)? {
            return Ok(is_gone(&gone));
        }
        if reader.seq() > Seq(saved.position.seq.0 + 1) && reader.log_id() == saved.position.log {
            show::complain(&format_args!(
                "events {} to {} were removed before {name} read them",
                saved.position.seq.0 + 1,
                reader.seq().0 - 1
            ));
        }
    }
    // Taken before anything is printed: what cannot be saved would be printed again.
    let mut maintenance = acknowledge
        .then(|| Maintenance::open(&directory))
        .transpose()?;
    let last = print_forward(&mut reader, selection, None, count, output)?;
    output.printer.flush()?;
    if let Some(mut maintenance) = maintenance.take() {
        if let Some(position) = last {
            let consumer = saved.unwrap_or_else(|| Consumer {
                name: name.clone(),
                position,
                kind: "cursor".to_owned(),
                filter: String::new(),
                paused: Paused::No,
                saved_at: clock::now(),
            });
            maintenance.save(Consumer {
                position,
                saved_at: clock::now(),
                ..consumer
            })?;
        }
        maintenance.close(&directory)?;
    }
    Ok(ExitCode::SUCCESS)
}
