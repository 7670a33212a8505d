//! `brine history`: events that were stored, oldest first; stops at the end, or follows the bus.
//!
//! It reads the store itself, so that it also works when no bus is running. For a user who may not read the store, it
//! asks the bus.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{self, Delivery, EventQuery, LocalError, Method};
use brine_bus::client::{PublisherConfig, Wait};
use brine_log::history::{Consumer, ConsumerName, GapReason, HistoryReader, Paused};
use brine_log::{LogId, Millis, Position, Seq};
use brine_view::text;
use brine_wire::Value;
use brine_wire::time::{Bound, StartText};

use super::event_output::{FormArgs, Missing, Output, Printer};
use super::history_store::{self, Gone, Record, StoreArgs};
use super::late;
use super::local_events::{self, End, Wanted};
use super::permitted;
use super::selection::{Selection, SelectionArgs};
use crate::bus_location::{self, BusLocation};
use crate::clock::{self, Zone};
use crate::remote::ApiArgs;
use crate::show;
use crate::usage::wrong_usage;

/// The exit code that says: what was asked for is gone.
pub(crate) const GONE: u8 = 3;

/// The arguments of `brine history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
TIME is 10m, 1h30m, 2026-11-29 08:01 (local time), 2026-11-29T08:01:00Z, @1700000000, yesterday or
a job id. START is a time, a sequence (42), a position (7f3a-42: after it), earliest or new.

On a terminal: a sentence for each event, in local time. In a pipe: -o ndjson, one JSON object
per line, which `brine send --stdin` takes. Missing events are reported on stderr, and with
-o ndjson --seq as a line {\"gap\": …}. Users who may not read the store get events from the running bus.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the requested start is not in the history.")]
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
    /// Continue with new events, as `brine watch` does; needs a running bus
    #[arg(short, long, conflicts_with_all = ["reverse", "cursor", "until", "history"])]
    follow: bool,
    /// Only the newest event of each tag
    #[arg(long, visible_alias = "last-per-subject", conflicts_with_all = ["last", "from", "cursor"])]
    last_per_tag: bool,
    /// Start at the oldest event if the requested start is no longer stored
    #[arg(long)]
    allow_gap: bool,
    /// Continue after the position saved under this name, and save the new one at the end. With --history,
    /// the bus must not be running
    #[arg(long, value_name = "NAME", value_parser = history_store::consumer_name,
          conflicts_with_all = ["since", "from", "api"])]
    cursor: Option<ConsumerName>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    api: ApiArgs,
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
    /// Read dates without a zone as UTC, and show times in UTC
    #[arg(long)]
    pub(crate) utc: bool,
}

impl WindowArgs {
    /// Where to start, and the last time wanted. A text that is neither ends the program.
    pub(crate) fn read(&self) -> (Option<StartText>, Option<Millis>) {
        let zone = Zone::from_flag(self.utc);
        let time = |option: &str, text: &String, bound| {
            let time = zone.time(text, bound);
            time.unwrap_or_else(|error| wrong_usage(&format!("{option}: {error}")))
        };
        let start = match (&self.since, &self.from) {
            (Some(since), _) => Some(history_store::since(time("--since", since, Bound::Since))),
            (None, Some(from)) => {
                let start = zone.start(from);
                Some(start.unwrap_or_else(|error| wrong_usage(&format!("--from: {error}"))))
            }
            (None, None) => None,
        };
        (
            start,
            (self.until.as_ref()).map(|until| time("--until", until, Bound::Until)),
        )
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
        Record::Gap { seqs, reason } => {
            let before = |seq: Seq| Position {
                log,
                seq: Seq(seq.0.saturating_sub(1)),
            };
            let (from, to) = (before(seqs.start), before(seqs.end));
            let is_known = *reason != Some(GapReason::UncleanShutdown);
            let missed = is_known.then_some(seqs.end.0 - seqs.start.0);
            let missing = Missing::new(from, to, missed, reason.map(GapReason::word));
            if !printer.gap(&missing)? {
                printer.flush()?;
                show::complain(&missing);
            }
            Ok(false)
        }
    }
}

/// Prints what is stored.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let selection = arguments.selection.compile();
    arguments.selection.warn_of_exact_tags();
    let (start, until) = arguments.window.read();
    let mut printer = arguments
        .form
        .printer(Zone::from_flag(arguments.window.utc));
    if let Some(name) = &arguments.cursor {
        let limit = arguments.count;
        if let Some(mut client) = arguments.store.bus()? {
            ensure_consumer(&mut client, name)?;
            let selection = Some(&selection);
            return next_over_local_socket(client, name, selection, limit, true, &mut printer);
        }
        return next(
            &arguments.store,
            name,
            &selection,
            limit,
            true,
            &mut printer,
        );
    }
    let opened = match arguments.follow || arguments.api.is_given() {
        true => None,
        false => Some(arguments.store.open()),
    };
    let mut reader = match opened {
        Some(Ok(reader)) => reader,
        unread => {
            let remote = arguments.api.open()?;
            let wanted = Wanted {
                selection: &selection,
                start,
                until,
                last: arguments.last,
                last_per_tag: arguments.last_per_tag,
                count: arguments.count,
                deadline: None,
                follows: arguments.follow,
                reverse: arguments.reverse,
                allow_gap: arguments.allow_gap,
                no_wait: true,
                remote: remote.as_ref(),
            };
            return over_local_socket(
                arguments,
                unread.and_then(Result::err),
                wanted,
                &mut printer,
            );
        }
    };
    if arguments.last_per_tag {
        print_last_per_tag(
            &mut reader,
            &selection,
            (start.as_ref(), until),
            arguments,
            &mut printer,
        )?;
    } else if let Some(count) = arguments.last {
        print_last(
            &mut reader,
            &selection,
            until,
            count,
            arguments,
            &mut printer,
        )?;
    } else if arguments.reverse {
        let window = (time_of(start.as_ref()), until);
        print_backward(
            &mut reader,
            &selection,
            window,
            arguments.count,
            &mut printer,
        )?;
    } else {
        if let Err(gone) = history_store::seek(&mut reader, start.as_ref(), arguments.allow_gap)? {
            return Ok(is_gone(&gone));
        }
        print_forward(
            &mut reader,
            &selection,
            until,
            arguments.count,
            &mut printer,
        )?;
    }
    printer.flush()?;
    if printer.printed() == 0 {
        let all = reader.info()?.totals.events;
        if all > 0 {
            let all = text::counted(all, "event");
            show::complain(&format_args!("0 of {all} matched"));
            arguments.selection.explain_silence();
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks a running bus, to follow it, or because the store cannot be read by this user.
fn over_local_socket(
    arguments: &Arguments,
    unreadable: Option<anyhow::Error>,
    mut wanted: Wanted<'_>,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    let client = match wanted.remote {
        Some(remote) => LocalClient::new(remote.address(), PublisherConfig::default()),
        None => {
            let location = arguments.store.bus.resolve()?;
            let address = location
                .local_address()
                .filter(|_| arguments.store.history.is_none());
            let Some(client) = local_events::connect(address)? else {
                let may_be_salts = arguments.store.history.is_none();
                return Err(match unreadable {
                    None => no_local_socket(&location),
                    Some(error)
                        if may_be_salts
                            && (location.opts.is_none() || history_store::is_missing(&error)) =>
                    {
                        bus_location::salts_own(&location).unwrap_or(error)
                    }
                    Some(error) => error,
                });
            };
            client
        }
    };
    // `history -f` continues after all stored events, `watch` starts now.
    if wanted.follows && wanted.last.is_none() {
        wanted.start.get_or_insert(StartText::Earliest);
    }
    Ok(match local_events::print(client, wanted, printer)? {
        End::Complete | End::Interrupted(_) | End::TimeIsOver(_) => ExitCode::SUCCESS,
        End::Gone => ExitCode::from(GONE),
    })
}

/// Why a bus cannot be asked for its past.
pub(crate) fn no_local_socket(location: &BusLocation) -> anyhow::Error {
    bus_location::salts_own(location).unwrap_or_else(|| {
        let path = location.local_address();
        let path = path.map_or_else(String::new, |address| address.path().display().to_string());
        anyhow::anyhow!(
            "no bus of Brine answers at {path}; without one, brine history reads what is stored"
        )
    })
}

fn time_of(start: Option<&StartText>) -> Option<Millis> {
    match start {
        Some(StartText::Time(time)) => Some(clock::millis(*time)),
        _ => None,
    }
}

/// Prints the newest event of each tag, oldest first unless asked otherwise.
fn print_last_per_tag(
    reader: &mut HistoryReader,
    selection: &Selection,
    (start, until): (Option<&StartText>, Option<Millis>),
    arguments: &Arguments,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    /// More tags than this are not remembered.
    const MAX_TAGS: usize = 1_000_000;
    let (mut tags, mut newest) = (HashSet::new(), Vec::new());
    let window = (time_of(start), until);
    history_store::backward(reader, selection, window, &mut |record| {
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
    if let Some(count) = arguments.count {
        newest.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }
    if !arguments.reverse {
        newest.reverse();
    }
    for (event, position, at) in newest {
        printer.event_at(event.to_ref(), Some((position, at)))?;
    }
    Ok(())
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
    printer: &mut Printer,
) -> anyhow::Result<Option<Position>> {
    let log = reader.log_id();
    let (mut left, mut last) = (count, None);
    history_store::forward(reader, selection, until, &mut |record| {
        let is_event = write(printer, log, &record)?;
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
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let log = reader.log_id();
    let mut left = count;
    history_store::backward(reader, selection, window, &mut |record| {
        let is_event = write(printer, log, &record)?;
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
    printer: &mut Printer,
) -> anyhow::Result<()> {
    if arguments.reverse {
        let count = arguments.count.map_or(count, |most| most.min(count));
        return print_backward(reader, selection, (None, until), Some(count), printer);
    }
    seek_last(reader, selection, until, count)?;
    print_forward(reader, selection, until, arguments.count, printer).map(drop)
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
    let mut printer = arguments.form.printer(Zone::Local);
    if let Some(client) = arguments.store.bus()? {
        let (name, count) = (&arguments.name, Some(arguments.count));
        let acknowledge = !arguments.no_ack;
        return next_over_local_socket(client, name, None, count, acknowledge, &mut printer);
    }
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
    let selection = selection.compile();
    next(
        &arguments.store,
        &arguments.name,
        &selection,
        Some(arguments.count),
        !arguments.no_ack,
        &mut printer,
    )
}

/// A consumer's filter is a tag pattern, or field terms.
fn tags_of(filter: &str) -> Vec<String> {
    let is_tag = !filter.is_empty() && !filter.contains(':');
    is_tag.then(|| filter.to_owned()).into_iter().collect()
}

/// Makes a consumer that begins with the earliest event, unless there is one.
fn ensure_consumer(client: &mut LocalClient, name: &ConsumerName) -> anyhow::Result<()> {
    let timeout = Some(Duration::from_secs(10));
    match client.request(Method::Get, &format!("/consumers/{name}"), timeout) {
        Err(LocalError::Refused { status: 404, .. }) => {
            let target = format!("/consumers/{name}?deliver=all");
            client.request(Method::Put, &target, timeout)?;
        }
        answer => drop(answer?),
    }
    Ok(())
}

/// Prints what a running bus has after a saved position, and moves the position behind it.
fn next_over_local_socket(
    mut client: LocalClient,
    name: &ConsumerName,
    selection: Option<&Selection>,
    count: Option<u64>,
    acknowledge: bool,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    /// How long the bus may take to answer.
    const ANSWER_TIME: Duration = Duration::from_secs(10);
    /// How long it may take to begin the stream.
    const STREAM_TIME: Duration = local::ANSWER_TIME;
    let query = EventQuery {
        consumer: Some(name.to_string()),
        limit: count.filter(|_| selection.is_none()),
        ends: true,
        ..EventQuery::default()
    };
    let mut stream = late::ask(&mut client, STREAM_TIME, |client| {
        client.events(&query, Some(ANSWER_TIME))
    })?;
    if let Ok(Value::Map(status)) = client.status(Some(ANSWER_TIME))
        && let Some(hidden) = permitted::hidden(&status, &query)
    {
        show::complain(&hidden);
    }
    let (mut left, mut last) = (count, None);
    loop {
        match stream.next(Wait::Forever)? {
            None => {}
            Some(Delivery::End) => break,
            Some(Delivery::Gap {
                from,
                to,
                missed,
                reason,
            }) => {
                show::complain(&Missing::new(from, to, missed, reason.as_deref()));
            }
            Some(Delivery::Event(stored)) => {
                let event = stored.event.to_ref();
                let is_wanted = selection.is_none_or(|selection| selection.wants(event));
                let at = Some((stored.position, stored.at));
                let is_printed = is_wanted && printer.event_at(event, at)?;
                last = Some(stored.position);
                if counted(&mut left, is_printed).is_break() {
                    break;
                }
            }
        }
    }
    // What is not written out is not acknowledged.
    printer.flush()?;
    if let Some(position) = last.filter(|_| acknowledge) {
        let target = format!("/consumers/{name}/ack?position={position}");
        client.request(Method::Post, &target, Some(ANSWER_TIME))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what comes after a saved position, and saves the new one.
fn next(
    store: &StoreArgs,
    name: &ConsumerName,
    selection: &Selection,
    count: Option<u64>,
    acknowledge: bool,
    printer: &mut Printer,
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
        if reader.log_id() != saved.position.log {
            show::complain(&format_args!(
                "events after {} are gone, which {name} had not read: this log is {}; starting at its oldest event",
                saved.position,
                reader.log_id()
            ));
        } else {
            let removed = Seq(saved.position.seq.0 + 1)..reader.seq();
            let count = reader.count(removed);
            if count > 0 {
                let events = text::counted(count, "event");
                let (were, them) = if count == 1 {
                    ("was", "it")
                } else {
                    ("were", "them")
                };
                show::complain(&format_args!(
                    "{events} after {} {were} removed before {name} read {them}",
                    saved.position.seq
                ));
            }
        }
    }
    // Taken before anything is printed: what cannot be saved would be printed again.
    let mut maintenance = acknowledge
        .then(|| history_store::maintenance(&directory))
        .transpose()?;
    let last = print_forward(&mut reader, selection, None, count, printer)?;
    printer.flush()?;
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
