//! `salt-run`: runner functions on the command line.
//!
//! The order of things is Salt's, since listeners see it: `salt/run/<jid>/new`, what the function
//! does, `/ret`, and then the return value on stdout.

mod functions;
mod job;
mod jobs;
mod manage;
mod options;
mod state_event;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use brine_bus::address::Node;
use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_config::{Arguments, Loaded, Opts, Role, parse_arguments};
use brine_node::master::{RunnerCall, Runners};
use brine_wire::compat::Compat;
use brine_wire::event::FireError;
use brine_wire::{Map, Value};

use self::functions::{Call, FUNCTIONS, Function, Misfit};
use self::job::Job;
use self::options::SYNTAX;
use self::state_event::{End, StateEvent};
use super::options::Key;
use super::optparse::Parsed;
use super::python;
use super::start::{self, Read};
use crate::bus_location;
use crate::daemon::account;
use crate::interrupt::Interrupt;
use crate::jid;
use crate::show;

/// How long an event may look for the bus, as in Salt.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// Runs a function and prints what it returns.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    if line.has(Key::Doc) {
        let wanted = line.words.first().map(String::as_str);
        io::stdout().write_all(documentation(wanted).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Loaded { opts, brine, .. } = start::configure(&line, Role::Client, "master")?;
    account::become_configured_user(&opts)?;
    let Some((function, rest)) = line.words.split_first() else {
        io::stdout().write_all(documentation(None).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let jid = line.value(Key::Jid).map_or_else(jid::now, str::to_owned);
    if line.has(Key::Async) {
        return start_apart(&words, &jid);
    }
    let no_parse: Vec<_> = line
        .value(Key::NoParse)
        .unwrap_or_default()
        .split(',')
        .collect();
    let arguments = parse_arguments(rest.iter().map(String::as_str), &no_parse);
    let config = bus_location::publisher_config(brine.compat, Some(&opts))?;
    let bus = Publisher::new(&bus_location::address(&opts, &Node::Master, None)?, config);
    let job = Job::new(bus, jid, function, start::user(), arguments.clone());
    let (value, code) = match call(job, function, &arguments, &opts)? {
        Done::Returned(value, code) => (value, code),
        Done::Interrupted => {
            io::stderr().write_all(b"\nExiting gracefully on Ctrl-c\n")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if !line.has(Key::Quiet) {
        let (value, out) = with_outputter(&value);
        start::printer(&line, &opts)?.print(value, out, 0)?;
    }
    Ok(ExitCode::from(code))
}

/// How a master runs a function that a local client asks it for: as this command does, but for the printing.
pub(crate) fn runners(loaded: &Loaded) -> Runners {
    let (opts, compat) = (loaded.opts.clone(), loaded.brine.compat);
    Arc::new(move |asked| {
        let fun = asked.fun.clone();
        if let Err(error) = by_request(&opts, compat, asked) {
            tracing::error!("runner {fun}: {}", show::one_line(&error));
        }
    })
}

fn by_request(opts: &Opts, compat: Option<Compat>, asked: RunnerCall) -> anyhow::Result<()> {
    let arguments = Arguments {
        positional: Vec::new(),
        keyword: asked.kwargs,
    };
    let config = bus_location::publisher_config(compat, Some(opts))?;
    let bus = Publisher::new(&bus_location::address(opts, &Node::Master, None)?, config);
    let mut job = Job::new(bus, asked.jid, &asked.fun, asked.user, arguments.clone());
    if asked.fun == STATE_EVENT {
        job.is_refused("'state.event' prints what it hears: it is for salt-run.");
        return Ok(());
    }
    call(job, &asked.fun, &arguments, opts).map(drop)
}

/// The function that returns nothing and prints.
const STATE_EVENT: &str = "state.event";

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
        Some(given) if !jid::is_jid(given) => Err(format!("'{given}' is not a valid JID")),
        _ => Ok(()),
    }
}

/// What functions there are, whose names begin so.
fn documentation(beginning: Option<&str>) -> String {
    let wanted = FUNCTIONS
        .iter()
        .filter(|function| function.name.starts_with(beginning.unwrap_or_default()));
    wanted.map(help_of).collect()
}

fn help_of(function: &Function) -> String {
    format!("{}:\n{}\n", function.name, function.help)
}

/// `--async`: the same call in a process of its own, whose return value goes to the bus alone.
fn start_apart(words: &[String], jid: &str) -> anyhow::Result<ExitCode> {
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
    tracing::warn!("running apart; what comes of it is told under the tag salt/run/{jid}");
    Ok(ExitCode::SUCCESS)
}

/// What a call came to.
enum Done {
    /// A return value, and the exit code with it.
    Returned(Value, u8),
    Interrupted,
}

fn call(mut job: Job, name: &str, arguments: &Arguments, opts: &Opts) -> anyhow::Result<Done> {
    let Some(function) = functions::named(name) else {
        let why = format!("'{name}' is not available.");
        job.is_refused(&why);
        return Ok(Done::Returned(why.into(), 0));
    };
    match function.bind(arguments) {
        Err(Misfit::Unknown(names)) => {
            let why = format!("The following keyword arguments are not valid: {names}");
            job.is_refused(&why);
            tracing::error!("{why}");
            Ok(Done::Returned(help_of(function).trim_end().into(), 0))
        }
        Err(Misfit::Invalid(error)) => {
            let text = format!(
                "\nPassed invalid arguments: {error}\n\nUsage:\n{}",
                function.help
            );
            let value = Value::from(text.trim_end());
            job.begins();
            job.returns(value.clone(), true, None);
            Ok(Done::Returned(value, 0))
        }
        Ok(Call::EventSend { tag, data }) => {
            job.begins();
            Ok(event_send(job, &tag, data))
        }
        Ok(Call::Jobs(question)) => {
            job.begins();
            Ok(done(job, jobs::answer(&question, opts)?))
        }
        Ok(Call::Minions(asked)) => {
            job.begins();
            Ok(done(job, manage::answer(&asked, opts)?))
        }
        Ok(Call::StateEvent(watched)) => {
            let interrupt = Interrupt::catch()?;
            // Connected before the job is told of: a listener to everything hears its own start.
            let listener = StateEvent::prepare(watched, opts, &interrupt)?;
            job.begins();
            if listener.run()? == End::Interrupted {
                return Ok(Done::Interrupted);
            }
            job.returns(Value::Nil, true, None);
            Ok(Done::Returned(Value::Nil, 0))
        }
    }
}

/// A function that came to a value.
fn done(mut job: Job, value: Value) -> Done {
    job.returns(value.clone(), true, None);
    Done::Returned(value, 0)
}

/// `event.send`: fires on the master's bus.
fn event_send(mut job: Job, tag: &Value, data: Value) -> Done {
    let fired = match (tag, data) {
        (Value::Str(tag), Value::Map(mut data)) => fire(&mut job, tag, &mut data),
        (Value::Str(tag), data) if !data.is_true() => fire(&mut job, tag, &mut Map::new()),
        (Value::Str(_), data) => {
            let found = python::str(&data);
            Err(format!("ValueError: Dict object expected, not '{found}'."))
        }
        (tag, _) => Err(format!(
            "TypeError: expected a tag, found {}",
            python::repr(tag)
        )),
    };
    match fired {
        Ok(was_sent) => {
            job.returns(was_sent.into(), true, None);
            Done::Returned(was_sent.into(), 0)
        }
        Err(raised) => {
            let text = format!("Exception occurred in runner event.send: {raised}");
            job.returns(text.as_str().into(), false, Some(1));
            Done::Returned(text.into(), 1)
        }
    }
}

/// Fires; `false` without a bus, an error where Salt raises one.
fn fire(job: &mut Job, tag: &str, data: &mut Map) -> Result<bool, String> {
    match job.fire(tag, data) {
        Ok(()) => Ok(true),
        Err(PublishError::Event(FireError::EmptyTag)) => Err("ValueError: Empty tag.".to_owned()),
        Err(PublishError::Event(error)) => Err(format!("ValueError: {error}")),
        Err(error) => {
            tracing::error!("{error}");
            Ok(false)
        }
    }
}
