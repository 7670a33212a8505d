//! `salt-run -a`: has the master run the function, with the rights of the user who logs in, and prints what it
//! returned.

use std::process::ExitCode;
use std::time::Duration;

use brine_config::{Arguments, Opts};
use brine_node::client::{self, ClientError, RunnerCalls};
use brine_wire::Value;

use super::with_outputter;
use crate::salt::login;
use crate::salt::options::Key;
use crate::salt::optparse::Parsed;
use crate::salt::start;

/// How long a function may take, unless `rest_timeout` says otherwise. Salt has this name for it.
const ANSWER_TIME: i64 = 300;

/// Runs the function.
pub(super) fn run(
    line: &Parsed<Key>,
    opts: &Opts,
    function: &str,
    arguments: Arguments,
) -> anyhow::Result<ExitCode> {
    let returned = start::runtime()?.block_on(ask(line, opts, function, arguments));
    let (value, out) = match &returned {
        Ok(None) => return Ok(ExitCode::SUCCESS),
        Ok(Some(value)) => {
            let (value, out) = with_outputter(value);
            (value.clone(), out)
        }
        // As Salt does: printed on stdout, and not a failure.
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(error) => (error.to_string().into(), Some("nested")),
            None => return returned.map(|_| ExitCode::FAILURE),
        },
    };
    if !line.has(Key::Quiet) {
        start::printer(line, opts)?.print(&value, out, 0)?;
    }
    let code = value.as_map().and_then(|map| map.get("retcode"));
    let code = code.and_then(Value::as_int).unwrap_or(0);
    Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)))
}

/// What the function returned; `None` if logging in is impossible, or nobody waits.
async fn ask(
    line: &Parsed<Key>,
    opts: &Opts,
    function: &str,
    arguments: Arguments,
) -> anyhow::Result<Option<Value>> {
    let Some(config) = login::client(line, opts).await? else {
        return Ok(None);
    };
    if line.has(Key::Async) {
        let started = client::runner(&config, function, arguments).await?;
        let tag = started
            .get("tag")
            .and_then(Value::as_str)
            .unwrap_or_default();
        tracing::warn!("the master runs it; its events have the tag {tag}");
        return Ok(None);
    }
    let seconds = opts.int("rest_timeout").unwrap_or(ANSWER_TIME);
    let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let mut calls = RunnerCalls::open(config).await?;
    match calls.run(function, arguments, wait).await? {
        Some(value) => Ok(Some(value)),
        None => anyhow::bail!("the function did not return within {seconds} s (rest_timeout)"),
    }
}
