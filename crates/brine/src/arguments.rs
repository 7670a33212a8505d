//! `brine`'s own command line: what every command has in common, and which module runs it.
//!
//! The arguments of each command are in its module. Salt's commands are in [`crate::salt`], since they follow Salt's
//! syntax and not ours.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands::{
    attach, bench, bus, check, completions, consumer, doctor, explain, history, links, log, man,
    password, reactor, send, status, top, up, watch,
};
use crate::logs::{self, Level, Look};
use crate::salt::Personality;
use crate::{show, terminal, usage};

/// Salt's event bus, native.
#[derive(Debug, Parser)]
#[command(
    name = "brine",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Salt's commands, with Salt's options (`brine links DIR` makes links by these names):\n  \
                  salt-master  salt-minion  salt-api  salt-call  salt-run  salt-key  salt\n\
                  Example: brine salt-run state.event pretty=True\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 what was asked for is gone."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogArguments,
    #[command(subcommand)]
    command: Command,
}

/// How much is logged.
#[derive(Debug, Args)]
struct LogArguments {
    /// Log level for stderr, by Salt's names [default: info for bus and attach, else warning]
    #[arg(
        short = 'l',
        long,
        global = true,
        hide_default_value = true,
        value_name = "LEVEL"
    )]
    log_level: Option<Level>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a master and a minion in a scratch directory, with commands to paste
    Up(up::Arguments),
    /// Run the local bus alone, in the foreground
    Bus(bus::Arguments),
    /// Join the bus of a running Salt master or minion: history, brine.sock and more listeners
    Attach(attach::Arguments),
    /// Show events as they come
    Watch(Box<watch::Arguments>),
    /// Live view of the bus: rates, jobs, minions, subscribers and every event
    Top(Box<top::Arguments>),
    /// Fire events
    Send(send::Arguments),
    /// Show events of the past
    History(Box<history::Arguments>),
    /// Show whether the bus runs, and what its history holds
    Status(status::Arguments),
    /// Examine a site: report what is wrong with it, and what to do
    Doctor(doctor::Arguments),
    /// Check Salt's configuration files: misspelt, ignored and dangerous options
    Check(check::Arguments),
    /// Inspect, verify, export, import and remove stored events
    Log(log::Arguments),
    /// Manage consumers: named readers with a saved position
    Consumer(Box<consumer::Arguments>),
    /// Show the reactor's rules and past reactions, or run a reaction again
    Reactor(Box<reactor::Arguments>),
    /// Show what would react to an event, and how, without firing or calling anything
    Explain(Box<explain::Arguments>),
    /// Print a line for the file of the HTTP API's own users; asks for the password, or reads it from stdin
    Password(password::Arguments),
    /// Load a bus and print rates and latencies
    Bench(bench::Arguments),
    /// Link Salt's command names to this program
    Links(links::Arguments),
    /// Print a shell's completion script
    Completions(completions::Arguments),
    /// Write the manual pages
    Man(man::Arguments),
}

/// `brine help watch` is `brine watch --help`.
pub(crate) fn help_as_option(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.first().is_some_and(|word| word == "help") {
        words.remove(0);
        words.push("--help".into());
    }
    words
}

/// What to say of a value that begins with a hyphen and was taken for an option: the option before it takes no such
/// value.
fn negative_value(error: &clap::Error, words: &[OsString]) -> Option<String> {
    /// Options that take a time.
    const TIMES: [&str; 6] = ["-S", "--since", "-U", "--until", "--from", "--to-time"];
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_negative =
        found.starts_with('-') && found[1..].starts_with(|c: char| c.is_ascii_digit());
    let is_it = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with(&**found));
    let at = words.iter().position(is_it)?;
    let option = words.get(at.checked_sub(1)?)?.to_str()?;
    (is_negative && option.starts_with('-')).then(|| match TIMES.contains(&option) {
        true => format!(
            "{option} takes a time, such as 5m (five minutes ago), 2026-11-29 08:01 or @1700000000"
        ),
        false => format!("{option} takes no negative value"),
    })
}

/// Takes out tips that do not help: an unknown option as a tag, and the shell whose name is most like that of another.
fn without_misleading_tips(error: &mut clap::Error) {
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else {
        return;
    };
    let is_long = found
        .strip_prefix("--")
        .is_some_and(|name| !name.is_empty());
    let is_shell = found == "[SHELL]";
    if is_long && let Some(ContextValue::StyledStrs(tips)) = error.get(ContextKind::Suggested) {
        let is_tag = |tip: &&StyledStr| tip.to_string().contains("as a value, use");
        let tips: Vec<_> = tips.iter().filter(|tip| !is_tag(tip)).cloned().collect();
        match tips.is_empty() {
            true => error.remove(ContextKind::Suggested),
            false => error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips)),
        };
    }
    if is_shell {
        error.remove(ContextKind::SuggestedValue);
    }
}

impl Cli {
    /// Reads the command line. A wrong one ends the program here, with a text and code 2.
    pub(crate) fn read(program: OsString, words: Vec<OsString>) -> Self {
        let words: Vec<OsString> = std::iter::once(program).chain(words).collect();
        Self::try_parse_from(&words).unwrap_or_else(|mut error| {
            without_misleading_tips(&mut error);
            if let Some(tip) = negative_value(&error, &words) {
                let tip = ContextValue::StyledStrs(vec![tip.into()]);
                error.insert(ContextKind::Suggested, tip);
            }
            let wrong = error.get(ContextKind::InvalidSubcommand);
            if let Some(ContextValue::String(wrong)) = wrong
                && let Some(name) = salts_command_like(wrong)
            {
                let tip = ContextValue::Strings(vec![name.to_owned()]);
                error.insert(ContextKind::SuggestedSubcommand, tip);
            }
            if error.use_stderr() {
                usage::complain(&error)
            }
            // `exit` says nothing of help that could not be written.
            match error.print().and_then(|()| terminal::stdout().flush()) {
                Err(fault) if fault.kind() != io::ErrorKind::BrokenPipe => {
                    show::complain(&format_args!("stdout: {fault}"));
                    std::process::exit(1)
                }
                _ => std::process::exit(error.exit_code()),
            }
        })
    }

    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        logs::start(self.log_level(), Look::Own);
        match self.command {
            Command::Up(arguments) => up::run(&arguments),
            Command::Bus(arguments) => bus::run(&arguments),
            Command::Attach(arguments) => attach::run(&arguments),
            Command::Watch(arguments) => watch::run(&arguments),
            Command::Top(arguments) => top::run(&arguments),
            Command::Send(arguments) => send::run(&arguments),
            Command::History(arguments) => history::run(&arguments),
            Command::Status(arguments) => status::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Log(arguments) => log::run(&arguments),
            Command::Consumer(arguments) => consumer::run(&arguments),
            Command::Reactor(arguments) => reactor::run(&arguments),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Password(arguments) => password::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Links(arguments) => links::run(&arguments),
            Command::Completions(arguments) => completions::run(&arguments, Self::command()),
            Command::Man(arguments) => man::run(&arguments, Self::command()),
        }
    }

    /// Daemons log when they are ready; a tool logs only what is wrong.
    fn log_level(&self) -> Level {
        self.log.log_level.unwrap_or(match self.command {
            Command::Bus(_) | Command::Attach(_) => Level::Info,
            _ => Level::Warning,
        })
    }
}

/// The command of Salt's that somebody may have meant.
fn salts_command_like(wrong: &str) -> Option<&'static str> {
    let names = Personality::ALL
        .iter()
        .map(|personality| personality.name());
    let nearest = names.min_by_key(|name| typing_errors(wrong, name))?;
    (typing_errors(wrong, nearest) <= 2).then_some(nearest)
}

/// How many letters must be added, removed or replaced to get from one word to another.
fn typing_errors(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistyped_commands_of_salts_are_known() {
        for (typed, meant) in [
            ("salt-cal", Some("salt-call")),
            ("salt-mastre", Some("salt-master")),
            ("sal", Some("salt")),
            ("watch", None),
        ] {
            assert_eq!(salts_command_like(typed), meant, "{typed}");
        }
    }
}
