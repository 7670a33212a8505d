//! `salt`: has minions run a function and prints what they return.

pub(crate) mod client;
mod options;
mod report;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use brine_config::{Loaded, Opts, Role, parse_arguments, parse_value};
use brine_wire::{Map, Value};

use self::client::{Client, ClientError, Order, Patience, Published};
use self::options::SYNTAX;
use self::report::{Mode, Report};
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::commands::bus;

/// Salt's code for a command line without a target.
const NO_TARGET: u8 = 42;

/// Publishes a job and prints what comes back.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, options::check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let Loaded { opts, .. } = start::configure(&line, Role::Client, "master")?;
    let Some(order) = order(&line) else {
        io::stdout().write_all(SYNTAX.help().as_bytes())?;
        return Ok(ExitCode::from(NO_TARGET));
    };
    let printer = start::printer(&line, &opts)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match serve(&line, &opts, &order, &printer).await {
            Ok(code) => Ok(code),
            Err(ClientError::System(error)) => Err(error),
            // As in Salt: said where returns are, and no failure.
            Err(error) => {
                printer.print(&error.to_string().into(), None, 1)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// The job that the command line asks for; `None` if it is not all there.
fn order(line: &Parsed<Key>) -> Option<Order> {
    let mut words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    if line.has(Key::Doc) {
        if words.is_empty() {
            words.push("*");
        }
        if words.get(1) != Some(&"sys.doc") {
            words.insert(1, "sys.doc");
        }
    }
    let [target, fun, arguments @ ..] = words.as_slice() else {
        return None;
    };
    let tgt_type = options::target_type(line);
    let tgt = match tgt_type {
        "list" => {
            let ids = target.split([',', ' ']).filter(|id| !id.is_empty());
            Value::Array(ids.map(Value::from).collect())
        }
        _ => (*target).into(),
    };
    let no_parse = line.value(Key::NoParse).unwrap_or_default();
    let no_parse: Vec<_> = no_parse.split(',').collect();
    let (fun, arg) = functions(fun, arguments, &no_parse);
    let mut kwargs = Map::new();
    kwargs.insert("delimiter", line.value(Key::Delimiter).unwrap_or(":"));
    kwargs.insert("show_timeout", true);
    kwargs.insert("show_jid", line.has(Key::ShowJid));
    if let Some(metadata) = line.value(Key::SetMetadata).filter(|text| !text.is_empty()) {
        kwargs.insert("metadata", parse_value(metadata));
    }
    Some(Order {
        tgt,
        tgt_type: tgt_type.to_owned(),
        fun,
        arg,
        ret: line.value(Key::ReturnTo).unwrap_or_default().to_owned(),
        kwargs,
    })
}

/// One function and its arguments, or several with commas between them: their arguments, too, are
/// parted by commas that stand alone.
fn functions(fun: &str, arguments: &[&str], no_parse: &[&str]) -> (Value, Vec<Value>) {
    if !fun.contains(',') {
        return (fun.into(), published_arguments(arguments, no_parse));
    }
    let names: Vec<Value> = fun.split(',').map(Value::from).collect();
    let mut parts: Vec<Value> = arguments
        .split(|word| *word == ",")
        .map(|words| published_arguments(words, no_parse).into())
        .collect();
    parts.resize(names.len(), Value::Array(Vec::new()));
    (names.into(), parts)
}

/// Arguments as jobs carry them: those by name in one mapping at the end, marked.
fn published_arguments(words: &[&str], no_parse: &[&str]) -> Vec<Value> {
    let parsed = parse_arguments(words.iter().copied(), no_parse);
    let mut all = parsed.positional;
    if !parsed.keyword.is_empty() {
        let mut named = Map::from_iter([("__kwarg__", true)]);
        for (name, value) in parsed.keyword {
            named.insert(name, value);
        }
        all.push(named.into());
    }
    all
}

/// Publishes and prints.
async fn serve(
    line: &Parsed<Key>,
    opts: &Opts,
    order: &Order,
    printer: &Printer,
) -> Result<ExitCode, ClientError> {
    let mut client = Client::open(opts).await?;
    let job = client.publish(order).await?;
    if line.has(Key::Async) && !job.minions.is_empty() {
        println(&format!("Executed command with job ID: {}", job.jid))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mode = match order.fun.as_str() {
        Some("sys.doc") => Mode::Docs,
        _ if line.has(Key::Static) => Mode::Static,
        _ => Mode::Streamed,
    };
    let mut report = Report::new(printer, mode);
    if job.minions.is_empty() {
        println("No minions matched the target. No command was sent, no jid was assigned.")?;
        return Ok(report.end()?);
    }
    announce(line, &job)?;
    let patience = patience(line, opts)?;
    let interrupted = bus::told_to_end()?;
    tokio::select! {
        heard = client.hear(&job, patience, |heard| report.hear(heard)) => heard?,
        () = interrupted => return Ok(give_up(&job)?),
    }
    if line.has(Key::Summary) && mode == Mode::Streamed && line.value(Key::Out).is_none() {
        let summed = report.summary(line.has(Key::Verbose));
        summed.map_err(anyhow::Error::from)?;
    }
    Ok(report.end()?)
}

/// The job's id, if it is asked for.
fn announce(line: &Parsed<Key>, job: &Published) -> anyhow::Result<()> {
    if line.has(Key::Verbose) {
        let text = format!("Executing job with jid {}", job.jid);
        println(&format!("{text}\n{}\n", "-".repeat(text.len())))
    } else if line.has(Key::ShowJid) {
        println(&format!("jid: {}", job.jid))
    } else {
        Ok(())
    }
}

fn patience(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Patience> {
    let given = line
        .value(Key::Timeout)
        .and_then(|text| text.trim().parse().ok());
    let given = given
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs);
    Ok(Patience {
        timeout: given.map_or_else(|| client::seconds(opts, "timeout"), Ok)?,
        gather: client::seconds(opts, "gather_job_timeout")?,
    })
}

/// Ctrl-C: the job goes on, and can be looked up.
fn give_up(job: &Published) -> anyhow::Result<ExitCode> {
    let jid = &job.jid;
    writeln!(
        io::stderr(),
        "\nThis job's jid is: {jid}\nExiting gracefully on Ctrl-c\n\
         The minions may not have all finished running and any remaining minions will return \
         upon completion. To look up the return data for this job later, run the following \
         command:\n\nsalt-run jobs.lookup_jid {jid}"
    )?;
    Ok(ExitCode::FAILURE)
}

fn println(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
