//! `brine reactor`: the rules of a running reactor, how reactions ended, and running one again.
//!
//! It asks for the rules over the local socket; it reads the record from its files, whether the reactor runs or not.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use brine_bus::client::local::LocalError;
use brine_bus::client::local::blocking::LocalClient;
use brine_config::Opts;
use brine_reactor::journal::{self, Outcome, Run};
use brine_reactor::rules::pattern_of;
use brine_wire::{Map, Value, json, python_text};

use super::event_output::utc;
use super::late;
use super::local_events;
use crate::access;
use crate::bus_location::{BusArgs, BusLocation, NodeKind};
use crate::host::reactor::{self, NOTE};
use crate::terminal;

/// What is said of a reactor that reacts to nothing.
pub(super) const IDLE: &str =
    "the reactor is not the leader: it ignores all events until salt-run reactor.set_leader True";
/// How long the bus may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The arguments of `brine reactor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 done; 1 failed, or no reactor runs; 2 wrong usage.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the running reactor's rules: how far each is, and what it has done, also before restarts
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show how reactions ended, oldest first
    History(History),
    /// Run a recorded reaction again, with the same arguments
    Rerun(Rerun),
}

#[derive(Debug, clap::Args)]
struct List {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bus: BusArgs,
}

#[derive(Debug, clap::Args)]
struct History {
    /// Only reactions with this outcome: done, failed, uncertain or running
    #[arg(long, value_name = "OUTCOME", value_parser = ["done", "failed", "uncertain", "running"])]
    outcome: Option<String>,
    /// Only reactions of the rule with this pattern
    #[arg(long, value_name = "PATTERN")]
    rule: Option<String>,
    /// Only the last N
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bus: BusArgs,
}

#[derive(Debug, clap::Args)]
struct Rerun {
    /// The reaction's number, as brine reactor history shows it
    number: u64,
    #[command(flatten)]
    bus: BusArgs,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Ls(list) => ls(list)?,
        Command::History(history) => show(history)?,
        Command::Rerun(rerun) => {
            let location = masters(&rerun.bus)?;
            let new = ask(
                &location,
                "reactor.rerun",
                vec![Value::Int(rerun.number.into())],
            )?;
            writeln!(
                terminal::stdout(),
                "started as reaction {}",
                python_text::str(&new)
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The bus that was named, if it is one that may have a reactor.
fn masters(bus: &BusArgs) -> anyhow::Result<BusLocation> {
    if bus.kind() == NodeKind::Minion {
        bail!(
            "a minion has no reactor, it runs beside the master; name the master's configuration (-c DIR or --config \
             FILE), or leave out -c and --node"
        );
    }
    bus.resolve()
}

/// Asks the running reactor.
pub(super) fn ask(location: &BusLocation, fun: &str, args: Vec<Value>) -> anyhow::Result<Value> {
    let client = local_events::connect(location.local_address())?;
    let mut client =
        client.context("no reactor of Brine runs there: nothing answers on brine.sock")?;
    let mut command = Map::from_iter([("client", "runner"), ("fun", fun)]);
    command.insert("arg", args);
    command.insert("kwarg", Map::new());
    let answer = late::ask(&mut client, ANSWER_TIME, |client| {
        client.run(command, Some(ANSWER_TIME))
    });
    answer.map_err(|error| match is_of_salts(&mut client, &error) {
        true => anyhow!(NONE_BESIDE),
        false => error.into(),
    })
}

/// What is said of reactors where `brine attach` has none.
pub(crate) const NONE_BESIDE: &str = "the master's reactor is Salt's own, which Brine cannot ask; brine attach --reactor FILE runs one of Brine's in its place";

/// Whether a request was refused by a `brine attach` without a reactor.
pub(crate) fn is_of_salts(client: &mut LocalClient, refusal: &LocalError) -> bool {
    let is_not_here = matches!(refusal, LocalError::Refused { status: 501, .. });
    let status = is_not_here.then(|| client.status(Some(ANSWER_TIME)));
    let attach = |status: &Value| status.as_map()?.get("attach").cloned();
    status.is_some_and(|status| status.is_ok_and(|status| attach(&status).is_some()))
}

/// What the running reactor says of its rules; no event comes of it.
pub(super) fn status(location: &BusLocation) -> anyhow::Result<Vec<Map>> {
    let status = ask(location, "reactor.status", Vec::new())?;
    let rules = status
        .as_array()
        .context("the reactor's answer is not a list")?;
    Ok(rules.iter().filter_map(Value::as_map).cloned().collect())
}

/// Whether one that runs reacts to nothing, not being the leader.
pub(super) fn is_idle(status: &[Map]) -> bool {
    let mut rules = status.iter();
    rules.any(|rule| rule.get("leader").is_some_and(|leader| !leader.is_true()))
}

/// The record. What it has as running runs only if a reactor does.
pub(super) fn record(location: &BusLocation, opts: &Opts) -> anyhow::Result<Vec<Run>> {
    let directory = reactor::directory(opts)?;
    access::require("record of reactions", &directory, access::READ)?;
    let mut runs = journal::read(&directory).with_context(|| directory.display().to_string())?;
    let is_any_running = runs.iter().any(|run| run.outcome == Outcome::Running);
    if is_any_running && status(location).is_err() {
        journal::interrupted(&mut runs);
    }
    Ok(runs)
}

fn ls(list: &List) -> anyhow::Result<()> {
    let rules = status(&masters(&list.bus)?)?;
    let mut out = terminal::stdout();
    if list.json {
        for rule in rules {
            writeln!(out, "{}", line(&rule.into()))?;
        }
        return Ok(());
    }
    let fields = [
        "rule",
        "events",
        "done",
        "failed",
        "uncertain",
        "running",
        "throttled",
        "behind",
    ];
    let rows = rules
        .iter()
        .map(|rule| fields.map(|field| text(rule, field)));
    let rows: Vec<_> = rows.collect();
    let width = rows
        .iter()
        .map(|row| row[0].len())
        .max()
        .unwrap_or(0)
        .max(4);
    let head = [
        "RULE",
        "EVENTS",
        "DONE",
        "FAILED",
        "UNCERTAIN",
        "RUNNING",
        "THROTTLED",
        "BEHIND",
    ]
    .map(str::to_owned);
    for [
        rule,
        events,
        done,
        failed,
        uncertain,
        running,
        throttled,
        behind,
    ] in [head].into_iter().chain(rows)
    {
        writeln!(
            out,
            "{rule:<width$}  {events:>8}  {done:>8}  {failed:>7}  {uncertain:>9}  {running:>7}  {throttled:>9}  {behind:>7}"
        )?;
    }
    if is_idle(&rules) {
        writeln!(out, "{IDLE}")?;
    }
    Ok(())
}

fn text(rule: &Map, field: &str) -> String {
    let value = rule.get(field);
    value.map_or_else(|| "-".to_owned(), python_text::str)
}

fn show(history: &History) -> anyhow::Result<()> {
    let location = masters(&history.bus)?;
    let opts = location.opts.as_ref();
    let Some(opts) = opts else {
        bail!("--sock-dir alone does not say where the reactor's record is; add -c");
    };
    let runs = record(&location, opts)?;
    let is_wanted = |run: &Run| {
        history
            .outcome
            .as_deref()
            .is_none_or(|outcome| outcome == run.outcome.word())
            && history
                .rule
                .as_deref()
                .is_none_or(|rule| rule == run.rule || rule == pattern_of(&run.rule))
    };
    let wanted: Vec<Run> = runs.into_iter().filter(is_wanted).collect();
    let first = history
        .last
        .map_or(0, |last| wanted.len().saturating_sub(last));
    let mut out = terminal::stdout();
    for run in &wanted[first..] {
        match history.json {
            true => writeln!(out, "{}", line(&as_map(run).into()))?,
            false => write_run(run, &mut out)?,
        }
    }
    Ok(())
}

fn write_run(run: &Run, out: &mut terminal::Shown<io::Stdout>) -> anyhow::Result<()> {
    let call = match (&run.call, &run.too_large) {
        (Some(call), _) => call.name(),
        (None, Some(fun)) => format!("{fun} (too large to be kept)"),
        (None, None) => "-".to_owned(),
    };
    writeln!(
        out,
        "{}  {:<9}  {}  {call}  {}  ({}, event {})",
        run.number,
        run.outcome.word(),
        utc(run.started),
        run.tag,
        run.from,
        run.position
    )?;
    match &run.outcome {
        Outcome::Failed(why) => {
            let why = format!("    {why}");
            out.prose(&why, 2)?;
        }
        Outcome::Done(result) => {
            if let Some(note) = note(result) {
                let note = format!("    {note}");
                out.prose(&note, 2)?;
            }
        }
        Outcome::Running | Outcome::Uncertain => {}
    }
    Ok(())
}

/// What is remarkable about a reaction that has not failed: its job matched no minion.
pub(super) fn note(result: &str) -> Option<String> {
    let result = json::parse(result.as_bytes()).ok()?;
    Some(result.as_map()?.get(NOTE)?.as_str()?.to_owned())
}

fn as_map(run: &Run) -> Map {
    let mut map = Map::new();
    map.insert("number", run.number);
    map.insert("outcome", run.outcome.word());
    map.insert("rule", run.rule.as_str());
    map.insert("event", run.position.to_string());
    if let Some(nth) = run.nth {
        map.insert("nth", nth as u64);
    }
    map.insert("tag", run.tag.as_str());
    map.insert("from", run.from.as_str());
    map.insert("started", run.started.0);
    if let Some(ended) = run.ended {
        map.insert("ended", ended.0);
    }
    if let Some(call) = &run.call {
        map.insert("call", call.to_map());
    }
    if let Some(fun) = &run.too_large {
        map.insert("too_large", fun.as_str());
    }
    if let Outcome::Done(text) | Outcome::Failed(text) = &run.outcome {
        map.insert("result", text.as_str());
    }
    if let Some(repeats) = run.repeats {
        map.insert("repeats", repeats);
    }
    map
}

fn line(value: &Value) -> String {
    let mut text = String::new();
    json::to_line(value, &mut text);
    text
}
