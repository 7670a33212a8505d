//! The arguments of `cmd.*` functions, checked: which words, where, as whom, and what counts as success.

use std::path::PathBuf;
use std::time::Duration;

use brine_wire::{Map, Value, python_text};
use nix::unistd::User;
use rustix::fs::{Access, access};

use super::finished::Success;
use super::{Arguments, failed, shlex, which};
use crate::functions::Failure;
use crate::functions::context::Context;

/// The variables that set the locale of commands to C by default: Salt parses English output only.
const LOCALE: [&str; 13] = [
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
    "LANGUAGE",
];

/// A command to run.
pub(super) struct Options {
    pub(super) words: Words,
    pub(super) cwd: PathBuf,
    /// The shell to run it with, if any.
    pub(super) shell: Option<String>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) runas: Option<User>,
    pub(super) env: Vec<(String, String)>,
    pub(super) clean_env: bool,
    pub(super) prepend_path: Option<String>,
    pub(super) umask: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) rstrip: bool,
    pub(super) is_background: bool,
    pub(super) merges: bool,
    pub(super) success: Success,
}

/// A command as it was given.
#[derive(Clone)]
pub(super) enum Words {
    Line(String),
    List(Vec<String>),
}

impl Options {
    /// Reads a function's arguments. `merges`: standard error goes into standard output.
    pub(super) fn read(
        context: &Context,
        arguments: &Arguments,
        merges: bool,
    ) -> Result<Self, Failure> {
        let words = match arguments.get("cmd") {
            Value::Array(list) => Words::List(list.iter().map(python_text::str).collect()),
            line => Words::Line(python_text::str(line)),
        };
        Self::of(context, arguments, words, merges)
    }

    /// The same command, executed without a shell.
    pub(super) fn without_shell(mut self) -> Self {
        self.shell = None;
        self
    }

    /// Like [`Self::read`], for a given list of words.
    pub(super) fn of_list(
        context: &Context,
        arguments: &Arguments,
        words: Vec<String>,
    ) -> Result<Self, Failure> {
        Self::of(context, arguments, Words::List(words), false)
    }

    fn of(
        context: &Context,
        arguments: &Arguments,
        words: Words,
        merges: bool,
    ) -> Result<Self, Failure> {
        refuse_unsupported(arguments)?;
        let shell = shell_program(arguments)?;
        if arguments.is_job() {
            check_permitted(context, &words)?;
        }
        let runas = runas(arguments)?;
        let cwd = directory(arguments, runas.as_ref())?;
        let uses_shell = match arguments.get("python_shell") {
            // As in Salt: a job's commands run in a shell, another function's do not.
            Value::Nil => arguments.is_job() || context.settings().commands.always_uses_shell,
            set => *set == Value::Bool(true),
        };
        let words = match words {
            Words::Line(line) if !uses_shell => Words::List(split(&line)?),
            words => words,
        };
        Ok(Self {
            words,
            cwd,
            shell: uses_shell.then_some(shell),
            stdin: stdin(arguments),
            runas,
            env: environment(arguments),
            clean_env: arguments.is_set("clean_env"),
            prepend_path: text(arguments, "prepend_path"),
            umask: umask(arguments)?.or(context.config().umask),
            timeout: timeout(arguments)?,
            rstrip: !matches!(arguments.get("rstrip"), Value::Bool(false)),
            is_background: arguments.is_set("bg"),
            merges,
            success: Success::read(arguments)?,
        })
    }
}

impl Words {
    /// The first word, which is all that logs show of a command.
    pub(super) fn name(&self) -> String {
        let first = match self {
            Self::Line(line) => line.split_whitespace().next(),
            Self::List(words) => words.first().map(|word| word.trim()),
        };
        first.unwrap_or_default().to_owned()
    }

    /// The words that are executed.
    pub(super) fn program(&self, shell: Option<&str>) -> Vec<String> {
        match (self, shell) {
            (Self::Line(line), Some(shell)) => vec![shell.into(), "-c".into(), line.clone()],
            (Self::List(words), Some(shell)) => [shell.to_owned(), "-c".into()]
                .into_iter()
                .chain(words.clone())
                .collect(),
            (Self::Line(line), None) => vec![line.clone()],
            (Self::List(words), None) => words.clone(),
        }
    }

    /// The command as Python writes it in messages.
    pub(super) fn python(&self, _uses_shell: bool) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::List(words) => python_text::repr(
                &words
                    .iter()
                    .map(|word| Value::from(word.as_str()))
                    .collect::<Vec<_>>()
                    .into(),
            ),
        }
    }
}

/// The variables that the arguments set.
fn environment(arguments: &Arguments) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut add = |map: &Map| {
        for (name, value) in map {
            let value = if *value == Value::Nil {
                String::new()
            } else {
                python_text::str(value)
            };
            env.push((python_text::str(name), value));
        }
    };
    match arguments.get("env") {
        Value::Map(map) => add(map),
        Value::Array(list) => list.iter().filter_map(Value::as_map).for_each(add),
        _ => {}
    }
    if *arguments.get("reset_system_locale") != Value::Bool(false) {
        for name in LOCALE {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.into(), "C".into()));
            }
        }
    }
    env
}

/// Refuses options of Salt's that would change the command and that Brine lacks.
fn refuse_unsupported(arguments: &Arguments) -> Result<(), Failure> {
    for name in ["template", "group"] {
        // `cmd.script_retcode` has a template by default, which a script without one does not need.
        if arguments.is_set(name) && arguments.fun != "cmd.script_retcode" {
            return Err(failed(format!(
                "{name}: Brine's cmd functions do not have this option"
            )));
        }
    }
    Ok(())
}

fn shell_program(arguments: &Arguments) -> Result<String, Failure> {
    let given = text(arguments, "shell").filter(|shell| shell != "/bin/sh");
    // Salt's default is the shell of the user who started the minion.
    let shell = given.or_else(|| std::env::var("SHELL").ok());
    let shell = shell
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(|| "/bin/sh".into());
    if which::is_executable(shell.as_ref()) {
        Ok(shell)
    } else {
        Err(failed(format!("The shell {shell} is not available")))
    }
}

/// `cmd_blacklist_glob` and `cmd_whitelist_glob`.
fn check_permitted(context: &Context, words: &Words) -> Result<(), Failure> {
    let line = match words {
        Words::Line(line) => line.clone(),
        Words::List(words) => words.join(" "),
    };
    if context.settings().commands.permits(&line) {
        return Ok(());
    }
    let shown = words.python(true);
    Err(failed(format!(
        "The shell command \"{shown}\" is not permitted"
    )))
}

fn runas(arguments: &Arguments) -> Result<Option<User>, Failure> {
    let Some(name) = text(arguments, "runas") else {
        return Ok(None);
    };
    match User::from_name(&name).ok().flatten() {
        Some(user) => Ok(Some(user)),
        None => Err(failed(format!("User '{name}' is not available"))),
    }
}

fn directory(arguments: &Arguments, runas: Option<&User>) -> Result<PathBuf, Failure> {
    let Some(cwd) = text(arguments, "cwd") else {
        let home = match runas {
            Some(user) => user.dir.clone(),
            None => home(),
        };
        let is_there = home.is_dir() && access(&home, Access::READ_OK).is_ok();
        return Ok(if is_there { home } else { "/".into() });
    };
    let path = PathBuf::from(&cwd);
    if path.is_absolute() && path.is_dir() {
        return Ok(path);
    }
    Err(failed(format!(
        "Specified cwd '{cwd}' either not absolute or does not exist"
    )))
}

fn home() -> PathBuf {
    let own = || {
        User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map(|user| user.dir)
    };
    let set = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    set.or_else(own).unwrap_or_else(|| "/".into())
}

fn stdin(arguments: &Arguments) -> Option<Vec<u8>> {
    let text = match arguments.get("stdin") {
        Value::Nil => return None,
        value => python_text::str(value),
    };
    let is_raw = arguments.is_set("stdin_raw_newlines");
    // `\n` in an argument stands for a line feed, which is hard to type on a command line.
    let text = if is_raw {
        text
    } else {
        text.replace("\\n", "\n")
    };
    (!text.is_empty()).then(|| text.into_bytes())
}

fn umask(arguments: &Arguments) -> Result<Option<u32>, Failure> {
    let Some(umask) = text(arguments, "umask") else {
        return Ok(None);
    };
    let digits = umask.trim_start_matches('0');
    if digits.is_empty() {
        return Err(failed("Zero umask is not allowed.".into()));
    }
    match u32::from_str_radix(digits, 8) {
        Ok(umask) => Ok(Some(umask & 0o777)),
        Err(_) => Err(failed(format!("Invalid umask: '{umask}'"))),
    }
}

fn timeout(arguments: &Arguments) -> Result<Option<Duration>, Failure> {
    let seconds = match arguments.get("timeout") {
        value if !value.is_true() => return Ok(None),
        Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        value => {
            let text = python_text::str(value);
            let message = format!("Error: timeout {text} must be a number");
            return Err(Failure::raised(
                "salt.exceptions.TimedProcTimeoutError",
                message,
            ));
        }
    };
    Ok(seconds)
}

pub(super) fn seconds(timeout: Option<Duration>) -> Value {
    let timeout = timeout.unwrap_or_default();
    if timeout.subsec_nanos() == 0 {
        i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).into()
    } else {
        Value::Float(timeout.as_secs_f64())
    }
}

fn split(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).map_err(|error| Failure::raised("ValueError", error.message()))
}

/// An option that is given, as text.
fn text(arguments: &Arguments, name: &str) -> Option<String> {
    let value = arguments.get(name);
    value.is_true().then(|| python_text::str(value))
}
