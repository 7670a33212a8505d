//! What Salt's commands begin with: their command line, the configuration and the log.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use brine_config::{Environment, Loaded, Opts, Role};
use brine_wire::Value;
use brine_wire::compat::Compat;
use clap::ValueEnum;

use super::options::Key;
use super::optparse::{Parsed, Syntax};
use super::output::{OutputOptions, Printer};
use crate::logs::{self, Level, Look};

/// Salt's code for wrong usage.
pub(super) const USAGE: u8 = 64;

/// A command line that was read.
pub(super) enum Read {
    /// There is something to do.
    Line(Parsed<Key>),
    /// All is said already.
    Done(ExitCode),
}

/// Arguments as text.
pub(super) fn texts(words: &[OsString]) -> Vec<String> {
    let words = words.iter();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Takes a command line apart, with what `--args-stdin` adds to it; answers wrong ones, and those
/// that ask for help or the version. `check` finds what else is wrong with it.
pub(super) fn read(
    syntax: &Syntax<Key>,
    words: &[String],
    check: impl FnOnce(&Parsed<Key>) -> Result<(), String>,
) -> anyhow::Result<Read> {
    let line = parse(syntax, words).and_then(|line| check(&line).map(|()| line));
    match line {
        Err(error) => {
            io::stderr().write_all(syntax.complaint(&error).as_bytes())?;
            Ok(Read::Done(ExitCode::from(USAGE)))
        }
        Ok(line) => match information(syntax, &line) {
            None => Ok(Read::Line(line)),
            Some(text) => {
                io::stdout().write_all(text.as_bytes())?;
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
    tell_not_acted_on(line);
    Ok(loaded)
}

/// Warns of options that ask for what is not there.
pub(super) fn tell_not_acted_on(line: &Parsed<Key>) {
    for name in line.names(Key::NotActedOn) {
        tracing::warn!("option {name} is not acted on");
    }
}

/// Loads the configuration file of a name.
pub(super) fn load(line: &Parsed<Key>, role: Role, name: &str) -> anyhow::Result<Loaded> {
    let path = match line.value(Key::ConfigDir).map(Path::new) {
        Some(directory) => {
            if !directory.is_dir() {
                let missing = directory.display();
                writeln!(
                    io::stderr(),
                    "WARNING: CONFIG '{missing}' directory does not exist."
                )?;
            }
            directory.join(name)
        }
        None => PathBuf::from(role.default_file()),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    Opts::load(role, &path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))
}

/// The level that the command line says, or else an option of that name.
pub(super) fn level(line: &Parsed<Key>, opts: &Opts, option: &str) -> Level {
    let said = line.value(Key::LogLevel);
    let configured = || opts.text(option).or(opts.text("log_level")).ok();
    said.or_else(configured)
        .and_then(|name| Level::from_str(name, true).ok())
        .unwrap_or(Level::Warning)
}

/// Where return values go, as `--out` and its kin say.
pub(super) fn printer(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Printer> {
    let configured = opts.is_set("output_indent");
    let configured = configured.then(|| opts.get("output_indent")).flatten();
    let indent = line
        .value(Key::OutIndent)
        .and_then(|text| text.trim().parse().ok());
    Printer::new(&OutputOptions {
        out: line.value(Key::Out),
        indent: indent.map(Value::Int).or_else(|| configured.cloned()),
        file: line.value(Key::OutFile),
        append: line.has(Key::OutFileAppend),
        no_color: line.has(Key::NoColor),
        force_color: line.has(Key::ForceColor),
    })
}

/// Who calls, as jobs tell: behind `sudo`, the user before it.
pub(super) fn user() -> String {
    let user = Environment::current().user;
    match std::env::var("SUDO_USER") {
        Ok(before) if user == "root" && !before.is_empty() => format!("sudo_{before}"),
        _ => user,
    }
}
