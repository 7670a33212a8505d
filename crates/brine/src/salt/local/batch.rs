//! `salt --batch`: a job that runs on a limited number of minions at a time.
//!
//! First it pings all minions that the target selects; those that answer are the batch. Facts: Salt 3008.3 and
//! 3006.28, by running them.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use brine_config::Opts;
use brine_node::JobRequest;
use brine_node::client::{BatchSize, LocalClient, MinionReply, Pace, Progress, ReplyKind};
use brine_wire::network::Jid;
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value, python_text};

use super::report::{Mode, no_return};
use super::{nobody, number, println, selected};
use crate::clock;
use crate::host;
use crate::salt::options::Key;
use crate::salt::optparse::Parsed;
use crate::salt::output::Printer;

/// How a batch is to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    size: BatchSize,
    wait: Duration,
    ends_at_failure: bool,
}

/// The batch that the command line asks for, if it does.
pub(super) fn wanted(
    line: &Parsed<Key>,
    opts: &Opts,
    request: &JobRequest,
) -> anyhow::Result<Option<Batch>> {
    const SAFE_SIZE: usize = 8;
    let mut size = line.value(Key::Batch).and_then(BatchSize::parse);
    let limit = number(line, Key::BatchSafeLimit).unwrap_or(0);
    if size.is_none() && limit > 1 && selected(opts, request)?.len() >= limit {
        println("\nNOTICE: Too many minions targeted, switching to batch execution.")?;
        let safe = number(line, Key::BatchSafeSize).unwrap_or(SAFE_SIZE);
        size = Some(BatchSize::Count(safe));
    }
    let wait = line.value(Key::BatchWait);
    let wait = wait.and_then(|text| text.trim().parse().ok());
    let wait = wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(size.map(|size| Batch {
        size,
        wait: wait.unwrap_or_default(),
        ends_at_failure: line.has(Key::Failhard) || opts.flag("failhard").unwrap_or(false),
    }))
}

/// Runs the job and prints what happens; the exit code is the largest of the minions'.
pub(super) async fn run(
    client: &mut LocalClient,
    opts: &Opts,
    mut request: JobRequest,
    batch: Batch,
    timeouts: Timeouts,
    mode: Mode,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let (up, down) = ping(client, opts, &request, timeouts).await?;
    let is_quiet = mode == Mode::Static;
    let say = |text: &str| match is_quiet {
        true => Ok(()),
        false => println(text),
    };
    if up.is_empty() {
        match is_quiet {
            true => printer.print(&Map::new().into(), None, 0)?,
            false => println("No minions matched the target.")?,
        }
        return no_return();
    }
    for id in down {
        say(&format!(
            "Minion {id} did not respond. No job will be sent."
        ))?;
    }
    let jid = Jid::at(clock::since_epoch());
    request.jid = Some(jid.clone());
    let pace = Pace {
        size: batch.size.of(up.len()),
        wait: batch.wait,
        ends_at_failure: batch.ends_at_failure,
    };
    let (mut retcode, mut all, mut printed) = (0, Map::new(), Ok(()));
    let interrupted = host::shutdown_signal()?;
    let report = |progress| {
        printed = match progress {
            Progress::Started(ids) => {
                let ids: Vec<Value> = ids.into_iter().map(Value::from).collect();
                let ids = python_text::repr(&ids.into());
                say(&format!("\nExecuting run on {ids}\n"))
            }
            Progress::Returned(reply) => {
                retcode = retcode.max(reply.retcode);
                match is_quiet {
                    true => {
                        all.insert(reply.id.as_str(), reply.ret);
                        Ok(())
                    }
                    false => print(&reply, &jid, printer),
                }
            }
            // As in Salt, nothing is said of it.
            Progress::TimedOut(id) => {
                all.insert(id, Map::new());
                Ok(())
            }
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody reads the output any more.
            Err(_) => ControlFlow::Break(()),
        }
    };
    tokio::select! {
        ran = client.batch(&request, up, pace, timeouts, report) => ran?,
        () = interrupted => return super::give_up(&jid),
    }
    printed?;
    if is_quiet {
        printer.print(&all.into(), None, 0)?;
        return Ok(ExitCode::SUCCESS);
    }
    // An exit code is the low byte of a number.
    Ok(ExitCode::from(retcode.to_le_bytes()[0]))
}

/// The minions of the target that answer, and accepted ones that do not.
async fn ping(
    client: &mut LocalClient,
    opts: &Opts,
    request: &JobRequest,
    timeouts: Timeouts,
) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let mut ping = JobRequest::new(request.tgt.clone(), &request.tgt_type, "test.ping");
    if let Some(delimiter) = request.kwargs.get("delimiter") {
        ping.kwargs.insert("delimiter", delimiter.clone());
    }
    let job = client.publish(&ping).await?;
    if job.jid.is_none() {
        nobody(opts)?;
    }
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let sort = |reply: MinionReply| {
        match reply.kind {
            ReplyKind::Returned => up.push(reply.id),
            ReplyKind::NotConnected | ReplyKind::NoResponse => down.push(reply.id),
        }
        ControlFlow::Continue(())
    };
    client.wait(&job, timeouts, sort).await?;
    // As in Salt: those that are not accepted here were not asked.
    down.retain(|id| job.missing.iter().all(|missing| missing.as_str() != id));
    Ok((up, down))
}

/// A return, with its exit code and the job's id, as Salt prints them in batches.
fn print(reply: &MinionReply, jid: &Jid, printer: &Printer) -> anyhow::Result<()> {
    let mut shown = Map::from_iter([("retcode", Value::from(reply.retcode))]);
    shown.insert("jid", jid.as_str());
    shown.insert(reply.id.as_str(), reply.ret.clone());
    printer.print(&shown.into(), reply.out.as_deref(), reply.retcode)
}
