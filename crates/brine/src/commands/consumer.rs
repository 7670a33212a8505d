//! `brine consumer`: named readers with a saved position.
//!
//! It asks a running bus through the bus's own socket. If none is running, it opens the store and answers the same
//! request itself, so that the result is the same.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use brine_api::Consumers;
use brine_bus::client::local::{LocalError, Method, blocking::LocalClient, target};
use brine_log::history::{ConsumerName, HistoryConfig, HistoryReader, PreparedHistory, Retention};
use brine_log::{Log, LogConfig, LogId, Position};
use brine_wire::{Map, Value, json};

use super::history::{self, GONE, NextArguments};
use super::history_store::{self, StoreArgs};
use super::late;
use crate::host::SinkList;
use crate::terminal;
use crate::usage::wrong_usage;
use crate::{clock, show};

/// How long a bus may take to answer: it writes to its disk.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The arguments of `brine consumer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 done; 1 failed, or there is no such consumer; 2 wrong usage; 3 the position that the
consumer is to be at is not in the history.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the consumers: position, lag and state
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show a consumer
    #[command(visible_alias = "show")]
    Info(Named),
    /// Create a consumer
    #[command(visible_alias = "create")]
    Add(Add),
    /// Print a consumer's next events, and move its position past them
    Next(NextArguments),
    /// Pause a consumer, until a time or until it is resumed
    Pause(Pause),
    /// Resume a paused consumer
    Resume(Named),
    /// Move a consumer's position; without --execute, only show what would change
    Reset(Reset),
    /// List what a sink could not deliver
    #[command(visible_alias = "dead-letters")]
    Dead(Listed),
    /// Have a sink send its undelivered events again
    Resend(Named),
    /// Remove undelivered events for good; without --execute, only show which
    Discard(Discard),
    /// Remove a consumer
    #[command(visible_aliases = ["remove", "delete"])]
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
struct Listed {
    /// One JSON object per line, with the events' data
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, clap::Args)]
struct Discard {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// The events, by their positions as `dead` shows them
    #[arg(
        value_name = "POSITION",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    positions: Vec<Position>,
    /// Everything that the sink could not deliver
    #[arg(long)]
    all: bool,
    /// Make the change
    #[arg(long)]
    execute: bool,
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
    /// A time in the future, such as +1h [default: until it is resumed]
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
    /// After the newest event
    #[arg(long, group = "target")]
    to_latest: bool,
    /// To this event, which then comes next
    #[arg(long, value_name = "N", group = "target")]
    to_sequence: Option<u64>,
    /// To the first event that arrived at this time or later
    #[arg(long, value_name = "TIME", group = "target")]
    to_time: Option<String>,
    /// By N events, forward or backward
    #[arg(long, value_name = "±N", group = "target", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Make the change
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answered = match &arguments.command {
        Command::Ls(list) => ls(list),
        Command::Info(named) => info(named),
        Command::Add(add) => {
            let start = [("deliver", &*add.deliver), ("filter", &*add.filter)];
            ask(&add.store, Method::Put, &path(&add.name, ""), &start).map(drop)
        }
        Command::Next(next) => return history::run_next(next),
        Command::Pause(pause) => {
            let until = [("until", pause.until.as_deref().unwrap_or_default())];
            ask(
                &pause.store,
                Method::Post,
                &path(&pause.name, "/pause"),
                &until,
            )
            .map(drop)
        }
        Command::Resume(named) => ask(
            &named.store,
            Method::Post,
            &path(&named.name, "/resume"),
            &[],
        )
        .map(drop),
        Command::Reset(reset) => self::reset(reset),
        Command::Dead(listed) => dead(listed),
        Command::Resend(named) => match resend(named) {
            Ok(0) => Ok(()),
            // Said by what was printed.
            Ok(_) => return Ok(ExitCode::FAILURE),
            Err(error) => Err(error),
        },
        Command::Discard(discard) => self::discard(discard),
        Command::Rm(named) => {
            ask(&named.store, Method::Delete, &path(&named.name, ""), &[]).map(drop)
        }
    };
    match answered {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Unanswered::Refused {
            status: 400,
            message,
        }) => wrong_usage(&message),
        Err(Unanswered::Refused {
            status: 410,
            message,
        }) => {
            show::complain(&message);
            Ok(ExitCode::from(GONE))
        }
        Err(Unanswered::Refused { message, .. }) => Err(anyhow::Error::msg(message)),
        Err(Unanswered::Failed(error)) => Err(error),
    }
}

/// Why there is no answer.
enum Unanswered {
    /// As the local socket refuses, with a status of HTTP.
    Refused {
        status: u16,
        message: String,
    },
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Unanswered {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn path(name: &ConsumerName, action: &str) -> String {
    format!("/consumers/{name}{action}")
}

/// Has the running bus answer a request about consumers, or answers it from the store.
fn ask(
    store: &StoreArgs,
    method: Method,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<Map, Unanswered> {
    let target = target(path, parameters);
    let answer = match store.bus()? {
        Some(client) => ask_bus(client, method, &target)?,
        None => ask_store(&store.directory()?, method.name(), &target)?.into(),
    };
    match answer {
        Value::Map(answer) => Ok(answer),
        _ => Err(anyhow::Error::msg("the bus's answer is not an object").into()),
    }
}

fn ask_bus(mut client: LocalClient, method: Method, target: &str) -> Result<Value, Unanswered> {
    let limit = match method {
        Method::Get => late::ANSWER,
        _ => {
            // A bus that hangs is not waited for as long as its disk.
            late::ask(&mut client, late::ANSWER, |client| {
                client.status(Some(late::ANSWER))
            })?;
            ANSWER_TIME
        }
    };
    late::ask(&mut client, limit, |client| {
        client.request(method, target, Some(limit))
    })
    .map_err(|error| match error {
        LocalError::Refused {
            status, message, ..
        } => Unanswered::Refused { status, message },
        error => error.into(),
    })
}

fn ask_store(directory: &Path, method: &str, target: &str) -> Result<Map, Unanswered> {
    // Opening it for writing would create one if there is none.
    drop(HistoryReader::open(directory)?);
    let mut config = HistoryConfig::new(directory);
    // How long events are kept is the bus's to say.
    config.retention = Retention::UNLIMITED;
    let prepared = PreparedHistory::open(config)?;
    let log = Log::with_history(LogConfig::new(LogId(0)), &prepared);
    let history = prepared.start(&log)?;
    let consumers = Consumers {
        log,
        history,
        sinks: Some(Arc::new(SinkList::left_in(directory))),
        zone: clock::local_offset,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let answer = runtime.block_on(consumers.answer(method, path, query));
    consumers.history.close();
    answer.map_err(|error| Unanswered::Refused {
        status: error.status().as_u16(),
        message: error.to_string(),
    })
}

fn ls(list: &List) -> Result<(), Unanswered> {
    let answer = ask(&list.store, Method::Get, "/consumers", &[])?;
    let consumers = match answer.get("consumers") {
        Some(Value::Array(consumers)) => consumers.as_slice(),
        _ => &[],
    };
    let mut out = terminal::stdout();
    if list.json {
        for consumer in consumers {
            writeln!(out, "{}", line(consumer))?;
        }
        return Ok(());
    }
    let fields = [
        "name", "kind", "position", "last_seq", "lag", "rate", "dead", "state",
    ];
    let row = |consumer| fields.map(|field| shown(consumer, field));
    let rows: Vec<_> = consumers.iter().map(row).collect();
    let longest = rows.iter().map(|[name, ..]| name.len()).max();
    let width = longest.unwrap_or(0).max(4);
    let head = [
        "NAME", "KIND", "POSITION", "LAST-SEQ", "LAG", "RATE", "DEAD", "STATE",
    ];
    let head = head.map(str::to_owned);
    for [name, kind, position, last_seq, lag, rate, dead, state] in [head].into_iter().chain(rows) {
        writeln!(
            out,
            "{name:<width$}  {kind:<8}  {position:<24}  {last_seq:>10}  {lag:>10}  {rate:>8}  {dead:>5}  {state}"
        )?;
    }
    Ok(())
}

fn dead(listed: &Listed) -> Result<(), Unanswered> {
    let Named { name, store } = &listed.named;
    let answer = ask(store, Method::Get, &path(name, "/dead"), &[])?;
    let letters = match answer.get("letters") {
        Some(Value::Array(letters)) => letters.as_slice(),
        _ => &[],
    };
    let mut out = terminal::stdout();
    for letter in letters {
        if listed.json {
            writeln!(out, "{}", line(letter))?;
        } else {
            let [position, time, tag, reason] =
                ["position", "time", "tag", "reason"].map(|field| shown(letter, field));
            writeln!(out, "{position}  {time}  {tag}: {reason}")?;
        }
    }
    if let Some(Value::Int(further @ 1..)) = answer.get("further") {
        show::complain(&format!("{further} more are not shown"));
    }
    Ok(())
}

/// Has dead letters sent again; how many are kept, whyever.
fn resend(named: &Named) -> Result<i128, Unanswered> {
    let path = path(&named.name, "/resend");
    let answer = ask(&named.store, Method::Post, &path, &[])?;
    let count = |field| match answer.get(field) {
        Some(Value::Int(count)) => *count,
        _ => 0,
    };
    let text = |field| answer.get(field).and_then(Value::as_str).unwrap_or("-");
    let mut said = format!("{}: {} delivered", named.name, count("delivered"));
    if count("refused") > 0 || count("kept") == 0 {
        said.push_str(&format!(", {} refused again and kept", count("refused")));
    }
    if count("failed") > 0 {
        let (failed, why) = (count("failed"), text("failure"));
        said.push_str(&format!(", {failed} failed again and kept: {why}"));
    }
    if count("unsent") > 0 {
        let (unsent, why) = (count("unsent"), text("away"));
        said.push_str(&format!(", {unsent} kept: the other side is away: {why}"));
    }
    writeln!(terminal::stdout(), "{said}")?;
    Ok(count("kept"))
}

/// Removes dead letters, or says how many.
fn discard(discard: &Discard) -> Result<(), Unanswered> {
    let positions: Vec<String> = discard.positions.iter().map(ToString::to_string).collect();
    let mut parameters: Vec<(&str, &str)> =
        positions.iter().map(|it| ("position", &**it)).collect();
    parameters.extend(discard.all.then_some(("all", "true")));
    parameters.extend(discard.execute.then_some(("execute", "true")));
    let path = path(&discard.name, "/discard");
    let answer = ask(&discard.store, Method::Post, &path, &parameters)?.into();
    let [count, kept] = ["discarded", "kept"].map(|field| shown(&answer, field));
    let name = &discard.name;
    let mut out = terminal::stdout();
    if discard.execute {
        writeln!(out, "{name}: {count} discarded, {kept} kept")?;
    } else {
        writeln!(out, "{name}: {count} to discard, {kept} to keep")?;
        show::complain(&"nothing discarded; add --execute to do it");
    }
    Ok(())
}

fn info(named: &Named) -> Result<(), Unanswered> {
    let consumer = ask(&named.store, Method::Get, &path(&named.name, ""), &[])?;
    writeln!(terminal::stdout(), "{}", line(&consumer.into()))?;
    Ok(())
}

fn reset(reset: &Reset) -> Result<(), Unanswered> {
    let (to, shift) = reset.target();
    let execute = if reset.execute { "true" } else { "" };
    let parameters = [("to", &*to), ("shift", &*shift), ("execute", execute)];
    let answer = ask(
        &reset.store,
        Method::Post,
        &path(&reset.name, "/reset"),
        &parameters,
    )?;
    let answer = answer.into();
    let [from, to, effect] = ["from", "to", "effect"].map(|field| shown(&answer, field));
    writeln!(
        terminal::stdout(),
        "{}: {from} → {to} ({effect})",
        reset.name
    )?;
    if !reset.execute {
        show::complain(&"nothing changed; add --execute to do it");
    }
    Ok(())
}

impl Reset {
    /// Where it is to go, or by how much.
    fn target(&self) -> (String, String) {
        if let Some(shift) = self.shift_by {
            return (String::new(), shift.to_string());
        }
        let to = match (self.to_sequence, &self.to_time) {
            (Some(sequence), _) => sequence.to_string(),
            (_, Some(time)) => time.clone(),
            _ if self.to_latest => "latest".to_owned(),
            _ => "earliest".to_owned(),
        };
        (to, String::new())
    }
}

/// A field as a table shows it; unknown values are a dash.
fn shown(consumer: &Value, field: &str) -> String {
    match consumer.as_map().and_then(|map| map.get(field)) {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Float(number)) => format!("{number:.1}"),
        _ => "-".to_owned(),
    }
}

fn line(consumer: &Value) -> String {
    let mut text = String::new();
    json::to_line(consumer, &mut text);
    text
}
