//! The first steps of all Salt commands: read the command line and the configuration, start the log.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use brine_config::{Environment, Loaded, Opts, Role};
use brine_wire::Value;
use brine_wire::compat::Compat;
use clap::ValueEnum;
use rustix::fs::Access;

use super::options::Key;
use super::optparse::{Parsed, Syntax};
use super::output::{OutputOptions, Printer, StateOptions, TableOptions, Tabular};
use super::python;
use crate::access;
use crate::logs::{self, Level, Look};
use crate::terminal;

/// Salt's exit code for wrong usage.
pub(super) const USAGE: u8 = 64;

/// The result of reading a command line.
pub(super) enum Read {
    /// A line that asks for something.
    Line(Parsed<Key>),
    /// It was wrong, or asked for help or the version: answered already.
    Done(ExitCode),
}

/// Arguments as text.
pub(super) fn texts(words: &[OsString]) -> Vec<String> {
    let words = words.iter();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Parses a command line, with what `--args-stdin` adds to it. Answers wrong lines, and those that ask for help or
/// the version. `check` finds what else is wrong.
pub(super) fn read(
    syntax: &Syntax<Key>,
    words: &[String],
    check: impl FnOnce(&Parsed<Key>) -> Result<(), String>,
) -> anyhow::Result<Read> {
    let line = parse(syntax, words).and_then(|line| check(&line).map(|()| line));
    match line {
        Err(error) => {
            terminal::stderr().write_all(syntax.complaint(&error).as_bytes())?;
            Ok(Read::Done(ExitCode::from(USAGE)))
        }
        Ok(line) => match information(syntax, &line) {
            None => Ok(Read::Line(line)),
            Some(text) => {
                terminal::stdout().write_all(text.as_bytes())?;
                Ok(Read::Done(ExitCode::SUCCESS))
            }
        },
    }
}

fn parse(syntax: &Syntax<Key>, words: &[String]) -> Result<Parsed<Key>, String> {
    let line = syntax.parse(words)?;
    if !line.has(Key::ArgsStdin) {
        return Ok(line);
    }
    let input = io::read_to_string(io::stdin()).map_err(|error| format!("stdin: {error}"))?;
    let added = input.lines().map(str::to_owned);
    let all: Vec<_> = words.iter().cloned().chain(added).collect();
    syntax.parse(&all)
}

fn information(syntax: &Syntax<Key>, line: &Parsed<Key>) -> Option<String> {
    let version = env!("CARGO_PKG_VERSION");
    let compat = Compat::NEWEST;
    if line.has(Key::Help) {
        Some(syntax.help())
    } else if line.has(Key::Version) {
        Some(format!("{} {compat} (Brine {version})\n", syntax.program))
    } else if line.has(Key::Versions) {
        Some(format!(
            "Salt Version:\n          Salt: {compat}\n\nBrine Version:\n         Brine: {version}\n"
        ))
    } else {
        None
    }
}

/// Loads the configuration file of a name, and starts the log.
pub(super) fn configure(line: &Parsed<Key>, role: Role, name: &str) -> anyhow::Result<Loaded> {
    let loaded = load(line, role, name)?;
    logs::start(level(line, &loaded.opts, "log_level"), Look::Salt);
    for warning in &loaded.warnings {
        tracing::debug!("{warning}");
    }
    warn_of_level(&loaded.opts);
    warn_of_ignored(line);
    Ok(loaded)
}

/// Warns of an invalid log level in the configuration.
pub(super) fn warn_of_level(opts: &Opts) {
    for option in ["log_level", "log_level_logfile"] {
        if let Some(text) = opts.get(option).and_then(Value::as_str)
            && Level::from_str(text, true).is_err()
        {
            tracing::warn!("option {option}: unknown level {text}; using warning");
        }
    }
}

/// Warns of options that Brine ignores.
pub(super) fn warn_of_ignored(line: &Parsed<Key>) {
    for name in line.names(Key::NotActedOn) {
        tracing::warn!("option {name} is ignored");
    }
}

/// Loads the configuration file of a name.
pub(super) fn load(line: &Parsed<Key>, role: Role, name: &str) -> anyhow::Result<Loaded> {
    let path = match line.value(Key::ConfigDir).map(Path::new) {
        Some(directory) => {
            if !directory.is_dir() {
                let missing = directory.display();
                writeln!(
                    terminal::stderr(),
                    "WARNING: CONFIG '{missing}' directory does not exist."
                )?;
            }
            directory.join(name)
        }
        None => PathBuf::from(role.default_file()),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    if line
        .value(Key::ConfigDir)
        .is_some_and(|directory| Path::new(directory).is_dir())
        && path.try_exists().is_ok_and(|exists| !exists)
    {
        let file = path.display();
        writeln!(
            terminal::stderr(),
            "WARNING: CONFIG '{file}' does not exist: the defaults apply, such as /etc/salt for keys."
        )?;
    }
    // As in Salt, defaults count then, which lead to the machine's own master: not without a word.
    if let Err(error) = std::fs::File::open(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        let file = path.display();
        let denied = access::denied(&path, Access::READ_OK);
        let why = denied.map_or_else(|| error.to_string(), |denied| denied.to_string());
        writeln!(
            terminal::stderr(),
            "WARNING: CONFIG '{file}' cannot be read, and the defaults apply: {why}"
        )?;
    }
    Opts::load(role, &path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))
}

/// The log level on the command line, or else in this option.
pub(super) fn level(line: &Parsed<Key>, opts: &Opts, option: &str) -> Level {
    let of_file = line.value(Key::LogFileLevel);
    let of_file = of_file.filter(|_| option == "log_level_logfile");
    let typed = of_file.or(line.value(Key::LogLevel));
    let configured = || opts.text(option).or(opts.text("log_level")).ok();
    typed
        .or_else(configured)
        .and_then(|name| Level::from_str(name, true).ok())
        .unwrap_or(Level::Warning)
}

/// Prints return values as `--out` and related options say.
pub(super) fn printer(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Printer> {
    let configured = opts.is_set("output_indent");
    let configured = configured.then(|| opts.get("output_indent")).flatten();
    let indent = line
        .value(Key::OutIndent)
        .and_then(|text| text.trim().parse().ok());
    Printer::new(OutputOptions {
        out: line.value(Key::Out),
        indent: indent.map(Value::Int).or_else(|| configured.cloned()),
        file: line.value(Key::OutFile),
        append: line.has(Key::OutFileAppend),
        no_color: line.has(Key::NoColor),
        force_color: line.has(Key::ForceColor),
        states: state_options(line, opts),
        table: table_options(opts),
    })
}

/// How `table` looks: the options `out.table.*` of the configuration.
fn table_options(opts: &Opts) -> TableOptions {
    let default = TableOptions::default();
    let option = |name: &str| {
        let value = opts.get(&format!("out.table.{name}"));
        value.filter(|value| **value != Value::Nil)
    };
    let key = |name| {
        option(name)
            .filter(|value| value.is_true())
            .map(python::str)
    };
    let text = |name, otherwise| option(name).map_or(otherwise, python::str);
    let flag = |name| option(name).is_none_or(Value::is_true);
    TableOptions {
        nested_indent: (option("nested_indent").and_then(Value::as_int))
            .and_then(|spaces| usize::try_from(spaces).ok())
            .unwrap_or(default.nested_indent),
        rows_key: key("rows_key"),
        labels_key: key("labels_key"),
        title: key("title"),
        has_header: flag("has_header"),
        row_delimiter: text("row_delimiter", default.row_delimiter),
        delim: text("delim", default.delim),
        justify: text("justify", default.justify),
        separate_rows: flag("separate_rows"),
        prefix: text("prefix", default.prefix),
        suffix: text("suffix", default.suffix),
        width: (option("width").and_then(Value::as_int))
            .and_then(|width| i64::try_from(width).ok())
            .unwrap_or(default.width),
    }
}

/// What `highstate` shows of states: as the command line says, or the configuration.
fn state_options(line: &Parsed<Key>, opts: &Opts) -> StateOptions {
    let flag = |name: &str| opts.get(name).is_some_and(Value::is_true);
    let results = |name: &str| opts.get(name).map_or_else(Vec::new, StateOptions::results);
    let output = line.value(Key::StateOutput).filter(|text| !text.is_empty());
    let output = output.or_else(|| opts.text("state_output").ok());
    StateOptions {
        verbose: match line.value(Key::StateVerbose) {
            None | Some("") => flag("state_verbose"),
            // As in Salt, any other text counts as true.
            Some(text) => !matches!(text, "False" | "false"),
        },
        output: output.unwrap_or("full").to_owned(),
        diff: line.has(Key::StateOutputDiff) || flag("state_output_diff"),
        profile: flag("state_output_profile"),
        percentages: flag("state_output_pct"),
        tabular: match opts.get("state_tabular") {
            Some(Value::Bool(true)) => Tabular::Columns,
            Some(Value::Str(format)) => Tabular::Format(format.clone()),
            _ => Tabular::No,
        },
        compress_ids: flag("state_compress_ids"),
        exclude: results("state_output_exclude"),
        terse: results("state_output_terse"),
    }
}

/// A runtime for commands that wait for one thing at a time.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// The user who calls, as jobs show it: under `sudo`, the user who ran it.
pub(super) fn user() -> String {
    let user = Environment::current().user;
    match std::env::var("SUDO_USER") {
        Ok(before) if user == "root" && !before.is_empty() => format!("sudo_{before}"),
        _ => user,
    }
}
