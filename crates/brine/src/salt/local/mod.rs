//! `salt`: runs a function on minions and prints what they return.

mod batch;
mod job;
mod options;
mod report;
mod subset;

use std::ffi::OsString;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use brine_config::{Loaded, Opts, Role};
use brine_node::client::{ClientConfig, ClientError, LocalClient};
use brine_node::{JobRequest, MinionCache};
use brine_wire::Value;
use brine_wire::network::{Jid, MinionId};
use brine_wire::returns::Timeouts;

pub(super) use self::options::SYNTAX;
use self::report::{Mode, Report};
use super::login::{self, LogIn};
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::host;
use crate::terminal;

/// What Salt prints when there is nothing to wait for.
const NOBODY: &str = "No minions matched the target. No command was sent, no jid was assigned.";
/// Salt's exit code where nobody can log in.
const NO_LOGIN: u8 = 2;
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
    let shown = Shown::of(&line, &opts)?;
    let request = match job::read(&line, shown.jid) {
        Ok(request) => request,
        Err(incomplete) => {
            if incomplete.wants_help() {
                terminal::stdout().write_all(SYNTAX.help().as_bytes())?;
            }
            terminal::stderr().write_all(incomplete.to_string().as_bytes())?;
            return Ok(ExitCode::from(INCOMPLETE));
        }
    };
    let mut printer = start::printer(&line, &opts)?;
    printer.heed(&request.arg);
    start::runtime()?.block_on(async {
        match serve(&line, &opts, request, shown, &printer).await {
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

/// What is printed beside returns: as the command line says, or the master's configuration.
#[derive(Debug, Clone, Copy)]
struct Shown {
    jid: bool,
    verbose: bool,
    summary: bool,
}

impl Shown {
    fn of(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Self> {
        Ok(Self {
            jid: line.has(Key::ShowJid) || opts.flag("show_jid")?,
            verbose: line.has(Key::Verbose),
            summary: line.has(Key::Summary) || opts.flag("cli_summary")?,
        })
    }

    /// Prints the job's id. Beside returns that are printed all at once there is nothing else, so that `--out json`
    /// is JSON.
    fn announce(self, mode: Mode, jid: &Jid) -> anyhow::Result<()> {
        match mode {
            Mode::Static => Ok(()),
            Mode::Streamed if self.verbose => {
                let text = format!("Executing job with jid {jid}");
                println(&format!("{text}\n{}\n", "-".repeat(text.len())))
            }
            _ if self.jid => println(&format!("jid: {jid}")),
            _ => Ok(()),
        }
    }
}

/// Publishes, waits and prints.
async fn serve(
    line: &Parsed<Key>,
    opts: &Opts,
    mut request: JobRequest,
    shown: Shown,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if line.has(Key::PreviewTarget) {
        return preview(opts, &request, printer);
    }
    let mut config = ClientConfig::from_opts(opts, &start::user())?;
    match login::log_in(line, opts, &config).await? {
        LogIn::With(fields) => config.login = fields,
        LogIn::Impossible => {
            writeln!(terminal::stderr(), "ERROR: Authentication failed")?;
            return Ok(ExitCode::from(NO_LOGIN));
        }
    }
    let timeouts = timeouts(line, config.timeouts);
    let refusal = config.refusal().map(str::to_owned);
    let mut client = LocalClient::open(config).await?;
    if let Some(why) = refusal {
        // The master's words do not say it.
        tracing::error!("{why}");
    }
    let mode = match request.fun.as_str() {
        Some("sys.doc") => Mode::Docs,
        _ if line.has(Key::Static) => Mode::Static,
        _ => Mode::Streamed,
    };
    if let Some(batch) = batch::wanted(line, opts, &request)? {
        return batch::run(&mut client, opts, request, batch, timeouts, mode, printer).await;
    }
    if let Some(count) = number(line, Key::Subset).filter(|count| *count > 0) {
        subset::narrow(&mut client, opts, &mut request, count, timeouts, shown).await?;
    }
    let job = client.publish(&request).await?;
    let mut report = Report::new(printer, mode);
    let Some(jid) = &job.jid else {
        nobody(opts)?;
        return report.end();
    };
    if line.has(Key::Async) {
        println(&format!("Executed command with job ID: {jid}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    shown.announce(mode, jid)?;
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
    if shown.summary && mode == Mode::Streamed && line.value(Key::Out).is_none() {
        report.summary(shown.verbose)?;
    }
    report.end()
}

/// Says that the target selects no minion. As in Salt not with `order_masters`: minions of other masters may match.
fn nobody(opts: &Opts) -> anyhow::Result<()> {
    match opts.flag("order_masters")? {
        true => Ok(()),
        false => println(NOBODY),
    }
}

/// `--preview-target`: which minions the target selects.
fn preview(opts: &Opts, request: &JobRequest, printer: &Printer) -> anyhow::Result<ExitCode> {
    let selected = selected(opts, request)?;
    let ids = selected.iter().map(|id| Value::from(id.as_str()));
    printer.print(&Value::Array(ids.collect()), None, 0)?;
    if selected.is_empty() {
        return report::no_return();
    }
    Ok(ExitCode::SUCCESS)
}

/// The minions that the target selects, by what the master's disk has of them.
fn selected(opts: &Opts, request: &JobRequest) -> anyhow::Result<Vec<MinionId>> {
    let delimiter = request.kwargs.get("delimiter").and_then(Value::as_str);
    let cache = MinionCache::of(opts)?;
    Ok(cache.selected(&request.tgt, &request.tgt_type, delimiter)?)
}

/// The number of an option.
fn number(line: &Parsed<Key>, key: Key) -> Option<usize> {
    line.value(key)?.trim().parse().ok()
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
        terminal::stderr(),
        "\nThis job's jid is: {jid}\nExiting gracefully on Ctrl-c\n\
         The minions may not have all finished running and any remaining minions will return \
         upon completion. To look up the return data for this job later, run the following \
         command:\n\nsalt-run jobs.lookup_jid {jid}"
    )?;
    Ok(ExitCode::FAILURE)
}

fn println(text: &str) -> anyhow::Result<()> {
    let mut stdout = terminal::stdout();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
