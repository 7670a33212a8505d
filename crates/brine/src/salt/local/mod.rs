//! `salt`: has minions run a function and prints what they return.

pub(crate) mod client;
mod options;
mod order;
mod report;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use brine_config::{Loaded, Opts, Role};

use self::client::{Client, ClientError, Order, Patience, Published};
use self::options::SYNTAX;
use self::report::{Mode, Report};
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::host;

/// Salt's code for a command line that does not say all.
const INCOMPLETE: u8 = 42;

/// Publishes a job and prints what comes back.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, options::check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let Loaded { opts, .. } = start::configure(&line, Role::Client, "master")?;
    let order = match order::read(&line) {
        Ok(order) => order,
        Err(incomplete) => {
            if incomplete.wants_help() {
                io::stdout().write_all(SYNTAX.help().as_bytes())?;
            }
            io::stderr().write_all(incomplete.to_string().as_bytes())?;
            return Ok(ExitCode::from(INCOMPLETE));
        }
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
    let interrupted = host::shutdown_signal()?;
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
