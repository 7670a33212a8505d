//! `salt-run`: runner functions on the command line.
//!
//! Parses, calls and prints; [`brine_node::runner`] has the functions. The order is Salt's, since listeners depend on
//! it: the event `salt/run/<jid>/new`, the function's work, the event `/ret`, and then the return value on stdout.

mod options;
mod remote;
mod state_event;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bus::address::Node;
use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{LocalAddress, LocalError};
use brine_bus::client::tokio::Publisher;
use brine_config::{Arguments, Loaded, Opts, Role, parse_arguments};
use brine_node::client::ClientError;
use brine_node::runner::functions::{self, Bound, Watched};
use brine_node::runner::{
    self, Beside, Operator, RunnerCall, RunnerError, RunnerEvents, RunnerReturn, documentation,
};
use brine_wire::network::Jid;
use brine_wire::{Map, Value};
use tokio::runtime::Runtime;

pub(super) use self::options::SYNTAX;
use self::state_event::{End, StateEvent};
use super::login;
use super::options::Key;
use super::optparse::Parsed;
use super::start::{self, Read};
use crate::access;
use crate::bus_location;
use crate::clock;
use crate::commands::reactor;
use crate::daemon::account;
use crate::interrupt::Interrupt;
use crate::terminal;

/// Runs a function and prints what it returns.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    if line.has(Key::Doc) {
        let wanted = line.words.first().map(String::as_str);
        terminal::stdout().write_all(documentation(wanted).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Loaded { opts, brine, .. } = start::configure(&line, Role::Client, "master")?;
    let logs_in = login::is_wanted(&line);
    if !logs_in {
        account::become_configured_user(&opts)?;
    }
    let Some((function, rest)) = line.words.split_first() else {
        terminal::stdout().write_all(documentation(None).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let no_parse: Vec<_> = line
        .value(Key::NoParse)
        .unwrap_or_default()
        .split(',')
        .collect();
    let arguments = parse_arguments(rest.iter().map(String::as_str), &no_parse);
    if logs_in {
        return remote::run(&line, &opts, function, arguments);
    }
    let jid = line.value(Key::Jid).map_or_else(new_jid, str::to_owned);
    if line.has(Key::Async) {
        return start_in_background(&words, &jid);
    }
    if function.starts_with("reactor.") && functions::named(function).is_some() {
        return ask_reactor(&line, &opts, function, arguments);
    }
    let user = start::user();
    let config = bus_location::publisher_config(brine.compat, Some(&opts))?;
    let bus = Publisher::new(&bus_location::address(&opts, &Node::Master, None)?, config);
    let mut operator = Beside::new(&opts, brine.compat, &user, bus)?;
    if opts
        .get("runner_returns")
        .is_some_and(|kept| !kept.is_true())
    {
        operator.record_nothing();
    }
    let call = RunnerCall {
        fun: function.clone(),
        arguments,
        user,
        jid,
    };
    let runtime = start::runtime()?;
    let bound = functions::named(function).map(|function| function.bind(&call.arguments));
    if let Some(Ok(bound)) = &bound {
        refuse_without_files(bound, &opts)?;
    }
    let refusal = operator.refusal().map(str::to_owned);
    let returned = match bound {
        Some(Ok(Bound::StateEvent(watched))) => {
            let events = RunnerEvents::new(&mut operator, call);
            state_event(watched, &opts, &runtime, events)?
        }
        _ => {
            let returned = runtime.block_on(runner::run(&mut operator, call));
            Some(match (returned, refusal) {
                // The master's words do not say why.
                (Err(RunnerError::Client(ClientError::Refused(_))), Some(why)) => bail!("{why}"),
                (returned, _) => returned?,
            })
        }
    };
    let Some(returned) = returned else {
        terminal::stderr().write_all(b"\nExiting gracefully on Ctrl-c\n")?;
        return Ok(ExitCode::SUCCESS);
    };
    if !line.has(Key::Quiet) {
        let (value, out) = with_outputter(&returned.value);
        start::printer(&line, &opts)?.print(value, out, 0)?;
    }
    Ok(ExitCode::from(returned.retcode))
}

/// Refuses a function whose files are closed to this user: it would answer as if there were no jobs or minions.
fn refuse_without_files(bound: &Bound, opts: &Opts) -> anyhow::Result<()> {
    let options: &[&str] = match bound {
        Bound::Jobs(_) => &["cachedir"],
        Bound::Minions(_) | Bound::Presence(_) | Bound::Cache(_) => &["cachedir", "pki_dir"],
        Bound::EventSend { .. }
        | Bound::StateEvent(_)
        | Bound::Reactor(_)
        | Bound::Documentation(_)
        | Bound::Echo(_)
        | Bound::Nothing => &[],
    };
    for option in options {
        access::require(option, Path::new(opts.text(option)?), access::READ)?;
    }
    Ok(())
}

/// `reactor.*`: has the running master call the function. Real Salt's would send the master's key over the bus.
fn ask_reactor(
    line: &Parsed<Key>,
    opts: &Opts,
    function: &str,
    arguments: Arguments,
) -> anyhow::Result<ExitCode> {
    /// A little longer than Salt's functions wait.
    const ANSWER_TIME: Duration = Duration::from_secs(30);
    let sock_dir = Path::new(opts.text("sock_dir")?);
    let address = match brine_node::uses_tcp(opts) {
        true => LocalAddress::TokenFile(sock_dir.join(Node::Master.local_token_name())),
        false => LocalAddress::Socket(sock_dir.join(Node::Master.local_socket_name())),
    };
    let mut client = LocalClient::new(address, PublisherConfig::default());
    client
        .connect(Some(Duration::ZERO))
        .context("no reactor of Brine can be asked here")?;
    let mut command = Map::from_iter([("client", "runner"), ("fun", function)]);
    command.insert("arg", arguments.positional);
    command.insert("kwarg", arguments.keyword);
    let (value, code) = match client.run(command, Some(ANSWER_TIME)) {
        Ok(value) => (value, ExitCode::SUCCESS),
        Err(error) if reactor::is_of_salts(&mut client, &error) => bail!(reactor::NONE_BESIDE),
        Err(LocalError::Refused { message, .. }) => (message.into(), ExitCode::FAILURE),
        Err(error) => return Err(error.into()),
    };
    if !line.has(Key::Quiet) {
        let (value, out) = with_outputter(&value);
        start::printer(line, opts)?.print(value, out, 0)?;
    }
    Ok(code)
}

/// `state.event`: prints events until there are enough; `None` after Ctrl-C.
fn state_event(
    watched: Watched,
    opts: &Opts,
    runtime: &Runtime,
    mut events: RunnerEvents<'_, impl Operator>,
) -> anyhow::Result<Option<RunnerReturn>> {
    let interrupt = Interrupt::catch()?;
    // Connects before the call's first event is fired, so that a listener to all tags sees that one too.
    let listener = StateEvent::prepare(watched, opts, &interrupt)?;
    runtime.block_on(events.started());
    if listener.run()? == End::Interrupted {
        return Ok(None);
    }
    runtime.block_on(events.returned(Value::Nil, true, None));
    Ok(Some(RunnerReturn {
        value: Value::Nil,
        retcode: 0,
    }))
}

/// A return value that names its outputter, and one that does not.
fn with_outputter(value: &Value) -> (&Value, Option<&str>) {
    let named = value.as_map().and_then(|map| {
        let out = map.get("outputter")?.as_str()?;
        Some((map.get("data")?, Some(out)))
    });
    named.unwrap_or((value, None))
}

fn check(line: &Parsed<Key>) -> Result<(), String> {
    match line.value(Key::Jid) {
        Some(given) if !Jid::is_timestamp(given) => Err(format!("'{given}' is not a valid JID")),
        _ => Ok(()),
    }
}

fn new_jid() -> String {
    Jid::at(clock::since_epoch()).to_string()
}

/// `--async`: makes the same call in another process, whose return value goes to the bus only.
fn start_in_background(words: &[String], jid: &str) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let words = words.iter().filter(|word| *word != "--async");
    Command::new(program)
        .arg("salt-run")
        .args(["--quiet", "--jid", jid])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start another process")?;
    tracing::warn!("running in the background; its events have the tag salt/run/{jid}");
    Ok(ExitCode::SUCCESS)
}
