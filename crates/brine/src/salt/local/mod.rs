//! `salt`: runs a function on minions and prints what they return.

mod job;
mod options;
mod report;

use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use brine_config::{Loaded, Opts, Role};
use brine_node::JobRequest;
use brine_node::client::{ClientConfig, ClientError, LocalClient};
use brine_wire::network::Jid;
use brine_wire::returns::Timeouts;

use self::options::SYNTAX;
use self::report::{Mode, Report};
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::host;

/// Salt's exit code for an incomplete command line.
const INCOMPLETE: u8 = 42;

/// Publishes a job and prints its returns.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, options::check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let Loaded { opts, .. } = start::configure(&line, Role::Client, "master")?;
    let request = match job::read(&line) {
        Ok(request) => request,
        Err(incomplete) => {
            if incomplete.wants_help() {
                io::stdout().write_all(SYNTAX.help().as_bytes())?;
            }
            io::stderr().write_all(incomplete.to_string().as_bytes())?;
            return Ok(ExitCode::from(INCOMPLETE));
        }
    };
    let printer = start::printer(&line, &opts)?;
    start::runtime()?.block_on(async {
        match serve(&line, &opts, &request, &printer).await {
            Err(error) => match error.downcast::<ClientError>() {
                // As Salt does: printed on stdout, and not a failure.
                Ok(
                    error @ (ClientError::NoMaster
                    | ClientError::Refused(_)
                    | ClientError::NoAnswer(_)),
                ) => {
                    printer.print(&error.to_string().into(), None, 1)?;
                    Ok(ExitCode::SUCCESS)
                }
                Ok(error) => Err(error.into()),
                Err(error) => Err(error),
            },
            code => code,
        }
    })
}

/// Publishes, waits and prints.
async fn serve(
    line: &Parsed<Key>,
    opts: &Opts,
    request: &JobRequest,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let config = ClientConfig::from_opts(opts, &start::user())?;
    let timeouts = timeouts(line, config.timeouts);
    let mut client = LocalClient::open(config).await?;
    let job = client.publish(request).await?;
    let mode = match request.fun.as_str() {
        Some("sys.doc") => Mode::Docs,
        _ if line.has(Key::Static) => Mode::Static,
        _ => Mode::Streamed,
    };
    let mut report = Report::new(printer, mode);
    let Some(jid) = &job.jid else {
        println("No minions matched the target. No command was sent, no jid was assigned.")?;
        return report.end();
    };
    if line.has(Key::Async) {
        println(&format!("Executed command with job ID: {jid}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    announce(line, jid)?;
    let interrupted = host::shutdown_signal()?;
    let mut printed = Ok(());
    tokio::select! {
        waited = client.wait(&job, timeouts, |reply| {
            printed = report.add(reply);
            match printed {
                Ok(()) => ControlFlow::Continue(()),
                // The reader of the output is gone.
                Err(_) => ControlFlow::Break(()),
            }
        }) => waited?,
        () = interrupted => return give_up(jid),
    }
    printed?;
    if line.has(Key::Summary) && mode == Mode::Streamed && line.value(Key::Out).is_none() {
        report.summary(line.has(Key::Verbose))?;
    }
    report.end()
}

/// Prints the job id if the command line requests it.
fn announce(line: &Parsed<Key>, jid: &Jid) -> anyhow::Result<()> {
    if line.has(Key::Verbose) {
        let text = format!("Executing job with jid {jid}");
        println(&format!("{text}\n{}\n", "-".repeat(text.len())))
    } else if line.has(Key::ShowJid) {
        println(&format!("jid: {jid}"))
    } else {
        Ok(())
    }
}

/// How long to wait for minions: `-t`, or as configured.
fn timeouts(line: &Parsed<Key>, configured: Timeouts) -> Timeouts {
    let typed = line
        .value(Key::Timeout)
        .and_then(|text| text.trim().parse().ok())
        .filter(|seconds| *seconds > 0);
    Timeouts {
        timeout: typed.map_or(configured.timeout, Duration::from_secs),
        ..configured
    }
}

/// After Ctrl-C: the job continues and can be looked up.
fn give_up(jid: &Jid) -> anyhow::Result<ExitCode> {
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
