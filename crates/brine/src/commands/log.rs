//! `brine log`: works on a history's store: shows, verifies, copies and removes what is in it.

use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_log::history::{
    About, BlockEvent, GapReason, HistoryInfo, HistoryReader, Maintenance, Retention,
};
use brine_log::{Millis, Seq};
use brine_view::text::counted;
use brine_wire::event::join;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::time::Bound;
use brine_wire::{Map, Value, json, msgpack};

use super::event_output::{Form, Output, Printer, utc};
use super::history::{GONE, WindowArgs};
use super::history_store::{self, Record, StoreArgs};
use super::selection::SelectionArgs;
use crate::clock::{self, Zone};
use crate::interrupt::Interrupt;
use crate::show;
use crate::terminal;
use crate::usage::wrong_usage;

/// What a killed bus leaves.
const NOT_CLOSED: &str =
    "the bus was killed and did not close the history; the next start recovers it";

/// The arguments of `brine log`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done; 1 failed, also if verify finds damage or import skips lines; 2 wrong usage;
3 events that export was asked for are not in the history or cannot be read.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what the history holds
    #[command(visible_alias = "show")]
    Info(Info),
    /// Read everything, and report what cannot be read
    Verify(Verify),
    /// Write events as JSON lines, which `import` turns back into the same events
    Export(Box<Export>),
    /// Append events from JSON lines on stdin. The bus must not be running
    Import(Import),
    /// Remove events; without --execute, only show what would be removed. The bus must not be running
    #[command(visible_aliases = ["rm", "remove", "delete"])]
    Purge(Purge),
    /// Apply limits now, and return free space to the system. Without --time and --size, the limits are the
    /// configured ones, and none with --history. The bus must not be running
    Vacuum(Vacuum),
}

#[derive(Debug, clap::Args)]
struct Info {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// What people try: the answer says how it is read here.
    #[arg(hide = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
struct Purge {
    /// All events before this sequence number, as far as they fill whole blocks
    #[arg(long, value_name = "N", group = "what")]
    seq: Option<u64>,
    /// All but about the last N events
    #[arg(long, value_name = "N", group = "what")]
    keep: Option<u64>,
    /// All events whose tag matches this shell pattern
    #[arg(long, value_name = "GLOB", group = "what")]
    tag: Option<String>,
    /// Remove them
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct Vacuum {
    /// Remove events older than this, such as 30d
    #[arg(long, value_name = "AGE")]
    time: Option<String>,
    /// Remove the oldest events until at most this much is used, such as 10GiB
    #[arg(long, value_name = "BYTES", value_parser = super::bus_options::bytes)]
    size: Option<u64>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Info(info) => self::info(info)?,
        Command::Verify(verify) => return self::verify(verify),
        Command::Export(export) => return self::export(export),
        Command::Import(import) => return self::import(import),
        Command::Purge(purge) => self::purge(purge)?,
        Command::Vacuum(vacuum) => self::vacuum(vacuum)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn info(info: &Info) -> anyhow::Result<()> {
    let directory = info.store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    let (found, consumers) = (reader.info()?, reader.consumers()?.len());
    let mut out = terminal::stdout();
    if info.json {
        writeln!(out, "{}", info_json(&found))?;
        return Ok(());
    }
    let at = |end: Option<(Seq, Millis)>| {
        end.map_or("–".to_owned(), |(seq, at)| {
            format!("{seq} of {}", utc(at))
        })
    };
    let bus = match (found.writer, found.next) {
        (Some(0), _) => "running".to_owned(),
        (Some(pid), _) => format!("running (pid {pid})"),
        (None, Some(_)) => "not running".to_owned(),
        (None, None) => format!("not running; {NOT_CLOSED}"),
    };
    out.prose(&format!("directory  {}", directory.display()), 11)?;
    out.prose(&format!("log        {}", found.log), 11)?;
    out.prose(&format!("bus        {bus}"), 11)?;
    out.prose(&format!("events     {}", found.totals.events), 11)?;
    out.prose(&format!("oldest     {}", at(found.oldest)), 11)?;
    out.prose(&format!("newest     {}", at(found.newest)), 11)?;
    let (used, bytes) = (found.totals.used_bytes, found.totals.event_bytes);
    out.prose(
        &format!("disk       {used} bytes for {bytes} bytes of events"),
        11,
    )?;
    writeln!(out, "consumers  {consumers}")?;
    for gap in &found.gaps {
        let range = range(gap.first, gap.last, Some(gap.reason));
        let (reason, at) = (gap.reason, utc(gap.at));
        out.prose(&format!("missing    {range}: {reason}, noticed {at}"), 11)?;
    }
    Ok(())
}

/// Which events are missing. Of those that a killed bus had not written nobody knows the last: it leaves billions of
/// numbers unused.
fn range(first: Seq, last: Seq, reason: Option<GapReason>) -> String {
    match reason {
        Some(GapReason::UncleanShutdown) => {
            format!("what may have come after {}", first.0.saturating_sub(1))
        }
        _ if first == last => first.to_string(),
        _ => format!("{first} to {last}"),
    }
}

fn info_json(info: &HistoryInfo) -> String {
    let end = |end: Option<(Seq, Millis)>| {
        end.map(|(seq, at)| serde_json::json!({"seq": seq.0, "time": utc(at)}))
    };
    let gaps: Vec<_> = info.gaps.iter().map(|gap| {
        let is_known = gap.reason != GapReason::UncleanShutdown;
        let missed = is_known.then(|| gap.last.0 - gap.first.0 + 1);
        serde_json::json!({
            "first": gap.first.0, "last": gap.last.0, "missed": missed, "reason": gap.reason.to_string()
        })
    }).collect();
    serde_json::json!({
        "log": info.log.to_string(),
        "pid": info.writer,
        "closed": info.next.is_some(),
        "events": info.totals.events,
        "oldest": end(info.oldest),
        "newest": end(info.newest),
        "used_bytes": info.totals.used_bytes,
        "event_bytes": info.totals.event_bytes,
        "gaps": gaps,
    })
    .to_string()
}

fn verify(verify: &Verify) -> anyhow::Result<ExitCode> {
    let mut damaged = 0_u64;
    let mut out = terminal::stdout();
    let mut lines = Vec::new();
    let mut reader = verify.store.open()?;
    let events = reader.verify(&mut |seqs, reason| {
        let words = reason.map_or_else(|| "unknown reason".to_owned(), |reason| reason.to_string());
        if reason.is_none_or(|reason| reason == GapReason::Damaged) {
            damaged += seqs.end.0 - seqs.start.0;
        }
        let range = range(seqs.start, Seq(seqs.end.0 - 1), reason);
        lines.push(format!("missing {range}: {words}"));
    })?;
    for line in lines {
        out.prose(&line, 2)?;
    }
    writeln!(out, "{} can be read", counted(events, "event"))?;
    let info = reader.info()?;
    if info.writer.is_none() && info.next.is_none() {
        show::complain(&NOT_CLOSED);
    }
    let lost = reader.lost_commits();
    if lost > 0 {
        let commits = counted(lost as u64, "commit");
        show::complain(&format_args!(
            "events.db-wal is damaged: the events of its last {commits} are lost"
        ));
    }
    if damaged > 0 {
        show::complain(&format_args!("{} damaged", counted(damaged, "event")));
    }
    Ok(match (damaged, lost) {
        (0, 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn export(export: &Export) -> anyhow::Result<ExitCode> {
    let selection = export.selection.compile();
    let (start, until) = export.window.read();
    let mut reader = export.store.open()?;
    if let Err(gone) = history_store::seek(&mut reader, start.as_ref(), true)? {
        show::complain(&gone);
        return Ok(ExitCode::from(GONE));
    }
    let mut unreadable = 0;
    let mut printer = Printer::new(Form::Exact, false).with_positions();
    history_store::forward(&mut reader, &selection, until, &mut |record| {
        match record {
            Record::Event {
                event,
                position,
                at,
            } => {
                printer.event_at(event, Some((position, at)))?;
            }
            // Events that were never stored, or were removed, are not part of the copied store.
            Record::Gap { seqs, reason, .. } => {
                if reason.is_none_or(|reason| reason == GapReason::Damaged) {
                    unreadable += seqs.end.0 - seqs.start.0;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    printer.flush()?;
    if unreadable == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    show::complain(&format_args!(
        "{} could not be read; brine log verify says which",
        counted(unreadable, "event")
    ));
    Ok(ExitCode::from(GONE))
}

fn import(import: &Import) -> anyhow::Result<ExitCode> {
    if let Some(file) = &import.file {
        let file = file.display();
        wrong_usage(&format!(
            "import reads stdin, and no file: brine log import … < {file}"
        ));
    }
    let directory = import.store.directory()?;
    // What is wrong with it is said when it is opened to be changed.
    let held = HistoryReader::open(&directory).ok();
    let held = held.and_then(|mut reader| Some(reader.info().ok()?.totals.events));
    // Before the history is open: one that is not closed looks as if a bus had been killed.
    let interrupt = Interrupt::catch()?;
    let mut importing = Importing {
        maintenance: history_store::maintenance(&directory)?,
        events: Vec::new(),
        bytes: 0,
        stored: 0,
        withheld: 0,
    };
    if let Some(held @ 1..) = held {
        show::complain(&format_args!(
            "the history holds {} already; what is imported comes after that",
            counted(held, "event")
        ));
    }
    let (mut lines, mut number, mut refused) = (Lines::of_stdin(), 0_u64, 0_u64);
    let is_whole = loop {
        let line = match lines.next(&interrupt).context("stdin")? {
            Next::Line(line) => line,
            Next::End => break true,
            Next::Interrupted => break false,
        };
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match imported(&line) {
            Ok(event) => importing.take(event)?,
            Err(error) => {
                refused += 1;
                let error = show::one_line(&error);
                show::complain(&format_args!("line {number}: {error}"));
            }
        }
    };
    importing.store()?;
    let Importing {
        maintenance,
        stored,
        withheld,
        ..
    } = importing;
    maintenance.close(&directory)?;
    writeln!(terminal::stdout(), "{} imported", counted(stored, "event"))?;
    if withheld > 0 {
        show::complain(&format_args!(
            "{} left out: events with session keys (salt/auth/creds) are never stored",
            counted(withheld, "event")
        ));
    }
    if !is_whole {
        show::complain(&format_args!(
            "interrupted after line {number}; to continue, import tail -n +{} of the same lines",
            number + 1
        ));
    }
    Ok(match is_whole && refused == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A history that takes events in, a batch at a time.
struct Importing {
    maintenance: Maintenance,
    /// What is not stored yet, and its size.
    events: Vec<Imported>,
    bytes: usize,
    stored: u64,
    withheld: u64,
}

impl Importing {
    /// A few blocks of the store at once.
    const BATCH_BYTES: usize = 4 << 20;

    fn take(&mut self, event: Imported) -> anyhow::Result<()> {
        self.bytes += event.bytes.len();
        self.events.push(event);
        match self.bytes >= Self::BATCH_BYTES {
            true => self.store(),
            false => Ok(()),
        }
    }

    fn store(&mut self) -> anyhow::Result<()> {
        let events = self.events.iter().map(|event| BlockEvent {
            at: event.at,
            event: &event.bytes,
            tag_bytes: event.tag_bytes,
            about: About::default(),
        });
        let stored = self.maintenance.import(events, &[]);
        let stored = stored.with_context(|| {
            let before = counted(self.stored, "event");
            format!("stopped; {before} imported before this")
        })?;
        self.stored += stored;
        self.withheld += self.events.len() as u64 - stored;
        (self.events, self.bytes) = (Vec::new(), 0);
        Ok(())
    }
}

/// Lines of stdin, which a signal ends: what was read by then is whole lines.
struct Lines(BufReader<io::StdinLock<'static>>);

enum Next {
    Line(Vec<u8>),
    End,
    Interrupted,
}

impl Lines {
    fn of_stdin() -> Self {
        Self(BufReader::with_capacity(64 << 10, io::stdin().lock()))
    }

    fn next(&mut self, interrupt: &Interrupt) -> io::Result<Next> {
        /// How often a signal is looked for while nothing comes.
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        let mut line = Vec::new();
        loop {
            while self.0.buffer().is_empty() {
                if interrupt.has_come() {
                    return Ok(Next::Interrupted);
                }
                if terminal::wait_for_input(LOOK_EVERY)?.is_empty() {
                    continue;
                }
                if self.0.fill_buf()?.is_empty() {
                    return Ok(match line.is_empty() {
                        true => Next::End,
                        false => Next::Line(line),
                    });
                }
            }
            let found = self.0.buffer().iter().position(|byte| *byte == b'\n');
            let length = found.map_or(self.0.buffer().len(), |at| at + 1);
            line.extend_from_slice(&self.0.buffer()[..length]);
            self.0.consume(length);
            if found.is_some() {
                return Ok(Next::Line(line));
            }
        }
    }
}

/// An event that was read from a line.
struct Imported {
    at: Millis,
    bytes: Vec<u8>,
    tag_bytes: usize,
}

fn imported(line: &[u8]) -> anyhow::Result<Imported> {
    let Value::Map(mut fields) = json::parse(line)? else {
        bail!("expected a JSON object with \"tag\" and \"data\"");
    };
    let Some(Value::Str(tag)) = fields.remove("tag") else {
        bail!("no \"tag\"");
    };
    brine_wire::event::check_tag(&tag)?;
    let data = match fields.remove("data") {
        None => Map::new(),
        Some(Value::Map(data)) => data,
        Some(_) => bail!("\"data\" must be an object"),
    };
    let at = match fields.get("time").and_then(Value::as_str) {
        Some(time) => Zone::Utc.time(time, Bound::Since)?,
        None => clock::now(),
    };
    let mut packed = Vec::new();
    msgpack::encode_map(&data, &mut packed);
    Ok(Imported {
        at,
        bytes: join(&tag, &packed),
        tag_bytes: tag.len(),
    })
}

fn purge(purge: &Purge) -> anyhow::Result<()> {
    let tags = purge.tag.as_deref().map(|tag| {
        let tags = TagMatch::new(MatchType::Fnmatch, tag);
        tags.unwrap_or_else(|error| wrong_usage(&format!("--tag: {error}")))
    });
    let directory = purge.store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    let info = reader.info()?;
    let newest = info.newest.map_or(0, |(seq, _)| seq.0);
    let before = match (purge.seq, purge.keep) {
        (Some(seq), _) => Some(Seq(seq)),
        (None, Some(keep)) => Some(reader.before(Seq(newest + 1), keep)),
        (None, None) => None,
    };
    let mut out = terminal::stdout();
    match (&purge.tag, before) {
        (Some(tag), _) => {
            let selection = SelectionArgs {
                tags: vec![tag.clone()],
                ..SelectionArgs::default()
            };
            let (selection, mut count) = (selection.compile(), 0_u64);
            history_store::forward(&mut reader, &selection, None, &mut |record| {
                count += u64::from(matches!(record, Record::Event { .. }));
                Ok(ControlFlow::Continue(()))
            })?;
            let events = counted(count, "event");
            writeln!(out, "{events} with a tag that matches {tag}")?;
        }
        (None, Some(before)) if !purge.execute => {
            let would_go = reader.before_purge(before)?;
            let left = oldest_left(would_go.oldest);
            match would_go.events {
                0 => writeln!(out, "0 events: {}; the oldest: {left}", no_block(before))?,
                events => writeln!(
                    out,
                    "{}; the oldest that would be left: {left}",
                    counted(events, "event")
                )?,
            }
        }
        _ => {}
    }
    if !purge.execute {
        show::complain(&"nothing removed; add --execute to do it");
        return Ok(());
    }
    let mut maintenance = history_store::maintenance(&directory)?;
    if let Some(tags) = tags {
        let removed = maintenance.purge_tags(&tags)?;
        writeln!(out, "{} removed", counted(removed, "event"))?;
    } else if let Some(before) = before {
        let purged = maintenance.purge_before(before)?;
        let left = oldest_left(purged.oldest);
        match purged.events {
            0 => writeln!(
                out,
                "0 events removed: {}; the oldest: {left}",
                no_block(before)
            )?,
            events => writeln!(
                out,
                "{} removed; the oldest that is left: {left}",
                counted(events, "event")
            )?,
        }
    }
    Ok(maintenance.close(&directory)?)
}

fn oldest_left(oldest: Option<Seq>) -> String {
    oldest.map_or_else(|| "none".to_owned(), |seq| seq.to_string())
}

/// Why nothing is removed.
fn no_block(before: Seq) -> String {
    format!("only whole blocks are removed, and none ends before event {before}")
}

fn vacuum(vacuum: &Vacuum) -> anyhow::Result<()> {
    let max_age = vacuum.time.as_deref().map(age);
    let retention = match (max_age, vacuum.size) {
        (None, None) => vacuum.store.configured_retention()?,
        (max_age, max_bytes) => Retention {
            max_age,
            max_bytes,
            ..Retention::UNLIMITED
        },
    };
    let directory = vacuum.store.directory()?;
    let before = HistoryReader::open(&directory)?.info()?.totals;
    let mut maintenance = history_store::maintenance(&directory)?;
    maintenance.vacuum(&retention)?;
    maintenance.close(&directory)?;
    let after = HistoryReader::open(&directory)?.info()?.totals;
    writeln!(
        terminal::stdout(),
        "{} of {} removed; {} bytes used before, {} now",
        before.events - after.events.min(before.events),
        counted(before.events, "event"),
        before.used_bytes,
        after.used_bytes
    )?;
    Ok(())
}

/// An age such as `30d`: the time since then. An invalid text ends the program, before anything is opened.
fn age(text: &str) -> Duration {
    let then = Zone::Local.time(text, Bound::Since);
    let then = then.unwrap_or_else(|error| wrong_usage(&format!("--time: {error}")));
    Duration::from_millis(clock::now().0.saturating_sub(then.0))
}
