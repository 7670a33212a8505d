//! `brine consumer`: named readers with a saved position.
//!
//! Positions are kept in the history's store. A running bus is the only one that changes it, so
//! these commands change positions while the bus is down, and show them at any time.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use brine_log::history::{Consumer, ConsumerName, HistoryReader, Maintenance, Paused};
use brine_log::{Position, Seq};
use brine_wire::time::{Bound, StartText};

use super::event_output::utc;
use super::history::{self, NextArguments};
use super::history_store::{self, StoreArgs};
use crate::clock::{self, Zone};
use crate::show;
use crate::usage::wrong_usage;

/// The arguments of `brine consumer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the consumers: position, lag and state
    Ls(List),
    /// Show one
    Info(Named),
    /// Make one
    Add(Add),
    /// Print its next events, and move its position behind them
    Next(NextArguments),
    /// Let it rest, until a time or until it is resumed
    Pause(Pause),
    /// End its rest
    Resume(Named),
    /// Move its position: shows what it would do, and does it with --execute
    Reset(Reset),
    /// Remove it
    Rm(Named),
}

#[derive(Debug, clap::Args)]
struct List {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its name: letters, digits, dots, dashes and underscores
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// Where it starts: all, new, a sequence or a time such as 1h
    #[arg(long, value_name = "START", default_value = "new")]
    deliver: String,
    /// Only events whose tag matches this shell pattern, or with these fields (minion:web*)
    #[arg(long, value_name = "PATTERN", default_value = "")]
    filter: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Pause {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// Until when [default: until it is resumed]
    #[arg(value_name = "UNTIL")]
    until: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
struct Reset {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// Before the oldest event
    #[arg(long, group = "target")]
    to_earliest: bool,
    /// Behind the newest event
    #[arg(long, group = "target")]
    to_latest: bool,
    /// So that this event comes next
    #[arg(long, value_name = "N", group = "target")]
    to_sequence: Option<u64>,
    /// So that the first event that arrived at this time or later comes next
    #[arg(long, value_name = "TIME", group = "target")]
    to_time: Option<String>,
    /// By so many events, forward or backward
    #[arg(long, value_name = "±N", group = "target", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Ls(list) => ls(list)?,
        Command::Info(named) => info(named)?,
        Command::Add(add) => self::add(add)?,
        Command::Next(next) => return history::run_next(next),
        Command::Pause(pause) => self::pause(pause)?,
        Command::Resume(named) => change(&named.store, &named.name, |consumer| {
            consumer.paused = Paused::No;
        })?,
        Command::Reset(reset) => self::reset(reset)?,
        Command::Rm(named) => rm(named)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A consumer beside the log's end.
struct Row {
    consumer: Consumer,
    /// The newest event.
    newest: Seq,
}

impl Row {
    /// How many events it has not read.
    fn lag(&self) -> u64 {
        self.newest.0.saturating_sub(self.consumer.position.seq.0)
    }

    fn state(&self) -> String {
        match self.consumer.paused {
            Paused::Until(until) if until > clock::now() => format!("paused until {}", utc(until)),
            Paused::UntilResumed => "paused".to_owned(),
            Paused::No | Paused::Until(_) => "active".to_owned(),
        }
    }

    fn json(&self) -> String {
        let consumer = &self.consumer;
        serde_json::json!({
            "name": consumer.name.as_str(),
            "kind": consumer.kind,
            "position": consumer.position.to_string(),
            "last_seq": self.newest.0,
            "lag": self.lag(),
            "state": self.state(),
            "filter": consumer.filter,
            "saved_at": utc(consumer.saved_at),
        })
        .to_string()
    }
}

fn rows(reader: &mut HistoryReader) -> anyhow::Result<Vec<Row>> {
    let newest = reader.info()?.newest.map_or(Seq(0), |(seq, _)| seq);
    let consumers = reader.consumers()?.into_iter();
    Ok(consumers.map(|consumer| Row { consumer, newest }).collect())
}

fn ls(list: &List) -> anyhow::Result<()> {
    let rows = rows(&mut list.store.open()?)?;
    let mut out = io::stdout().lock();
    if list.json {
        for row in rows {
            writeln!(out, "{}", row.json())?;
        }
        return Ok(());
    }
    let width = rows.iter().map(|row| row.consumer.name.as_str().len());
    let width = width.max().unwrap_or(0).max(4);
    writeln!(
        out,
        "{:<width$}  {:<8}  {:<24}  {:>10}  {:>10}  STATE",
        "NAME", "KIND", "POSITION", "LAST-SEQ", "LAG"
    )?;
    for row in rows {
        let consumer = &row.consumer;
        writeln!(
            out,
            "{:<width$}  {:<8}  {:<24}  {:>10}  {:>10}  {}",
            consumer.name.as_str(),
            consumer.kind,
            consumer.position.to_string(),
            row.newest.0,
            row.lag(),
            row.state()
        )?;
    }
    Ok(())
}

fn info(named: &Named) -> anyhow::Result<()> {
    let rows = rows(&mut named.store.open()?)?;
    let row = rows.into_iter().find(|row| row.consumer.name == named.name);
    let row = row.with_context(|| no_consumer(&named.name))?;
    writeln!(io::stdout(), "{}", row.json())?;
    Ok(())
}

fn add(add: &Add) -> anyhow::Result<()> {
    let start = Zone::Local.start(&add.deliver);
    let start = start.unwrap_or_else(|error| wrong_usage(&error.to_string()));
    let directory = add.store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    if find(&mut reader, &add.name).is_ok() {
        bail!("consumer {} is there already; reset moves it", add.name);
    }
    let position = before(&mut reader, &start)?;
    save(
        &directory,
        Consumer {
            name: add.name.clone(),
            position,
            kind: "cursor".to_owned(),
            filter: add.filter.clone(),
            paused: Paused::No,
            saved_at: clock::now(),
        },
    )
}

/// The position from which the event at `start` comes next.
fn before(reader: &mut HistoryReader, start: &StartText) -> anyhow::Result<Position> {
    if let Err(gone) = history_store::seek(reader, Some(start), false)? {
        return Err(gone.into());
    }
    Ok(Position {
        log: reader.log_id(),
        seq: Seq(reader.seq().0.saturating_sub(1)),
    })
}

fn pause(pause: &Pause) -> anyhow::Result<()> {
    let until = pause.until.as_ref().map(|text| {
        let time = Zone::Local.time(text, Bound::Until);
        time.unwrap_or_else(|error| wrong_usage(&error.to_string()))
    });
    change(&pause.store, &pause.name, |consumer| {
        consumer.paused = until.map_or(Paused::UntilResumed, Paused::Until);
    })
}

fn reset(reset: &Reset) -> anyhow::Result<()> {
    let directory = reset.store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    let consumer = find(&mut reader, &reset.name)?;
    let to = before(&mut reader, &reset.target(&consumer))?;
    let (old, new) = (consumer.position, to);
    let effect = match new.seq.0.cmp(&old.seq.0) {
        std::cmp::Ordering::Less => format!("{} events again", old.seq.0 - new.seq.0),
        std::cmp::Ordering::Equal => "no change".to_owned(),
        std::cmp::Ordering::Greater => format!("{} events skipped", new.seq.0 - old.seq.0),
    };
    writeln!(io::stdout(), "{}: {old} → {new} ({effect})", reset.name)?;
    if !reset.execute {
        show::complain(&"nothing changed; add --execute to do it");
        return Ok(());
    }
    save(
        &directory,
        Consumer {
            position: to,
            saved_at: clock::now(),
            ..consumer
        },
    )
}

impl Reset {
    /// The event that is to come next.
    fn target(&self, consumer: &Consumer) -> StartText {
        let next = consumer.position.seq.0 + 1;
        match (self.to_sequence, &self.to_time, self.shift_by) {
            (Some(sequence), _, _) => StartText::Sequence(sequence),
            (_, Some(text), _) => {
                let time = Zone::Local.time(text, Bound::Since);
                let time = time.unwrap_or_else(|error| wrong_usage(&error.to_string()));
                history_store::since(time)
            }
            (_, _, Some(shift)) => StartText::Sequence(next.saturating_add_signed(shift)),
            _ if self.to_latest => StartText::New,
            _ => StartText::Earliest,
        }
    }
}

fn rm(named: &Named) -> anyhow::Result<()> {
    let directory = named.store.directory()?;
    find(&mut HistoryReader::open(&directory)?, &named.name)?;
    let mut maintenance = Maintenance::open(&directory)?;
    maintenance.remove(&named.name)?;
    Ok(maintenance.close(&directory)?)
}

fn change(
    store: &StoreArgs,
    name: &ConsumerName,
    change: impl FnOnce(&mut Consumer),
) -> anyhow::Result<()> {
    let directory = store.directory()?;
    let mut consumer = find(&mut HistoryReader::open(&directory)?, name)?;
    change(&mut consumer);
    save(&directory, consumer)
}

fn save(directory: &Path, consumer: Consumer) -> anyhow::Result<()> {
    let mut maintenance = Maintenance::open(directory)?;
    maintenance.save(consumer)?;
    Ok(maintenance.close(directory)?)
}

fn find(reader: &mut HistoryReader, name: &ConsumerName) -> anyhow::Result<Consumer> {
    let consumers = reader.consumers()?.into_iter();
    let found = consumers
        .into_iter()
        .find(|consumer| consumer.name == *name);
    found.with_context(|| no_consumer(name))
}

fn no_consumer(name: &ConsumerName) -> String {
    format!("no consumer {name}; brine consumer ls lists those there are")
}
