//! Reads a history's store in order, from any start, for the commands that show it.
//!
//! Arguments and configuration say where the store is; `brine-log` knows what is in it.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use brine_bus::client::EventRef;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{LocalAddress, LocalError};
use brine_log::history::{
    ConsumerName, GapReason, HistoryReader, Maintenance, OpenError, Read, Retention,
};
use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::time::StartText;

use super::event_output::utc;
use super::late;
use super::local_events;
use super::local_starts;
use super::selection::Selection;
use crate::access;
use crate::bus_location::BusArgs;
use crate::clock;
use crate::host;
use crate::show;

/// How long the disk may take for that, and how often it is looked.
const COMMITTED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The options that name a store.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct StoreArgs {
    /// Directory of the history [default: as configured, else history in the node's cachedir]
    #[arg(long, value_name = "DIR")]
    pub(crate) history: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
}

impl StoreArgs {
    /// The store's directory, which this user may read.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        let directory = match &self.history {
            Some(directory) => directory.clone(),
            None => self.configured_directory()?,
        };
        access::require("history", &directory, access::READ)?;
        Ok(directory)
    }

    /// The limits that the configuration has for the store; none for a directory that was named, which may be a copy.
    pub(crate) fn configured_retention(&self) -> anyhow::Result<Retention> {
        match self.history {
            Some(_) => Ok(Retention::UNLIMITED),
            None => host::configured_retention(&self.bus.resolve()?.brine),
        }
    }

    fn configured_directory(&self) -> anyhow::Result<PathBuf> {
        let location = self.bus.resolve()?;
        if location.opts.is_none() {
            bail!("--sock-dir alone does not say where the history is; add --history or -c");
        }
        host::configured_directory(&location)
    }

    /// The store, opened for reading. What a bus that is writing it has taken until now is in it.
    pub(crate) fn open(&self) -> anyhow::Result<HistoryReader> {
        let directory = self.directory()?;
        let mut reader = HistoryReader::open(&directory)?;
        match bus_of(reader.info()?.bus, &directory) {
            Ok(Some(mut bus)) => await_commit(&mut bus),
            Ok(None) => {}
            Err(error @ LocalError::TimedOut { .. }) => show::complain(&format_args!(
                "{error}. Only what is on disk is shown: newer events may be missing"
            )),
            Err(error) => return Err(error.into()),
        }
        Ok(reader)
    }

    /// The same, without asking the bus.
    pub(crate) fn open_as_it_is(&self) -> anyhow::Result<HistoryReader> {
        Ok(HistoryReader::open(&self.directory()?)?)
    }

    /// The running bus that answers for the store: the one that writes the named directory, or the configured one.
    pub(crate) fn bus(&self) -> anyhow::Result<Option<LocalClient>> {
        if self.history.is_none() {
            return Ok(local_events::connect(self.bus.resolve()?.local_address())?);
        }
        let directory = self.directory()?;
        let bus = HistoryReader::open(&directory)?.info()?.bus;
        Ok(bus_of(bus, &directory)?)
    }
}

/// Whether there is no history, which is why it could not be read.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OpenError::Nothing { .. }))
}

/// Opens a store to change it.
pub(crate) fn maintenance(directory: &Path) -> anyhow::Result<Maintenance> {
    Maintenance::open(directory).map_err(|error| match error {
        OpenError::InUse { .. } => anyhow!(
            "{error}; stop that bus and run this again. A running bus itself removes what is beyond the limits below brine: history"
        ),
        error => error.into(),
    })
}

/// The bus that writes a store, as far as this user may ask it.
fn bus_of(path: Option<PathBuf>, store: &Path) -> Result<Option<LocalClient>, LocalError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let address = match path.extension() {
        Some(extension) if extension == "token" => LocalAddress::TokenFile(path),
        _ => LocalAddress::Socket(path),
    };
    let bus = local_events::connect(Some(address)).unwrap_or_default();
    let Some(mut bus) = bus else {
        return Ok(None);
    };
    // Another bus may be there by now.
    Ok(is_written_by(store, &mut bus)?.then_some(bus))
}

fn is_written_by(store: &Path, bus: &mut LocalClient) -> Result<bool, LocalError> {
    let status = late::ask(bus, late::ANSWER, |bus| bus.status(Some(late::ANSWER)));
    let status = match status {
        Err(error @ LocalError::TimedOut { .. }) => return Err(error),
        status => status.ok(),
    };
    let directory = status.as_ref().and_then(|status| {
        let history = status.as_map()?.get("history")?.as_map()?;
        history.get("directory")?.as_str()
    });
    let real = |path: &Path| fs::canonicalize(path).ok();
    Ok(directory.is_some_and(|directory| real(Path::new(directory)) == real(store)))
}

/// Waits until what the bus has taken is stored: it commits many times a second, but not after each event.
fn await_commit(bus: &mut LocalClient) {
    let until = Instant::now() + COMMITTED_WITHIN;
    let Ok(Some(newest)) = local_starts::newest(bus) else {
        return;
    };
    while stored_before(bus).is_some_and(|next| next <= newest.seq) && Instant::now() < until {
        sleep(LOOK_EVERY);
    }
}

/// The first event that is not stored yet.
fn stored_before(bus: &mut LocalClient) -> Option<Seq> {
    let status = bus.status(Some(local_starts::ANSWER)).ok()?;
    let history = status.as_map()?.get("history")?.as_map()?;
    let next = history.get("next")?.as_int()?;
    u64::try_from(next).ok().map(Seq)
}

/// The requested events are no longer there, or not yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error(
        "event {asked} is gone: the oldest is {oldest}, of {time}; --allow-gap starts there",
        time = utc(*.at)
    )]
    Trimmed { asked: Seq, oldest: Seq, at: Millis },
    #[error("event {asked} is not there yet: the newest is {newest}")]
    NotYet { asked: Seq, newest: Seq },
    #[error("event {asked} was removed: the history is empty, and its next event is {next}")]
    Removed { asked: Seq, next: Seq },
    #[error("event {asked} is not there: the history is empty")]
    Empty { asked: Seq },
    #[error(
        "position {asked} is of another log; this one is {log}; --allow-gap starts at its oldest event"
    )]
    OtherLog { asked: String, log: LogId },
}

/// An event or missing ones, as they are read.
pub(crate) enum Record<'a> {
    Event {
        event: EventRef<'a>,
        position: Position,
        at: Millis,
    },
    Gap {
        seqs: Range<Seq>,
        reason: Option<GapReason>,
        /// How many events that are, if that is known.
        missed: Option<u64>,
    },
}

/// Moves a reader to where a window starts.
pub(crate) fn seek(
    reader: &mut HistoryReader,
    start: Option<&StartText>,
    allow_gap: bool,
) -> anyhow::Result<Result<(), Gone>> {
    let info = reader.info()?;
    let end = match info.newest {
        Some((newest, _)) => Seq(newest.0 + 1),
        None => info.next.unwrap_or(Seq(1)),
    };
    let asked = match start {
        None | Some(StartText::Earliest) => return Ok(Ok(())),
        Some(StartText::New) => end,
        Some(StartText::Time(time)) => {
            reader.seek_time(clock::millis(*time))?;
            return Ok(Ok(()));
        }
        // There is no event 0: users who ask for it mean the first.
        Some(StartText::Sequence(seq)) => Seq((*seq).max(1)),
        Some(StartText::After { log, sequence }) => {
            if log.parse::<LogId>() != Ok(info.log) {
                let asked = format!("{log}-{sequence}");
                let gone = Gone::OtherLog {
                    asked,
                    log: info.log,
                };
                return Ok(if allow_gap { Ok(()) } else { Err(gone) });
            }
            Seq(sequence.saturating_add(1))
        }
    };
    match info.oldest {
        Some((oldest, at)) if asked < oldest && !allow_gap => {
            return Ok(Err(Gone::Trimmed { asked, oldest, at }));
        }
        Some((oldest, _)) if asked < oldest => {}
        None if asked < end && !allow_gap => return Ok(Err(Gone::Removed { asked, next: end })),
        None if asked > end => return Ok(Err(Gone::Empty { asked })),
        // All are gone.
        None => reader.seek(end),
        _ if asked > end => {
            let newest = Seq(end.0.saturating_sub(1));
            return Ok(Err(Gone::NotYet { asked, newest }));
        }
        _ => reader.seek(asked),
    }
    Ok(Ok(()))
}

/// From now on, a reader that starts at a certain event or time reports chosen events that retention has removed by their
/// tags. Without such a start, it reads what is there.
pub(crate) fn expect(
    reader: &mut HistoryReader,
    selection: &Selection,
    start: Option<&StartText>,
    until: Option<Millis>,
) {
    if let None | Some(StartText::Earliest) = start {
        return;
    }
    reader.expect(selection.expected().up_to(None, until));
}

/// Calls `take` with each chosen event and each gap, oldest first, from where the reader is.
pub(crate) fn forward(
    reader: &mut HistoryReader,
    selection: &Selection,
    until: Option<Millis>,
    take: &mut dyn FnMut(Record<'_>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let log = reader.log_id();
    while let Some(read) = reader.next(selection.query())? {
        let flow = match read {
            Read::Gap {
                seqs,
                reason,
                missed,
            } => take(Record::Gap {
                seqs,
                reason,
                missed,
            })?,
            Read::Events(events) => {
                let mut flow = ControlFlow::Continue(());
                for stored in events.iter() {
                    if until.is_some_and(|until| stored.at > until) {
                        return Ok(());
                    }
                    let Some(event) = EventRef::parse(stored.event) else {
                        continue;
                    };
                    if selection.wants(event) {
                        let (seq, at) = (stored.seq, stored.at);
                        let position = Position { log, seq };
                        flow = take(Record::Event {
                            event,
                            position,
                            at,
                        })?;
                        if flow.is_break() {
                            break;
                        }
                    }
                }
                flow
            }
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// The same, newest first, from the end down to `since`.
pub(crate) fn backward(
    reader: &mut HistoryReader,
    selection: &Selection,
    (since, until): (Option<Millis>, Option<Millis>),
    take: &mut dyn FnMut(Record<'_>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    let log = reader.log_id();
    let mut end = Seq(u64::MAX);
    while let Some(read) = reader.previous(end)? {
        match read {
            Read::Gap {
                seqs,
                reason,
                missed,
            } => {
                end = seqs.start;
                let record = Record::Gap {
                    seqs,
                    reason,
                    missed,
                };
                if take(record)?.is_break() {
                    return Ok(());
                }
            }
            Read::Events(events) => {
                let stored: Vec<_> = events.iter().collect();
                // Numbers without an event may come before the first one there is.
                let first = stored.first().map(|stored| stored.seq);
                end = first.unwrap_or(Seq(end.0.saturating_sub(events.len() as u64)));
                for stored in stored.into_iter().rev() {
                    if since.is_some_and(|since| stored.at < since) {
                        return Ok(());
                    }
                    if until.is_some_and(|until| stored.at > until) {
                        continue;
                    }
                    let Some(event) = EventRef::parse(stored.event) else {
                        continue;
                    };
                    let (seq, at) = (stored.seq, stored.at);
                    let position = Position { log, seq };
                    let record = Record::Event {
                        event,
                        position,
                        at,
                    };
                    if selection.wants(event) && take(record)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// A time as the start of a window.
pub(crate) fn since(time: Millis) -> StartText {
    StartText::Time(Duration::from_millis(time.0))
}

/// Reads the name of a consumer.
pub(crate) fn consumer_name(text: &str) -> Result<ConsumerName, String> {
    ConsumerName::parse(text).map_err(|error| error.to_string())
}
