//! `brine history`: events that were stored, oldest first; stops at the end, or follows the bus.
//!
//! It reads the store itself, so that it also works when no bus is running. For a user who may not read the store, it
//! asks the bus.

mod next;
mod stored;

use std::process::ExitCode;

use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_log::Millis;
use brine_log::history::ConsumerName;
use brine_view::text;
use brine_wire::time::{Bound, StartText};

pub(crate) use self::next::{NextArguments, run_next};
use self::next::{ensure_consumer, next, next_over_local_socket};
use self::stored::StoredEvents;
use super::event_output::{FormArgs, Output, Printer};
use super::history_store::{self, Gone, StoreArgs};
use super::local_events::{self, End, Wanted};
use super::selection::{Selection, SelectionArgs};
use crate::bus_location::{self, BusLocation};
use crate::clock::{self, Zone};
use crate::host;
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
    #[arg(long, visible_alias = "tail", value_name = "N", conflicts_with_all = ["from", "cursor"],
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
        let until = self.until.as_ref();
        let last = until.map(|until| time("--until", until, Bound::Until));
        let begins = self.since.as_ref().map(|since| ("--since", since));
        let begins = begins.or_else(|| self.from.as_ref().map(|from| ("--from", from)));
        if let (Some((option, text)), Some(until)) = (begins, until)
            && time_of(start.as_ref()) > last
            && last.is_some()
        {
            wrong_usage(&format!(
                "{option} {text} is later than --until {until}: nothing is between them; exchange them"
            ));
        }
        (start, last)
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
        return run_cursor(arguments, name, &selection, &mut printer);
    }
    let opened = match arguments.follow || arguments.api.is_given() {
        true => None,
        false => Some(arguments.store.open()),
    };
    match opened {
        Some(Ok(reader)) => {
            let events = StoredEvents {
                reader,
                selection: &selection,
                printer: &mut printer,
                count: arguments.count,
            };
            print_stored(arguments, events, start.as_ref(), until)
        }
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
                address: None,
                remote: remote.as_ref(),
            };
            let unreadable = unread.and_then(Result::err);
            over_local_socket(arguments, unreadable, wanted, &mut printer)
        }
    }
}

/// Prints what comes after a saved position.
fn run_cursor(
    arguments: &Arguments,
    name: &ConsumerName,
    selection: &Selection,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    let limit = arguments.count;
    match arguments.store.bus()? {
        Some(mut client) => {
            ensure_consumer(&mut client, name)?;
            next_over_local_socket(client, name, Some(selection), limit, true, printer)
        }
        None => next(&arguments.store, name, selection, limit, true, printer),
    }
}

/// Prints what a store has.
fn print_stored(
    arguments: &Arguments,
    mut events: StoredEvents<'_>,
    start: Option<&StartText>,
    until: Option<Millis>,
) -> anyhow::Result<ExitCode> {
    let window = (time_of(start), until);
    if arguments.last_per_tag {
        events.print_last_per_tag(window, arguments.reverse)?;
    } else if arguments.reverse {
        let counts = [arguments.last, arguments.count];
        events.count = counts.into_iter().flatten().min();
        events.print_backward(window)?;
    } else {
        if let Some(last) = arguments.last {
            events.seek_last(window, last)?;
        } else if let Err(gone) =
            history_store::seek(&mut events.reader, start, arguments.allow_gap)?
        {
            return Ok(is_gone(&gone));
        } else {
            history_store::expect(&mut events.reader, events.selection, start, until);
        }
        events.print_forward(until)?;
    }
    events.printer.flush()?;
    if events.printer.printed() == 0 {
        let info = events.reader.info()?;
        let all = info.totals.events;
        if all > 0 {
            let all = text::counted(all, "event");
            let oldest = info
                .oldest
                .filter(|(_, at)| until.is_some_and(|until| *at > until));
            let why = oldest.map_or_else(String::new, |(_, at)| {
                let oldest = clock::utc_text(at.0);
                format!(": the oldest is of {oldest}, later than --until")
            });
            show::complain(&format_args!("0 of {all} matched{why}"));
            arguments.selection.explain_silence();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn time_of(start: Option<&StartText>) -> Option<Millis> {
    match start {
        Some(StartText::Time(time)) => Some(clock::millis(*time)),
        _ => None,
    }
}

fn is_gone(gone: &Gone) -> ExitCode {
    show::complain(gone);
    ExitCode::from(GONE)
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
    let salts = bus_location::salts_own(location).map(|salts| {
        let directory = host::configured_directory(location).ok();
        match directory.is_some_and(|directory| directory.join("events.db").exists()) {
            true => anyhow::anyhow!("{salts}; brine history shows what an earlier one has stored"),
            false => salts,
        }
    });
    salts.unwrap_or_else(|| {
        let path = location.local_address();
        let path = path.map_or_else(String::new, |address| address.path().display().to_string());
        anyhow::anyhow!(
            "no bus of Brine answers at {path}; without one, brine history reads what is stored"
        )
    })
}
