//! `salt-run`: runner functions on the command line.
//!
//! The order of things is Salt's, since listeners see it: `salt/run/<jid>/new`, what the function
//! does, `/ret`, and then the return value on stdout.

mod functions;
mod job;
mod options;
mod state_event;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use brine_bus::address::Node;
use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_config::{Arguments, Environment, Loaded, Opts, Role, parse_arguments};
use brine_wire::event::FireError;
use brine_wire::{Map, Value};
use clap::ValueEnum;

use self::functions::{Call, FUNCTIONS, Function, Misfit};
use self::job::Job;
use self::options::{Key, SYNTAX};
use self::state_event::{End, StateEvent};
use super::optparse::Parsed;
use super::output::{OutputOptions, Printer};
use super::python;
use crate::interrupt::Interrupt;
use crate::jid;
use crate::logs::{self, Level, Look};
use crate::{commands, place};

/// Salt's code for wrong usage.
const USAGE: u8 = 64;
/// How long an event may look for the bus, as in Salt.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// Runs a function and prints what it returns.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = match read(&words) {
        Ok(line) => line,
        Err(error) => {
            io::stderr().write_all(SYNTAX.complaint(&error).as_bytes())?;
            return Ok(ExitCode::from(USAGE));
        }
    };
    if let Some(text) = information(&line) {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Loaded {
        opts,
        brine,
        warnings,
    } = configuration(&line)?;
    logs::start(level(&line, &opts), Look::Salt);
    for warning in warnings {
        tracing::debug!("{warning}");
    }
    for name in line.names(Key::NotActedOn) {
        tracing::warn!("option {name} is not acted on");
    }
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
    let config = commands::send::publisher_config(brine.compat, Some(&opts))?;
    let bus = Publisher::new(&place::address(&opts, &Node::Master, None)?, config);
    let job = Job::new(bus, jid, function, user(), arguments.clone());
    let (value, code) = match call(job, function, &arguments, &opts)? {
        Done::Returned(value, code) => (value, code),
        Done::Interrupted => {
            io::stderr().write_all(b"\nExiting gracefully on Ctrl-c\n")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if !line.has(Key::Quiet) {
        printer(&line, &opts)?.print(&value, None, 0)?;
    }
    Ok(ExitCode::from(code))
}

/// Takes the command line apart, with what `--args-stdin` adds to it.
fn read(words: &[String]) -> Result<Parsed<Key>, String> {
    let mut line = SYNTAX.parse(words)?;
    if line.has(Key::ArgsStdin) {
        let input = io::read_to_string(io::stdin()).map_err(|error| format!("stdin: {error}"))?;
        let added = input.lines().map(str::to_owned);
        let all: Vec<_> = words.iter().cloned().chain(added).collect();
        line = SYNTAX.parse(&all)?;
    }
    match line.value(Key::Jid) {
        Some(given) if !jid::is_jid(given) => Err(format!("'{given}' is not a valid JID")),
        _ => Ok(line),
    }
}

/// What is printed instead of running anything.
fn information(line: &Parsed<Key>) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION");
    let compat = brine_wire::compat::Compat::NEWEST;
    if line.has(Key::Help) {
        Some(SYNTAX.help())
    } else if line.has(Key::Version) {
        Some(format!("salt-run {compat} (Brine {version})\n"))
    } else if line.has(Key::Versions) {
        Some(format!(
            "Salt Version:\n          Salt: {compat}\n\nBrine Version:\n         Brine: {version}\n"
        ))
    } else if line.has(Key::Doc) {
        Some(documentation(line.words.first().map(String::as_str)))
    } else {
        None
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

fn configuration(line: &Parsed<Key>) -> anyhow::Result<Loaded> {
    let directory = line.value(Key::ConfigDir).map(PathBuf::from);
    let path = match &directory {
        Some(directory) => {
            if !directory.is_dir() {
                let missing = directory.display();
                writeln!(
                    io::stderr(),
                    "WARNING: CONFIG '{missing}' directory does not exist."
                )?;
            }
            directory.join("master")
        }
        None => PathBuf::from(Role::Client.default_file()),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    Opts::load(Role::Client, &path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))
}

fn level(line: &Parsed<Key>, opts: &Opts) -> Level {
    let name = line.value(Key::LogLevel).or(opts.text("log_level").ok());
    name.and_then(|name| Level::from_str(name, true).ok())
        .unwrap_or(Level::Warning)
}

/// Who calls, as jobs tell: behind `sudo`, the user before it.
fn user() -> String {
    let user = Environment::current().user;
    match std::env::var("SUDO_USER") {
        Ok(before) if user == "root" && !before.is_empty() => format!("sudo_{before}"),
        _ => user,
    }
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

/// Where the return value goes, as `--out` and its kin say.
fn printer(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Printer> {
    let configured = opts
        .is_set("output_indent")
        .then(|| opts.get("output_indent"));
    let indent = line
        .value(Key::OutIndent)
        .and_then(|text| text.parse().ok());
    Printer::new(&OutputOptions {
        out: line.value(Key::Out),
        indent: match indent {
            Some(spaces) => Some(Value::Int(spaces)),
            None => configured.flatten().cloned(),
        },
        file: line.value(Key::OutFile),
        append: line.has(Key::OutFileAppend),
        no_color: line.has(Key::NoColor),
        force_color: line.has(Key::ForceColor),
    })
}
