//! Runs a function in the minion that is running on this machine, over its local socket: no sign-in, no modules to
//! load.
//!
//! Salt's own minions have no such socket; what `brine attach` serves beside them runs no functions. With them, without a minion, or if this user may not use the socket,
//! `salt-call` runs the function another way.

use std::time::Duration;

use anyhow::bail;
use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{LocalAddress, LocalError};
use brine_node::functions::{Call, LogRecord, Outcome};
use brine_wire::{Map, Value};

use crate::commands::late;
use crate::show;

/// Whether the running minion ran the function.
#[derive(Debug)]
pub(super) enum ViaMinion {
    Answered(Outcome),
    /// No minion is running that would run it.
    NotAvailable,
}

/// Who receives the return, besides the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportTo {
    Master,
    Nobody,
}

/// Runs a function in the running minion. `written` is the call's arguments as typed; what the function's module logs at
/// `log_level` (Python's number) is logged here, too.
pub(super) fn run(
    minion: LocalAddress,
    call: &Call,
    written: &[String],
    report_to: ReportTo,
    log_level: Option<i64>,
) -> anyhow::Result<ViaMinion> {
    let mut command = Map::from_iter([("client", "caller"), ("fun", call.fun.as_str())]);
    command.insert("arg", call.args.clone());
    command.insert("kwarg", call.kwargs.clone());
    command.insert("pub", call.publication.clone());
    let written = written.iter().map(|word| Value::from(word.as_str()));
    command.insert("fun_args", written.collect::<Vec<_>>());
    command.insert("jid", call.jid.as_str());
    command.insert("return", report_to == ReportTo::Master);
    if let Some(level) = log_level {
        command.insert("log_level", level);
    }
    let mut minion = LocalClient::new(minion, PublisherConfig::default());
    let mut is_minion = true;
    // A minion that is there has its socket. How long a function takes is not known, but one that hangs is not waited for.
    let answer = minion.connect(Some(Duration::ZERO)).and_then(|()| {
        let status = late::ask(&mut minion, late::ANSWER, |minion| {
            minion.status(Some(late::ANSWER))
        });
        match status {
            Err(error @ LocalError::TimedOut { .. }) => Err(error),
            // It is that of `brine attach` beside a minion of Salt's, or of a bus alone.
            Ok(status) if !is_of_minion(&status) => {
                is_minion = false;
                Ok(Value::Nil)
            }
            // Who may not ask for it is told so of the function, too.
            _ => minion.run(command, None),
        }
    });
    match answer {
        Ok(_) if !is_minion => Ok(ViaMinion::NotAvailable),
        Ok(Value::Map(mut answer)) => {
            log(answer.remove("log").as_ref());
            Ok(ViaMinion::Answered(outcome(answer)))
        }
        Ok(_) => bail!("the minion's local socket answered with something else than a mapping"),
        Err(error @ LocalError::TimedOut { .. }) => {
            show::complain(&format_args!(
                "{error}. Running {} without the minion, as when none runs",
                call.fun
            ));
            Ok(ViaMinion::NotAvailable)
        }
        Err(error) if error.is_absent() || is_forbidden(&error) => {
            tracing::debug!("{error}");
            Ok(ViaMinion::NotAvailable)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether what answers runs functions.
fn is_of_minion(status: &Value) -> bool {
    let node = status.as_map().and_then(|status| status.get("node"));
    let kind = node.and_then(|node| node.as_map()?.get("kind")?.as_str());
    kind == Some("minion")
}

/// As for other users' `salt-call` on a real minion, which cannot use its bus either.
fn is_forbidden(error: &LocalError) -> bool {
    matches!(
        error,
        LocalError::Refused {
            status: 401 | 403,
            ..
        }
    )
}

/// Logs what the function's module did.
fn log(records: Option<&Value>) {
    for LogRecord { level, text } in LogRecord::read_all(records) {
        match level {
            40.. => tracing::error!("{text}"),
            30.. => tracing::warn!("{text}"),
            20.. => tracing::info!("{text}"),
            10.. => tracing::debug!("{text}"),
            _ => tracing::trace!("{text}"),
        }
    }
}

fn outcome(mut answer: Map) -> Outcome {
    let retcode = answer.get("retcode").and_then(Value::as_int);
    Outcome {
        retcode: retcode
            .and_then(|code| i64::try_from(code).ok())
            .unwrap_or_default(),
        success: answer.get("success").is_some_and(Value::is_true),
        out: answer.get("out").and_then(Value::as_str).map(str::to_owned),
        ret: answer.remove("return").unwrap_or(Value::Nil),
    }
}
