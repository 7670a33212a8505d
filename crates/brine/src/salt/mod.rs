//! Salt's own commands: the same names, options, output and exit codes.
//!
//! Facts: Salt 3008.3 and 3006.28, compared side by side by `tests/`.

mod api;
mod call;
#[cfg(test)]
mod fuzzing;
mod key;
mod local;
mod login;
mod manual;
mod master;
mod minion;
mod options;
mod optparse;
mod output;
mod python;
mod run;
mod serve;
mod start;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

pub(crate) use self::output::{to_visible_yaml, to_yaml};

/// One of Salt's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// `salt`
    Local,
    /// `salt-master`
    Master,
    /// `salt-run`
    Run,
    /// `salt-key`
    Key,
    /// `salt-call`
    Call,
    /// `salt-minion`
    Minion,
    /// `salt-api`
    Api,
}

impl Personality {
    /// All commands.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Local,
        Self::Api,
        Self::Call,
        Self::Key,
        Self::Master,
        Self::Minion,
        Self::Run,
    ];

    /// The command's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "salt",
            Self::Master => "salt-master",
            Self::Run => "salt-run",
            Self::Key => "salt-key",
            Self::Call => "salt-call",
            Self::Minion => "salt-minion",
            Self::Api => "salt-api",
        }
    }

    /// Runs the command.
    pub(crate) fn run(self, words: &[OsString]) -> anyhow::Result<ExitCode> {
        match self {
            Self::Local => local::run(words),
            Self::Master => master::run(words),
            Self::Run => run::run(words),
            Self::Key => key::run(words),
            Self::Call => call::run(words),
            Self::Minion => minion::run(words),
            Self::Api => api::run(words),
        }
    }

    /// Its syntax, for manual pages and completions.
    pub(crate) fn manual(self) -> clap::Command {
        match self {
            Self::Local => local::SYNTAX.manual(),
            Self::Master => master::SYNTAX.manual(),
            Self::Run => run::SYNTAX.manual(),
            Self::Key => key::SYNTAX.manual(),
            Self::Call => call::SYNTAX.manual(),
            Self::Minion => minion::SYNTAX.manual(),
            Self::Api => api::SYNTAX.manual(),
        }
    }

    fn of_name(name: &OsStr) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|personality| name == personality.name())
    }
}

/// The requested command, if it is one of Salt's, with its arguments: from the name this program was called by, or
/// from the first argument.
pub(crate) fn personality<'a>(
    program: &OsStr,
    words: &'a [OsString],
) -> Option<(Personality, &'a [OsString])> {
    if let Some(personality) = Path::new(program)
        .file_name()
        .and_then(Personality::of_name)
    {
        return Some((personality, words));
    }
    let (first, rest) = words.split_first()?;
    Personality::of_name(first).map(|personality| (personality, rest))
}
